"""A Docker engine that runs already, registries and a second engine that the tests start."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from docker.errors import ImageNotFound

from contract.errors import ByocError
from docker import DockerClient
from scripts import push
from tests.docker.wait import until
from tests.scripts.conftest import _no_aws_of_the_developer, aws, project, run

__all__ = ["_no_aws_of_the_developer", "aws", "project", "run"]


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    try:
        client = push.connect()
    except ByocError as error:
        pytest.skip(f"{error} `.ci/engine up` starts one.")
    with contextlib.closing(client):
        yield client


@pytest.fixture(scope="session")
def images(engine: DockerClient) -> dict[str, str]:
    """Names of the images."""
    names = {which: f"{name}:latest" for which, name in push.IMAGES.items()}
    for name in names.values():
        try:
            engine.images.get(name)
        except ImageNotFound:
            pytest.skip(f"there is no {name}: `make build`")
    return names


@pytest.fixture
def registry() -> Iterator[str]:
    """host:port of a registry that takes everything from everybody."""
    with _registry("") as host:
        yield host


@pytest.fixture
def guarded_registry() -> Iterator[str]:
    """host:port of a registry that wants the password that moto's ECR hands out."""
    hashed = bcrypt.hashpw(b"123456789012-auth-token", bcrypt.gensalt(4)).decode()
    with _registry(f"AWS:{hashed}\n") as host:
        yield host


@contextlib.contextmanager
def _registry(users: str) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("there is no docker-registry: `.ci/engine registry install`")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="byoc-registry-") as folder:
        Path(folder, "users").write_text(users)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/users}}}}\n" if users else ""
        Path(folder, "config.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: '{host}'}}\n{auth}"
        )
        process = subprocess.Popen([program, "serve", f"{folder}/config.yml"], stderr=subprocess.DEVNULL)
        try:
            until(lambda: _listens(host), 10)
            yield host
        finally:
            process.terminate()
            process.wait()


def _listens(host: str) -> bool:
    name, _, port = host.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((name, int(port)), 1):
        return True
    return False


@pytest.fixture
def other_engine() -> Iterator[DockerClient]:
    """An engine that has no images yet, as SageMaker's machines have none."""
    if os.geteuid() or not shutil.which("dockerd"):
        pytest.skip("starting a second engine needs dockerd and root")
    # A bridge of its own: with none at all, dockerd would delete docker0, which is the first engine's.
    bridge = f"byoc{os.getpid()}"
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", "192.168.254.1/29", "dev", bridge], check=True)
    try:
        with tempfile.TemporaryDirectory(prefix="byoc-engine-") as folder:
            command = ["dockerd", f"--bridge={bridge}", "--iptables=false", f"--data-root={folder}/data"]
            command += [
                f"--exec-root={folder}/run",
                f"--pidfile={folder}/pid",
                f"--host=unix://{folder}/socket",
            ]
            with Path(folder, "log").open("w") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                until(Path(folder, "socket").exists, 30)
                with contextlib.closing(DockerClient(f"unix://{folder}/socket", timeout=600)) as client:
                    yield client
            finally:
                process.terminate()
                process.wait()
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)
