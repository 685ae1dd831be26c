"""Nothing that the debugger is given, and nothing that breaks in it, reaches the training."""

from __future__ import annotations

import gc
import json
import zlib
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

from contract.findings import Findings, Outcome
from debugger.rules.rule import Plan

LOSS = "CrossEntropyLoss_output_0"
Train = Callable[..., None]


def fail(*unused: object, **more: object) -> Any:
    raise ZeroDivisionError("on purpose")


@pytest.fixture
def trained(job: Any, model: Any, train: Train) -> Callable[..., Findings]:
    """Trains six steps and all that the loop does besides, and returns the findings."""

    def run(
        configuration: object = None,
        *,
        plan: Plan | None = None,
        state: bytes = b"",
        change: Callable[[Any], None] = lambda monitor: None,
    ) -> Findings:
        text = configuration if isinstance(configuration, str) else json.dumps(configuration or {})
        loss = nn.CrossEntropyLoss()
        monitor = job.monitor(model, loss, debugger=text, plan=plan or Plan(6))
        monitor.restore(state)
        assert not monitor.may_stop
        change(monitor)
        train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
        assert monitor.stop is None
        monitor.evaluated(6, 1.0, 8)
        monitor.share(lambda part: [part])
        monitor.state()
        monitor.close()
        findings = job.findings()
        assert findings.complete
        return findings

    return run


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("stop_training_on_fire", "maybe"), ("action_json", "{{"), ("patience", "1" * 5000)],
)
def test_a_parameter_without_meaning_costs_its_rule_only(
    trained: Callable[..., Findings], parameter: str, value: str
) -> None:
    findings = trained({"parameters": {"Overfit": {parameter: value}}})
    wrong = [rule.name for rule in findings.rules if rule.outcome is Outcome.ERROR]
    assert wrong == ["Overfit"]
    assert not findings.problems


def test_a_distance_of_weights_without_meaning_costs_its_rule_only(trained: Callable[..., Findings]) -> None:
    findings = trained({"parameters": {"WeightUpdateRatio": {"num_steps": "1" * 5000}}})
    assert [rule.name for rule in findings.rules if rule.outcome is Outcome.ERROR] == ["WeightUpdateRatio"]


@pytest.mark.parametrize(
    "numbers",
    [
        {"interval_ms": 10**400},
        {"interval_ms": 0},
        {"interval_ms": -5},
        {"window_steps": -3},
        {"window_steps": 10**9, "window_start": -1},
    ],
)
def test_numbers_out_of_bounds_are_taken_as_by_default(
    trained: Callable[..., Findings], job: Any, numbers: dict[str, int]
) -> None:
    assert not trained(numbers).problems
    series = json.loads((job.output / "debugger/series.json").read_text())
    assert series["system"]["cpu"]
    assert not (job.output / "debugger/torch").exists()


def test_a_configuration_longer_than_sagemaker_carries_leaves_the_defaults(
    trained: Callable[..., Findings],
) -> None:
    names = {f"c{number}": {"include_regex": ".*a.*b", "save_interval": 1} for number in range(3000)}
    assert "at most 8192 are allowed" in trained({"collections": names}).problems[0]


@pytest.mark.parametrize(
    "text", ["[" * 8000, '{"interval_ms": 1' + "0" * 5000 + "}", '{"rules": ["\\ud800"]}']
)
def test_text_that_is_hard_to_read_stops_nothing(trained: Callable[..., Findings], text: str) -> None:
    assert trained(text).rules


def test_a_rule_that_does_not_run_stops_nothing(trained: Callable[..., Findings]) -> None:
    trained({"stop": ["Overtraining", "Nonsense"]})
    trained({"profile": False, "stop": ["StepOutlier"]})
    trained({"parameters": {"Overtraining": {"stop_training_on_fire": "True"}}})


