"""Taking back what `byoc setup` made: recognised by its tags, and never with what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from report.read.aws import objects
from report.words import plural, size
from scripts.policies.names import Names
from scripts.setup import bucket, plan, repositories, role
from scripts.setup.plan import Call, Step

if TYPE_CHECKING:
    from scripts.aws import Clients


def planned(names: Names, clients: Clients) -> Iterator[Step]:
    """What `byoc setup --remove` does; "foreign" is what stays, and its notes say why."""
    yield from _role(names, clients.iam)
    for repository in dict.fromkeys(names.repositories.values()):
        yield from _repository(names, clients.ecr, repository)
    yield from _bucket(names, clients.s3)


def _stays(names: Names, what: str, tags: Any) -> Step | None:
    owner, kind = plan.project_of(tags), what.partition(" ")[0]
    if owner == names.settings.project.name:
        return None
    why = f"made for the project {owner}" if owner else f"`byoc` did not make this {kind}"
    return Step(what, "foreign", notes=(why,))


def _role(names: Names, iam: Any) -> Iterator[Step]:
    name, what = names.role, f"role {names.role}"
    if "/" in names.settings.aws.role:
        yield Step(what, "foreign", notes=("aws.role is no plain name: `byoc` did not make this role",))
        return
    state = role.look(iam, names)
    if state is None:
        return
    own = role.policy_name(names)
    mine = (
        [Call(f"policy {own} is deleted", "iam", "delete_role_policy", {"RoleName": name, "PolicyName": own})]
        if state.policy is not None
        else []
    )
    owner = plan.project_of(state.tags)
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=name)
    others = [each for page in pages for each in page["PolicyNames"] if each != own]
    if owner == names.settings.project.name and not others and not state.attached:
        deletion = Call("is deleted", "iam", "delete_role", {"RoleName": name})
        yield Step(what, "differs", (*mine, deletion))
        return
    if not owner:
        why = "`byoc` did not make this role"
    elif owner != names.settings.project.name:
        why = f"made for the project {owner}"
    else:
        why = f"others use it: it has {', '.join([*others, *state.attached])}"
    yield Step(what, "foreign", tuple(mine) if owner else (), (why,))


def _repository(names: Names, ecr: Any, repository: str) -> Iterator[Step]:
    what = f"repository {repository}"
    state = repositories.look(ecr, repository)
    if state is None:
        return
    if stays := _stays(names, what, state.tags):
        yield stays
        return
    pages = ecr.get_paginator("list_images").paginate(repositoryName=repository)
    digests = {each["imageDigest"] for page in pages for each in page["imageIds"]}
    if digests:
        why = (
            f"holds {plural(len(digests), 'image')}; `byoc delete --all` says who needs them. To delete "
            f"them: aws ecr delete-repository --force --repository-name {repository}"
        )
        yield Step(what, "foreign", notes=(why,))
        return
    yield Step(
        what, "differs", (Call("is deleted", "ecr", "delete_repository", {"repositoryName": repository}),)
    )


def _bucket(names: Names, s3: Any) -> Iterator[Step]:
    what = f"bucket {names.bucket}"
    if names.settings.aws.bucket_owner not in ("", names.account):
        yield Step(what, "foreign", notes=(f"it belongs to account {names.settings.aws.bucket_owner}",))
        return
    state = bucket.look(s3, names.bucket, names.region)
    if state is None:
        return
    if stays := _stays(names, what, state.tags):
        yield stays
        return
    if held := _held(s3, names):
        yield Step(what, "foreign", notes=(held,))
        return
    yield Step(what, "differs", (Call("is deleted", "s3", "delete_bucket", {"Bucket": names.bucket}),))


def _held(s3: Any, names: Names) -> str:
    """What the bucket holds, in words; "" for nothing. S3 deletes no bucket with objects in it."""
    prefix = f"{names.settings.prefix}/"
    sizes = [item["Size"] for item in objects(s3, names.bucket, prefix)]
    mine = f"{plural(len(sizes), 'object')} of this project ({size(sum(sizes))})"
    if any(not item["Key"].startswith(prefix) for item in objects(s3, names.bucket, "")):
        return f"holds {mine}, and others that are not"
    if not sizes:
        return ""
    return f"holds {mine}; `byoc delete --all` deletes them"
