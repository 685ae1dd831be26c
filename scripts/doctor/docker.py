"""The engine that builds, pushes and runs images: whether it answers, for which platform, in which store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from contract.errors import ByocError
from scripts import push
from scripts.doctor.finding import Finding

_CONTAINERD = "io.containerd.snapshotter.v1"  # as `driver-type` in what the engine says of its store


def docker() -> Iterator[Finding]:
    engine = _engine()
    yield engine
    if engine.severity == "ok":
        try:
            yield store(push.connect().info())
        except ByocError as error:
            yield Finding("Docker", "warning", error.message, error.remedy)


def _engine() -> Finding:
    """Only building, pushing and the docker runtime need one; the latter says which engine it would use."""
    try:
        answer = subprocess.run(
            # -P: a file local.py in the user's folder must not be taken for ours.
            [sys.executable, "-P", "-m", "local.runtime.dockerhost"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "Docker",
            "warning",
            "its engine hangs",
            "Restart it: `systemctl restart docker`, or Docker Desktop.",
        )
    if answer.returncode == 0:
        return Finding("Docker", "ok", answer.stdout.strip())
    if not shutil.which("docker"):
        return Finding("Docker", "skipped", "not installed; needed only to build and push images")
    return Finding("Docker", "warning", answer.stderr.strip())


def store(info: Mapping[str, Any]) -> Finding:
    """What of the engine changes the images that it makes.

    Args:
        info: what `docker info` shows.
    """
    architecture = str(info.get("Architecture", "?"))
    amd64 = architecture in ("x86_64", "amd64")
    status = {str(pair[0]): str(pair[1]) for pair in info.get("DriverStatus") or ()}
    containerd = status.get("driver-type") == _CONTAINERD
    where = f"{info.get('OSType', 'linux')}/{architecture}, store {info.get('Driver', '?')}"
    if not amd64:
        return Finding(
            "images here",
            "warning",
            f"{where}: images for SageMaker (linux/amd64) are built and run by emulation, many times slower",
            "Build on a machine with an Intel or AMD processor, or in a pipeline (docs/github-actions.md).",
        )
    if containerd:
        return Finding(
            "images here",
            "warning",
            f"{where}: containerd's store keeps images as OCI indexes where a build adds attestations, "
            "and SageMaker refuses those",
            "Build with `make build`, which adds none; `byoc push` checks what arrived in ECR.",
        )
    return Finding("images here", "ok", where)
