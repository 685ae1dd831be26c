"""What AWS knows of jobs, by domain: read through its APIs only, so that a local SageMaker serves too."""
