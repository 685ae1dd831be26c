"""Push an image through the Docker engine: progress, retries, and errors in the user's words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.errors import FAILED, NOT_FOUND, REFUSED, UNREACHABLE, ByocError

if TYPE_CHECKING:
    from docker.models.images import Image

    from docker import DockerClient
    from scripts.output import Output
    from scripts.registry import Registry

IMAGES = {"train": "byoc-train", "serve": "byoc-serve"}
_VERSION = "org.opencontainers.image.version"
_CI_SOCKET = Path("/run/byoc-engine/docker.sock")  # what `.ci/engine up` starts
_PAUSES = (2, 5, 15)  # seconds before each further try; the engine has tried every layer five times by itself


def connect() -> DockerClient:
    """The engine that DOCKER_HOST or the current docker context names, else the one of `.ci/engine`.

    Raises:
        ByocError: none answers, or this user may not use it.
    """
    from docker.context import ContextAPI
    from docker.errors import DockerException

    import docker

    environment = dict(os.environ)
    if not environment.get("DOCKER_HOST"):
        host = ContextAPI.get_current_context().Host or ""
        missing = host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists()
        environment["DOCKER_HOST"] = f"unix://{_CI_SOCKET}" if missing and _CI_SOCKET.exists() else host
    try:
        # The timeout is for one answer; a push says something every few hundred milliseconds.
        client = docker.from_env(environment=environment, timeout=300)
        client.ping()
    except DockerException as error:
        denied = "Permission denied" in str(error)
        raise ByocError(
            "This user may not use the Docker engine." if denied else "No Docker engine answers.",
            "Join the group docker, or use sudo."
            if denied
            else "Start it: `systemctl start docker`, or Docker Desktop.",
            code=UNREACHABLE,
            kind="NoDocker",
        ) from None
    return client


def find(client: DockerClient, name: str, tag: str | None) -> tuple[Image, str]:
    """The image `name:tag` on this machine, and its tag; without one, latest and the version it carries."""
    from docker.errors import ImageNotFound

    try:
        image = client.images.get(f"{name}:{tag or 'latest'}")
    except ImageNotFound:
        raise ByocError(
            f"There is no image {name}:{tag or 'latest'} on this machine.",
            f"Build it: `make build{f' TAG={tag}' if tag else ''}`.",
            code=NOT_FOUND,
            kind="NoImage",
        ) from None
    return image, tag or image.labels.get(_VERSION) or "latest"


def repository_name(setting: str, name: str) -> str:
    """The repository that `images.train` or `images.serve` names; `name` where it is a full URI."""
    return name if "/" in setting else setting.partition("@")[0].partition(":")[0]


@dataclass
class Meter:
    """What the engine says during a push, summed up: bytes (uncompressed) and layers."""

    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    finished: dict[str, bool] = field(default_factory=dict)  # layer → whether it had to be sent
    digest: str = ""

    def take(self, event: Mapping[str, Any]) -> None:
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        self.digest = (event.get("aux") or {}).get("Digest") or self.digest
        if status == "Pushing" and detail.get("total"):
            self.layers[layer] = (min(detail["current"], detail["total"]), detail["total"])
        elif status == "Pushed":
            self.finished[layer] = True
            total = self.layers.get(layer, (0, 0))[1]
            self.layers[layer] = (total, total)
        elif status == "Layer already exists" or status.startswith("Mounted from"):
            self.finished[layer] = False

    @property
    def done(self) -> int:
        return sum(done for done, _ in self.layers.values())

    @property
    def total(self) -> int:
        return sum(total for _, total in self.layers.values())

    @property
    def sent(self) -> int:
        """Layers that were not there before."""
        return sum(self.finished.values())


@dataclass(frozen=True)
class Pushed:
    """`uri` names the image by digest. `layers` has it in all, `sent` of them were new to the registry."""

    uri: str
    tag: str
    layers: int
    sent: int


def push(
    client: DockerClient,
    image: Image,
    registry: Registry,
    name: str,
    tag: str,
    report: Callable[[Meter], None] = lambda _: None,
    retrying: Callable[[str, float], None] = lambda _reason, _seconds: None,
    pause: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Send `image` as `name:tag`. What cannot last is tried again; layers that arrived are not sent twice.

    Raises:
        ByocError: with what the registry said, and what to do about it.
    """
    repository = f"{registry.host}/{name}"
    client.api.tag(image.id or "", repository, tag)
    pauses = list(_PAUSES)
    while True:
        meter = Meter()
        said = _attempt(client, repository, tag, registry.login(), meter, report)
        if not said and meter.digest:
            return Pushed(f"{repository}@{meter.digest}", tag, len(meter.finished), meter.sent)
        said = said or "the engine did not say under which digest"
        if "immutable" in said and (digest := _same(client, image, registry, name, tag)):
            return Pushed(f"{repository}@{digest}", tag, len(meter.finished), 0)
        passing, error = explain(said, repository, tag)
        if not passing or not pauses:
            raise error
        seconds = pauses.pop(0)
        retrying(said, seconds)
        pause(seconds)


