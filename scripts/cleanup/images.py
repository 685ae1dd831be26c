"""The repositories of the images in ECR. All projects of an account and region share them.

So they go with the last project only: where another project has something, where they do not carry this
project's tag, where a model of somebody else runs one of their images, or where AWS does not say, they stay,
and that is said.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from contract.s3 import split
from report.read import aws
from report.words import listing, plural, size
from scripts import prices
from scripts.aws import ask, unless_gone
from scripts.cleanup.part import Found, Part, seen
from scripts.cleanup.storage import neighbours
from scripts.prices import money
from scripts.registry import ecr_name
from scripts.setup.plan import project_of
from scripts.tags import PROJECT, other_projects

if TYPE_CHECKING:
    from collections.abc import Collection

    from scripts.aws import Clients
    from scripts.settings import Settings

_THREADS = 8


@dataclass(frozen=True)
class Repository:
    name: str
    uri: str
    arn: str
    images: int
    bytes: int
    hourly: float | None

    @property
    def note(self) -> str:
        return f"{plural(self.images, 'image')}, {size(self.bytes)}"


def names(settings: Settings) -> list[str]:
    """The repositories of this version and, without `sagemaker-`, of earlier ones; no full URI's."""
    images = (settings.images.train, settings.images.serve, settings.images.serve_cpu)
    bare = [image.partition("@")[0].partition(":")[0] for image in images if "/" not in image]
    return list(dict.fromkeys(each for name in bare for each in (ecr_name(name), name)))


def find(clients: Clients, settings: Settings, root_uri: str, models: Collection[str]) -> Found:
    """The repositories, if nobody else needs them.

    Args:
        root_uri: the project's folder in S3.
        models: the project's own.
    """
    return seen(lambda: _find(clients, settings, root_uri, models), "images in ECR", "ECR")


def _find(clients: Clients, settings: Settings, root_uri: str, models: Collection[str]) -> Found:
    repositories = [each for name in names(settings) if (each := _look(clients, name))]
    if not repositories:
        return Found()
    reason = _shared(clients, settings, root_uri) or _foreign_model(clients, repositories, models)
    parts, stays = [], []
    for each in repositories:
        why = reason or _made_by(clients, each, settings.project.name)
        if why:
            stays.append(_stays(clients, each, why))
            continue
        remove = partial(unless_gone, clients.ecr.delete_repository, repositoryName=each.name, force=True)
        parts.append(Part("repository", each.name, remove, each.note, each.hourly))
    return Found(parts, stays)


def _look(clients: Clients, name: str) -> Repository | None:
    look = partial(clients.ecr.describe_repositories, repositoryNames=[name])
    answer = ask(look, "RepositoryNotFoundException")
    if answer is None:
        return None
    [described] = answer["repositories"]
    pages = clients.ecr.get_paginator("describe_images").paginate(repositoryName=name)
    sizes = [image.get("imageSizeInBytes", 0) for page in pages for image in page["imageDetails"]]
    uri, arn = described["repositoryUri"], described["repositoryArn"]
    return Repository(name, uri, arn, len(sizes), sum(sizes), prices.storage(clients, "ECR", sum(sizes)))


def _stays(clients: Clients, repository: Repository, why: str) -> str:
    cost = "" if not repository.hourly else f", {money(repository.hourly * prices.MONTH)} a month"
    return (
        f"Repository {repository.name} ({repository.note}{cost}): {why}. `aws ecr delete-repository --force "
        f"--repository-name {repository.name} --region {clients.region}` deletes it."
    )


def _shared(clients: Clients, settings: Settings, root_uri: str) -> str:
    """Which other project may need the images; empty where none does."""
    others = other_projects(clients, settings.project.name)
    if others is None:
        return "whether another project uses it is unknown, as AWS does not allow tag:GetResources"
    if others:
        return f"the project {min(others)} has endpoints or models"
    bucket, root = split(root_uri)
    folders = neighbours(clients, bucket, root)
    if folders is None:
        return (
            f"whether another project has data in s3://{bucket} is unknown, as AWS does not allow to list it"
        )
    return (
        f"another project has data in {listing([f's3://{bucket}/{each}/' for each in sorted(folders)])}"
        if folders
        else ""
    )


def _foreign_model(clients: Clients, repositories: list[Repository], models: Collection[str]) -> str:
    """A model of somebody else that runs one of the images."""
    pages = clients.sagemaker.get_paginator("list_models").paginate()
    others = [
        item["ModelName"] for page in pages for item in page["Models"] if item["ModelName"] not in models
    ]
    uris = tuple(f"{each.uri}{mark}" for each in repositories for mark in ":@")

    def uses(name: str) -> bool:
        model = aws.find(lambda: clients.sagemaker.describe_model(ModelName=name)) or {}
        containers = [model.get("PrimaryContainer", {}), *model.get("Containers", ())]
        return any(str(each.get("Image", "")).startswith(uris) for each in containers)

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        used = [name for name, is_used in zip(others, pool.map(uses, others), strict=True) if is_used]
    return f"the model {used[0]}, which is not of this project, runs an image of byoc" if used else ""


def _made_by(clients: Clients, repository: Repository, project: str) -> str:
    """Why the repository is not known to be this project's; empty where it carries the project's tag."""
    maker = project_of(clients.ecr.list_tags_for_resource(resourceArn=repository.arn)["tags"])
    if maker == project:
        return ""
    return f"the project {maker} made it" if maker else f"it has no tag {PROJECT}, so it may be anybody's"
