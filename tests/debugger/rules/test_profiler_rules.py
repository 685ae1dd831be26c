"""Each profiler rule on made-up timings and system metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contract.findings import Outcome
from contract.rules import ParameterError
from debugger.profile import PHASES, Profile, Sample, StepTime
from debugger.rules.registry import make
from debugger.rules.rule import Rule


def judged(name: str, profile: Profile, **parameters: object) -> Rule:
    made = make(name, parameters)
    made.profile(profile)
    return made


def machine(count: int = 300, **columns: Any) -> Profile:
    """Samples every half second; a column is a number, a list of numbers, or None."""
    profile = Profile(started=0.0, now=count / 2)
    for index in range(count):
        value = {key: column[index] if np.ndim(column) else column for key, column in columns.items()}
        sample = Sample(index / 2, "algo-1")
        sample.cores = {"cpu0": value.get("cpu", 50.0)}
        for key, target in (("gpu", sample.gpus), ("gpu1", sample.gpus), ("gpu_memory", sample.gpu_memory)):
            if value.get(key) is not None:
                target[key] = value[key]
        sample.io_wait = {"cpu0": value.get("io", 0.0)}
        profile.samples[("algo-1", index)] = sample
    return profile


def timed(totals: Any, wait: float = 0.01, mode: str = "TRAIN") -> Profile:
    """Steps of these milliseconds, `wait` of which is spent waiting for data."""
    profile = Profile(started=0.0, now=1e3)
    for index, total in enumerate(totals):
        phases = [0.0] * len(PHASES)
        phases[0], phases[2] = wait * total, (1 - wait) * total
        profile.add_step(StepTime("algo-1-0", index, mode, float(index), float(total), tuple(phases)))
    return profile


@pytest.mark.parametrize(
    ("name", "columns", "fires"),
    [
        ("CPUBottleneck", {"cpu": 95.0, "gpu": 5.0}, True),
        ("CPUBottleneck", {"cpu": 95.0, "gpu": 15.0}, False),
        ("CPUBottleneck", {"cpu": 85.0, "gpu": 5.0}, False),
        ("IOBottleneck", {"io": 60.0, "gpu": 5.0}, True),
        ("IOBottleneck", {"io": 40.0, "gpu": 5.0}, False),
        ("LowGPUUtilization", {"gpu": 60.0}, True),
        ("LowGPUUtilization", {"gpu": [0.0, 95.0] * 150}, True),
        ("LowGPUUtilization", {"gpu": 90.0}, False),
        ("GPUMemoryIncrease", {"gpu": 90.0, "gpu_memory": [20.0] * 200 + [40.0] * 100}, True),
        ("GPUMemoryIncrease", {"gpu": 90.0, "gpu_memory": 40.0}, False),
        ("LoadBalancing", {"gpu": 90.0, "gpu1": 10.0}, True),
        ("LoadBalancing", {"gpu": 90.0, "gpu1": 92.0}, False),
        ("BatchSize", {"cpu": 30.0, "gpu": 30.0, "gpu_memory": 30.0}, True),
        ("BatchSize", {"cpu": 30.0, "gpu": 30.0, "gpu_memory": 80.0}, False),
        ("OverallSystemUsage", {"cpu": 100.0, "gpu": 0.0}, False),
    ],
)
def test_rules_on_system_metrics(name: str, columns: dict[str, Any], fires: bool) -> None:
    found = judged(name, machine(**columns))
    assert bool(found.total) == fires
    assert found.summary()


@pytest.mark.parametrize("name", ["CPUBottleneck", "LowGPUUtilization", "BatchSize", "LoadBalancing"])
def test_without_a_gpu_the_gpu_rules_say_so(name: str) -> None:
    found = judged(name, machine(cpu=100.0))
    assert not found.total
    outcome, summary = found.verdict()
    assert outcome is Outcome.DOES_NOT_APPLY
    assert "without a GPU" in summary


def test_the_start_of_a_job_is_not_judged() -> None:
    profile = machine(count=100, cpu=95.0, gpu=5.0)
    assert not judged("CPUBottleneck", profile).total
    assert judged("CPUBottleneck", profile, patience="10").total


def test_one_stalled_step_in_fifty_is_an_outlier() -> None:
    totals = np.random.default_rng(0).normal(30, 2, 200)
    totals[::50] = 900
    found = judged("StepOutlier", timed(totals))
    assert found.findings[0].step in (50, 100, 150)
    assert "forward" in found.findings[0].message
    assert not judged("StepOutlier", timed(np.random.default_rng(0).lognormal(3, 0.2, 500))).total


@pytest.mark.parametrize(
    ("cpu", "busy", "fires"),
    [
        (60.0, 100.0, False),  # the cores worked, but not for the training
        (60.0, 40.0, True),  # a sleeping step
        (950.0, 100.0, True),  # the training itself worked that long
    ],
)
def test_steps_that_other_processes_held_up_are_counted_apart(cpu: float, busy: float, fires: bool) -> None:
    profile = machine(count=400, cpu=busy)
    profile.ended = True
    for index in range(200):
        total = 1000.0 if index % 25 == 24 else 100.0
        phases = (0.0, 0.0, total, 0.0, 0.0, 0.0)
        own = cpu if total > 100 else 90.0
        profile.steps.append(StepTime("algo-1-0", index, "TRAIN", float(index), total, phases, own))
    found = judged("StepOutlier", profile)
    assert bool(found.total) == fires
    assert ("8 more while other processes had the machine's cores" in found.summary()) != fires


def test_two_slow_steps_are_no_finding() -> None:
    assert not judged("StepOutlier", timed([10.0] * 30 + [400.0] * 2 + [10.0] * 30)).total
    assert judged("StepOutlier", timed([10.0] * 30 + [400.0] * 3 + [10.0] * 30)).total


@pytest.mark.parametrize("slow", [4, 20, 40])
def test_steps_that_cost_more_for_good_are_no_outliers(slow: int) -> None:
    """A backbone that joins in after the epochs in which only the head learned on stored features."""
    noise = np.random.default_rng(0).lognormal(0, 0.1, 120)
    level = np.where(np.arange(120) < 120 - slow, 1.0, 80.0)
    for now in range(60, 121):  # while it runs too
        profile = timed((level * noise)[:now])
        profile.ended = now == 120
        assert not judged("StepOutlier", profile).total
    if slow == 40:
        stalled = np.where(np.arange(120) % 9 == 8, 5.0, 1.0)  # also among the slow ones
        assert judged("StepOutlier", timed(level * noise * stalled)).total


def test_while_the_job_runs_a_step_waits_for_the_measure_of_its_time() -> None:
    profile = machine(count=100, cpu=40.0)
    for index in range(200):
        total = 1000.0 if index % 25 == 24 else 100.0
        phases = (0.0, 0.0, total, 0.0, 0.0, 0.0)
        profile.steps.append(StepTime("algo-1-0", index, "TRAIN", 1e6 + index, total, phases, 60.0))
    assert "which are always slow: 0, and" in judged("StepOutlier", profile).undecided()
    profile.ended = True
    assert judged("StepOutlier", profile).total


def test_a_slow_first_step_is_no_outlier() -> None:
    assert not judged("StepOutlier", timed([5000, 800, *([30.0] * 100)])).total


def test_a_starving_training_is_found_and_a_busy_one_is_not() -> None:
    assert judged("Dataloader", timed([1000.0] * 50, wait=0.6)).total
    assert not judged("Dataloader", timed([1000.0] * 50, wait=0.1)).total
    assert not judged("Dataloader", timed([10.0] * 500, wait=0.6)).total  # three seconds in all


@pytest.mark.parametrize(
    ("busy", "own", "others", "much"), [(90.0, 20.0, 0.7, True), (90.0, 85.0, 0.1, False)]
)
def test_what_else_runs_on_the_machine_is_named(busy: float, own: float, others: float, much: bool) -> None:
    profile = machine(count=100, cpu=busy)
    for index in range(50):
        phases = (0.0, 0.0, 100.0, 0.0, 0.0, 0.0)
        profile.add_step(StepTime("algo-1-0", index, "TRAIN", float(index), 100.0, phases, own))
    said = judged("OverallSystemUsage", profile).summary()
    assert f"the training used {own / 100:.1f} of 1 cores, other programs {others}." in said
    assert ("faster without them" in said) == much


def test_a_long_wait_for_the_first_step_is_found() -> None:
    late = machine(count=10)
    late.now = 1300.0
    assert judged("MaxInitializationTime", late).total
    assert not judged("MaxInitializationTime", late, threshold="30").total
    late.steps = timed([1.0]).steps
    assert not judged("MaxInitializationTime", late).total


def test_the_frameworks_shares_are_reported() -> None:
    assert "data wait 60 %" in judged("OverallFrameworkMetrics", timed([10.0] * 5, wait=0.6)).summary()


def test_the_report_runs_them_all_with_their_parameters() -> None:
    profile = machine(cpu=95.0, gpu=5.0, gpu_memory=90.0)
    quiet = {"LowGPUUtilization_threshold_p95": "1", "LowGPUUtilization_threshold_p5": "1"}
    found = judged("ProfilerReport", profile, CPUBottleneck_threshold="50", **quiet)
    assert {finding.message.split(":")[0] for finding in found.findings} == {"CPUBottleneck"}
    assert found.summary() == "CPUBottleneck found issues."
    parts = {part.name: part.summary() for part in found.parts()}
    assert "CPU median" in parts["OverallSystemUsage"]
    with pytest.raises(
        ParameterError, match=r"ProfilerReport has no parameter 'threshold'; it has .*BatchSize_patience"
    ):
        judged("ProfilerReport", profile, threshold="3")
    with pytest.raises(ParameterError, match="no parameter 'BatchSize_speed'"):
        judged("ProfilerReport", profile, BatchSize_speed="3")


@pytest.mark.parametrize(
    ("name", "short", "undecided", "enough"),
    [
        ("CPUBottleneck", machine(count=100, gpu=5.0), "takes 101", machine(count=101, gpu=5.0)),
        ("LowGPUUtilization", machine(count=100, gpu=90.0), "takes 101", machine(count=101, gpu=90.0)),
        ("LoadBalancing", machine(count=10, gpu=90.0), "takes 11", machine(count=11, gpu=90.0)),
        (
            "GPUMemoryIncrease",
            machine(count=119, gpu=90.0, gpu_memory=9.0),
            "takes 120",
            machine(count=120, gpu=90.0, gpu_memory=9.0),
        ),
        ("StepOutlier", timed([30.0] * 21), "which are always slow: 19, and", timed([30.0] * 22)),
        ("Dataloader", timed([30.0] * 11), "which are always slow: 9, and", timed([30.0] * 12)),
        ("Dataloader", Profile(), "needs step timings", timed([30.0] * 12)),
        ("MaxInitializationTime", Profile(), "it needs step timings", machine(count=1)),
        ("ProfilerReport", Profile(), "it needs step timings", machine(count=1, cpu=1.0)),
        ("CPUBottleneck", Profile(), "it needs measurements of the machine", machine(count=1, cpu=1.0)),
    ],
)
def test_too_little_to_judge_is_told_with_what_is_enough(
    name: str, short: Profile, undecided: str, enough: Profile
) -> None:
    checked = judged(name, short)
    assert undecided in checked.undecided()
    checked.profile(enough)
    assert not checked.undecided()


def test_the_report_counts_the_rules_that_could_not_judge() -> None:
    found = judged("ProfilerReport", machine(count=3, cpu=1.0))
    assert not found.undecided()
    assert found.summary() == (
        "2 of 11 rules found nothing; 6 do not apply without a GPU; 3 could not judge: Dataloader, "
        "OverallFrameworkMetrics, StepOutlier."
    )
