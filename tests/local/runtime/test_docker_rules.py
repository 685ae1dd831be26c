"""The `rules` command of the configured image beside a job of a foreign image, in containers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.config import Config
from local.jobs.documents import Document, training_document
from local.jobs.engine import Engine
from local.jobs.services import Services, Timing
from local.jobs.slots import Slots
from local.runtime.docker import DockerRuntime
from local.store import Store
from tests.local.runtime.conftest import left

pytestmark = pytest.mark.docker

CLOSED = "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest"
# Judges and measures as far as a shell can.
RULES = """
echo "$@"
profiler=/opt/ml/processing/input/profiler
until [ -e $profiler/training_job_end.ts ]; do
    mkdir -p $profiler/system/incremental/2026112210
    echo '{"Value": 1}' >> $profiler/system/incremental/2026112210/1795341600.algo-1.json
    sleep 0.1
done
[ -e /opt/ml/config/rules.json ] || exit 0
echo '{"DebugRuleEvaluationStatuses": [{"RuleConfigurationName": "LossNotDecreasing",
    "RuleEvaluationStatus": "NoIssuesFound"}]}' > /opt/ml/output/status.json
"""
PROFILE = {"ProfilerConfig": {"S3OutputPath": "s3://bucket/profile"}}
JUDGED = {
    **PROFILE,
    "DebugHookConfig": {"S3OutputPath": "s3://bucket/debug", "LocalPath": "/var/tensors"},
    "DebugRuleConfigurations": [{"RuleConfigurationName": "LossNotDecreasing", "RuleEvaluatorImage": CLOSED}],
}

Run = Callable[..., tuple[Document, list[str]]]


@pytest.fixture
def config(home: Path) -> Config:
    return Config(home=home, port=5996, runtime="docker")


@pytest.fixture
def run_job(engine: Any, config: Config) -> Iterator[Run]:
    """Runs a job of `image` to its end, with `train_image` as the configured one; its document and log."""
    started: list[tuple[Engine, Store]] = []

    def run(image: str, train_image: str, **members: Any) -> tuple[Document, list[str]]:
        configured = replace(config, train_image=train_image)
        (config.s3_root / "bucket").mkdir(parents=True, exist_ok=True)
        store = Store(config.database)
        runtime = DockerRuntime(config.home, config.port)
        services = Services(configured, store, runtime, Slots(2), Timing(stop_grace=5, close_grace=5))
        jobs = Engine(configured, store, services=services)
        started.append((jobs, store))
        jobs.start()
        request = {
            "TrainingJobName": "job",
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "RoleArn": config.role_arn,
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            **members,
        }
        store.put("training-job", "job", training_document(configured, request))
        jobs.submit("training-job", "job")
        deadline = time.monotonic() + 60
        while True:
            doc = store.get("training-job", "job")
            assert doc is not None
            statuses = [each["RuleEvaluationStatus"] for each in doc.get("DebugRuleEvaluationStatuses", [])]
            if "TrainingEndTime" in doc and "InProgress" not in statuses:
                break
            assert time.monotonic() < deadline, doc
            time.sleep(0.05)
        jobs.close()
        [log] = (config.log_folder("/aws/sagemaker/TrainingJobs") / "job").iterdir()
        return doc, [line.partition(" ")[2] for line in log.read_text().splitlines()]

    yield run
    for jobs, store in started:
        jobs.close()
        store.close()
    assert left(engine, config.home) == []


def samples(config: Config) -> list[Path]:
    return list(config.bucket_path("s3://bucket/profile/job/profiler-output").rglob("*.algo-1.json"))


TRAIN = (
    "until [ -e /opt/ml/output/profiler/system ]; do sleep 0.1; done; echo measured; "
    "echo t > /var/tensors/t; sleep 1.5"
)


def test_a_foreign_job_is_judged_and_measured(
    run_job: Run, config: Config, make_image: Callable[..., str]
) -> None:
    doc, log = run_job(make_image(train=TRAIN), make_image(rules=RULES), **JUDGED)
    assert (doc["TrainingJobStatus"], log) == ("Completed", ["measured"])
    [status] = doc["DebugRuleEvaluationStatuses"]
    assert status["RuleEvaluationStatus"] == "NoIssuesFound"
    assert doc["DebugRuleConfigurations"][0]["RuleEvaluatorImage"] == CLOSED
    assert len(samples(config)) == 1
    for path in config.home.rglob("*"):
        assert path.lstat().st_uid == os.getuid(), path


@pytest.mark.parametrize("members", [PROFILE, JUDGED], ids=["measured", "judged"])
def test_an_image_that_is_not_built_stops_no_job(
    run_job: Run, make_image: Callable[..., str], members: dict[str, Any]
) -> None:
    doc, log = run_job(make_image(train="echo trained"), "team/not-built:1", **members)
    assert doc["TrainingJobStatus"] == "Completed"
    assert log[0].startswith(
        "[local SageMaker] The machine is not measured: Docker has no image not-built:1 here "
    )
    assert log[1:] == ["trained"]
    for status in doc.get("DebugRuleEvaluationStatuses", []):
        assert status["RuleEvaluationStatus"] == "Error"
        assert "Build it (`make build`)" in status["StatusDetails"]
        assert "--runtime docker --train-image NAME" in status["StatusDetails"]


def test_an_image_without_the_command_stops_no_job(run_job: Run, make_image: Callable[..., str]) -> None:
    image = make_image(train="echo trained")
    doc, log = run_job(image, image, **JUDGED)
    assert doc["TrainingJobStatus"] == "Completed"
    reason = f"The image {image} has no command 'rules'."
    assert log[0].startswith(f"[local SageMaker] The machine is not measured: {reason}")
    assert doc["DebugRuleEvaluationStatuses"][0]["StatusDetails"].startswith(reason)


def test_a_link_of_the_job_opens_no_folder_of_this_machine(
    run_job: Run, config: Config, make_image: Callable[..., str], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    train = f"rm -r /opt/ml/output/profiler; ln -s {secret} /opt/ml/output/profiler; echo linked; sleep 2"
    rules = f"ls -R /opt/ml/processing; {RULES}"
    doc, log = run_job(make_image(train=train), make_image(rules=rules), **PROFILE)
    assert (doc["TrainingJobStatus"], log) == ("Completed", ["linked"])
    assert [path.name for path in secret.iterdir()] == ["file"]
    for path in config.home.rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path