def _attempt(
    client: DockerClient,
    repository: str,
    tag: str,
    login: dict[str, str] | None,
    meter: Meter,
    report: Callable[[Meter], None],
) -> str:
    """One push; what went wrong, in the engine's words, or an empty text."""
    from docker.errors import DockerException
    from requests import RequestException

    try:
        stream = client.api.push(repository, tag=tag, stream=True, decode=True, auth_config=login)
        with closing(stream):
            for event in stream:
                if "error" in event:
                    return str(event["error"])
                meter.take(event)
                report(meter)
    except (DockerException, RequestException) as error:
        return str(getattr(error, "explanation", None) or error)
    return ""


def _same(client: DockerClient, image: Image, registry: Registry, name: str, tag: str) -> str | None:
    """The digest behind an immutable tag, if it is this very image, pushed before."""
    digest = registry.digest(name, tag)
    image.reload()
    known = image.attrs.get("RepoDigests") or []
    return digest if digest and any(item.endswith(f"@{digest}") for item in known) else None


# Words of the engine or the registry → may trying again help, what to say, what to do, exit code, kind.
# The first that fits counts.
_CAUSES: tuple[tuple[tuple[str, ...], bool, str, str, int, str], ...] = (
    (
        ("no space left",), False,
        "A disk is full, the Docker engine's or {host}'s: {said}.",
        "Free some space (`docker system df` shows what the engine holds), then push again.",
        FAILED, "DiskFull",
    ),
    (
        ("token has expired",), True,
        "{host}'s login has run out: {said}.", "Push again; layers that have arrived stay there.",
        REFUSED, "ExpiredLogin",
    ),
    (
        ("not authorized", "denied", "unauthorized", "no basic auth", "authentication required"), False,
        "{host} does not take the image: {said}.", "{login}",
        REFUSED, "PushDenied",
    ),
    (
        ("immutable",), False,
        "{repository}:{tag} exists already with other content, and its tags never move.",
        "Commit the change, so that the image gets a new version, or name one: `make build push TAG=…`.",
        REFUSED, "TagExists",
    ),
    (
        ("http response to https client", "certificate"), False,
        "{host} cannot be reached safely: {said}.",
        "Plain HTTP is for 127.0.0.0/8 only; other hosts need TLS, or a line in insecure-registries.",
        UNREACHABLE, "Insecure",
    ),
    (
        ("manifest invalid", "media type", "unsupported manifest"), False,
        "{host} does not take this kind of image: {said}.",
        "Build it with `make build`: for one platform, without attestations.",
        REFUSED, "BadManifest",
    ),
    (
        ("name unknown", "repository does not exist"), False,
        "{host} has no such repository: {said}.", "Create {repository} there, or check the name.",
        NOT_FOUND, "NoRepository",
    ),
    (
        (
            "connection reset", "broken pipe", "eof", "timeout", "timed out", "toomanyrequests",
            "rate exceeded", "http status: 5", "server misbehaving", "connection aborted", "incompleteread",
            "network is unreachable", "blob upload", "connection refused", "did not say",
        ), True,
        "The push to {repository} broke off: {said}.",
        "Check the network and the registry, then push again; layers that have arrived stay there.",
        UNREACHABLE, "PushFailed",
    ),
    (
        ("",), False,
        "The push to {repository} failed: {said}.", "Check the registry's name and that it answers.",
        FAILED, "PushFailed",
    ),
)  # fmt: skip
_ECR_LOGIN = (
    "The policy needs ecr:BatchCheckLayerAvailability, InitiateLayerUpload, UploadLayerPart, "
    "CompleteLayerUpload and PutImage (AmazonEC2ContainerRegistryPowerUser has them)."
)


def explain(said: str, repository: str, tag: str) -> tuple[bool, ByocError]:
    """Whether trying again may help, and what to tell the user. `said` is the engine's or registry's text."""
    host = repository.partition("/")[0]
    login = _ECR_LOGIN if ".dkr.ecr." in host else f"Log in: `docker login {host}`."
    words = {"said": said.strip(" ."), "host": host, "repository": repository, "tag": tag, "login": login}
    for signs, passing, message, remedy, code, kind in _CAUSES:
        if any(sign in said.lower() for sign in signs):
            return passing, ByocError(message.format(**words), remedy.format(**words), code=code, kind=kind)
    raise AssertionError("the last cause fits everything")


@contextmanager
def shown(out: Output, what: str) -> Iterator[Callable[[Meter], None]]:
    """A progress bar over the bytes of one push."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=out.console, disable=not out.live) as progress:
        task = progress.add_task(what, total=None)

        def report(meter: Meter) -> None:
            if meter.total:
                progress.update(task, completed=meter.done, total=meter.total)

        yield report
