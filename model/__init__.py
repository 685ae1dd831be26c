"""What the training and the serving image agree on: architecture, preprocessing, the artifact on disk."""
