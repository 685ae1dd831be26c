"""What the training loop calls: findings in the log and in files; it never gets in the way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from contract.findings import FindingLine, MachineLine, Outcome, VerdictLine, parse_line
from debugger.monitor import Monitor
from debugger.rules.rule import Plan
from debugger.watcher import Watcher

Train = Callable[..., None]
ON = '{"profiler_rules": ["ProfilerReport"]}'

QUIET = """
import sys, torch
from pathlib import Path
from debugger.monitor import Monitor
model = torch.nn.Linear(2, 2)
monitor = Monitor.start(model=model, loss=torch.nn.MSELoss(), output=Path(sys.argv[1]))
with monitor.step("TRAIN", 0), monitor.phase("forward"):
    model(torch.ones(1, 2)).sum()
monitor.trained(0, 1.0, 1)
monitor.model_changed()
monitor.close()
monitor.close()
assert not any(name.split(".")[0] == "smdebug" for name in sys.modules), "smdebug was imported"
"""


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "train.debugger")


def lines(caplog: pytest.LogCaptureFixture, kind: type) -> list[Any]:
    parsed = (parse_line(record.message) for record in caplog.records)
    return [line for line in parsed if isinstance(line, kind)]


def test_by_default_findings_and_curves_are_written_and_smdebug_is_not_imported(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BYOC_")}
    environment["SAGEMAKER_BASE_DIR"] = str(tmp_path)
    subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path / "data")], check=True, env=environment, timeout=60
    )
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "findings.json",
        "series.json",
    ]


def test_switched_off_it_does_nothing(job: Any, model: Any, train: Train) -> None:
    monitor = job.monitor(model, nn.CrossEntropyLoss())
    train(monitor, model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1))
    monitor.close()
    assert not job.output.exists()
    assert monitor.stop is None


def test_every_rule_has_an_outcome_in_the_file_and_a_line_in_the_log(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON, plan=Plan(6))
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    findings = job.findings()
    assert findings.complete
    assert findings.job == "job"
    verdicts = {line.rule: line.outcome for line in lines(caplog, VerdictLine)}
    assert verdicts == {rule.name: rule.outcome for rule in findings.rules}
    assert verdicts["ExplodingTensor"] == Outcome.NO_ISSUES
    assert verdicts["LossNotDecreasing"] == Outcome.COULD_NOT_JUDGE
    series = json.loads((job.output / "debugger/series.json").read_text())
    assert series["losses"]["CrossEntropyLoss_output_0"]["TRAIN"]["step"] == list(range(6))
    assert len(series["step_time"]["step"]) == 6
    assert series["system"]["cpu"]


def test_a_finding_is_a_line_of_the_log_the_moment_it_is_made(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = job.monitor(model, nn.CrossEntropyLoss(), debugger=ON, plan=Plan(100))
    monitor.trained(3, float("nan"), 8)
    first = lines(caplog, FindingLine)
    assert {line.rule for line in first} == {"ExplodingTensor", "LossNotDecreasing"}
    assert all(line.step == 3 and line.remedy for line in first)
    monitor.close()
    assert lines(caplog, FindingLine) == first


def test_the_machines_use_is_a_line_of_the_log(
    job: Any, model: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = threading.Event()
    say = Watcher._say

    def heard(watcher: Watcher, *arguments: Any) -> None:
        say(watcher, *arguments)
        said.set()

    monkeypatch.setattr(Watcher, "_say", heard)
    monitor = job.monitor(model, nn.CrossEntropyLoss(), debugger=ON, plan=Plan(100))
    assert said.wait(30)
    monitor.close()
    [line, *_] = lines(caplog, MachineLine)
    assert 0 <= line.cpu <= 100
    assert 0 < line.memory <= 100


@pytest.mark.parametrize(("rule", "stops"), [("ExplodingTensor", True), ("Overfit", False)])
def test_a_rule_may_ask_for_the_end_of_the_training(job: Any, model: Any, rule: str, stops: bool) -> None:
    monitor = job.monitor(model, nn.CrossEntropyLoss(), debugger=json.dumps({"stop": [rule]}))
    assert monitor.may_stop
    monitor.trained(0, 2.0, 8)
    assert monitor.stop is None
    monitor.trained(1, float("inf"), 8)
    stop = monitor.stop
    assert (stop is not None) == stops
    assert stop is None or (stop.rule, stop.step, bool(stop.message)) == ("ExplodingTensor", 1, True)
    monitor.close()
    findings = job.findings()
    assert (findings.stopped_by, findings.stopped_at) == (("ExplodingTensor", 1) if stops else ("", None))


def test_a_training_that_goes_on_is_one_story(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    loss = nn.CrossEntropyLoss()

    def watched(first: int, steps: int, state: bytes = b"") -> bytes:
        torch.manual_seed(0)
        monitor = job.monitor(model, loss, debugger=ON, plan=Plan(40))
        monitor.restore(state)
        train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01), first=first, steps=steps)
        if not first:
            monitor.trained(20, float("nan"), 8)
            monitor.evaluated(20, 1.5, 30)
        kept = monitor.state()
        monitor.close()
        return bytes(kept)

    state = watched(0, 20)
    before = job.findings()
    caplog.clear()
    watched(21, 19, state)
    after = job.findings()
    exploding = {rule.name: rule for rule in after.rules}["ExplodingTensor"]
    assert exploding.findings == {rule.name: rule for rule in before.rules}["ExplodingTensor"].findings
    assert lines(caplog, FindingLine) == []  # the first part has logged them
    series = json.loads((job.output / "debugger/series.json").read_text())
    assert series["losses"]["CrossEntropyLoss_output_0"]["TRAIN"]["step"] == list(range(40))
    assert len(series["step_time"]["step"]) == 39
    assert len(series["interruptions"]) == 1
    looked_at = [*range(0, 20, 2), *range(22, 40, 2)]  # step 20 was none of the optimizer's
    assert series["gradients"]["Sequential_4.weight"]["step"] == looked_at


def test_a_memory_that_cannot_be_read_is_named_and_the_training_goes_on(job: Any, model: Any) -> None:
    monitor = job.monitor(model, nn.CrossEntropyLoss(), debugger=ON)
    monitor.restore(b"nonsense")
    monitor.trained(0, 1.0, 8)
    monitor.close()
    assert "before the interruption are lost" in job.findings().problems[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ('{"rule": ["Overfit"]}', "has no member 'rule'"),
        ('{"rules": "Overfit"}', "rules"),
    ],
)
def test_a_configuration_that_cannot_be_read_leaves_the_defaults(
    job: Any, model: Any, text: str, problem: str
) -> None:
    monitor = job.monitor(model, nn.CrossEntropyLoss(), debugger=text)
    monitor.trained(0, 1.0, 8)
    monitor.close()
    findings = job.findings()
    assert problem in findings.problems[0]
    assert "LossNotDecreasing" in {rule.name for rule in findings.rules}


def test_what_is_wrong_in_a_configuration_does_not_take_the_rest_with_it(
    job: Any, model: Any, train: Train
) -> None:
    loss = nn.CrossEntropyLoss()
    configuration = {
        "rules": ["Overfitt", "ExplodingTensor", "VanishingGradient"],
        "parameters": {"VanishingGradient": {"treshold": 1}},
        "collections": {"gradients": {"save_interval": "often"}, "mine": {"include_regex": "(a+)+"}},
    }
    monitor = job.monitor(model, loss, debugger=json.dumps(configuration))
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    outcomes = {rule.name: rule for rule in job.findings().rules}
    assert outcomes["ExplodingTensor"].outcome is Outcome.NO_ISSUES
    assert outcomes["Overfitt"].outcome is Outcome.ERROR
    assert "did you mean Overfit?" in outcomes["Overfitt"].summary
    assert "no parameter 'treshold'" in outcomes["VanishingGradient"].summary


def breaking(monitor: Monitor) -> Iterator[tuple[Any, str]]:
    yield monitor._recorder, "take"
    yield monitor._judge, "observe"
    yield monitor._profiler, "end_step"
    yield monitor._watcher, "put"


@pytest.mark.parametrize("part", range(4))
def test_a_part_that_fails_is_switched_off_and_named(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON, plan=Plan(6))
    owner, name = list(breaking(monitor))[part]

    def fail(*unused: object) -> None:
        raise ZeroDivisionError("on purpose")

    setattr(owner, name, fail)
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    assert caplog.text.count("off for the rest of this job: ZeroDivisionError: on purpose") in (1, 2)
    assert "switched itself off: ZeroDivisionError: on purpose" in " ".join(job.findings().problems)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_rule_that_fails_leaves_the_others(job: Any, model: Any, train: Train) -> None:
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON, plan=Plan(6))
    first = monitor._judge.evaluations[0]

    def fail(step: object) -> None:
        raise ZeroDivisionError("on purpose")

    first.rule.observe = fail
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    outcomes = {rule.name: rule.outcome for rule in job.findings().rules}
    assert outcomes.pop(first.name) is Outcome.ERROR
    assert Outcome.ERROR not in outcomes.values()


def test_a_thread_that_hangs_does_not_hang_the_training(job: Any, model: Any, train: Train) -> None:
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON, plan=Plan(6), patience=0.05)
    monitor._watcher.lock.acquire()
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor._watcher.lock.release()
    monitor.close()
    assert "held the rules' lock for over" in " ".join(job.findings().problems)


def test_a_full_disk_is_named_once_and_the_training_goes_on(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    job.output.parent.mkdir(parents=True)
    job.output.write_text("a file where the folder should be")
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON)
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    assert caplog.text.count("The writing of its files failed: NotADirectoryError") == 1
    assert lines(caplog, VerdictLine)


def test_a_disk_that_is_full_for_one_file_is_named_in_the_other(
    job: Any, model: Any, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    import debugger.watcher as module

    original = module.write_atomically

    def write(path: Path, content: str) -> None:
        if path.name == "series.json":
            raise OSError(28, "No space left on device")
        original(path, content)

    monkeypatch.setattr(module, "write_atomically", write)
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON)
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    assert "No space left on device" in job.findings().problems[0]


def test_tensors_are_kept_on_request_for_smdebugs_own_readers(job: Any, model: Any, train: Train) -> None:
    loss = nn.CrossEntropyLoss()
    configuration = '{"keep_tensors": true, "collections": {"weights": {"save_interval": 3}}}'
    monitor = job.monitor(model, loss, debugger=configuration, plan=Plan(6))
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    job.tensors = job.output / "debugger/tensors"
    trial = job.trial()
    assert trial.tensor("Sequential_0.weight").steps() == [0, 3]
    assert trial.tensor("CrossEntropyLoss_output_0").steps() == list(range(6))


def test_a_job_with_sagemakers_own_configuration_gets_both(job: Any, model: Any, train: Train) -> None:
    job.hook(("gradients", {"save_interval": "3"}))
    job.profile()
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger=ON, plan=Plan(6))
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    assert job.trial().tensor("gradient/Sequential_4.weight").steps() == [0, 3]
    assert len((job.profiler / "framework/steps/algo-1-0.jsonl").read_text().splitlines()) == 6
    assert job.findings().complete


def test_a_window_of_operators_comes_into_the_report(job: Any, model: Any, train: Train) -> None:
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, debugger='{"window_start": 2, "window_steps": 2}', plan=Plan(6))
    train(monitor, model, loss, torch.optim.SGD(model.parameters(), 0.01))
    monitor.close()
    assert (job.output / "debugger/torch/algo-1-0-step2.json").exists()
    series = json.loads((job.output / "debugger/series.json").read_text())
    assert any("conv" in row["name"] for row in series["operators"]["rows"])