def test_a_long_training_is_not_looked_at_so_often_that_memory_runs_out(
    job: Any, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    often = {name: {"save_interval": 1} for name in ("gradients", "losses")}
    monitor = job.monitor(model, debugger=json.dumps({"collections": often}), plan=Plan(1_000_000))
    assert monitor._recorder.intervals["gradients"] == 500
    assert monitor._recorder.intervals["losses"] == 50
    monitor.close()
    assert "looked at every 500 steps instead of every 1" in caplog.text


@pytest.mark.parametrize("part", ["_look_at_layer", "_look_at_weights", "_before_optimizer", "end", "take"])
def test_a_recorder_that_fails_anywhere_leaves_the_model_as_it_was(
    trained: Callable[..., Findings], model: Any, part: str
) -> None:
    findings = trained(change=lambda monitor: setattr(monitor._recorder, part, fail))
    assert "on purpose" in " ".join(findings.problems)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not _global_optimizer_pre_hooks


def test_a_recorder_that_fails_while_the_optimizer_steps_leaves_the_other_hook_there(
    trained: Callable[..., Findings], job: Any
) -> None:
    """torch goes through the hooks of all optimizers at that moment, and must find them as they were."""
    job.hook(("gradients", {"save_interval": "1"}))
    findings = trained(change=lambda monitor: setattr(monitor._recorder, "_before_optimizer", fail))
    assert "on purpose" in " ".join(findings.problems)
    assert job.trial().tensor("gradient/Sequential_4.weight").steps() == list(range(6))


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_machine_that_cannot_be_measured_leaves_the_rest(
    trained: Callable[..., Findings], job: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """As in a sandbox without /proc/diskstats."""
    if when == "at the start":
        monkeypatch.setattr(psutil, "disk_io_counters", fail)
    findings = trained(change=lambda monitor: monkeypatch.setattr(psutil, "virtual_memory", fail))
    assert any("machine" in problem and "on purpose" in problem for problem in findings.problems)
    series = json.loads((job.output / "debugger/series.json").read_text())
    assert series["complete"]
    assert len(series["step_time"]["step"]) == 6


@pytest.mark.parametrize(
    "part",
    [
        lambda monitor: (monitor._recorder, "close"),
        lambda monitor: (monitor._judge, "finish"),
        lambda monitor: (monitor._judge, "profile"),
        lambda monitor: (monitor._watcher, "take_samples"),
        lambda monitor: (monitor._watcher, "add_rank"),
        lambda monitor: (monitor._watcher, "measured"),
        lambda monitor: (monitor._watcher.series, "to_dict"),
        lambda monitor: (monitor._watcher.series, "observe"),
    ],
)
def test_a_part_that_fails_leaves_the_findings_complete(
    trained: Callable[..., Findings], part: Callable[[Any], tuple[Any, str]]
) -> None:
    def change(monitor: Any) -> None:
        owner, name = part(monitor)
        setattr(owner, name, fail)

    assert len(trained(change=change).rules) == 13


def test_a_process_that_cannot_measure_still_takes_part_in_the_exchange(job: Any, model: Any) -> None:
    monitor = job.monitor(model, debugger="{}", rank=1, world=2)
    monitor._watcher.take_samples = fail
    exchanged: list[Any] = []
    monitor.share(lambda part: exchanged.append(part) or [])
    assert exchanged
    monitor.close()


def test_a_rule_whose_verdict_fails_is_an_error(trained: Callable[..., Findings]) -> None:
    def change(monitor: Any) -> None:
        monitor._judge.evaluations[0].rule.verdict = fail

    assert trained(change=change).rules[0].outcome is Outcome.ERROR


@pytest.mark.parametrize(
    "changed",
    [
        {"observations": [["a", "TRAIN", "worker_0", 8, {LOSS: {"size": 1, "mean": "x"}}, {}, []]]},
        {"ranks": {"zero": {"losses": 5}}},
        {"steps": [["w", "x", 3, None, "t", [1, 2], None]]},
        {"samples": [{"time": "x", "node": 3}]},
        {"totals": []},
    ],
)  # fmt: skip
def test_a_memory_of_another_form_stops_nothing(trained: Callable[..., Findings], changed: Any) -> None:
    empty: dict[str, Any] = {"schema": 1, "started": None, "operators": ["", []], "totals": {}, "ranks": {}}
    empty |= {"observations": [], "steps": [], "samples": [], "interruptions": []}
    trained(state=zlib.compress(json.dumps(empty | changed).encode()))


@pytest.mark.parametrize("state", [b"nonsense", zlib.compress(b"[" * 100_000), zlib.compress(b"7")])
def test_a_memory_that_is_none_stops_nothing(trained: Callable[..., Findings], state: bytes) -> None:
    assert "before the interruption are lost" in trained(state=state).problems[0]


@pytest.mark.parametrize("path", ["/proc/nothing/x", "/a\0b", "/a" * 4000])
def test_folders_that_nothing_can_be_written_to(
    trained: Callable[..., Findings], job: Any, path: str
) -> None:
    job.write("debughookconfig", {"LocalPath": path, "CollectionConfigurations": None})
    job.write("profilerconfig", {"ProfilingParameters": {"LocalPath": path}})
    findings = trained()
    assert len(findings.rules) == 13
    assert "profiler's files" in findings.problems[0]
    gc.collect()  # smdebug's writer of a file that could not be opened


def test_a_path_of_a_configuration_that_is_too_long(trained: Callable[..., Findings], job: Any) -> None:
    job.environment["SMDEBUG_CONFIG_FILE_PATH"] = "/x" * 3000
    assert not trained().problems
