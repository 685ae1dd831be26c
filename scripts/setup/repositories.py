"""A repository in ECR for each image, with the same requests as `byoc push`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.aws import ask
from scripts.policies.names import Names
from scripts.registry import LIFECYCLE, repository_request
from scripts.requests import tags
from scripts.setup import plan
from scripts.setup.plan import Call, Step
from scripts.tags import PROJECT

if TYPE_CHECKING:
    from scripts.aws import Clients


@dataclass(frozen=True)
class State:
    """What a repository is like."""

    repository: Mapping[str, Any]
    """As DescribeRepositories shows it."""
    tags: Sequence[Mapping[str, Any]] = ()
    lifecycle: Mapping[str, Any] | None = None


def creation(names: Names, repository: str) -> list[Call]:
    """CreateRepository and PutLifecyclePolicy."""
    key = names.settings.aws.kms_key
    says = "is created; scanned on push, version tags never move" + (f"; encrypted with {key}" if key else "")
    request = repository_request(repository, names.settings)
    return [Call(says, "ecr", "create_repository", request), _lifecycle(repository)]


def _lifecycle(repository: str) -> Call:
    request = {"repositoryName": repository, "lifecyclePolicyText": json.dumps(LIFECYCLE)}
    return Call(
        "deletes untagged images after 60 days", "ecr", "put_lifecycle_policy", request, optional=True
    )


def changes(names: Names, state: State) -> list[Call]:
    """The requests that give a repository of this project what it lacks."""
    there = state.repository
    repository = there["repositoryName"]
    wanted = repository_request(repository, names.settings)
    calls = []

    def call(says: str, operation: str, **request: Any) -> None:
        calls.append(Call(says, "ecr", operation, request, optional=True))

    scan, filters = "imageScanningConfiguration", "imageTagMutabilityExclusionFilters"
    if not plan.within(wanted[scan], there.get(scan)):
        call(
            "is scanned on push", "put_image_scanning_configuration", repositoryName=repository,
            imageScanningConfiguration=wanted[scan],
        )  # fmt: skip
    movable = {key: wanted[key] for key in ("imageTagMutability", filters)}
    if not plan.within(movable, there):
        call(
            "has version tags that never move",
            "put_image_tag_mutability",
            repositoryName=repository,
            **movable,
        )
    missing = [tag for tag in tags(names.settings) if tag not in state.tags and tag["Key"] != PROJECT]
    if missing:
        call("gets the tags of byoc.toml", "tag_resource", resourceArn=there["repositoryArn"], tags=missing)
    if not plan.within(LIFECYCLE, state.lifecycle):
        calls.append(_lifecycle(repository))
    return calls


def look(ecr: Any, repository: str) -> State | None:
    """What the repository is like; None where there is none."""
    answer = ask(
        lambda: ecr.describe_repositories(repositoryNames=[repository]), "RepositoryNotFoundException"
    )
    if answer is None:
        return None
    [there] = answer["repositories"]
    policy = ask(
        lambda: ecr.get_lifecycle_policy(repositoryName=repository), "LifecyclePolicyNotFoundException"
    )
    return State(
        there,
        ecr.list_tags_for_resource(resourceArn=there["repositoryArn"]).get("tags", ()),
        json.loads(policy["lifecyclePolicyText"]) if policy else None,
    )


def planned(names: Names, clients: Clients, repository: str) -> Step:
    """What `byoc setup` does to one repository."""
    what = f"repository {repository}"
    state = look(clients.ecr, repository)
    if state is None:
        return Step(what, "missing", tuple(creation(names, repository)))
    owner = plan.project_of(state.tags)
    if owner != names.settings.project.name:
        note = plan.other_project(owner) if owner else plan.not_ours("repository")
        return Step(what, "foreign", notes=(note,))
    notes, key = [], names.settings.aws.kms_key
    encrypted = state.repository.get("encryptionConfiguration", {}).get("encryptionType", "AES256")
    if key and encrypted == "AES256":
        notes.append(f"was made without {key}; ECR cannot change that: delete it and set up again")
    return plan.step(what, changes(names, state), notes)
