"""The whole way with the real images: train, report, tune, deploy, ask, clean up."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.e2e.conftest import BYOC, ENVIRONMENT, client

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow


def test_a_training_has_metrics_verdicts_and_a_report(project: Project, trained: dict[str, Any]) -> None:
    assert trained["status"] == "Completed"
    assert trained["metrics"]["test:accuracy"] > 0.5
    assert {"LossNotDecreasing", "ProfilerReport"} <= set(trained["rules"])
    verdicts = [f"{rule}: {verdict}" for rule, verdict in trained["rules"].items()]
    judged = ("IssuesFound", "CouldNotJudge", "DoesNotApply")
    assert not [each for each in verdicts if not each.endswith(judged)]
    page = Path(project.json("report")["report"]).read_text()
    assert trained["training_job"] in page
    assert "LossNotDecreasing" in page
    assert not re.search(r"""(?:src|href)=["']https?://|@import|url\(https?:""", page), "it needs the network"


def test_tuning_finds_the_better_of_two(project: Project) -> None:
    found = project.json(
        "tune", "--jobs", "2", "--epochs", "1", "--range", "lr=1e-6:0.01:log", "--range", "batch_size=16,32"
    )
    assert found["complete"]
    trials = {item["name"]: item["objective"] for item in found["trials"]}
    assert len(trials) == 2
    assert trials[found["training_job"]] == max(trials.values())
    assert set(found["hyperparameters"]) == {"lr", "batch_size"}
    for name in trials:
        assert "LossNotDecreasing" in project.json("report", name)["rules"][name]


def test_the_endpoint_answers_as_training_did(project: Project, trained: dict[str, Any]) -> None:
    project.byoc("deploy", trained["training_job"])
    try:
        evaluated = project.json("evaluate")
        assert evaluated["accuracy"] == pytest.approx(trained["metrics"]["test:accuracy"], abs=1e-5)
        with asked_all_the_time(project) as failures:
            project.byoc("deploy", "--update", trained["training_job"])
            project.byoc("evaluate")
        assert failures == []
        text = project.folder / "text.png"
        text.write_text("this is no picture")
        message = project.byoc("predict", str(text), code=2)
        assert "Refused: 1 of 1 picture." in message
        assert "Traceback" not in message
    finally:
        project.byoc("delete")
    assert "There is no endpoint" in project.byoc("predict", str(text), code=5)


@contextmanager
def asked_all_the_time(project: Project) -> Iterator[list[str]]:
    """Somebody sends a picture to the endpoint, again and again; what was answered with an error."""
    picture = next((project.folder / "digits" / "7").iterdir()).read_bytes()
    runtime = client(project, "sagemaker-runtime", retries={"total_max_attempts": 1})
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                runtime.invoke_endpoint(EndpointName="digits", Body=picture, ContentType="image/png")
            except (ClientError, BotoCoreError) as error:
                failures.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield failures
    finally:
        done.set()
        asking.join()


def test_a_transform_job_answers_as_training_did(project: Project, trained: dict[str, Any]) -> None:
    flags = ("--job", trained["training_job"], "--output", "answers.jsonl")
    found = project.json("transform", *flags)
    assert found["accuracy"] == pytest.approx(trained["metrics"]["test:accuracy"], abs=1e-5)
    answers = [json.loads(line) for line in (project.folder / "answers.jsonl").read_text().splitlines()]
    right = sum(answer["predictions"][0]["class"] == answer["truth"] for answer in answers)
    assert right == found["right"]


def test_a_job_goes_on_from_the_checkpoints_of_one_that_was_stopped(project: Project) -> None:
    settings = ("train.checkpoints=true", "checkpoint_every_steps=50", "epochs=12", "profiler.enabled=false")
    command = [
        BYOC,
        "train",
        "--name",
        "cut",
        "--full-log",
        *(word for each in settings for word in ("-s", each)),
    ]
    with subprocess.Popen(command, cwd=project.folder, env=ENVIRONMENT, stdout=PIPE) as training:
        assert training.stdout
        assert any(b"epoch 1 " in line for line in training.stdout)
        project.byoc("stop", "cut")
        training.stdout.read()
    assert "--resume takes the job's own lr" in project.byoc(
        "train", "--resume", "cut", "-s", "lr=0.5", code=2
    )
    resumed = project.json("train", "--resume", "cut", "--name", "on", "-s", "workers=1")
    assert resumed["hyperparameters"]["epochs"] == "12"
    assert resumed["hyperparameters"]["workers"] == "1"
    assert "going on from" in project.byoc("logs", "on")


def test_a_model_of_an_older_trainer_is_converted(project: Project, trained: dict[str, Any]) -> None:
    bucket, _, key = trained["model"].removeprefix("s3://").partition("/")
    s3 = client(project, "s3")
    whole = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=without_graph(whole))
    try:
        done = project.json("convert", trained["training_job"])
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=whole)
    assert done["training_job"] != trained["training_job"]
    again = project.byoc("convert")  # of the last training job, which is the conversion
    assert "has its graph already" in again
    output = project.byoc("deploy")
    try:
        assert "computes with torch" not in output
        assert project.json("evaluate")["accuracy"] == pytest.approx(
            trained["metrics"]["test:accuracy"], abs=1e-5
        )
    finally:
        project.byoc("delete")


def without_graph(archive: bytes) -> bytes:
    """The model as an older trainer left it."""
    output = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=output, mode="w:gz") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name.endswith("model.json"):
                description = json.loads(data)
                assert description.pop("onnx")
                data = json.dumps(description).encode()
            elif not member.name.endswith("model.safetensors"):
                continue
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return output.getvalue()


def test_a_wrong_hyperparameter_past_byoc_fails_the_job_in_words(
    project: Project, trained: dict[str, Any]
) -> None:
    sagemaker = client(project, "sagemaker")
    job = sagemaker.describe_training_job(TrainingJobName=trained["training_job"])
    kept = ("AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig", "ResourceConfig")
    sagemaker.create_training_job(
        TrainingJobName="wrong",
        HyperParameters={**job["HyperParameters"], "learning-rat": "1"},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
        **{key: job[key] for key in kept},
    )
    message = project.byoc("logs", "-f", "wrong", code=1)
    assert "unknown hyperparameter 'learning-rat'" in message
    assert "allowed" in message
    reason = sagemaker.describe_training_job(TrainingJobName="wrong")["FailureReason"]
    assert reason.startswith("AlgorithmError: ")
    assert "Traceback" not in reason
