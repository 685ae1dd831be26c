"""The reader on good, growing, broken and hostile trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debugger.smdebug_files.reader import TrialReader


def steps(reader: TrialReader, **options: Any) -> list[int]:
    return [observation.step for observation in reader.poll(**options)]


def test_tensors_come_as_they_were_written(trial: Any) -> None:
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    trial.step(0, ResNet_weight=weights, labels=np.array([1, 2]), half=np.float16(0.5), flag=np.array([True]))
    (found,) = TrialReader(trial.root).poll()
    assert found.tensors["ResNet_weight"].norm == pytest.approx(float(np.linalg.norm(weights)))
    np.testing.assert_array_equal(found.tensors["labels"].values, [1, 2])
    assert found.tensors["half"].mean == 0.5
    assert (found.step, found.mode, found.worker) == (0, "TRAIN", "worker_0")


def test_reductions_belong_to_their_tensor(trial: Any) -> None:
    trial.step(0, smdebug__reductions__abs_mean__gradient__fc=np.float32(0.25))
    (found,) = TrialReader(trial.root).poll()
    assert found.tensors["gradient/fc"].mean_abs == 0.25


def test_only_new_steps_come_with_the_next_poll(trial: Any) -> None:
    reader = TrialReader(trial.root)
    assert steps(reader) == []
    trial.step(0, loss=1.0)
    trial.step(1, loss=1.0)
    assert steps(reader) == [0, 1]
    trial.step(1000, loss=1.0)
    assert steps(reader) == [1000]
    assert steps(reader) == []


def test_events_that_come_after_their_index_are_waited_for(trial: Any) -> None:
    trial.step(0, loss=1.0)
    events = next(trial.root.rglob("*.tfevents"))
    content = events.read_bytes()
    events.unlink()
    reader = TrialReader(trial.root)
    assert steps(reader) == []
    events.write_bytes(content)
    assert steps(reader) == [0]
    assert reader.problems == []


def test_events_that_never_come_are_reported_at_the_end(trial: Any) -> None:
    trial.step(0, loss=1.0)
    next(trial.root.rglob("*.tfevents")).unlink()
    reader = TrialReader(trial.root)
    assert steps(reader, last=True) == []
    assert "never came" in reader.problems[0]


def rewrite(path: Path, **changes: Any) -> None:
    index = json.loads(path.read_text())
    index["meta"].update(changes)
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    "name",
    [
        "../secret.tfevents",
        "events/../../secret.tfevents",
        "/etc/passwd",
        "events/000000000000/../../../secret.tfevents",
        "s3://bucket/key",
        "",
    ],
)
def test_an_index_that_names_a_file_elsewhere_is_refused(trial: Any, name: str) -> None:
    trial.step(0, loss=1.0)
    (trial.root.parent / "secret.tfevents").write_bytes(next(trial.root.rglob("*.tfevents")).read_bytes())
    rewrite(trial.index(0), event_file_name=name)
    reader = TrialReader(trial.root)
    assert steps(reader) == []
    assert "not allowed" in reader.problems[0]


@pytest.mark.parametrize("what", ["events", "index"])
def test_a_link_out_of_the_trial_is_refused(trial: Any, what: str) -> None:
    trial.step(0, loss=1.0)
    path = next(trial.root.rglob("*.tfevents")) if what == "events" else trial.index(0)
    outside = trial.root.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    reader = TrialReader(trial.root)
    assert steps(reader) == []
    assert "leads out" in reader.problems[0]


@pytest.mark.parametrize(
    "entry",
    [
        {"start_idx": 0, "length": 10**15},
        {"start_idx": -1, "length": 64},
        {"start_idx": 0, "length": "many"},
        {"start_idx": 7, "length": 40},
        "text",
        None,
    ],
)
def test_an_entry_that_does_not_fit_its_file_is_refused(trial: Any, entry: Any) -> None:
    trial.step(0, loss=1.0)
    index = json.loads(trial.index(0).read_text())
    index["tensor_payload"] = [entry]
    trial.index(0).write_text(json.dumps(index))
    trial.step(1, loss=2.0)
    reader = TrialReader(trial.root)
    assert steps(reader) == [1]
    assert len(reader.problems) == 1


def test_garbage_is_reported_and_does_not_stop_the_rest(trial: Any) -> None:
    for step in range(5):
        trial.step(step, loss=1.0)
    trial.index(0).write_text("{")
    trial.index(1).write_text("[" * 100_000)
    rewrite(trial.index(2), mode="__import__('os')")
    events = sorted(trial.root.rglob("*.tfevents"))
    content = bytearray(events[3].read_bytes())
    content[20:40] = b"\xff" * 20
    events[3].write_bytes(content)
    reader = TrialReader(trial.root)
    assert steps(reader) == [4]
    assert len(reader.problems) == 4


def test_a_dangerous_regex_of_a_collection_is_reported_and_not_used(trial: Any) -> None:
    trial.collections(
        mine={"include_regex": ["(a+)+$"], "tensor_names": ["first"]},
        losses={"include_regex": ["[Ll]oss_(?!input).*output"], "tensor_names": []},
    )
    trial.step(0, **{"a" * 60 + "b": 1.0, "first": 1.0, "Loss_output_0": 1.0})
    reader = TrialReader(trial.root)
    (found,) = reader.poll()
    assert found.collections == {"mine": {"first"}, "losses": {"Loss_output_0"}}
    assert "refused" in reader.problems[0]
