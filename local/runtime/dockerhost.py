"""The Docker engine: where it is, what it can do, who is who in its containers.

    python -m local.runtime.dockerhost

says which engine the docker runtime would use; exit code 4 and the reason, if none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker.errors
import requests
from docker.context import ContextAPI

import docker
from local.runtime.container import RuntimeProblem

_FIRST_ANSWER = 15  # seconds: an engine that is merely busy takes less
_HERE = (
    "unix://",
    "npipe://",
    "tcp://127.",
    "tcp://localhost:",
    "tcp://[::1]",
    "http://127.",
    "http://localhost:",
)


@dataclass(frozen=True)
class Host:
    """What the engine says of its machine. `memory` in bytes; `security`: rootless, userns, selinux, …"""

    cores: int
    memory: int
    quota: bool
    security: frozenset[str]

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Host:
        """From the engine's `GET /info`."""
        security = (
            part.removeprefix("name=")
            for option in info.get("SecurityOptions") or ()
            for part in option.split(",")
            if part.startswith("name=")
        )
        return cls(
            int(info["NCPU"]), int(info["MemTotal"]), bool(info.get("CpuCfsQuota")), frozenset(security)
        )

    def identity(self, uid: int, gid: int) -> dict[str, Any]:
        """Options of a container whose files are to belong to the user `uid`.

        SageMaker runs containers as root; so does this where root inside is the service's user outside.
        """
        options: dict[str, Any] = {}
        if "rootless" not in self.security:
            if uid != 0:
                options["user"] = f"{uid}:{gid}"
            if "userns" in self.security:
                options["userns_mode"] = "host"
        if "selinux" in self.security:
            options["security_opt"] = ["label=disable"]  # or else the mounted folders are closed to it
        return options

    def limit(self, cores: int | None) -> dict[str, Any]:
        """Options of a container that may use `cores`."""
        if cores is None or not self.quota:
            return {}
        return {"nano_cpus": min(cores, self.cores) * 1_000_000_000}


def connect(patience: int = 60, first_answer: int = _FIRST_ANSWER) -> docker.DockerClient:
    """A client of an engine that answers and shares this machine's files. RuntimeProblem if there is none.

    `patience`: seconds that the client waits for each answer. `first_answer`: for the first one, shorter, so
    that an engine that hangs is reported soon.
    """
    first = min(patience, first_answer)
    address = _address()
    host = os.environ.get("DOCKER_HOST", "") if address is None else address
    if "://" in host and not host.startswith(_HERE):
        raise RuntimeProblem(
            f"The Docker engine at {host} is on another machine, where the jobs' folders are not. Use one on "
            "this machine, or the process runtime."
        )
    try:
        client = (
            docker.from_env(timeout=first)
            if address is None
            else docker.DockerClient(base_url=address, timeout=first)
        )
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise RuntimeProblem(_unusable(error)) from error
    try:
        client.ping()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        client.close()
        raise RuntimeProblem(_unusable(error)) from error
    client.api.timeout = patience
    return client


def _address() -> str | None:
    """The engine's address; None for what DOCKER_HOST says."""
    if os.environ.get("DOCKER_HOST"):
        return None
    context = ContextAPI.get_current_context()
    if context is not None and context.Name != "default":
        return str(context.Host)
    return None


def _unusable(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "Permission denied" in text or "PermissionError" in text:
        return "Docker's socket may not be used by this user: add yourself to the group docker."
    if "timed out" in text:
        return f"The Docker engine hangs: restart it, or use the process runtime. ({text})"
    return (
        "No Docker engine answers: start it (Docker Desktop, or `systemctl start docker`), set DOCKER_HOST, "
        f"or use the process runtime. ({text})"
    )


def least_loaded(load: Sequence[int], count: int) -> list[int]:
    """The `count` GPUs (fewer where there are fewer) that the fewest containers use, in order."""
    return sorted(sorted(range(len(load)), key=lambda gpu: (load[gpu], gpu))[:count])


def gpu_count() -> int:
    """How many NVIDIA GPUs this machine has, by their driver's library."""
    try:
        import pynvml
    except ImportError:
        return 0
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()


def main() -> int:
    try:
        client = connect()
    except RuntimeProblem as problem:
        print(problem, file=sys.stderr)
        return 4
    print(f"engine {client.version()['Version']}")
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
