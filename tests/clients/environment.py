"""Clients in environments of their own, from their package indexes, kept between runs in pytest's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")


def make(cache: pytest.Cache, *requirements: str) -> Path:
    """The Python of an environment that has `requirements`."""
    with _folder(cache, sys.version, *requirements) as folder:
        python = folder / "venv" / "bin" / "python"
        _install(
            folder,
            [UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder / "venv"],
            [UV, "pip", "install", "--quiet", "--python", python, *requirements],
        )
    return python


def node_modules(cache: pytest.Cache, *packages: str) -> Path:
    """A folder of Node.js packages from npm. Skips the test where npm is missing."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found: install Node.js 20 or newer to run this client")
    with _folder(cache, "node", *packages) as folder:
        (folder / "package.json").write_text("{}")
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            _install(folder, [*install, "--prefix", folder, *packages])
        except subprocess.TimeoutExpired as error:
            pytest.skip(f"npm's registry is out of reach: no packages in {error.timeout:.0f} s")
    return folder / "node_modules"


@contextlib.contextmanager
def _folder(cache: pytest.Cache, *contents: str) -> Iterator[Path]:
    """The folder for these contents, which no other process of the tests changes meanwhile."""
    name = hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16]
    folder = cache.mkdir("clients") / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _install(folder: Path, *commands: list[str | Path]) -> None:
    """Runs `commands` unless they have succeeded before."""
    ready = folder / "ready"
    if not ready.exists():
        for command in commands:
            subprocess.run(command, check=True, timeout=300)  # a registry may not answer
        ready.touch()


@dataclass(frozen=True)
class Client:
    """Runs the functions of a script in an environment of its own."""

    interpreter: Path
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
            [self.interpreter, self.script, name, *self.arguments],
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
