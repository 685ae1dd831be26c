"""`byoc delete --all` against the local SageMaker, where a neighbour's project lies in the same bucket."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.docker.wait import until
from tests.e2e.conftest import BYOC, ENVIRONMENT, Project, client

pytestmark = pytest.mark.slow

MINE = ("--set", "project.name=dig")  # the other tests' project is digits, whose name begins so
OBJECTS = 1500


def fill(s3: Any, bucket: str) -> None:
    keys = [f"byoc/dig/output/{number:04}" for number in range(OBJECTS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b"x"), keys))


def keys(s3: Any, bucket: str, prefix: str) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {each["Key"] for page in pages for each in page.get("Contents", ())}


def test_a_running_job_an_interruption_and_more_than_a_page(project: Project) -> None:
    s3 = client(project, "s3")
    [bucket] = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    neighbours = keys(s3, bucket, "byoc/digits/")
    assert neighbours
    project.byoc("upload", "digits", *MINE)
    project.byoc("train", "--no-wait", "--name", "dig-long", *MINE, "--set", "epochs=500")
    fill(s3, bucket)

    # Ctrl-C while the job is being stopped: all else is still there.
    sagemaker = client(project, "sagemaker")

    def job() -> dict[str, Any]:
        found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName="dig-long")
        return found

    until(lambda: job().get("FinalMetricDataList"))  # one that trains takes its time to stop
    command = subprocess.Popen(
        [BYOC, "delete", "--all", "--yes", "--records", *MINE],
        cwd=project.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    with command.stdout as output:
        until(lambda: job()["TrainingJobStatus"] != "InProgress")
        os.kill(command.pid, signal.SIGINT)
        told = output.read()
    assert command.wait() == 130, told
    assert "Traceback" not in told
    assert "`byoc delete --all` goes on" in told
    assert keys(s3, bucket, "byoc/dig/")

    result = project.json("delete", "--all", "--yes", "--records", *MINE)
    assert (result["left"], result["failed"]) == ([], [])
    assert not keys(s3, bucket, "byoc/dig/")
    assert keys(s3, bucket, "byoc/digits/") == neighbours
    jobs = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert not [job for job in jobs if job["TrainingJobName"] == "dig-long"]
    again = project.json("delete", "--all", "--yes", "--records", *MINE)
    assert (again["deleted"], again["left"]) == ([], [])
