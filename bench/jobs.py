"""Training jobs that are all remembered, for `bench.soak`."""

from __future__ import annotations

import io
import itertools
import random
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from bench.killable import Service

ROLE = "arn:aws:iam::000000000000:role/byoc"
_MACHINE = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
_KILLED = "The local SageMaker ended while this job ran"  # in the FailureReason of its jobs


def acknowledged(call: Callable[..., Any], **request: Any) -> Any:
    """Calls until the service answers; None if an attempt without an answer had done it."""
    for attempt in itertools.count():
        try:
            return call(**request)
        except ParamValidationError:
            raise  # a fault of this bench
        except BotoCoreError:
            time.sleep(0.1)
        except ClientError as error:
            if attempt and error.response["Error"]["Code"] == "ResourceInUse":
                return None
            if attempt and "already exist" in error.response["Error"]["Message"]:
                return None
            raise
    raise AssertionError


class Jobs:
    """Training jobs: what was asked for, and whether it came about."""

    def __init__(self, service: Service, ledger: Path) -> None:
        self._sagemaker = service.client("sagemaker")
        self._service = service
        self._ledger = ledger
        self.created: dict[str, tuple[int, bool]] = {}  # kills before, and whether it is to fail

    def create(self, name: str, *, ours: bool) -> None:
        fails = not ours and len(self.created) % 10 == 9
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": "byoc-train" if ours else "small", "TrainingInputMode": "File",
            },
            "OutputDataConfig": {"S3OutputPath": "s3://soak-jobs/out"},
            "ResourceConfig": _MACHINE,
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        }  # fmt: skip
        if ours:
            request["HyperParameters"] = {"epochs": "1", "batch_size": "8", "weights": "none"}
            request["InputDataConfig"] = [
                {"ChannelName": channel, "DataSource": {"S3DataSource": {
                    "S3DataType": "S3Prefix", "S3Uri": f"s3://soak-jobs/data/{channel}/"}}}
                for channel in ("train", "validation")
            ]  # fmt: skip
        else:
            request["HyperParameters"] = {
                "name": name, "ledger": str(self._ledger), "steps": str(random.randint(1, 20)),
                "fails": "yes" if fails else "no",
            }  # fmt: skip
        kills = self._service.kills
        acknowledged(self._sagemaker.create_training_job, **request)
        self.created[name] = (kills, fails)

    def unfinished(self) -> list[str]:
        return [name for name, status in self._listed() if status in ("InProgress", "Stopping")]

    def _listed(self) -> list[tuple[str, str]]:
        found, more = [], {}
        while True:
            page = acknowledged(self._sagemaker.list_training_jobs, MaxResults=100, **more)
            found += [
                (job["TrainingJobName"], job["TrainingJobStatus"]) for job in page["TrainingJobSummaries"]
            ]
            if "NextToken" not in page:
                return found
            more = {"NextToken": page["NextToken"]}

    def problems(self) -> Iterator[str]:
        """What is not as it should be, once all have ended."""
        names = Counter(name for name, _ in self._listed())
        for name in self.created.keys() | names.keys():
            if names[name] != 1 or name not in self.created:
                yield f"job {name} is listed {names[name]} times"
        s3 = self._service.client("s3")
        self.ends: Counter[str] = Counter()
        self.our_ends: Counter[str] = Counter()
        for name, (kills, fails) in self.created.items():
            job = self._sagemaker.describe_training_job(TrainingJobName=name)
            status, reason = job["TrainingJobStatus"], job.get("FailureReason", "")
            killed = status == "Failed" and _KILLED in reason
            ours = job["AlgorithmSpecification"]["TrainingImage"] != "small"
            (self.our_ends if ours else self.ends)["killed" if killed else status] += 1
            begun = self._ledger / f"{name}.begun"
            if begun.exists() and len(begun.read_text()) > 1:
                yield f"job {name} ran {len(begun.read_text())} times"
            if killed:
                if kills == self._service.kills:
                    yield f"job {name} says that the service ended, which it did not: {reason}"
            elif status == "Completed":
                yield from self._completed(s3, name, job, ours=ours, fails=fails)
            elif status != "Failed" or not fails or "exit code: 3" not in reason:
                yield f"job {name} is {status}: {reason}"

    def _completed(
        self, s3: Any, name: str, job: dict[str, Any], *, ours: bool, fails: bool
    ) -> Iterator[str]:
        bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
        if not ours and (fails or not (self._ledger / f"{name}.done").exists()):
            yield f"job {name} is Completed, and its program did not get to its end"
        try:
            data = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                said = tar.extractfile("name") if not ours else None
                if said is not None and said.read().decode() != name:
                    yield f"job {name} has another job's model"
        except (ClientError, tarfile.TarError, KeyError) as error:
            yield f"job {name} is Completed, and its model cannot be read: {error}"
