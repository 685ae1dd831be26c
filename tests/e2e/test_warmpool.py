"""Warm pools, as a user has them: the second training gets what the first has left; stop ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import client

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow

SMALL = ("arch=shufflenet_v2_x0_5", "epochs=1", "quantize=off", "train.keep_alive_minutes=30")


def test_the_next_training_takes_the_machine_over(project: Project) -> None:
    settings = [word for each in SMALL for word in ("-s", each)]
    sagemaker = client(project, "sagemaker")

    def pool(job: str) -> dict[str, Any]:
        found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=job)["WarmPoolStatus"]
        return found

    project.byoc("train", "--name", "first", *settings)
    assert pool("first") == {"Status": "Available"}
    project.byoc("train", "--name", "second", *settings)
    assert pool("first")["ReusedByJob"] == "second"
    assert pool("first")["ResourceRetainedBillableTimeInSeconds"] >= 0
    assert pool("second") == {"Status": "Available"}
    assert "Its warm pool is ended." in project.byoc("stop", "second")
    assert pool("second")["Status"] == "Terminated"
    assert "Its warm pool is ended." not in project.byoc("stop", "second")
    assert "exclude each other" in project.byoc("train", "--spot", *settings, code=2)
