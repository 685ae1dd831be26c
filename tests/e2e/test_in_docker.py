"""Spot capacity, warm pools and Hyperband once more, in containers of the real images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from local.runtime.container import RuntimeProblem
from local.runtime.dockerhost import connect
from scripts import spot
from tests.docker.wait import until
from tests.e2e.conftest import a_project, client
from tests.e2e.test_spot import model_files, statuses

if TYPE_CHECKING:
    from conftest import Project

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SMALL = ("-s", "arch=shufflenet_v2_x0_5", "-s", "quantize=off")


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    try:
        engine = connect()
    except RuntimeProblem as problem:
        pytest.skip(str(problem))
    with closing(engine):
        if not engine.images.list("byoc-train"):
            pytest.skip("there is no byoc-train: `make build`")
    with a_project(tmp_path_factory.mktemp("in docker"), "--runtime", "docker") as project:
        yield project


def test_an_interrupted_spot_job_ends_as_one_that_never_was(contained: Project) -> None:
    settings = (*SMALL, "-s", "epochs=6", "-s", "batch_size=8", "-s", "checkpoint_every_steps=2")
    contained.byoc("train", "--spot", "--name", "whole", *settings)
    contained.byoc("train", "--spot", "--name", "cut", "--no-wait", *settings)
    sagemaker = client(contained, "sagemaker")

    def checkpoints() -> bool:
        job = sagemaker.describe_training_job(TrainingJobName="cut")
        bucket, _, prefix = job["CheckpointConfig"]["S3Uri"].removeprefix("s3://").partition("/")
        return "Contents" in client(contained, "s3").list_objects_v2(Bucket=bucket, Prefix=prefix)

    until(checkpoints)
    spot.interrupt(sagemaker.meta.endpoint_url, "cut", wait=0)
    contained.byoc("watch", "cut")
    job = sagemaker.describe_training_job(TrainingJobName="cut")
    assert job["TrainingJobStatus"] == "Completed"
    assert statuses(job).count("Interrupted") == 1
    weights = [model_files(contained, name)["model.safetensors"] for name in ("cut", "whole")]
    assert weights[0] == weights[1]


def test_a_warm_pool_is_taken_over(contained: Project) -> None:
    settings = (*SMALL, "-s", "epochs=1", "-s", "train.keep_alive_minutes=30")
    contained.byoc("train", "--name", "first", *settings)
    contained.byoc("train", "--name", "second", *settings)
    described = client(contained, "sagemaker").describe_training_job(TrainingJobName="first")
    assert described["WarmPoolStatus"]["ReusedByJob"] == "second"
    assert "Its warm pool is ended." in contained.byoc("stop", "second")


def test_hyperband_stops_the_worse_trials(contained: Project) -> None:
    ranges = ("--range", "lr=1e-6:0.02:log", "--range", "batch_size=8,16", *SMALL)
    contained.byoc(
        "tune", "--name", "hyper", "--strategy", "hyperband", "--jobs", "5", "--epochs", "4", *ranges
    )
    best = contained.json("best", "hyper")
    assert {trial["status"] for trial in best["trials"]} == {"Completed", "Stopped"}
    assert best["epochs"]["run"] < best["epochs"]["whole"] == 20
