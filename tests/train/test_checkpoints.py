from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train import checkpoints
from train.errors import TrainingError

STATE: dict[str, Any] = {"tensor": torch.arange(5), "progress": {"epoch": 3, "sums": [1.0]}}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path / "new/folder", 7, STATE)
    found = checkpoints.load_newest(tmp_path / "new/folder")
    assert found is not None
    assert found[1] == path
    assert torch.equal(found[0]["tensor"], STATE["tensor"])
    assert found[0]["progress"] == STATE["progress"]


def test_the_newest_two_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-0000000001.pt.abc").write_bytes(b"half")
    for step in (9, 10, 100):
        checkpoints.save(tmp_path, step, STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-0000000010.pt",
        "checkpoint-0000000100.pt",
    ]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "random"])
def test_a_damaged_newest_falls_back_and_says_so(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = checkpoints.save(tmp_path, 1, {**STATE, "step": 1})
    bad = checkpoints.save(tmp_path, 2, {**STATE, "step": 2})
    data = bytearray(bad.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    bad.write_bytes(
        {
            "cut": bytes(data[: len(data) // 2]),
            "flipped": bytes(data),
            "empty": b"",
            "other": b"PK\x03\x04 something else",
            "random": bytes(range(256)) * 50,
        }[damage]
    )
    logger = checkpoints.log
    logger.propagate = True
    found = checkpoints.load_newest(tmp_path)
    assert found is not None
    assert found[1] == good
    assert found[0]["step"] == 1
    assert "checkpoint-0000000002.pt cannot be used" in caplog.text


def test_only_damaged_ones_are_an_error_not_a_silent_start_from_zero(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 1, STATE).write_bytes(b"")
    with pytest.raises(TrainingError, match="none of the 1 checkpoints"):
        checkpoints.load_newest(tmp_path)


def test_one_of_another_version_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = checkpoints.save(tmp_path, 1, STATE)
    path.write_bytes(path.read_bytes().replace(checkpoints._MAGIC, b"byoc checkpoint 1\n"))
    checkpoints.log.propagate = True
    with pytest.raises(TrainingError, match="none of the 1 checkpoints"):
        checkpoints.load_newest(tmp_path)
    assert "another version of the trainer wrote it" in caplog.text


def test_none_at_all(tmp_path: Path) -> None:
    assert checkpoints.load_newest(tmp_path) is None
    assert checkpoints.load_newest(tmp_path / "missing") is None


def test_no_code_is_run_from_a_checkpoint(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, 1, STATE)
    import hashlib
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "evil",))

    payload = pickle.dumps(Evil(), protocol=2)
    path.write_bytes(checkpoints._MAGIC + hashlib.sha256(payload).digest() + payload)
    with pytest.raises(TrainingError):
        checkpoints.load_newest(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_a_full_disk_leaves_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    old = checkpoints.save(tmp_path, 1, STATE)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        TrainingError, match=r"checkpoint-0000000002.pt .* could not be written: No space left"
    ):
        checkpoints.save(tmp_path, 2, STATE)
    assert list(tmp_path.iterdir()) == [old]
    assert checkpoints.load_newest(tmp_path) is not None


TRIAL = {"lr": "0.1", "_tuning_objective_metric": "validation:accuracy"}


@pytest.mark.parametrize(
    ("environment", "hyperparameters", "own"),
    [
        ({"TRAINING_JOB_NAME": "t-001-0a"}, TRIAL, "t-001-0a"),
        ({"TRAINING_JOB_NAME": "digits-train-1"}, {"lr": "0.1"}, ""),
        ({}, TRIAL, ""),
        ({"TRAINING_JOB_NAME": "../elsewhere"}, TRIAL, ""),
    ],
)
def test_only_a_trial_has_a_folder_of_its_own(
    tmp_path: Path, environment: dict[str, str], hyperparameters: dict[str, str], own: str
) -> None:
    assert checkpoints.folder_of_job(tmp_path, environment, hyperparameters) == tmp_path / own


def test_a_trial_that_has_completed_empties_its_folder_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("t-001-0a", "t-002-0b"):
        checkpoints.save(tmp_path / name, 1, STATE)
    checkpoints.clear(tmp_path / "t-001-0a")
    assert [path.name for path in tmp_path.iterdir()] == ["t-002-0b"]
    checkpoints.clear(tmp_path / "never-was")
    assert caplog.messages == []


def test_a_disk_without_room_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {
        "w": torch.zeros(1_000_000)
    }  # 4 MB, thrice in a checkpoint, of which three lie there at a time
    free = 36_000_000
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    checkpoints.check_disk(tmp_path / "not/yet", weights)
    free -= 1
    with pytest.raises(TrainingError, match=r"no room for checkpoints .* at least 36 MB.* larger volume"):
        checkpoints.check_disk(tmp_path / "not/yet", weights)
    checkpoints.save(tmp_path, 1, STATE)  # what lies there already makes room when it goes
    checkpoints.check_disk(tmp_path, weights)
