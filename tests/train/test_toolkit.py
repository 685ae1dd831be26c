"""What train/toolkit.py changes in sagemaker-training before it runs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, **variables: str) -> list[str]:
    return subprocess.check_output(
        [sys.executable, "-c", f"import sys, train.toolkit\n{code}"],
        cwd=ROOT,
        env={**os.environ, **variables},
        text=True,
    ).split()


def test_what_few_jobs_need_is_imported_when_it_is_used() -> None:
    code = """
from sagemaker_training import environment, intermediate_output, mpi
print(environment.boto3.session.Session().region_name, "botocore" in sys.modules, "paramiko" in sys.modules)
print(mpi.paramiko.SSHClient.__module__, intermediate_output.s3transfer.S3Transfer.__module__)
import boto3.session
print(boto3.session.Session(region_name="eu-west-1").region_name)
"""
    said = run(code, AWS_DEFAULT_REGION="eu-central-1")
    assert said == [
        *("eu-central-1", "False", "True"),
        *("paramiko.client", "boto3.s3.transfer"),
        "eu-west-1",
    ]


def test_the_shared_library_for_mpi_may_be_missing() -> None:
    code = "import gethostname; print(gethostname.__name__)"
    assert run(code) == ["gethostname"]
