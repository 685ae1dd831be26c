"""A real Docker engine; `.ci/engine up` starts one."""

from __future__ import annotations

import contextlib
import io
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.runtime.container import RuntimeProblem
from local.runtime.docker import LABEL, DockerRuntime
from local.runtime.dockerhost import connect

SMALL = "debian:trixie-slim"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    try:
        client = connect()
    except RuntimeProblem as problem:
        pytest.skip(str(problem))
    with contextlib.closing(client):
        yield client


def image(engine: Any, name: str) -> str:
    from docker.errors import ImageNotFound

    try:
        engine.images.get(name)
    except ImageNotFound:
        pytest.skip(f"there is no image {name}")
    return name


@pytest.fixture
def small(engine: Any) -> str:
    return image(engine, SMALL)


@pytest.fixture
def make_image(engine: Any, small: str) -> Iterator[Callable[..., str]]:
    """Makes an image with shell scripts as its commands; its name."""
    made: list[str] = []

    def make(**scripts: str) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for command, script in scripts.items():
                content = f"#!/bin/sh\n{script}\n".encode()
                info = tarfile.TarInfo(command)
                info.mode, info.size = 0o755, len(content)
                tar.addfile(info, io.BytesIO(content))
        container = engine.containers.create(small)
        try:
            container.put_archive("/usr/bin", archive.getvalue())
            name = f"byoc-test-{uuid.uuid4().hex[:8]}"
            made.append(str(container.commit(name).id))
        finally:
            container.remove()
        return name

    yield make
    for ident in made:
        engine.images.remove(ident, force=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "a home"


@pytest.fixture
def runtime(engine: Any, home: Path) -> Iterator[DockerRuntime]:
    runtime = DockerRuntime(home, 5999)
    yield runtime
    runtime.close()
    assert left(engine, home) == []


def left(engine: Any, home: Path) -> list[str]:
    """Names of the containers and networks of a home."""
    mine = {"label": f"{LABEL}={home}"}
    found = [*engine.containers.list(all=True, filters=mine), *engine.networks.list(filters=mine)]
    return [str(each.name) for each in found]
