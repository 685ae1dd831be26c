"""What may lie in a model folder: files that are data. Nothing in it is ever run or imported."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from model.artifact import ArtifactError

log = logging.getLogger(__name__)

_PICKLES: Final = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib")
_MOST: Final = 10_000
_DEEPEST: Final = 16


def check(folder: Path) -> None:
    """Refuse a folder that was packed by somebody else than the trainer.

    Raises:
        model.artifact.ArtifactError: a link, which could lead anywhere; a pipe or a device; a pickle, which
            could run code; or more files than any model has.
    """
    count = 0
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place) / name
            count += 1
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise ArtifactError(f"{path} is a link; a model holds plain files only")
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # who opens a pipe waits for ever
                raise ArtifactError(f"{path} is a pipe or a device; a model holds plain files only")
            if path.suffix.lower() in _PICKLES and name in files:
                raise ArtifactError(f"{path} may be a pickle, which could run code; a model is safetensors")
            if count > _MOST:
                raise ArtifactError(f"{folder} holds more than {_MOST} files; that is not a model")
        if len(Path(place).relative_to(folder).parts) >= _DEEPEST and folders:
            raise ArtifactError(f"{folder} holds folders more than {_DEEPEST} deep; that is not a model")
    if (folder / "code").is_dir():
        log.warning(
            "%s is not used: this image runs its own handler, never code that comes with a model",
            folder / "code",
        )
