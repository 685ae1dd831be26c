"""Which lower precisions answer as the trained network does: measured after it, for endpoints on CPUs."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from contract import container
from contract.files import write_atomically
from model import artifact
from model.artifact import GRAPH_FILE, INT8_FILE, INT8_WEIGHTS_FILE, Onnx
from train.agreement import LEAST_PICTURES, MOST_PICTURES
from train.data import Pictures
from train.quantise import RESULT_FILE, Task

log = logging.getLogger("train")

SECONDS: Final = 50.0  # with the start of a process, less than a minute
_GRACE: Final = 30.0  # seconds for what cannot be divided: calibrating, compiling
_CALIBRATE: Final = 128
_MOST_THREADS: Final = 16
_ROOT: Final = Path(__file__).resolve().parents[1]


def measure(
    folder: Path,
    pictures: Mapping[str, Pictures],
    split: str,
    *,
    scratch: Path,
    should_stop: Callable[[], bool],
    seconds_left: float = float("inf"),
    seconds: float = SECONDS,
) -> None:
    """Find out which precisions keep the answers of the model in `folder`, and describe it with that.

    Args:
        pictures: of the training, by split; calibration takes those of "train". Without any, only the graph
            is checked.
        split: that of the final evaluation, of which all pictures judge first.
        scratch: a folder for what is in the making.
        should_stop: asked all the while; the model then stays as it is.
        seconds_left: until the job has to end. seconds: what this may take.
    """
    info, _ = artifact.read_info(folder)
    if info.onnx is None:
        return
    if missing := [name for name in ("openvino", "nncf") if importlib.util.find_spec(name) is None]:
        log.info(
            "no lower precision is measured: %s not installed; an endpoint on a CPU computes in fp32",
            " and ".join(missing) + (" is" if len(missing) == 1 else " are"),
        )
        return
    if seconds_left < seconds + _GRACE:
        log.info("no lower precision is measured: max_minutes leaves %.0f s for it", max(0.0, seconds_left))
        return
    calibrate, judge = choose(pictures, split) if pictures else ([], [])
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as output:
        threads = min(_MOST_THREADS, container.cores())
        task = Task(str(folder), output, calibrate, judge, seconds, threads)
        begin = time.monotonic()
        problem = _quantise(task, Path(output), should_stop)
        if problem:
            log.warning("no lower precision is measured: %s; an endpoint on a CPU computes in fp32", problem)
            return
        result = json.loads((Path(output) / RESULT_FILE).read_text(encoding="utf-8"))
        log.info("lower precisions took %.0f s", time.monotonic() - begin)
        precisions = result["precisions"]
        if precisions is None:
            _withdraw(folder, result["drift"])
            return
        if not pictures:
            return
        if not calibrate:
            precisions["int8"] = {"accepted": False, "reason": too_few(len(judge)), "pictures": len(judge)}
        _keep(folder, Path(output), precisions)


def too_few(count: int) -> str:
    return f"{count} pictures to judge it by, and it takes {LEAST_PICTURES}"


def choose(pictures: Mapping[str, Pictures], split: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Files to calibrate with, and files to judge by with their classes: no picture is among both.

    The pictures of the evaluation judge first, then those of the training: both in an order by chance, so
    that all classes are there however many are read. There is no calibration where too few are left to judge.
    """
    shares = {name: _readable(pictures[name]) for name in dict.fromkeys((split, "train"))}
    if split == "train":
        shares = {"train": shares["train"]}
    calibrating = min(_CALIBRATE, len(shares["train"]) // 4)
    if sum(map(len, shares.values())) - calibrating < LEAST_PICTURES:
        calibrating = 0
    calibrate = [file for file, _ in shares["train"][:calibrating]]
    shares["train"] = shares["train"][calibrating:]
    judge = [pair for those in shares.values() for pair in those]
    return calibrate, judge[:MOST_PICTURES]


def _readable(pictures: Pictures) -> list[tuple[str, int]]:
    listing, faults = pictures.listing, pictures.faults
    order = np.random.default_rng(0).permutation(len(listing)).tolist()
    return [
        (str(listing.root / listing.files[index]), int(listing.labels[index]))
        for index in order
        if index not in faults
    ]


def _quantise(task: Task, folder: Path, should_stop: Callable[[], bool]) -> str:
    """Run train/quantise.py on the task; returns why there is no result, or an empty text."""
    task.write(folder / "task.json")
    end = time.monotonic() + task.seconds + _GRACE
    with (folder / "log").open("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "train.quantise", str(folder / "task.json")],
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                if should_stop():
                    return "the job is to stop"
                if time.monotonic() > end:
                    return f"it took more than {task.seconds + _GRACE:.0f} s"
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
            process.wait()
        if process.returncode == 0:
            return ""
        output.seek(0)
        said = output.read().strip().splitlines() or [f"exit code {process.returncode}"]
        return f"it failed ({said[-1][:300]})"


def _withdraw(folder: Path, drift: float) -> None:
    """A graph that computes something else is worse than none."""
    info, record = artifact.read_info(folder)
    artifact.write_info(folder, dataclasses.replace(info, onnx=None), record)
    (folder / GRAPH_FILE).unlink()
    log.warning(
        "%s is withdrawn: with it a probability is off by %.4f; an endpoint on a CPU will compute with "
        "torch, which is slower", GRAPH_FILE, drift,
    )  # fmt: skip


def _keep(folder: Path, output: Path, precisions: dict[str, Any]) -> None:
    info, record = artifact.read_info(folder)
    assert info.onnx
    files = dict(info.onnx.files)
    if precisions.get("int8", {}).get("accepted"):
        for name in (INT8_WEIGHTS_FILE, INT8_FILE):
            data = (output / name).read_bytes()
            write_atomically(folder / name, data, durable=True)
            files[name] = artifact.record(data)
    artifact.write_info(folder, dataclasses.replace(info, onnx=Onnx(files, precisions)), record)
    for name, one in precisions.items():
        log.info("%s is %s: %s", name, "accepted" if one["accepted"] else "not accepted", one["reason"])
