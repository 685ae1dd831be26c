"""Jobs that are killed, starved or fed with rubbish."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.findings import StopLine
from debugger.monitor import Monitor
from model import architecture
from train import checkpoints, loop, lower_precision, outputs, recipe
from train import train as training
from train.loop import Trainer

Run = Callable[..., tuple[int, str]]

# Dropout, momentum, EMA, mixup, erasing and a head-first phase: everything that has a state of its own.
HARD = {
    "arch": "mobilenet_v3_small",
    "epochs": 4,
    "ema": 0.9,
    "mixup": 0.2,
    "erase": 0.3,
    "augment": "rand",
    "sampling": "balanced",
    "unfreeze_epochs": 1,
    "checkpoint_every_steps": 1,
}


def backbone(job: Any) -> None:
    torch.manual_seed(0)
    module = architecture.build("mobilenet_v3_small", 10)
    job.channel("weights").mkdir(parents=True)
    torch.save(module.state_dict(), job.channel("weights") / "backbone.pth")


class Killed(BaseException):
    """As abrupt as a signal: nothing of the job runs after it."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_between_any_two_steps_it_ends_with_the_same_weights(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(recipe, "FEW", 0)
    monkeypatch.setattr(recipe, "_MOST_PASSES", 2)
    whole, broken = new_job("whole").pictures(9, 4), new_job("broken").pictures(9, 4)
    backbone(whole)
    backbone(broken)
    settings = {**HARD, "weights": "channel"}
    code, output = run(whole, **settings)
    assert code == 0, output

    steps = 0
    original = Trainer._step
    dying = set(np.random.default_rng(seed).integers(1, 12, 2).tolist())

    def step(trainer: Trainer, batch: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in dying:
            dying.remove(steps)
            raise Killed
        original(trainer, batch)

    monkeypatch.setattr(Trainer, "_step", step)
    while dying:
        with pytest.raises(Killed):
            run(broken, **settings)
    code, output = run(broken, **settings)
    assert code == 0
    assert "going on from" in output
    assert broken.weights == whole.weights
    for one, other in zip(broken.report["history"], whole.report["history"], strict=True):
        different = {key for key in one if one[key] != other[key]}
        assert different <= {"images_per_second", "data_wait_share"}


def test_a_sigterm_in_the_middle_of_an_epoch_changes_nothing(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = new_job("whole").pictures(), new_job("stopped").pictures()
    assert run(whole, epochs=3)[0] == 0
    original = Trainer._step

    def step(trainer: Trainer, batch: Any) -> None:
        original(trainer, batch)
        if trainer.progress.step == 4:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_step", step)
    code, output = run(stopped, epochs=3)
    assert code == 0
    assert "stopped by SIGTERM, at step 5" in output
    monkeypatch.setattr(Trainer, "_step", original)
    assert run(stopped, epochs=3)[0] == 0
    assert stopped.weights == whole.weights


def artifact_of(job: Any) -> dict[str, bytes]:
    """What becomes model.tar.gz."""
    return {path.name: path.read_bytes() for path in (job.base / "model").iterdir()}


@pytest.mark.parametrize("ending", ["epochs", "patience", "rule"])
@pytest.mark.parametrize("where", ["save_model", "evaluate", "collect_hashes"])
def test_after_a_sigterm_behind_the_training_only_the_final_evaluation_is_repeated(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch, where: str, ending: str
) -> None:
    if ending == "patience":  # the first epoch is the best
        monkeypatch.setattr(loop, "_quality", lambda metrics: (-metrics.get("epoch", 9), 0.0))
    if ending == "rule":
        stop = StopLine("rule", 3, "it is enough")
        monkeypatch.setattr(Monitor, "may_stop", True)
        monkeypatch.setattr(Monitor, "stop", property(lambda self: stop if self._observations[2:] else None))
    settings = {"epochs": 4, "patience": 2 if ending == "patience" else 0}
    whole, cut = new_job("whole").pictures(), new_job("cut").pictures()
    assert run(whole, **settings)[0] == 0
    place: Any = training if where == "evaluate" else outputs
    original = getattr(place, where)

    def signalled(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, where, signalled)
        code, output = run(cut, **settings)
    assert code == 0, output
    assert "stopped by SIGTERM, after the training" in output
    assert (cut.base / "output/data/report.json").exists() == (where == "collect_hashes")
    shutil.rmtree(cut.base / "model")  # the next machine's disk is empty
    monkeypatch.setattr(Trainer, "_epoch", None)  # nothing is trained any more
    code, output = run(cut, **settings)
    assert code == 0, output
    assert "the training is complete" in output
    assert artifact_of(cut) == artifact_of(whole)
    for one, other in zip(cut.report["history"], whole.report["history"], strict=True):
        assert {key for key in one if one[key] != other[key]} <= {"images_per_second", "data_wait_share"}


def test_a_training_that_ended_by_patience_goes_on_with_more_of_it(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_quality", lambda metrics: (-metrics.get("epoch", 9), 0.0))
    job = new_job("job").pictures()
    evaluated = training.evaluate

    def signalled(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return evaluated(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", signalled)
        assert run(job, epochs=4, patience=1)[0] == 0
    code, output = run(job, epochs=4, patience=0)
    assert code == 0, output
    assert len(job.report["history"]) == 4


@pytest.mark.slow
def test_a_sigterm_while_lower_precisions_are_measured(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 2, "quantize": "auto"}
    whole, cut = new_job("whole").pictures(), new_job("cut").pictures()
    assert run(whole, **settings)[0] == 0
    started = lower_precision._quantise

    def signalled(*args: Any) -> str:
        signal.raise_signal(signal.SIGTERM)
        return started(*args)

    with monkeypatch.context() as patch:
        patch.setattr(lower_precision, "_quantise", signalled)
        code, output = run(cut, **settings)
    assert code == 0, output
    assert "stopped by SIGTERM, after the training" in output
    shutil.rmtree(cut.base / "model")
    monkeypatch.setattr(Trainer, "_epoch", None)
    code, output = run(cut, **settings)
    assert code == 0, output
    assert "lower precisions took" in output
    assert artifact_of(cut) == artifact_of(whole)


@pytest.mark.slow
def test_sigkill_at_random_moments_ends_with_the_same_weights(
    new_job: Callable[[str], Any], run: Run
) -> None:
    """The real signal, also while a checkpoint is written: there is one after every step."""
    whole, broken = new_job("whole").pictures(16, 6), new_job("broken").pictures(16, 6)
    settings = {"epochs": 6, "checkpoint_every_steps": 1, "augment": "trivial", "ema": 0.9}
    code, output = run(whole, **settings)
    assert code == 0, output
    random = np.random.default_rng()
    kills = 5
    for attempt in range(kills + 1):
        process = broken.start("train.train", **settings)
        assert process.stdout is not None
        if attempt < kills:
            lines = int(random.integers(1, 4))
            for line in process.stdout:
                lines -= line.startswith("checkpoint ")
                if lines == 0:
                    break
            timer = threading.Timer(float(random.uniform(0, 0.1)), process.kill)
            timer.start()
        rest = process.communicate(timeout=120)[0]
        assert process.returncode in (0, -signal.SIGKILL), rest
    assert process.returncode == 0
    assert broken.weights == whole.weights


@pytest.mark.slow
def test_killed_while_writing_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """A process dies by SIGKILL with half of the new file on the disk."""
    program = f"""
import os, signal, torch
from pathlib import Path
from train import checkpoints
folder = Path({str(tmp_path)!r})
checkpoints.save(folder, 1, {{"step": 1, "t": torch.zeros(1000)}})
real = os.fsync
os.fsync = lambda descriptor: (os.ftruncate(descriptor, 2000), os.kill(os.getpid(), signal.SIGKILL))
checkpoints.save(folder, 2, {{"step": 2, "t": torch.zeros(1000)}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2], timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    from train import checkpoints

    found = checkpoints.load_newest(tmp_path)
    assert found is not None
    assert found[0]["step"] == 1
    checkpoints.save(tmp_path, 2, {"step": 2})
    assert not list(tmp_path.glob(".checkpoint*"))


def test_a_checkpoint_of_other_settings_or_pictures_is_refused(job: Any, run: Run) -> None:
    assert run(job.pictures(), checkpoint_every_steps=1)[0] == 0
    assert run(job, checkpoint_every_steps=1, lr=0.02)[0] == 1
    assert "was made with another lr" in job.failure
    (job.channel("train") / "red/0.png").unlink()
    assert run(job, checkpoint_every_steps=1)[0] == 1
    assert "was made with another pictures" in job.failure


def test_a_loss_that_is_no_number_is_told_with_the_last_good_checkpoint(job: Any, run: Run) -> None:
    code, _ = run(job.pictures(), lr=10, momentum=0.99, epochs=50, checkpoint_every_steps=1, warmup_epochs=0)
    assert code == 1
    assert re.search(r"(loss|weight) .* at epoch \d+, step \d+, with learning rate", job.failure), job.failure
    assert "take a tenth of your lr" in job.failure
    assert re.search(r"last good checkpoint: \S*checkpoint-\d+\.pt", job.failure.replace("my 'job'", ""))
    newest = sorted((job.base / "checkpoints").glob("*.pt"))[-1]
    state = checkpoints._read_checkpoint(newest)
    assert all(tensor.isfinite().all() for tensor in state["module"].values())


def test_a_picture_that_vanishes_ends_the_job_with_its_name(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.pictures()
    from train import listing

    original = listing.scan

    def scan(*arguments: Any) -> Any:
        found = original(*arguments)
        (job.channel("train") / "green/5.png").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(listing, "scan", scan)
    code, output = run(job)
    assert code == 1
    assert "green/5.png was there when the job began" in job.failure
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_told_with_the_batch_size_to_try(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def step(trainer: Trainer, batch: Any) -> None:
        raise error

    monkeypatch.setattr(Trainer, "_step", step)
    code, output = run(job.pictures())
    assert code == 1
    assert job.failure.startswith(
        "out of memory with batch_size=8 and image_size=32: try batch_size=4 with lr=0.005"
    )
    assert "Traceback" not in output


def test_a_fault_in_a_decoding_thread_reaches_the_failure_file(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train import crop

    def fall(*arguments: Any) -> Any:
        raise RuntimeError("a worker fell over")

    monkeypatch.setattr(crop, "crop", fall)
    assert run(job.pictures())[0] == 1
    assert "a worker fell over" in job.failure


def test_a_full_disk_is_told(job: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from model import weights

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "write_atomically", full)
    assert run(job.pictures(), epochs=1)[0] == 1
    assert "the disk is full: give the job a larger volume" in job.failure


@pytest.mark.slow
def test_killed_by_the_kernel_it_is_told_by_the_toolkit(job: Any) -> None:
    import psutil

    process = job.pictures().start(epochs=10_000)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch=1 "):
            break
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0, output
    assert "killed" in job.failure, job.failure
    assert "ran out of memory" in job.failure


def test_compile_without_a_compiler_says_so() -> None:
    from contract.hyperparameters import Settings
    from train.train import explain

    error = type("InvalidCxxCompiler", (RuntimeError,), {"__module__": "torch._inductor.exc"})(
        "No compiler\nat"
    )
    reason = "compile=true does not work here: No compiler; set compile=false"
    assert str(explain(error, Settings(compile=True))) == reason
