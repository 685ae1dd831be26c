"""Gives the model of an older trainer its graph: a job with a channel `model` and no pictures."""

from __future__ import annotations

import logging
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Final

from model import artifact
from train import graph
from train.errors import TrainingError
from train.log import log_metrics
from train.paths import Paths

log = logging.getLogger("train")

CHANNEL: Final = "model"
ARCHIVE: Final = "model.tar.gz"
_FILES: Final = (*artifact.FILES, artifact.SAMPLES_FILE)


def is_asked(paths: Paths) -> bool:
    return paths.channel(CHANNEL) is not None and paths.channel("train") is None


def run(paths: Paths) -> None:
    """Leave the model of the channel in the job's own folder, with `model.onnx`.

    Raises:
        TrainingError: the channel holds no model of ours, or one whose network has no graph.
    """
    folder = paths.channel(CHANNEL)
    assert folder is not None
    unpack(folder / ARCHIVE, paths.model)
    try:
        info, _ = artifact.read_info(paths.model)
        if not graph.add(paths.model):
            raise TrainingError(f"torch exports no graph of {info.architecture}: nothing to convert")
    except artifact.ArtifactError as error:
        raise TrainingError(f"the model cannot be converted: {error}") from error
    log.info("the model of %s has its %s now", info.architecture, artifact.GRAPH_FILE)
    log_metrics(**{name.replace(":", "_"): value for name, value in info.metrics.items()})


def unpack(archive: Path, folder: Path) -> None:
    """The files of a model, and nothing else that the archive may hold.

    Raises:
        TrainingError: there is no such archive, or it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                name = member.name.removeprefix("./")
                content = packed.extractfile(member) if name in _FILES and member.isreg() else None
                if content is not None:
                    with (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (FileNotFoundError, tarfile.TarError, EOFError, zlib.error) as error:
        raise TrainingError(f"channel {CHANNEL!r} must hold a whole {ARCHIVE}: {error}") from error
