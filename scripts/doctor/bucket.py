"""The bucket: in the jobs' region, of the expected account, usable, and as `byoc setup` makes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scripts.doctor.finding import Finding, not_allowed
from scripts.policies.names import Names
from scripts.setup import bucket as wanted
from scripts.setup import plan
from scripts.tags import is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients


def bucket(names: Names, clients: Clients) -> Iterator[Finding]:
    from botocore.exceptions import ClientError

    name = names.bucket
    try:
        wanted.check_region(clients.s3.head_bucket(Bucket=name), name, clients.region)
    except ClientError as error:
        yield _absent(name, error)
        return
    owner = names.settings.aws.bucket_owner or names.account
    yield Finding("bucket", "ok", f"{name}, of account {owner}, in {clients.region}")
    if owner != names.account:
        return
    try:
        described = wanted.look(clients.s3, name, clients.region)
    except ClientError as error:
        if not is_forbidden(error):
            raise
        yield not_allowed("bucket settings", error, name)
        return
    if described is None:  # deleted meanwhile
        return
    calls = wanted.changes(names, described, secure=wanted.by_tls(clients))
    lacks = [call.says for call in calls if call.operation not in (wanted.TAGGING, wanted.LIFECYCLE)]
    if lacks:
        yield Finding(
            "bucket settings",
            "warning",
            f"{name} lacks what `byoc setup` gives a bucket: {'; '.join(lacks)}",
            "`byoc setup` changes a bucket that it made; have others' changed by whoever they belong to.",
        )
    else:
        rules = any(call.operation == wanted.LIFECYCLE for call in calls)
        what = "no public access, encrypted" + (", TLS only" if wanted.by_tls(clients) else "")
        ours = plan.project_of(described.tags) == names.settings.project.name
        adds = "`byoc setup` adds rules" if ours else "its owner may add rules"
        without = f"; {adds} that delete unfinished uploads" if rules else ", lifecycle rules"
        yield Finding("bucket settings", "ok", what + without)


def _absent(name: str, error: Exception) -> Finding:
    response = getattr(error, "response", {})
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 404:
        return Finding("bucket", "warning", f"{name} does not exist yet", "`byoc setup` creates it.")
    if status == 403:
        return Finding(
            "bucket",
            "error",
            f"{name} may not be used with these credentials, or is of another account than expected",
            "Ask for s3:ListBucket, s3:GetObject and s3:PutObject, or set another aws.bucket; of another "
            "account's, aws.bucket_owner too.",
        )
    raise error
