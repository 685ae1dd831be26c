"""A training job with the debugger inside: what it leaves, and how a rule ends it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from contract.findings import FindingLine, Findings, Outcome, ProgressLine, StopLine, VerdictLine, parse_line
from contract.metrics import METRIC_DEFINITIONS
from train.loop import Trainer

Run = Callable[..., tuple[int, str]]
STOP = {"BYOC_DEBUGGER": '{"stop": ["LossNotDecreasing", "ExplodingTensor"]}'}


def findings(job: Any) -> Findings:
    return Findings.from_dict(json.loads((job.base / "output/data/debugger/findings.json").read_text()))


def series(job: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job.base / "output/data/debugger/series.json").read_text())
    return content


def metrics(output: str) -> dict[str, float]:
    """The last value of each metric, as SageMaker reads them."""
    last: dict[str, float] = {}
    for definition in METRIC_DEFINITIONS:
        for line in output.splitlines():
            if match := re.search(definition["Regex"], line):
                last[definition["Name"]] = float(match[1])
    return last


def test_every_job_leaves_verdicts_and_curves(job: Any, run: Run) -> None:
    job.pictures(16, 6)
    code, output = run(job, arch="resnet18", epochs=3, lr=0.002)
    assert code == 0, output
    outcomes = {rule.name: rule.outcome for rule in findings(job).rules}
    assert len(outcomes) == 13
    assert not {Outcome.ERROR, Outcome.IN_PROGRESS, Outcome.ISSUES_FOUND} & set(outcomes.values())
    lines = [parse_line(line) for line in output.splitlines()]
    assert {line.rule: line.outcome for line in lines if isinstance(line, VerdictLine)} == outcomes
    curves = series(job)
    assert curves["losses"]["CrossEntropyLoss_output_0"]["TRAIN"]["step"] == list(range(18))
    evaluations = curves["losses"]["CrossEntropyLoss_output_0"]["EVAL"]
    assert evaluations["step"] == [6, 12, 18]
    assert evaluations["value"] == pytest.approx(
        [epoch["validation_loss"] for epoch in job.report["history"]], rel=1e-5
    )
    assert len(curves["gradients"]) == 62


def test_no_line_of_the_debuggers_is_taken_for_a_metric(job: Any, run: Run, monkeypatch: Any) -> None:
    job.pictures()
    monkeypatch.setenv("BYOC_DEBUGGER", json.dumps({"parameters": {"VanishingGradient": {"threshold": 1e9}}}))
    code, output = run(job, epochs=4)
    assert code == 0
    ours = [line for line in output.splitlines() if parse_line(line) is not None]
    assert {type(parse_line(line)) for line in ours} >= {FindingLine, VerdictLine}
    assert not metrics("\n".join(ours))


@pytest.mark.slow
def test_progress_is_a_line_a_second_at_most(job: Any, run: Run) -> None:
    job.pictures(24, 6)
    code, output = run(job, arch="resnet18", image_size=96, epochs=4)
    assert code == 0
    lines = [line for text in output.splitlines() if isinstance(line := parse_line(text), ProgressLine)]
    assert lines
    seconds = float(re.search(r"done in ([\d.]+) s", output)[1])  # type: ignore[index]
    assert len(lines) <= seconds + 1
    assert all(0 < line.step <= line.steps == 36 and line.epochs == 4 for line in lines)
    assert all(line.loss is not None and line.images_per_second for line in lines)


@pytest.mark.slow
def test_a_rule_ends_a_hopeless_training_with_its_best_weights(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.pictures(16, 6)
    monkeypatch.setenv(*next(iter(STOP.items())))
    code, output = run(job, arch="resnet18", epochs=100, lr=0.97, schedule="constant")
    assert code == 0, output
    assert job.failure == ""
    found = findings(job)
    assert found.stopped_by == "LossNotDecreasing"
    assert found.stopped_at is not None
    assert found.stopped_at < 100
    [stop] = [line for text in output.splitlines() if isinstance(line := parse_line(text), StopLine)]
    assert (stop.rule, stop.step) == (found.stopped_by, found.stopped_at)
    last = metrics(output)
    best = max(job.report["history"], key=lambda epoch: epoch["validation_accuracy"])
    assert last["validation:accuracy"] == pytest.approx(best["validation_accuracy"], rel=1e-5)
    assert last["kept_epoch"] > 0
    assert job.weights


@pytest.mark.parametrize("first_epoch", [True, False])
def test_a_loss_that_is_not_finite_ends_the_same_way(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch, first_epoch: bool
) -> None:
    job.pictures(16, 6)
    original = Trainer._step

    def step(trainer: Trainer, batch: Any) -> None:
        if trainer.progress.step == (2 if first_epoch else 14):
            with torch.no_grad():
                next(trainer.module.parameters()).fill_(float("nan"))
        original(trainer, batch)

    monkeypatch.setattr(Trainer, "_step", step)
    code, _ = run(job, epochs=5, checkpoint_every_steps=1)
    assert code == 1  # as it always did
    assert re.search("the loss became nan|a weight is not finite", job.failure)
    (job.base / "checkpoints").rename(job.base / "old")
    monkeypatch.setenv(*next(iter(STOP.items())))
    code, output = run(job, epochs=5, checkpoint_every_steps=1)
    assert code == 0, output
    assert "the best weights before that are kept" in output
    last = metrics(output)
    assert np.isfinite([last["validation:loss"], last["validation:accuracy"]]).all()
    history = job.report["history"]
    assert len(history) == (1 if first_epoch else 2)
    best = max(history, key=lambda epoch: (epoch["validation_accuracy"], -epoch["validation_loss"]))
    assert last["kept_epoch"] == best["epoch"]


def test_a_rule_that_stops_nothing_changes_nothing(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    off, on = new_job("off").pictures(), new_job("on").pictures()
    monkeypatch.setenv("BYOC_DEBUGGER", '{"enabled": false, "profile": false}')
    assert run(off, epochs=3)[0] == 0
    assert not (off.base / "output/data/debugger").exists()
    monkeypatch.setenv(*next(iter(STOP.items())))
    assert run(on, epochs=3)[0] == 0
    assert on.weights == off.weights


def test_weights_that_were_never_finite_fail_the_job(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.pictures()
    original = Trainer.run

    def begin(trainer: Trainer) -> None:
        with torch.no_grad():
            next(trainer.module.parameters()).fill_(float("nan"))
        original(trainer)

    monkeypatch.setattr(Trainer, "run", begin)
    monkeypatch.setenv(*next(iter(STOP.items())))
    code, output = run(job)
    assert code == 1, output
    assert "the weights that the training began with" in job.failure


@pytest.mark.slow
def test_two_processes_and_each_ones_own_gradients(job: Any) -> None:
    job.pictures(16, 6)
    done = job.torchrun(2, epochs=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('debugger.verdict {"rule": "LossNotDecreasing"') == 1
    ranks = series(job)["ranks"]
    assert set(ranks) == {"0", "1"}
    for rank in ranks.values():
        assert rank["step"] == list(range(18))
        assert len(rank["gradient_norm"]) == len(rank["gradient_step"]) > 3
    assert ranks["0"]["loss"] != ranks["1"]["loss"]
    assert ranks["0"]["gradient_norm"] != ranks["1"]["gradient_norm"]


@pytest.mark.slow
def test_two_processes_end_together_where_a_rule_asks_for_it(job: Any) -> None:
    job.pictures(16, 6)
    done = job.torchrun(2, environment=STOP, arch="resnet18", epochs=100, lr=0.97, schedule="constant")
    assert done.returncode == 0, done.stdout + done.stderr
    assert findings(job).stopped_by == "LossNotDecreasing"
    assert "validation:accuracy" in metrics(done.stdout)


@pytest.mark.slow
def test_two_processes_that_diverge_end_together(job: Any) -> None:
    job.pictures(16, 6)
    done = job.torchrun(2, environment=STOP, lr=10, momentum=0.99, epochs=50, warmup_epochs=0)
    assert done.returncode == 0, done.stdout + done.stderr
    last = metrics(done.stdout)
    assert np.isfinite([last["validation:loss"], last["validation:accuracy"]]).all()
    assert findings(job).stopped_by


@pytest.mark.slow
def test_two_processes_that_go_on_keep_what_each_had_measured(job: Any) -> None:
    """The checkpoint lies within an epoch, and the exchange between the processes at its end."""
    job.pictures(16, 6)
    settings = {"epochs": 3, "checkpoint_every_steps": 4}
    assert job.torchrun(2, **settings).returncode == 0
    newest = sorted((job.base / "checkpoints").glob("*.pt"))[-1]
    assert newest.name == "checkpoint-0000000016.pt"  # of 18 steps, six an epoch
    (job.base / "output").rename(job.base / "lost")
    done = job.torchrun(2, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on from" in done.stdout
    for rank in series(job)["ranks"].values():
        assert rank["step"] == list(range(18))


@pytest.mark.slow
def test_the_container_killed_and_started_again_tells_one_story(
    new_job: Callable[[str], Any], run: Run
) -> None:
    """Spot capacity: another machine goes on from the checkpoints, which hold the debugger's state too."""
    whole, broken = new_job("whole").pictures(16, 6), new_job("broken").pictures(16, 6)
    settings = {"arch": "resnet18", "epochs": 8, "lr": 0.97, "checkpoint_every_steps": 1}
    assert run(whole, **settings)[0] == 0
    process = broken.start("train.train", **settings)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("checkpoint ") and "0000000020" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    process.wait(timeout=60)
    first = findings(broken)
    (broken.base / "output").rename(broken.base / "lost")  # a new machine has only the checkpoints
    code, output = run(broken, **settings)
    assert code == 0
    assert "going on from" in output
    second, straight = findings(broken), findings(whole)
    for one, other in zip(second.rules, straight.rules, strict=True):
        if one.name == "WeightUpdateRatio":  # the first look after the interruption has none before it
            assert one.outcome == other.outcome
        elif one.kind == "debugger":
            assert one == other
    assert any(rule.findings for rule in first.rules)
    curves, unbroken = series(broken), series(whole)
    for part in ("losses", "gradients", "activations"):
        assert curves[part] == unbroken[part]
    for name, curve in curves["weights"].items():
        assert curve["norm"] == unbroken["weights"][name]["norm"]
    timed = zip(curves["step_time"]["step"], curves["step_time"]["mode"], strict=True)
    assert [step for step, mode in timed if mode == "TRAIN"] == list(range(48))
    assert len(curves["interruptions"]) == 1


@pytest.mark.slow
def test_killed_at_any_moment_what_is_on_disk_can_be_read(new_job: Callable[[str], Any]) -> None:
    """Moments that no line of the log marks: the files are written by another thread."""
    moments = np.random.default_rng(0)
    steps = []
    for attempt in range(10):
        job = new_job(f"{attempt}").pictures(16, 6)
        process = job.start("train.train", arch="resnet18", epochs=100, lr=0.97)
        assert process.stdout is not None
        assert any(line.startswith("debugger: watching") for line in process.stdout)
        reader = threading.Thread(target=process.stdout.read, daemon=True)  # a full pipe would stop it
        reader.start()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=moments.uniform(0, 5))
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
        reader.join(60)
        assert not reader.is_alive()
        process.stdout.close()
        assert len(findings(job).rules) == 13
        assert not findings(job).complete
        curves = series(job)
        assert curves["schema"] == 1
        steps.append(curves["last_step"])
    assert max(steps) > 0  # some were killed after the first writes
