"""Spot capacity, as a user has it: a training that loses its machine ends as one that never did."""

from __future__ import annotations

import io
import random
import re
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from contract.debugger import DEBUGGER_RULES
from contract.errors import ByocError
from scripts import spot
from tests.docker.wait import until
from tests.e2e.conftest import client

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow

# Enough steps that ten interruptions find it at work, and a checkpoint at each, so that some are cut off.
LONG = (
    *("arch=shufflenet_v2_x0_5", "epochs=8", "batch_size=8", "lr=0.002"),
    *("checkpoint_every_steps=2", "quantize=off"),
)
INTERRUPTIONS = 10


def model_files(project: Project, job: str) -> dict[str, bytes]:
    """The model's files."""
    uri = client(project, "sagemaker").describe_training_job(TrainingJobName=job)["ModelArtifacts"]
    bucket, _, key = uri["S3ModelArtifacts"].removeprefix("s3://").partition("/")
    whole = client(project, "s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        return {
            member.name: content.read()
            for member in archive
            if (content := archive.extractfile(member)) is not None
        }


def statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def test_ten_interruptions_lose_nothing(project: Project) -> None:
    settings = [word for each in LONG for word in ("-s", each)]
    whole = project.json("train", "--spot", "--name", "spot-whole", *settings)
    project.byoc("train", "--spot", "--name", "spot-cut", "--no-wait", *settings)
    sagemaker, dice = client(project, "sagemaker"), random.Random(1)
    url = sagemaker.meta.endpoint_url
    jobs = project.folder / ".byoc" / "local" / "jobs"

    def cut() -> dict[str, Any]:
        described: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName="spot-cut")
        return described

    def step() -> int:
        """Of the newest checkpoint in S3."""
        bucket, _, prefix = cut()["CheckpointConfig"]["S3Uri"].removeprefix("s3://").partition("/")
        page = client(project, "s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
        steps = [re.search(r"checkpoint-(\d+)\.pt", each["Key"]) for each in page.get("Contents", [])]
        return max((int(found[1]) for found in steps if found), default=0)

    torn = 0
    for number in range(INTERRUPTIONS):
        before = step()
        until(lambda n=number: statuses(cut()).count("Training") > n)
        until(lambda b=before: step() > b + 2)  # it has gone on, so that it comes to an end
        if number % 3 == 0:  # in the middle of a checkpoint, and without a warning
            until(lambda: any(jobs.glob("spot-cut-*/algo-1/checkpoints/.checkpoint-*")))
            torn += 1
            spot.interrupt(url, "spot-cut", wait=0, grace=0)
        elif number == 1:
            assert "loses its machine" in project.byoc("local", "interrupt", "spot-cut", "--wait", "1")
        else:
            time.sleep(dice.uniform(0, 2))
            spot.interrupt(url, "spot-cut", wait=dice.uniform(0, 1))
        until(lambda n=number: statuses(cut()).count("Interrupted") > n)
    assert torn >= 1
    project.byoc("watch", "spot-cut")
    job = cut()
    assert job["TrainingJobStatus"] == "Completed"
    assert statuses(job).count("Interrupted") == INTERRUPTIONS
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]
    weights = [model_files(project, name)["model.safetensors"] for name in ("spot-cut", "spot-whole")]
    assert weights[0] == weights[1]
    # Every epoch once in the curves, and the rules judged all of it.
    rules = project.json("report", "spot-cut")["rules"]["spot-cut"]
    assert rules.keys() == whole["rules"].keys()
    judged = [name for name in DEBUGGER_RULES if name in rules]
    assert {name: rules[name] for name in judged} == {name: whole["rules"][name] for name in judged}
    with pytest.raises(ByocError, match="does not run"):
        spot.interrupt(url, "spot-cut")
    shown = project.byoc("local", "interrupt", "spot-cut", code=2)
    assert "spot-cut does not run (Completed): nothing can be taken away" in shown
