"""Where images go: this account's ECR, through its API, or any other registry.

The password that ECR hands out stays in this process's memory: it goes to the Docker engine with each
request, and never into ~/.docker/config.json. Other registries get what `docker login` left there.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from contract.errors import ByocError
from scripts.aws import ask
from scripts.errors import translate
from scripts.requests import tags
from scripts.tags import Warn

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_ecr import ECRClient

    from scripts.settings import Settings

# Version tags never move, so what loses its tag is builds of uncommitted work. An endpoint that still names
# one by digest has this long to go.
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "Untagged images go after 60 days",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 60,
            },
            "action": {"type": "expire"},
        }
    ]
}


# Docker's grammar of names. A first part without dot or port, but localhost, would be a user of Docker Hub.
_HOST = re.compile(
    r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:)|\[[0-9a-f:]+\])(:[0-9]{1,5})?", re.IGNORECASE
)
_PATH = re.compile(r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")


class Registry(Protocol):
    """Where images go."""

    @property
    def host(self) -> str:
        """As in image names; may have a path: 127.0.0.1:5000/team."""

    def repository(self, name: str) -> str:
        """What the image of that name is called there."""

    def prepare(self, repository: str) -> bool:
        """Make the repository if it is missing; whether it was."""

    def login(self) -> dict[str, str] | None:
        """Fresh credentials for the engine; None: what `docker login` left."""

    def digest(self, repository: str, tag: str) -> str | None:
        """What the tag names there, if the registry can be asked."""

    def stored(self, repository: str, digest: str) -> Stored | None:
        """What has arrived, if the registry can be asked."""


@dataclass(frozen=True)
class Stored:
    """An image in a registry; `size` in bytes, compressed."""

    media_type: str
    size: int


@dataclass(frozen=True)
class AnyRegistry:
    """A registry that `docker login` knows, or that wants no login."""

    host: str

    @classmethod
    def named(cls, text: str) -> AnyRegistry:
        """From HOST[:PORT][/PATH], as typed. ByocError if Docker would take it for something else."""
        host, slash, path = text.rstrip("/").partition("/")
        if not _HOST.fullmatch(host) or not _PATH.fullmatch(slash + path):
            raise ByocError(
                f"{text!r} names no registry.",
                "Give HOST[:PORT][/PATH], without https://: 127.0.0.1:5000, registry.example/team, "
                "docker.io/user. The path is in lower case.",
            )
        return cls(text.rstrip("/"))

    def repository(self, name: str) -> str:
        return name

    def prepare(self, repository: str) -> bool:
        return False

    def login(self) -> dict[str, str] | None:
        return None

    def digest(self, repository: str, tag: str) -> str | None:
        return None

    def stored(self, repository: str, digest: str) -> Stored | None:
        return None


@dataclass(frozen=True)
class Ecr:
    """Amazon's registry of one account and region."""

    host: str
    client: ECRClient
    settings: Settings

    warn: Warn

    def repository(self, name: str) -> str:
        return ecr_name(name)

    def prepare(self, repository: str) -> bool:
        """What the repository cannot be given beside its name is a warning, and no reason to have none."""
        from botocore.exceptions import ClientError

        look = partial(self.client.describe_repositories, repositoryNames=[repository])
        if ask(look, "RepositoryNotFoundException"):
            return False
        request = repository_request(repository, self.settings)
        without = ", not encrypted with aws.kms_key" if self.settings.aws.kms_key else ""
        try:
            self._create(request)
        except ClientError as refused:
            try:
                self._create({"repositoryName": repository})
            except ClientError:  # so it is not what the first one asked for beside
                raise refused from None
            self.warn(f"{repository} was made without its settings{without}: {_message_of(refused)}")
            self._afterwards(request)
        try:
            self.client.put_lifecycle_policy(
                repositoryName=repository, lifecyclePolicyText=json.dumps(LIFECYCLE)
            )
        except ClientError as refused:
            self.warn(f"Old untagged images of {repository} stay, and cost storage: {_message_of(refused)}")
        return True

    def _create(self, request: Any) -> None:
        # By a request whose answer was lost, or by somebody else since.
        with contextlib.suppress(self.client.exceptions.RepositoryAlreadyExistsException):
            self.client.create_repository(**request)

    def _afterwards(self, request: Any) -> None:
        """What can be set on a repository that is there already, each by itself."""
        from botocore.exceptions import ClientError

        repository, client = request["repositoryName"], self.client
        arn = client.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryArn"]
        scan = request["imageScanningConfiguration"]
        for what, send in (
            ("is not scanned", lambda: client.put_image_scanning_configuration(
                repositoryName=repository, imageScanningConfiguration=scan)),
            ("has no tags", lambda: client.tag_resource(resourceArn=arn, tags=request["tags"])),
        ):  # fmt: skip
            try:
                send()
            except ClientError as refused:
                self.warn(f"{repository} {what}: {_message_of(refused)}")

    def login(self) -> dict[str, str] | None:
        token = self.client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        username, _, password = base64.b64decode(token).decode().partition(":")
        return {"username": username, "password": password}

    def digest(self, repository: str, tag: str) -> str | None:
        images = self.client.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return next((image["imageDigest"] for image in images["imageDetails"]), None)

    def stored(self, repository: str, digest: str) -> Stored | None:
        from botocore.exceptions import ClientError

        try:
            images = self.client.describe_images(
                repositoryName=repository, imageIds=[{"imageDigest": digest}]
            )
        except ClientError as refused:
            self.warn(f"What has arrived in {repository} was not looked at: {_message_of(refused)}")
            return None
        for image in images["imageDetails"]:
            return Stored(image.get("imageManifestMediaType", ""), image.get("imageSizeInBytes", 0))
        return None


def ecr_name(image: str) -> str:
    """The repository of an image in ECR. AmazonSageMakerFullAccess writes to those of SageMaker only."""
    return image if "sagemaker" in image else f"sagemaker-{image}"


def _message_of(error: ClientError) -> str:
    meaning = translate(error)
    return meaning.message if meaning else str(error)


def repository_request(repository: str, settings: Settings) -> Any:
    """CreateRepository: scanned on push, encrypted, version tags never move.

    `latest` and the tags of uncommitted work (`-dirty`) may.
    """
    key = settings.aws.kms_key
    return {
        "repositoryName": repository,
        "imageScanningConfiguration": {"scanOnPush": True},
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [
            {"filterType": "WILDCARD", "filter": name} for name in ("latest", "*-dirty")
        ],
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": key}
        if key
        else {"encryptionType": "AES256"},
        "tags": tags(settings),
    }
