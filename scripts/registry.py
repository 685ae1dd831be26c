"""Where images go: this account's ECR, through its API, or any other registry.

The password that ECR hands out stays in this process's memory: it goes to the Docker engine with each
request, and never into ~/.docker/config.json. Other registries get what `docker login` left there.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from scripts.errors import ByocError

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

    from scripts.settings import Settings

# Version tags never move, so what loses its tag is builds of uncommitted work. An endpoint that still names
# one by digest has this long to go.
_LIFECYCLE = {
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

    def prepare(self, repository: str) -> bool:
        """Make the repository if it is missing; whether it was."""

    def login(self) -> dict[str, str] | None:
        """Fresh credentials for the engine; None: what `docker login` left."""

    def digest(self, repository: str, tag: str) -> str | None:
        """What the tag names there, if the registry can be asked."""


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

    def prepare(self, repository: str) -> bool:
        return False

    def login(self) -> dict[str, str] | None:
        return None

    def digest(self, repository: str, tag: str) -> str | None:
        return None


@dataclass(frozen=True)
class Ecr:
    """Amazon's registry of one account and region."""

    host: str
    client: ECRClient
    settings: Settings

    def prepare(self, repository: str) -> bool:
        try:
            self.client.describe_repositories(repositoryNames=[repository])
            return False
        except self.client.exceptions.RepositoryNotFoundException:
            pass
        self.client.create_repository(**repository_request(repository, self.settings))
        self.client.put_lifecycle_policy(
            repositoryName=repository, lifecyclePolicyText=json.dumps(_LIFECYCLE)
        )
        return True

    def login(self) -> dict[str, str] | None:
        token = self.client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        username, _, password = base64.b64decode(token).decode().partition(":")
        return {"username": username, "password": password}

    def digest(self, repository: str, tag: str) -> str | None:
        found = self.client.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return next((image["imageDigest"] for image in found["imageDetails"]), None)


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
        "tags": [{"Key": name, "Value": value} for name, value in settings.aws.tags.items()],
    }
