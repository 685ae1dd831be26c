"""What a warm pool saves in Docker: from CreateTrainingJob to the first line that the container prints.

    python -m bench.warmpool                 jobs of one host, and of two
    python -m bench.warmpool --rounds 21

Cold jobs and jobs that get a pool take turns, on a service of its own with a home in /tmp. The image is one
shell script on the base image, so nothing but the start is measured. Needs a Docker engine (`.ci/engine up`).
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench import servers
from local.runtime.dockerhost import connect

_ACCOUNT = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "any"}
_BASE = "debian:trixie-slim"
_IMAGE = "byoc-bench-start"
_SCRIPT = b"#!/bin/sh\ndate +%s.%N\n"


def make_image(engine: Any) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("train")
        info.mode, info.size = 0o755, len(_SCRIPT)
        tar.addfile(info, io.BytesIO(_SCRIPT))
    container = engine.containers.create(_BASE)
    try:
        container.put_archive("/usr/bin", archive.getvalue())
        container.commit(_IMAGE)
    finally:
        container.remove()


class Service:
    def __init__(self, home: Path) -> None:
        port = servers.free_port()
        command = [sys.executable, "-m", "local", "--home", str(home), "--port", str(port)]
        self._process = subprocess.Popen(
            [*command, "--runtime", "docker"],
            cwd=servers.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        self._sagemaker: Any = boto3.client("sagemaker", endpoint_url=url, **_ACCOUNT)
        self._logs: Any = boto3.client("logs", endpoint_url=url, **_ACCOUNT)
        patient = Config(retries={"max_attempts": 20, "mode": "standard"})
        boto3.client("s3", endpoint_url=url, config=patient, **_ACCOUNT).create_bucket(Bucket="bench")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def seconds(self, name: str, hosts: int, keep: int) -> float:
        """Until the container of the last host had printed its first line."""
        machine = {"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1}
        began = time.time()
        self._sagemaker.create_training_job(
            TrainingJobName=name, RoleArn="arn:aws:iam::000000000000:role/byoc",
            AlgorithmSpecification={"TrainingImage": _IMAGE, "TrainingInputMode": "File"},
            OutputDataConfig={"S3OutputPath": "s3://bench/output"},
            ResourceConfig=machine | ({"KeepAlivePeriodInSeconds": keep} if keep else {}),
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )  # fmt: skip
        while (job := self._sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] in (
            "InProgress", "Stopping",
        ):  # fmt: skip
            time.sleep(0.1)
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        group = "/aws/sagemaker/TrainingJobs"
        streams = self._logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
        printed = [
            float(self._logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"][0]["message"])
            for stream in streams["logStreams"]
        ]  # fmt: skip
        return max(printed) - began


def measure(service: Service, hosts: int, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"cold": [], "from the pool": []}
    for number in range(-1, rounds):
        # The second job keeps nothing, so the pool ends with it, and the next one is cold.
        cold = service.seconds(f"cold-{hosts}-{number + 1}", hosts, 600)
        warm = service.seconds(f"warm-{hosts}-{number + 1}", hosts, 0)
        if number >= 0:  # the first round warms up
            found["cold"].append(cold)
            found["from the pool"].append(warm)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    engine = connect()
    make_image(engine)
    print(f"{'':8}  {'':15}  median s  fastest  slowest   ({options.rounds} each)")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            service = Service(Path(scratch))
            try:
                for hosts in (1, 2):
                    for what, seconds in measure(service, hosts, options.rounds).items():
                        middle = statistics.median(seconds)
                        print(
                            f"{hosts} host{'s' if hosts > 1 else ' '}   {what:15}  {middle:8.2f}  "
                            f"{min(seconds):7.2f}  {max(seconds):7.2f}",
                            flush=True,
                        )
            finally:
                service.stop()
    finally:
        engine.images.remove(_IMAGE, force=True)
        engine.close()


if __name__ == "__main__":
    main()
