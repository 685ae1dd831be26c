"""The bucket: no public access, TLS only, encrypted, and no storage paid for that nobody sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from contract.errors import REFUSED, ByocError
from scripts.aws import ask
from scripts.errors import translate
from scripts.policies.names import Names
from scripts.requests import tags
from scripts.setup import plan
from scripts.setup.plan import Call, Step

if TYPE_CHECKING:
    from scripts.aws import Clients

PUBLIC_ACCESS: Final = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
TLS: Final = "ByocTlsOnly"
TAGGING: Final = "put_bucket_tagging"
LIFECYCLE: Final = "put_bucket_lifecycle_configuration"
# Nothing that is seen in the bucket is ever deleted by a rule.
UNFINISHED_DAYS: Final = 7
OLD_VERSION_DAYS: Final = 30
_RULES: Final = (
    {
        "ID": "byoc-unfinished-uploads",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
    },
    {"ID": "byoc-old-versions", "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSION_DAYS}},
)


@dataclass(frozen=True)
class State:
    """What a bucket is like: members of S3's answers, None where nothing is configured."""

    tags: Sequence[Mapping[str, Any]] = ()
    public_access: Mapping[str, Any] | None = None
    encryption: Mapping[str, Any] | None = None
    policy: Mapping[str, Any] | None = None
    lifecycle: Sequence[Mapping[str, Any]] = ()


def creation(names: Names) -> Call:
    """CreateBucket; us-east-1 takes no location."""
    where = {"CreateBucketConfiguration": {"LocationConstraint": names.region}}
    request = {"Bucket": names.bucket, **({} if names.region == "us-east-1" else where)}
    return Call(f"is created in {names.region}", "s3", "create_bucket", request)


def changes(names: Names, state: State, *, secure: bool = True) -> list[Call]:
    """The requests that give the bucket what it lacks. Statements, rules and tags of others stay.

    Args:
        secure: S3 is reached by TLS. Else to demand it would lock the project out of its own bucket.
    """
    bucket, calls = names.bucket, []

    def call(says: str, operation: str, **request: Any) -> None:
        calls.append(Call(says, "s3", operation, {"Bucket": bucket, **request}, optional=True))

    wanted_tags = tags(names.settings)
    if not plan.within(wanted_tags, list(state.tags)):
        kept = [tag for tag in state.tags if tag["Key"] not in {each["Key"] for each in wanted_tags}]
        call("is tagged as this project's", TAGGING, Tagging={"TagSet": [*kept, *wanted_tags]})
    if not plan.within(PUBLIC_ACCESS, state.public_access):
        call(
            "blocks public access",
            "put_public_access_block",
            PublicAccessBlockConfiguration=dict(PUBLIC_ACCESS),
        )
    if not plan.within(encryption(names), state.encryption):
        with_key = f"with {names.settings.aws.kms_key}" if names.settings.aws.kms_key else "with S3's own key"
        call(
            f"encrypts what has no other key {with_key}",
            "put_bucket_encryption",
            ServerSideEncryptionConfiguration=encryption(names),
        )
    statements = (state.policy or {}).get("Statement", [])
    if isinstance(statements, Mapping):  # IAM's grammar takes a single one without a list
        statements = [statements]
    if secure and not plan.within([tls(names)], statements):
        others = [each for each in statements if each.get("Sid") != TLS]
        policy = {"Version": "2012-10-17", **(state.policy or {}), "Statement": [*others, tls(names)]}
        call("refuses requests without TLS", "put_bucket_policy", Policy=json.dumps(policy))
    rules = lifecycle()
    if not plan.within(rules, list(state.lifecycle)):
        ours = {rule["ID"] for rule in rules}
        others = [rule for rule in state.lifecycle if rule.get("ID") not in ours]
        call(
            f"deletes unfinished uploads after {UNFINISHED_DAYS} days, old versions after {OLD_VERSION_DAYS}",
            LIFECYCLE,
            LifecycleConfiguration={"Rules": [*others, *rules]},
        )
    return calls


def encryption(names: Names) -> dict[str, Any]:
    """ServerSideEncryptionConfiguration. A bucket key saves most of the requests to KMS, which cost."""
    key = names.settings.aws.kms_key
    if not key:
        return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}]}


