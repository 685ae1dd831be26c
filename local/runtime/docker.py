"""The docker runtime: an image's commands in containers, with the job's folder as /opt/ml.

Containers reach the service by the name `local-sagemaker`, through a forwarder on their network's gateway.
Containers that share a `network` have one of their own; all others are on one network of this service.
Everything is labelled as its home's, so that what a killed service left is found and removed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker.errors
import requests
from docker.types import DeviceRequest, LogConfig, Mount
from docker.utils.socket import STDERR, STDOUT, SocketError, frames_iter

import docker
from local.runtime.container import OPT_ML, ContainerSpec, LineReader, Running, RuntimeProblem, map_path
from local.runtime.dockerhost import Host, connect, gpu_count, least_loaded
from local.runtime.lines import Lines
from local.runtime.networks import Network, Networks

SERVICE = "local-sagemaker"  # the service's name inside containers
LABEL = "byoc.local.home"
# Paths alone do not identify a home: several machines, each itself a container, may share one engine.
_ID_LABEL = "byoc.local.id"
_ID_FILE = "docker.id"  # of the home; there as long as containers may be
_SWEEP_PATIENCE = 20  # seconds for each answer, while somebody waits for `byoc local down`
_PORT = "8080/tcp"
_CACHE = "/tmp/byoc-cache"  # noqa: S108 - inside the container
_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


class DockerContainer(Running):
    """A container that runs or ran, and the thread that reads its output."""

    def __init__(self, name: str, api: docker.APIClient, ident: str) -> None:
        super().__init__(name)
        self.ident = ident
        self._api = api

    def terminate(self) -> None:
        self._signal("SIGTERM")

    def kill(self) -> None:
        self._signal("SIGKILL")

    def _signal(self, name: str) -> None:
        if not self._over.is_set():
            # It may end at this moment.
            with contextlib.suppress(*_ERRORS):
                self._api.kill(self.ident, signal=name)

    def follow(self, output: Any, on_line: LineReader) -> int:
        """Reads the output to its end; the exit code."""
        streams = {STDOUT: Lines(on_line, self._name), STDERR: Lines(on_line, self._name)}
        frames: Iterator[tuple[int, bytes]] = frames_iter(output, tty=False)  # type: ignore[no-untyped-call]
        with contextlib.suppress(SocketError, OSError):
            for stream, block in frames:
                streams[stream].feed(block)
        for lines in streams.values():
            lines.end()
        _close(output)
        try:
            return int(self._api.wait(self.ident)["StatusCode"])
        except _ERRORS as error:
            on_line(f"[local SageMaker] Docker lost the container: {error}")
            return 137


class DockerRuntime:
    """Runs containers on the engine that DOCKER_HOST or the current Docker context names.

    `home` is the service's, `port` the one that it listens on. RuntimeProblem if no engine can be used.
    """

    multi_host = True

    def __init__(self, home: Path, port: int) -> None:
        self._home = home.absolute()
        self._client = connect()
        self._api = self._client.api
        self._lock = threading.Lock()
        self._living: dict[DockerContainer, list[int]] = {}
        self._elsewhere: dict[Path, dict[str, Path]] = {}
        self._closed = False
        try:
            self._host = Host.of(self._client.info())
            self._labels = _labels(self._home)
            list(_remove_all(self._client, self._labels))
        except _ERRORS as error:
            self._client.close()
            raise RuntimeProblem(f"Docker refused: {_said(error)}") from error
        self._gpus = [0] * gpu_count()
        self._gpus_refused = False  # by Docker
        self._networks = Networks(self._client, self._labels, port)

    # --- paths and names --------------------------------------------------------------------------

    def check(self, image: str, command: str | None) -> None:
        self._image(image)

    def inside(self, base: Path, path: str) -> str:
        return map_path(path, OPT_ML, "")

    def outside(self, base: Path, path: str) -> Path:
        outside = Path(map_path(path, str(base), str(base / ".outside")))
        if base / ".outside" in outside.parents:
            with self._lock:
                # Beside /opt/ml nothing of the container is here: such a folder is mounted by itself.
                self._elsewhere.setdefault(base, {})[self.inside(base, path)] = outside
        return outside

    def reach(self, url: str) -> str:
        return url.replace("127.0.0.1", SERVICE)

    def hosts(self) -> frozenset[str]:
        return frozenset({SERVICE})

    def _image(self, image: str) -> str:
        """Id of an image that is here: by its reference, or else by its name without the registry.

        In ECR, byoc's images are called sagemaker-byoc-…: so AmazonSageMakerFullAccess may write them.
        """
        short = image.rpartition("/")[2]
        for reference in dict.fromkeys((image, short, short.removeprefix("sagemaker-"))):
            try:
                here: Any = self._client.images.get(reference)
                return str(here.id)
            except docker.errors.NotFound:
                continue
            except _ERRORS as error:
                raise RuntimeProblem(f"Docker cannot look for the image {image}: {_said(error)}") from error
        asked = f" (asked for: {image})" if image != short else ""
        raise RuntimeProblem(
            f"Docker has no image {short} here{asked}. Build it (`make build`), or get it with "
            f"`docker pull {image}`."
        )

    # --- containers -------------------------------------------------------------------------------

    def start(self, spec: ContainerSpec, on_line: LineReader) -> DockerContainer:
        image = self._image(spec.image)
        with self._lock:
            if self._closed:
                raise RuntimeProblem("The local SageMaker is shutting down.")
            try:
                # A container's own network would show nothing of the machine's.
                network = None if spec.measures else self._networks.join(spec.network)
                try:
                    container, output, gpus = self._start(spec, image, network, on_line)
                except BaseException:
                    self._networks.leave(network)
                    raise
            except _ERRORS as error:
                raise RuntimeProblem(self._cannot_start(spec, error)) from error
            self._living[container] = gpus

        def follow() -> None:
            code = 137
            try:
                code = container.follow(output, on_line)
            finally:
                try:
                    self._bury(container, spec, network)
                finally:
                    container.end(code)  # somebody waits for it

        threading.Thread(target=follow, name=f"output {spec.name}", daemon=True).start()
        return container

    def _bury(self, container: DockerContainer, spec: ContainerSpec, network: Network | None) -> None:
        """Removes a container that is over, and what was its own."""
        with self._lock:
            with contextlib.suppress(*_ERRORS):
                self._api.remove_container(container.ident, v=True, force=True)
            for gpu in self._living.pop(container):
                self._gpus[gpu] -= 1
            self._elsewhere.pop(spec.base, None)
            self._networks.leave(network)

    def _start(
        self, spec: ContainerSpec, image: str, network: Network | None, on_line: LineReader
    ) -> tuple[DockerContainer, Any, list[int]]:
        wanted = self._choose_gpus(spec)
        gpus = [] if self._gpus_refused else wanted
        try:
            made = self._launch(spec, image, network, gpus)
        except docker.errors.APIError as error:
            if not gpus or "gpu" not in _said(error).lower():
                raise
            self._gpus_refused = True
            gpus = []
            made = self._launch(spec, image, network, gpus)
        if wanted and not gpus:
            on_line(
                "[local SageMaker] This machine has GPUs, but Docker cannot hand them to containers: "
                f"{'they are not measured' if spec.measures else 'the job runs on the CPU'}. Install "
                "nvidia-container-toolkit to change that."
            )
        for gpu in gpus:
            self._gpus[gpu] += 1
        return (*made, gpus)

    def _launch(
        self, spec: ContainerSpec, image: str, network: Network | None, gpus: list[int]
    ) -> tuple[DockerContainer, Any]:
        ports: Any = {_PORT: ("127.0.0.1", None)}  # any port that is free
        container = self._client.containers.create(
            image,
            [*([] if spec.entrypoint else [spec.command]), *spec.arguments],
            entrypoint=list(spec.entrypoint) or None,
            name=f"byoc-{spec.name}-{uuid.uuid4().hex[:8]}",
            hostname=spec.host,
            labels=self._labels,
            environment=self._environment(spec),
            mounts=list(self._mounts(spec)),
            **self._networking(spec, network),
            ports=ports if spec.listen else None,
            # It is read as it comes, and kept in the service's own logs.
            log_config=LogConfig(type="none"),
            shm_size=self._host.memory // 2,
            device_requests=[DeviceRequest(device_ids=[str(gpu) for gpu in gpus], capabilities=[["gpu"]])]
            if gpus
            else None,
            **self._host.identity(os.getuid(), os.getgid()),
            **self._host.limit(spec.cores),
        )
        output: Any = None
        try:
            # Before it starts, so that no line is missed.
            output = self._api.attach_socket(
                str(container.id), params={"stdout": 1, "stderr": 1, "stream": 1}
            )
            container.start()
            running = DockerContainer(spec.name, self._api, str(container.id))
            if spec.listen:
                container.reload()
                bound = container.attrs["NetworkSettings"]["Ports"].get(_PORT) or [{"HostPort": 1}]
                running.port = int(bound[0]["HostPort"])  # 1, where nobody listens, if it is over already
            return running, output
        except BaseException:
            if output is not None:
                _close(output)
            with contextlib.suppress(*_ERRORS):
                container.remove(v=True, force=True)
            raise

    def _networking(self, spec: ContainerSpec, network: Network | None) -> dict[str, Any]:
        if network is None:
            return {"network_mode": "host"}
        options: dict[str, Any] = {"network": network.name, "extra_hosts": {SERVICE: network.service}}
        if spec.network is not None:
            endpoint = self._api.create_endpoint_config(aliases=[spec.host])
            options["networking_config"] = {network.name: endpoint}
        return options

    def _mounts(self, spec: ContainerSpec) -> Iterator[Mount]:
        cache = self._home / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        folders = {OPT_ML: spec.base, _CACHE: cache, **self._elsewhere.get(spec.base, {}), **spec.mounts}
        for path, folder in folders.items():
            if path.startswith(OPT_ML + "/"):
                # Docker would make the folder that it mounts upon, and as root.
                (spec.base / path.removeprefix(OPT_ML + "/")).mkdir(parents=True, exist_ok=True)
            yield Mount(path, str(folder), type="bind")

    def _environment(self, spec: ContainerSpec) -> dict[str, str]:
        environment = {"XDG_CACHE_HOME": _CACHE, "HOME": "/tmp"}  # noqa: S108 - any user may write there
        environment["no_proxy"] = environment["NO_PROXY"] = f"{SERVICE},127.0.0.1,localhost"
        if spec.listen:
            environment["SAGEMAKER_BIND_TO_PORT"] = _PORT.partition("/")[0]
        if spec.cores is not None:
            # Libraries count the machine's cores, not those that the container may use.
            environment["OMP_NUM_THREADS"] = str(spec.cores)
        return {**environment, **spec.environment}

    def _choose_gpus(self, spec: ContainerSpec) -> list[int]:
        """A training job gets the share of the GPUs that it has of the cores; an endpoint gets one.

        Whoever measures this machine gets all: each counts for one more user, so that the order stays.
        """
        if spec.measures:
            return list(range(len(self._gpus)))
        if spec.command == "train":
            share = (spec.cores or self._host.cores) / self._host.cores
            return least_loaded(self._gpus, max(1, round(share * len(self._gpus))))
        return least_loaded(self._gpus, 1) if spec.command == "serve" else []

    def keep_network(self, name: str | None) -> Callable[[], None]:
        with self._lock:
            if self._closed:
                raise RuntimeProblem("The local SageMaker is shutting down.")
            try:
                network = self._networks.join(name, keep=True)
            except _ERRORS as error:
                raise RuntimeProblem(f"Docker cannot make a network: {_said(error)}") from error

        def give_back() -> None:
            with self._lock:
                if not self._closed:  # which has removed it
                    self._networks.leave(network, keep=True)

        return give_back

    @staticmethod
    def _cannot_start(spec: ContainerSpec, error: Exception) -> str:
        said = _said(error)
        command = spec.entrypoint[0] if spec.entrypoint else spec.command
        if f'exec: "{command}"' in said:
            return f"The image {spec.image} has no command {command!r}."
        return f"Docker cannot start {spec.image}: {said}"

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            living = list(self._living)
        for container in living:
            container.kill()
        for container in living:
            container.wait(timeout=10)
        with contextlib.suppress(*_ERRORS):
            list(_remove_all(self._client, self._labels))
            (self._home / _ID_FILE).unlink(missing_ok=True)
        self._networks.close()
        self._client.close()


def remove_leftovers(home: Path) -> Iterator[str]:
    """Removes what a service of `home` left when it was killed; says what, one by one.

    Asks no engine where nothing can be left. RuntimeProblem if there is none that does its work.
    """
    file = home / _ID_FILE
    if not file.exists():
        return
    client = connect(_SWEEP_PATIENCE)
    with contextlib.closing(client):
        try:
            yield from _remove_all(client, _labels(home.absolute()))
            file.unlink()
        except _ERRORS as error:
            raise RuntimeProblem(f"Docker refused: {_said(error)}") from error


def _labels(home: Path) -> dict[str, str]:
    """What marks the containers and networks of a home; from now on there may be some."""
    file = home / _ID_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    if not file.read_text():
        file.write_text(uuid.uuid4().hex)
    return {LABEL: str(home), _ID_LABEL: file.read_text()}


def _remove_all(client: docker.DockerClient, labels: Mapping[str, str]) -> Iterator[str]:
    """Removes every container and network of a home."""
    mine: dict[str, str | list[str] | bool] = {"label": [f"{key}={value}" for key, value in labels.items()]}
    for container in client.containers.list(all=True, filters=mine):
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(v=True, force=True)
            yield f"container {container.name}"
    for network in client.networks.list(filters=mine):
        with contextlib.suppress(docker.errors.NotFound):
            network.remove()
            yield f"network {network.name}"


def _close(output: Any) -> None:
    """Closes a container's attached output, and the socket under it, which its response would keep open."""
    socket = output._sock
    output.close()
    socket.close()


def _said(error: Exception) -> str:
    """What Docker gives as the reason, in one line."""
    text = getattr(error, "explanation", None) or str(error)
    return " ".join(str(text).split())
