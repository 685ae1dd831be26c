"""Where SageMaker puts things and wants them: every path and variable name once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.folders import entries
from train.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Paths:
    """The folders of a job. `base` is /opt/ml on SageMaker, SAGEMAKER_BASE_DIR elsewhere."""

    base: Path
    checkpoints: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Paths:
        base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        config = environment.get("CHECKPOINT_CONFIG_FILE_PATH") or base / "input/config/checkpointconfig.json"
        local_path = _read_json(Path(config), {}).get("LocalPath")
        return cls(base, Path(local_path) if local_path else base / "checkpoints")

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def output_data(self) -> Path:
        return self.base / "output" / "data"

    @property
    def failure(self) -> Path:
        return self.base / "output" / "failure"

    def channel(self, name: str) -> Path | None:
        """Folder of an input channel, or None where the job does not have it."""
        folder = self.base / "input" / "data" / name
        return folder if folder.is_dir() else None

    def channels(self) -> list[str]:
        """Names of the job's input channels."""
        folder = self.base / "input" / "data"
        return [entry.name for entry in entries(folder) if entry.is_dir()] if folder.is_dir() else []

    def hyperparameters(self) -> dict[str, str]:
        """As the job was given them; none without the file. Raises TrainingError for a damaged one."""
        return _read_json(self.base / "input/config/hyperparameters.json", {})


def _read_json(path: Path, default: dict[str, Any]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise TrainingError(f"{path} must hold a JSON object")
    return value
