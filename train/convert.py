"""Gives the model of an older trainer its graph: a job with the single channel `model` and no settings."""

from __future__ import annotations

import errno
import logging
import math
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contract import hyperparameters
from model import artifact
from train import graph, lower_precision
from train.errors import TrainingError
from train.log import log_metrics
from train.paths import Paths

log = logging.getLogger("train")

CHANNEL: Final = "model"
ARCHIVE: Final = "model.tar.gz"
_MB: Final = 1 << 20
# What is taken from the archive, and how many bytes at most.
_LIMITS: Final = {
    artifact.WEIGHTS_FILE: 8192 * _MB,
    artifact.SAMPLES_FILE: 64 * _MB,
    artifact.INFO_FILE: 64 * _MB,
}


def is_asked(paths: Paths) -> bool:
    settings = paths.hyperparameters()
    return paths.channels() == [CHANNEL] and all(map(hyperparameters.is_reserved, settings))


def run(paths: Paths, should_stop: Callable[[], bool]) -> None:
    """Leave the model of the channel in the job's own folder, with `model.onnx`.

    Raises:
        TrainingError: the channel holds no model of ours, or one whose network has no graph that computes the
            same.
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
    if (paths.model / artifact.SAMPLES_FILE).exists():
        lower_precision.measure(paths.model, {}, "", scratch=paths.base / "tmp", should_stop=should_stop)
        if artifact.read_info(paths.model)[0].onnx is None:
            raise TrainingError(f"the graph of {info.architecture} computes something else, see above")
    log.info("the model of %s has its %s now", info.architecture, artifact.GRAPH_FILE)
    numbers = {name: value for name, value in info.metrics.items() if isinstance(value, int | float)}
    log_metrics(**{name.replace(":", "_"): value for name, value in numbers.items() if math.isfinite(value)})


def unpack(archive: Path, folder: Path) -> None:
    """The files of a model, and nothing else that the archive may hold.

    Raises:
        TrainingError: there is no such archive, it is damaged, or one of the files is far too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                name = member.name.removeprefix("./")
                if name not in _LIMITS or not member.isreg():
                    continue
                if member.size > _LIMITS[name]:
                    raise TrainingError(
                        f"{name} in {ARCHIVE} has {member.size:,} bytes: this is not a model of ours"
                    )
                content = packed.extractfile(member)
                assert content is not None  # of a regular file
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(f"channel {CHANNEL!r} must hold a whole {ARCHIVE}: {error}") from error
