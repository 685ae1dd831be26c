"""A local SageMaker that may be killed at any time, for `bench.soak`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench import load, servers

_ACCOUNT = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "any"}

# Notes its beginning and its end where the service does not look.
_TRAIN = """
import json, os, pathlib, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
given = json.loads((base / "input/config/hyperparameters.json").read_text())
name, ledger = given["name"], pathlib.Path(given["ledger"])
with (ledger / f"{name}.begun").open("a") as file:
    file.write("x")
for step in range(int(given["steps"])):
    print(f"step={step}", flush=True)
    time.sleep(0.1)
if given["fails"] == "yes":
    sys.exit(3)
(base / "model/name").write_text(name)
(ledger / f"{name}.done").touch()
"""


class Service:
    """The service over one home; `kill` and `start` as often as one likes."""

    def __init__(self, work: Path) -> None:
        self.home = work / "home"
        self.home.mkdir()
        self.temporary = work / "tmp"
        self.temporary.mkdir()
        self.port = servers.free_port()
        self.kills = 0
        self.restarts: list[float] = []  # seconds until it answered
        self._image = _small_image(work / "small")
        self._log = work / "service.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "local", "--home", str(self.home), "--port", str(self.port)]
        images = ["--image", f"small={self._image}", "--image", f"byoc-train={servers.ROOT / 'docker/bin'}"]
        images += ["--image", f"byoc-serve={servers.ROOT / 'docker/bin'}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *images],
                cwd=servers.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": str(self.temporary)},
            )
        load.until_answered(self.port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.restarts.append(time.perf_counter() - begin)

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()
        self.kills += 1

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def processes(self) -> dict[int, str]:
        """Ids and commands of all that work in the home or for it."""
        found, mark = {}, str(self.home).encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                if command and (mark in command or mark in (folder / "environ").read_bytes()):
                    found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:100]
        return found

    def client(self, name: str) -> Any:
        """Tries once: who gets no answer knows nothing, and that is what is tested."""
        return boto3.client(
            name,  # type: ignore[call-overload]
            endpoint_url=self.url,
            **_ACCOUNT,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=4),
        )


def _small_image(folder: Path) -> Path:
    folder.mkdir()
    serve = f"#!/bin/sh\nexec {sys.executable} {servers.PEERS / 'quick.py'}\n"
    for name, text in (("train", f"#!{sys.executable} -u\n{_TRAIN}"), ("serve", serve)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
