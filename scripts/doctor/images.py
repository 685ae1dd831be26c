"""The images that jobs use are in ECR, in this region, of a kind and for a platform that SageMaker takes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from scripts import account, push
from scripts.aws import ask
from scripts.doctor.finding import Finding, failed
from scripts.push import DOCKER_MANIFEST
from scripts.registry import Stored
from scripts.settings import Settings
from scripts.tags import is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients

NAMES = {"train": "training image", "serve": "serving image", "serve_cpu": "serving image for CPUs"}
_MOST = 4 << 20  # bytes of an image's configuration; ours have 10 kB
_SECONDS = 10


def image(settings: Settings, clients: Clients, which: str) -> Iterator[Finding]:
    """The local SageMaker's process runtime needs none: one that is missing is a warning only."""
    from botocore.exceptions import ClientError

    name, uri = NAMES[which], account.image(settings, clients, which)
    host, _, rest = uri.partition("/")
    if host != clients.registry:
        yield Finding(name, *_elsewhere(uri, host, clients))
        return
    repository, tag, digest = parts(rest)
    wanted: Any = {"imageDigest": digest} if digest else {"imageTag": tag}
    look = partial(clients.ecr.describe_images, repositoryName=repository, imageIds=[wanted])
    answer = ask(look, "RepositoryNotFoundException", "ImageNotFoundException")
    if answer is None:
        remedy = "`make build push` puts it there; process mode needs none."
        yield Finding(name, "warning", f"{uri} is not in ECR", remedy)
        return
    [there] = answer["imageDetails"]
    stored = Stored(there.get("imageManifestMediaType", ""), there.get("imageSizeInBytes", 0))
    if unfit := push.unfit(stored, uri, serves=which != "train"):
        yield failed(name, unfit)
        return
    by_tag = "" if digest else ", by a tag: `byoc push` makes jobs name it by digest"
    try:
        runs_on = platform(clients, repository, there["imageDigest"])
    except (ClientError, OSError, ValueError, KeyError) as unreadable:
        forbidden = isinstance(unreadable, ClientError) and is_forbidden(unreadable)
        why = "may not be read" if forbidden else "could not be read"
        yield Finding(name, "ok", f"{uri}{by_tag} (its platform {why})")
        return
    if unfit := push.wrong_platform(uri, runs_on):
        yield failed(name, unfit)
        return
    yield Finding(name, "ok", f"{uri}{by_tag}")


def _elsewhere(uri: str, host: str, clients: Clients) -> Any:
    """Severity, message and remedy for an image that is not in this account's registry."""
    if ".dkr.ecr." not in host:
        return "warning", f"{uri} is in no ECR, and SageMaker pulls from there", "Push it with `byoc push`."
    region = host.split(".")[3]
    if region != clients.region:
        return (
            "error",
            f"{uri} is in {region}, and SageMaker pulls from its own region, {clients.region}",
            "Push it to this region with `byoc push`, or set aws.region.",
        )
    return "skipped", f"{uri} is another account's: only that account can look at it", ""


def parts(reference: str) -> tuple[str, str, str]:
    """`name:tag@digest` → (name, tag, digest)."""
    name, _, digest = reference.partition("@")
    name, _, tag = name.partition(":")
    return name, tag or "latest", digest


def platform(clients: Clients, repository: str, digest: str) -> str:
    """Operating system and architecture (`linux/amd64`), from the image's configuration, a blob of its own.

    Raises:
        ClientError, OSError, ValueError, KeyError: it cannot be read.
    """
    request: Any = {"repositoryName": repository, "imageIds": [{"imageDigest": digest}]}
    [there] = clients.ecr.batch_get_image(**request, acceptedMediaTypes=[DOCKER_MANIFEST])["images"]
    blob = json.loads(there["imageManifest"])["config"]["digest"]
    url = clients.ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=blob)["downloadUrl"]
    if not url.startswith("https://"):
        raise ValueError(url)
    with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - https, see above
        configuration = json.loads(answer.read(_MOST))
    return f"{configuration['os']}/{configuration['architecture']}"
