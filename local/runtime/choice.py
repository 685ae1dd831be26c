"""The runtime that a configuration names, and what runtimes of a killed service have left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from local.config import Config
from local.runtime.container import Runtime, RuntimeProblem


def make_runtime(config: Config) -> Runtime:
    """The runtime that `config.runtime` names. RuntimeProblem if it cannot be used."""
    # Imported where they are wanted: Docker's client takes memory that process mode does not need.
    if config.runtime == "process":
        from local.runtime import process

        return process.ProcessRuntime(config.images, config.home)
    if config.runtime == "docker":
        from local.runtime import docker

        return docker.DockerRuntime(config.home, config.port)
    raise RuntimeProblem(f"Unknown runtime {config.runtime!r}: use process or docker.")


def remove_leftovers(home: Path) -> Iterator[str]:
    """Removes what a service of `home` left when it was killed, of either runtime; says what, one by one.

    RuntimeProblem if there may be containers, and their engine does not remove them.
    """
    from local.runtime import docker, process

    yield from process.remove_leftovers(home)
    yield from docker.remove_leftovers(home)
