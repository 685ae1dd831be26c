"""What runs a container's work on this machine, whichever way: the interface of `process` and `docker`.

Whoever starts a container sees `/opt/ml` as a folder on this machine (`ContainerSpec.base`); what the
command inside sees instead is the runtime's to say (`Runtime.inside`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

OPT_ML = "/opt/ml"

LineReader = Callable[[str], None]
"""Takes one line of a container's output, without its line ending, as soon as it is there."""


class RuntimeProblem(Exception):
    """A container cannot be started. The text is one sentence for whoever asked for it."""


@dataclass(frozen=True)
class ContainerSpec:
    """One container to run.

    `base` is the folder that the container has as `/opt/ml`; `mounts` maps further absolute paths of the
    container to folders here. `cores` is its share of this machine, None for no limit. `listen`: it serves
    HTTP (on 8080 in a real container). `host` is its name on the job's network, `network` the name that its
    peers share. `measures`: it is to see this machine's network cards and GPUs, all of them.
    `entrypoint` takes the place of the image's own and of `command`; `arguments` follow it.
    """

    name: str
    image: str
    command: str
    base: Path
    arguments: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    cores: int | None = None
    listen: bool = False
    host: str = "algo-1"
    network: str | None = None
    measures: bool = False


class Container(Protocol):
    """A container that was started."""

    @property
    def url(self) -> str:
        """`http://host:port` of a container that listens; ValueError for others."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + N if signal N ended it."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits for the end: of the process, of all that it started, and of its output. None: timed out."""

    def terminate(self) -> None:
        """Asks it to stop (SIGTERM) and returns at once. Harmless when it is over."""

    def kill(self) -> None:
        """Ends it and all that it started (SIGKILL) and returns at once. Harmless when it is over."""


class Running:
    """What every container knows of itself: where it listens, and its exit code once it is over."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.port = port
        self._name = name
        self._over = threading.Event()
        self._exit_code: int | None = None

    @property
    def url(self) -> str:
        if self.port is None:
            raise ValueError(f"{self._name} does not listen")
        return f"http://127.0.0.1:{self.port}"

    @property
    def exit_code(self) -> int | None:
        return self._exit_code

    def wait(self, timeout: float | None = None) -> int | None:
        self._over.wait(timeout)
        return self._exit_code

    def end(self, code: int) -> None:
        self._exit_code = code
        self._over.set()


class Runtime(Protocol):
    """Starts containers."""

    multi_host: bool
    """Whether containers of one job can reach each other by host name."""

    def check(self, image: str, command: str | None) -> None:
        """RuntimeProblem unless `image` is here and has `command` (None: whatever it has)."""

    def inside(self, base: Path, path: str) -> str:
        """What the container calls `path`, an absolute path of the container contract (`/opt/ml/model`)."""

    def outside(self, base: Path, path: str) -> Path:
        """Where on this machine the container's absolute `path` lies."""

    def reach(self, url: str) -> str:
        """What a container calls `url`, which listens on this machine's loopback address."""

    def hosts(self) -> frozenset[str]:
        """Names, beside loopback's, by which containers call this machine."""

    def start(self, spec: ContainerSpec, on_line: LineReader) -> Container:
        """Starts a container; `on_line` is called from one thread. RuntimeProblem if that fails."""

    def keep_network(self, name: str | None) -> Callable[[], None]:
        """Makes the network of that name (`ContainerSpec.network`) now, and keeps it for containers to come.

        Returns what gives it back: to be called once. RuntimeProblem if it cannot be made.
        """

    def close(self) -> None:
        """Kills whatever still runs and removes whatever is left of it."""


def exit_text(code: int | None) -> str:
    """`exit code 3`, or `exit code 137 (SIGKILL; …)` for what a signal ended."""
    if code is None or code <= 128:
        return f"exit code {code}"
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return f"exit code {code}"
    why = "; most likely the machine ran out of memory, or somebody killed it" if name == "SIGKILL" else ""
    return f"exit code {code} ({name}{why})"


def map_path(path: str, base: str, elsewhere: str) -> str:
    """`path` with `/opt/ml` replaced by `base`; other absolute paths go under `elsewhere`.

    A '..' is refused (ValueError): it could leave the private folder.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not path.startswith("/"):
        raise ValueError(f"{path!r} must be an absolute path without '..'.")
    if parts[:2] == ["opt", "ml"]:
        return "/".join([base, *parts[2:]])
    return "/".join([elsewhere, *parts])
