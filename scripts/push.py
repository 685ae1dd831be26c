"""Push an image through the Docker engine: progress, retries, and errors in the user's words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import FAILED, NOT_FOUND, REFUSED, UNREACHABLE, ByocError
from scripts.pushfaults import explain
from scripts.pushmeter import Meter

if TYPE_CHECKING:
    from docker.models.images import Image

    from docker import DockerClient
    from scripts.registry import Registry, Stored

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LARGEST = 10 * 1024**3  # bytes
IMAGES = {"train": "byoc-train", "serve": "byoc-serve", "serve_cpu": "byoc-serve-cpu"}
_VERSION = "org.opencontainers.image.version"
_PATIENCE = 300  # seconds for every other answer; a push says something every few hundred milliseconds
_PAUSES = (2, 5, 15)  # seconds before each further try; the engine has tried every layer five times by itself


def connect(patience: int = 15) -> DockerClient:
    """The engine that DOCKER_HOST or the current docker context names.

    Args:
        patience: seconds for its first answer; an engine that is merely busy takes less.

    Raises:
        ByocError: none answers, it hangs, or this user may not use it.
    """
    from docker.context import ContextAPI
    from docker.errors import DockerException

    import docker

    environment = dict(os.environ)
    if not environment.get("DOCKER_HOST"):
        environment["DOCKER_HOST"] = ContextAPI.get_current_context().Host or ""
    try:
        client = docker.from_env(environment=environment, timeout=patience)
        client.ping()
    except (DockerException, OSError) as error:  # paramiko's are OSErrors, for ssh://
        said, remedy = "No Docker engine answers.", "Start it: `systemctl start docker`, or Docker Desktop."
        if "Permission denied" in str(error):
            said, remedy = "This user may not use the Docker engine.", "Join the group docker, or use sudo."
        elif "Read timed out" in str(error):
            said, remedy = (
                "The Docker engine hangs.",
                "Restart it: `systemctl restart docker`, or Docker Desktop.",
            )
        raise ByocError(said, remedy, code=UNREACHABLE, kind="NoDocker") from None
    client.api.timeout = _PATIENCE
    return client


def find(client: DockerClient, name: str, tag: str | None) -> tuple[Image, str]:
    """The image `name:tag` on this machine, and its tag; without one, latest and the version it carries."""
    from docker.errors import ImageNotFound

    try:
        with _engine():
            image = client.images.get(f"{name}:{tag or 'latest'}")
    except ImageNotFound:
        raise ByocError(
            f"There is no image {name}:{tag or 'latest'} on this machine.",
            f"Build it: `make build{f' TAG={tag}' if tag else ''}`.",
            code=NOT_FOUND,
            kind="NoImage",
        ) from None
    return image, tag or image.labels.get(_VERSION) or "latest"


def check_platform(image: Image, name: str) -> None:
    """ByocError for an image that SageMaker's machines cannot run; before hours of uploading."""
    platform = f"{image.attrs.get('Os', '')}/{image.attrs.get('Architecture', '')}"
    if platform != "/" and (error := wrong_platform(f"The image {name}", platform)):
        raise error


def wrong_platform(what: str, platform: str) -> ByocError | None:
    """The error where an image is not for SageMaker's machines."""
    if platform == "linux/amd64":
        return None
    return ByocError(
        f"{what} is for {platform}, and SageMaker's machines are linux/amd64.",
        "Build it anew: `make build`, which asks for linux/amd64 unless PLATFORM says otherwise.",
        kind="WrongPlatform",
    )


def unfit(stored: Stored, uri: str, *, serves: bool) -> ByocError | None:
    """The error where a registry has an image otherwise than SageMaker takes it."""
    if stored.media_type not in ("", DOCKER_MANIFEST):
        return ByocError(
            f"{uri} is stored as {stored.media_type}, which SageMaker refuses.",
            "Build it with `make build`, which makes Docker's own kind of image, and push again under a new "
            "tag: `make build push TAG=…`.",
            code=REFUSED,
            kind="BadManifest",
        )
    if serves and stored.size > LARGEST:
        return ByocError(
            f"{uri} has {stored.size / 1e9:.1f} GB; SageMaker serves images of up to 10 GB.",
            "Leave out what serving does not need.",
            kind="ImageTooLarge",
        )
    return None


@contextmanager
def _engine() -> Iterator[None]:
    """What the engine refuses, or that it is gone, in its own words. ImageNotFound is the caller's."""
    from docker.errors import DockerException, ImageNotFound
    from requests import RequestException

    try:
        yield
    except ImageNotFound:
        raise
    except (DockerException, RequestException) as error:
        said = str(getattr(error, "explanation", None) or error)
        raise ByocError(
            f"Docker refused: {said.strip(' .')}.",
            "Check the tag's and the registry's name, and that the engine runs (`docker info`).",
            code=FAILED,
            kind="EngineRefused",
        ) from None


def image_name(setting: str, name: str) -> str:
    """The image that a setting of [images] names; `name` where it is a full URI."""
    return name if "/" in setting else setting.partition("@")[0].partition(":")[0]


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
    with _engine():
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
    with _engine():
        image.reload()
    digests = image.attrs.get("RepoDigests") or []
    return digest if digest and any(item.endswith(f"@{digest}") for item in digests) else None
