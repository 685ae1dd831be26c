"""What a job leaves behind: the model, a few samples beside it, and the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import nn

from contract.files import write_atomically
from contract.hyperparameters import Settings
from model import architecture, artifact, weights
from model.device import Machine
from train import graph, report
from train.data import Pictures, repeated_pictures, same_pictures
from train.distributed import Process
from train.errors import TrainingError
from train.evaluation import Result
from train.loop import Trainer
from train.paths import Paths
from train.precision import Precision

log = logging.getLogger("train")

_UNMET: Final = 1000  # pictures of a split that are read only to complete the report
# Enough to notice a wrong precision or preprocessing, and little beside the weights.
_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 4_000_000
MEASURED: Final = artifact.FILES[2:]  # written after the final evaluation


def describe_model(
    settings: Settings,
    recipe: str,
    pictures: dict[str, Pictures],
    loaded: architecture.Loaded,
    machine: Machine,
    number_format: Precision,
    trainer: Trainer,
) -> artifact.ModelInfo:
    best = trainer.progress.best
    return artifact.ModelInfo(
        architecture=settings.arch,
        classes=pictures["train"].listing.classes,
        preprocessing=pictures["train"].preprocessing,
        metrics={name.replace("_", ":", 1): value for name, value in _validation(best).items()},
        training={
            "job": os.environ.get("TRAINING_JOB_NAME", ""),
            "epoch": best.get("epoch", 0),
            "steps": trainer.progress.step,
            "settings": settings.to_json(),
            "recipe": recipe,
            "weights": str(loaded),
            "pictures": {name: len(those) - those.unreadable for name, those in pictures.items()},
            "environment": {
                "torch": machine.torch,
                "cuda": machine.cuda,
                "driver": machine.driver,
                "device": machine.gpus[0].name if trainer.device == "cuda" else "cpu",
                "processes": trainer.process.world,
                "threads": torch.get_num_threads(),
                "precision": number_format.name,
                "commit": os.environ.get("IMAGE_REVISION") or None,
            },
        },
    )


def _validation(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith("validation_")}


def kept_metrics(trainer: Trainer) -> dict[str, float]:
    """Number and validation metrics of the epoch whose weights are kept; nothing where none was finished.

    Logged when all is over, they are the last values of their metrics: SageMaker takes those for the job's,
    and tuning jobs rank by them.
    """
    best = trainer.progress.best
    return {"kept_epoch": best["epoch"], **_validation(best)} if best else {}


def save_model(paths: Paths, module: nn.Module, trainer: Trainer, info: artifact.ModelInfo) -> None:
    if trainer.best_state is None:
        log.warning("no epoch was finished: the model that is saved was never validated")
    else:
        module.load_state_dict(trainer.best_state)
        log.info("kept the weights of epoch %d", info.training["epoch"])
    weights.save(paths.model, module, info)
    for name in artifact.FILES[1:-1]:  # of an interrupted run on the same volume
        (paths.model / name).unlink(missing_ok=True)
    if info.training["settings"]["save_model"]:
        graph.add(paths.model)


def share_model(paths: Paths, process: Process, names: Sequence[str] = artifact.FILES) -> None:
    """The first process's model for every machine: each has a folder of its own. Returns when all have it."""
    files: dict[str, bytes] = {}
    if process.is_first and process.world > process.local_world:
        present = [name for name in names if (paths.model / name).exists()]
        files = {name: (paths.model / name).read_bytes() for name in present}
    for name, content in process.broadcast(files).items():
        if process.local_rank == 0 and not process.is_first:
            write_atomically(paths.model / name, content, durable=True)
    process.gather(None)


def discard_model(paths: Paths, process: Process) -> None:
    """Leave only the description of the model that was tested: for trials, of which only metrics count."""
    process.gather(None)  # all processes have loaded it
    if process.local_rank == 0:
        for name in (*artifact.FILES[:-1], artifact.SAMPLES_FILE):
            (paths.model / name).unlink(missing_ok=True)
    if process.is_first:
        log.info("save_model is off: the weights are not kept")


def save_samples(paths: Paths, result: Result, pictures: Pictures) -> None:
    """A few of the pictures of `result` beside the model, evenly from all of them and so from all classes."""
    side = pictures.preprocessing.input_size
    count = max(2, min(_SAMPLES, _SAMPLE_BYTES // (side * side * 3)))
    rows = np.unique(np.linspace(0, len(result.indices) - 1, count).astype(np.int64))
    chosen = [pictures.get(int(index)) for index in result.indices[rows]]
    assert all(picture is not None for picture in chosen), "the result is of readable pictures"
    artifact.save_samples(paths.model, chosen, result.probabilities[rows])  # type: ignore[arg-type]


def write_report(
    paths: Paths,
    result: Result,
    split: str,
    pictures: dict[str, Pictures],
    settings: Settings,
    info: artifact.ModelInfo,
    trainer: Trainer,
) -> None:
    _tell_repeated(pictures)
    onnx = artifact.read_info(paths.model)[0].onnx
    report.write(
        paths.output_data / "report.json",
        result,
        split,
        pictures,
        settings=settings.to_json(),
        recipe=info.training["recipe"],
        environment=info.training["environment"],
        history=trainer.progress.history,
        metrics={**trainer.progress.best, **result.metrics(split)},
        duplicates={name: _tell_leaked(pictures, name) for name in pictures if name != "train"},
        precisions=onnx.precisions if onnx else {},
    )


def collect_hashes(pictures: dict[str, Pictures], process: Process) -> None:
    """Let the first process know the content of all pictures: each has met only its own share of them."""
    for name, those in pictures.items():
        for hashes in process.gather_to_first(those.hashes):
            those.hashes.update(hashes)
        if not process.is_first:
            continue
        unmet = those.unmet
        try:
            for index in unmet[:_UNMET]:
                those.get(index)
        except TrainingError as error:  # no reason to lose a training that is complete
            log.warning("%s", error)
        if left := len(those.unmet):
            log.warning(
                "%d pictures of %s were not read in this run: nobody knows whether they are readable, or "
                "there twice", left, name,
            )  # fmt: skip


def _tell_repeated(pictures: dict[str, Pictures]) -> None:
    for name, those in pictures.items():
        repeated = repeated_pictures(those)
        if repeated:
            log.warning(
                "%d pictures of %s are there twice or more, for example %s and %s", len(repeated), name,
                *repeated[0],
            )  # fmt: skip


def _tell_leaked(pictures: dict[str, Pictures], split: str) -> list[tuple[str, str]]:
    """Files that are in training and in another split."""
    leaked = same_pictures(pictures["train"], pictures[split])
    for first, second in leaked[:10]:
        log.warning("the same picture is in training and %s: %s and %s", split, first, second)
    if leaked:
        log.warning(
            "%d pictures of %s were trained on: its accuracy is too good to be true", len(leaked), split
        )
    return leaked
