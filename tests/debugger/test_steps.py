"""Step timings: our own lines, and trace events that smdebug's reader reads."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from debugger.profile import PHASES

Train = Callable[..., None]


def test_every_step_is_a_line_that_adds_up(job: Any, model: Any, train: Train) -> None:
    job.profile()
    monitor = job.monitor(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    train(monitor, model, nn.CrossEntropyLoss(), optimizer, steps=5, evaluate=2)
    monitor.close()
    lines = (job.profiler / "framework/steps/algo-1-0.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(record["mode"], record["step"]) for record in records] == [
        *(("TRAIN", step) for step in range(5)),
        ("EVAL", 0),
        ("EVAL", 1),
    ]
    for record in records:
        parts = sum(record[phase] for phase in PHASES) + record["hook_ms"]
        assert parts == pytest.approx(record["total_ms"], abs=0.1)


def test_a_wait_for_data_is_seen_as_one(job: Any, model: Any) -> None:
    job.profile()
    monitor = job.monitor(model)
    with monitor.step("TRAIN", 0), monitor.phase("data_wait"):
        time.sleep(0.02)
    monitor.close()
    record = json.loads((job.profiler / "framework/steps/algo-1-0.jsonl").read_text())
    assert record["data_wait_ms"] >= 20
    assert record["other_ms"] < 5


def test_the_hooks_own_time_is_in_no_phase(job: Any, model: Any, train: Train) -> None:
    job.profile()
    job.hook(("gradients", {"save_interval": "1"}))
    monitor = job.monitor(model)
    hook = monitor._saving._hook
    assert hook is not None
    save = hook._save_gradients

    def slow(optimizer: Any) -> None:
        time.sleep(0.05)
        save(optimizer)

    hook._save_gradients = slow  # type: ignore[method-assign]
    train(monitor, model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.01), steps=1)
    monitor.close()
    record = json.loads((job.profiler / "framework/steps/algo-1-0.jsonl").read_text())
    assert record["hook_ms"] >= 50
    assert record["optimizer_ms"] < 50


def test_smdebugs_own_reader_reads_the_trace_events(job: Any, model: Any, train: Train) -> None:
    job.profile()
    monitor = job.monitor(model)
    begun = time.time()
    train(monitor, model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.01), steps=4)
    monitor.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from smdebug.profiler import LocalAlgorithmMetricsReader

        reader = LocalAlgorithmMetricsReader(str(job.profiler))
        reader.refresh_event_file_list()
        events = reader.get_events(int((begun - 5) * 1e6), int((time.time() + 5) * 1e6))
    steps = [event for event in events if event.event_phase == "Step:ModeKeys.TRAIN"]
    assert [event.event_args["step_num"] for event in steps] == ["0", "1", "2", "3"]
    assert {"Forward", "Backward(post-forward)", "Optimizer"} <= {event.event_phase for event in events}
    assert all(event.node_id == "algo-1-0" for event in events)
    assert abs(steps[0].start_time / 1e6 - begun) < 5


def test_traces_rotate(job: Any, model: Any, train: Train) -> None:
    job.profile(RotateMaxFileSizeInBytes="2000")
    monitor = job.monitor(model)
    train(monitor, model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.01), steps=20)
    monitor.close()
    files = list((job.profiler / "framework/pevents").rglob("*_pythontimeline.json"))
    assert len(files) > 2
    for file in files:
        first = json.loads(file.read_text())[0]
        assert "start_time_since_epoch_in_micros" in first["args"]


def test_a_window_of_operators_is_written_on_request(job: Any, model: Any, train: Train) -> None:
    job.profile(DetailedProfilingConfig='{"StartStep": 2, "NumSteps": 2}')
    monitor = job.monitor(model)
    train(monitor, model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.01), steps=6)
    monitor.close()
    folder = job.profiler / "framework/torch"
    trace = json.loads((folder / "algo-1-0-step2.json").read_text())
    assert any("conv" in str(event.get("name")) for event in trace["traceEvents"])
    operators = json.loads((folder / "algo-1-0-step2-operators.json").read_text())
    assert operators[0]["cpu_ms"] > 0
    assert len((job.profiler / "framework/steps/algo-1-0.jsonl").read_text().splitlines()) == 6


def test_a_failing_profiler_leaves_the_training_alone(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    job.profile()
    monitor = job.monitor(model)
    assert monitor._profiler is not None
    monitor._profiler._report = lambda *unused: 1 / 0
    train(monitor, model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.01), steps=3)
    monitor.close()
    assert caplog.text.count("profiler: off for the rest of this job") == 1
