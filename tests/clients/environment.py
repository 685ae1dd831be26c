"""Clients in environments of their own, from the package index, kept between runs in pytest's cache."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")


def make(cache: pytest.Cache, *requirements: str) -> Path:
    """The Python of an environment that has `requirements`."""
    name = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:16]
    folder = cache.mkdir("clients") / name
    folder.mkdir(exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    ready = folder / "ready"
    with (folder / "lock").open("w") as lock:  # of several processes of the tests
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            for command in (
                [UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder / "venv"],
                [UV, "pip", "install", "--quiet", "--python", python, *requirements],
            ):
                subprocess.run(command, check=True)
            ready.touch()
    return python


@dataclass(frozen=True)
class Client:
    """Runs the functions of a script in an environment of its own."""

    python: Path
    script: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, name: str, folder: Path, limit: float = 240) -> str:
        """What the script's function `name` prints; it works in `folder`. `limit`: seconds."""
        # Neither answers where there is no network, and the SDKs wait for both.
        settings = folder / "sagemaker.yaml"
        settings.write_text(
            "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"
        )
        done = subprocess.run(
            [self.python, self.script, name, *self.arguments],
            cwd=folder,
            env={
                **self.environment,
                "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
                "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": "127.0.0.1,localhost",
                "COLUMNS": "200",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=limit,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout
