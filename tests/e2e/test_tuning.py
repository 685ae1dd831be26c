"""Tuning as a user does it: Hyperband, and a search that goes on from an earlier one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow

# From far too small to good: some trials are worse than others after their first epoch.
RANGES = ("--range", "lr=1e-6:0.02:log", "--range", "batch_size=8,16", "--set", "profiler.enabled=false")


def test_hyperband_stops_the_worse_trials_and_reports_what_that_saved(project: Project) -> None:
    name = "hyper"
    output = project.byoc(
        "tune", "--name", name, "--strategy", "hyperband", "--jobs", "6", "--epochs", "6", *RANGES
    )
    assert "Hyperband ran" in " ".join(output.split())
    best = project.json("best", name)
    trials: list[dict[str, Any]] = best["trials"]
    assert len(trials) == 6
    statuses = [trial["status"] for trial in trials]
    assert "Completed" in statuses
    assert "Stopped" in statuses
    assert best["epochs"]["run"] < best["epochs"]["whole"] == 36
    winner = next(trial for trial in trials if trial["name"] == best["training_job"])
    assert winner["objective"] == max(trial["objective"] for trial in trials)
    page = Path(project.json("report", name)["report"]).read_text()
    assert "Trials that ended there" in page
    assert "saved)" in page


def test_a_warm_start_goes_on_from_an_earlier_search(project: Project) -> None:
    few = ("--jobs", "2", "--epochs", "1")
    first = project.json("tune", "--name", "first", *few, *RANGES)
    again = project.json("tune", "--name", "again", "--warm-start", "first", *few, *RANGES)
    assert again["warm_start"] == {"kind": "IdenticalDataAndAlgorithm", "parents": ["first"]}
    page = Path(project.json("report", "again")["report"]).read_text()
    assert "Warm start (IdenticalDataAndAlgorithm) from <code>first</code>" in page
    if first["value"] > again["value"]:
        assert "A trial of its parent first is better" in " ".join(project.byoc("best", "again").split())
    refused = project.byoc(
        "tune", "--warm-start", "first", *few, *RANGES, "--range", "momentum=0.5:0.9", code=2
    )
    assert "SageMaker wants the same hyperparameters" in " ".join(refused.split())
    assert "momentum here only" in " ".join(refused.split())
    assert "no tuning job" in " ".join(project.byoc("tune", "--warm-start", "nobody", code=5).split())