def tls(names: Names) -> dict[str, Any]:
    """The statement of the bucket's policy."""
    return {
        "Sid": TLS,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [names.bucket_arn, f"{names.bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def lifecycle() -> list[dict[str, Any]]:
    """Rules for the whole bucket."""
    return [{**rule, "Status": "Enabled", "Filter": {"Prefix": ""}} for rule in _RULES]


def look(s3: Any, bucket: str, region: str) -> State | None:
    """What the bucket is like; None where there is none.

    Raises:
        ByocError: it belongs to somebody else, or lies in another region than the jobs.
    """
    if not _head(s3, bucket, region):
        return None

    def read(operation: str, missing: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = ask(lambda: getattr(s3, operation)(Bucket=bucket), missing) or {}
        return answer

    tagging = read("get_bucket_tagging", "NoSuchTagSet")
    access = read("get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
    encrypted = read("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError")
    policy = read("get_bucket_policy", "NoSuchBucketPolicy")
    rules = read("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
    return State(
        tags=tagging.get("TagSet", ()),
        public_access=access.get("PublicAccessBlockConfiguration"),
        encryption=encrypted.get("ServerSideEncryptionConfiguration"),
        policy=json.loads(policy["Policy"]) if policy else None,
        lifecycle=rules.get("Rules", ()),
    )


def planned(names: Names, clients: Clients) -> Step:
    """What `byoc setup` does to the bucket."""
    what = f"bucket {names.bucket}"
    if names.settings.aws.bucket_owner not in ("", names.account):
        return Step(what, "foreign", notes=(f"it belongs to account {names.settings.aws.bucket_owner}",))
    state, secure = look(clients.s3, names.bucket, names.region), by_tls(clients)
    if state is None:
        return Step(what, "missing", (creation(names), *changes(names, State(), secure=secure)))
    owner = plan.project_of(state.tags)
    if owner == names.settings.project.name:
        return plan.step(what, changes(names, state, secure=secure))
    lacks = [call.says for call in changes(names, state, secure=secure) if call.operation != TAGGING]
    notes = [plan.other_project(owner) if owner else plan.not_ours("bucket")]
    notes += [f"lacks what a bucket of `byoc setup` has: {'; '.join(lacks)}"] if lacks else []
    return Step(what, "foreign", notes=tuple(notes))


def by_tls(clients: Clients) -> bool:
    """AWS is; a service on this machine is not."""
    return not (clients.endpoint_url or "").startswith("http://")


def ensure(s3: Any, names: Names, warn: Callable[[str], None]) -> bool:
    """Make the bucket where it is missing, with its tags; whether it was missing.

    What AWS gives every new bucket (no public access, encryption) is enough to begin with; `byoc setup` adds
    the rest.

    Raises:
        ByocError: it belongs to somebody else, or lies in another region than the jobs.
    """
    from botocore.exceptions import ClientError

    if _head(s3, names.bucket, names.region):
        return False
    s3.create_bucket(**creation(names).request)
    [tagging] = [call for call in changes(names, State()) if call.operation == TAGGING]
    try:
        s3.put_bucket_tagging(**tagging.request)
    except ClientError as refused:
        warn(f"The bucket {names.bucket} has no tags: {translate(refused)}")
    return True


def _head(s3: Any, bucket: str, region: str) -> bool:
    """Whether the bucket is there. ByocError as in `look`."""
    from botocore.exceptions import ClientError

    try:
        check_region(s3.head_bucket(Bucket=bucket), bucket, region)
        return True
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 403:
            raise ByocError(
                f"The bucket {bucket} exists, but is another account's or may not be used with these "
                "credentials.",
                "Set another one as aws.bucket in byoc.toml; of another account's, aws.bucket_owner too.",
                code=REFUSED,
                kind="BucketForbidden",
            ) from None
        if status != 404:
            raise
        return False


def check_region(head: Mapping[str, Any], bucket: str, region: str) -> None:
    """ByocError where HeadBucket's answer names another region: jobs read and write in their own only."""
    there = head.get("BucketRegion") or head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    if there and there != region:
        raise ByocError(
            f"The bucket {bucket} is in {there}, and the jobs are in {region}.",
            f"Set aws.region to {there}, or another aws.bucket: SageMaker takes both in one region only.",
            kind="OtherRegion",
        )
