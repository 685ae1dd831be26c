"""What the settings leave open and the account knows: role, bucket, images, and which channels hold data."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract import s3
from contract.debugger import HOPELESS, VARIABLE, ConfigurationError
from contract.errors import NOT_FOUND, ByocError
from scripts import awsdebugger, state
from scripts.aws import dns_suffix
from scripts.policies.names import bucket_name
from scripts.ranges import Scalar, text_of
from scripts.registry import ecr_name
from scripts.requests import CHANNELS, Place, data_uri, debugger_configuration, hopeless_rules, root_uri
from scripts.settings import Settings
from scripts.tags import if_allowed, is_forbidden
from scripts.upload import MD5, UNFINISHED, md5_of

if TYPE_CHECKING:
    from scripts.aws import Clients

_NEW_ROLE = 300  # seconds in which not all of AWS may know a role yet


@dataclass(frozen=True)
class Role:
    """The role that jobs run under; see `Place.role_guessed` and `Place.role_new`."""

    arn: str
    guessed: bool = False
    new: bool = False
    trust: Any = field(default=None, compare=False)
    """Who may take it; None where that is unknown."""


def role(settings: Settings, clients: Clients) -> Role:
    """A name is looked up where AWS allows it, and else taken for a role without a path."""
    role = settings.aws.role
    if role.startswith("arn:"):
        return Role(role)
    looked_up = if_allowed(lambda: _look_up(clients, role.rpartition("/")[2]))
    if looked_up is None:
        return Role(f"arn:{clients.partition}:iam::{clients.account}:role/{role}", guessed=True)
    described, now = looked_up
    if described is None:
        raise ByocError(
            f"There is no IAM role {role} in account {clients.account}.",
            "Create it with `byoc setup`, or name another one as aws.role in byoc.toml.",
            code=NOT_FOUND,
            kind="NoRole",
        )
    new = (now - described["CreateDate"]).total_seconds() < _NEW_ROLE
    return Role(described["Arn"], new=new, trust=described.get("AssumeRolePolicyDocument"))


def _look_up(clients: Clients, name: str) -> tuple[Any, datetime]:
    """The role, None where there is none, and the time by AWS's clock."""
    from botocore.exceptions import ClientError

    roles: Any = None
    try:
        answer: Any = clients.iam.get_role(RoleName=name)
        roles = answer["Role"]
    except clients.iam.exceptions.NoSuchEntityException as error:
        answer = error.response
    except ClientError as error:
        if not is_forbidden(error):
            raise
        # AmazonSageMakerFullAccess has iam:ListRoles, and no iam:GetRole.
        for answer in clients.iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1000}):
            roles = next((each for each in answer["Roles"] if each["RoleName"] == name), roles)
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    return roles, parsedate_to_datetime(date) if date else datetime.now(UTC)


def bucket(settings: Settings, clients: Clients) -> str:
    """The bucket's name; SageMaker's usual one where none is set."""
    return settings.aws.bucket or bucket_name(settings, clients.region, clients.account)


def image(settings: Settings, clients: Clients, which: str) -> str:
    """URI of an image, by its name in [images]: what `byoc push` stored, else :latest in this account's ECR.

    A full URI in the settings is taken as it is. What was pushed to another registry does not count.
    """
    setting: str = getattr(settings.images, which)
    if "/" in setting:
        return setting
    name, mark, version = re.fullmatch(r"([^:@]*)([:@]?)(.*)", setting, re.DOTALL).groups()  # type: ignore[union-attr]
    pushed = str(state.read(settings).get("images", {}).get(which, ""))
    ours = tuple(f"{clients.registry}/{each}@" for each in (ecr_name(name), name))
    if pushed.startswith(ours) and not mark:
        return pushed
    mark, version = (mark, version) if mark else (":", "latest")
    repository = _repository(clients, name, {"imageDigest" if mark == "@" else "imageTag": version})
    return f"{clients.registry}/{repository}{mark}{version}"


def _repository(clients: Clients, name: str, image: Any) -> str:
    """The repository that holds an image; versions before this one pushed to one called like the image."""
    from botocore.exceptions import ClientError

    new = ecr_name(name)
    for repository in (new, name) if new != name else ():
        try:
            clients.ecr.describe_images(repositoryName=repository, imageIds=[image])
            return repository
        except ClientError as error:
            if error.response["Error"]["Code"] not in {
                "RepositoryNotFoundException",
                "ImageNotFoundException",
            }:
                break
    return new


def place(settings: Settings, clients: Clients, *, data: bool = False, disks: bool = False) -> Place:
    """Everything that the request builders need to know.

    Args:
        data: look up which channels hold pictures; missing training data is then an error.
        disks: look up the key of a training job's disks; `data` includes it.
    """
    from contract.metrics import METRIC_DEFINITIONS

    taken = role(settings, clients)
    resolved = Place(
        role_arn=taken.arn,
        role_guessed=taken.guessed,
        role_new=taken.new,
        bucket=bucket(settings, clients),
        train_image=image(settings, clients, "train"),
        serve_image=image(settings, clients, "serve"),
        rules_image=(
            awsdebugger.rules_image(clients.region, dns_suffix(clients.partition))
            if settings.debugger.service == "sagemaker"
            else ""
        ),
        metrics=tuple(METRIC_DEFINITIONS),
        key_arn=_key_arn(settings, clients) if data or disks else "",
    )
    return (
        Place(**{**vars(resolved), "channels": channels(settings, clients, resolved)}) if data else resolved
    )


def _key_arn(settings: Settings, clients: Clients) -> str:
    """The key behind an alias, as ARN; "" where none is set, or AWS does not allow to ask."""
    if "alias/" not in settings.aws.kms_key:
        return ""
    key: Any = if_allowed(lambda: clients.service("kms").describe_key(KeyId=settings.aws.kms_key))
    return str(key["KeyMetadata"]["Arn"]) if key else ""


def channels(settings: Settings, clients: Clients, place: Place) -> tuple[str, ...]:
    """The channels that hold data. SageMaker would find an empty one only after starting a machine.

    Raises:
        ByocError: a channel is empty, an upload was not finished, or other weights are there than the file's.
    """
    root = root_uri(settings, place)
    if _first(clients, f"{root}/data/{UNFINISHED}"):
        raise ByocError(
            f"An upload to {root}/data/ was not finished: pictures of two splits may be mixed.",
            "Run `byoc upload` again; if one is under way, wait for its end.",
            kind="UploadUnfinished",
        )
    present = []
    for channel in CHANNELS:
        if channel == "weights" and not settings.data.weights:
            continue
        uri = data_uri(settings, place, channel)
        file = weights_file(settings) if channel == "weights" else None
        if file:  # other weights may lie beside it, of an earlier upload
            uri += file.name
        first = _first(clients, uri)
        if first and (not file or first == s3.split(uri)[1]):
            if file:
                _check_weights(clients, uri, file)
            present.append(channel)
        elif channel != "test":
            remedy = "Put the pictures there with `byoc upload FOLDER`."
            if channel == "weights":
                remedy = "Put a state dict there, or empty data.weights in byoc.toml."
                if file:
                    remedy = f"Send {file} there with `byoc upload FOLDER`."
            raise ByocError(f"There is nothing at {uri}.", remedy, code=NOT_FOUND, kind="NoData")
    return tuple(present)


def _first(clients: Clients, uri: str) -> str:
    """The first key, in their order, that begins with the address's; an exact one comes first. "" if none."""
    bucket_name, prefix = s3.split(uri)
    try:
        objects = clients.s3.list_objects_v2(Bucket=bucket_name, Prefix=prefix, MaxKeys=1).get("Contents", ())
    except clients.s3.exceptions.NoSuchBucket:
        return ""
    return objects[0]["Key"] if objects else ""


def missing_weights(settings: Settings, clients: Clients) -> str:
    """The address in S3 that data.weights names, where nothing lies there; "" otherwise."""
    if settings.weights_file or not settings.data.weights:
        return ""
    uri = settings.data.weights.rstrip("/") + "/"
    return "" if _first(clients, uri) else uri


def weights_file(settings: Settings) -> Path | None:
    """The file that data.weights names; None where it names none, or an address in S3.

    Raises:
        ByocError: there is no such file.
    """
    file = settings.weights_file
    if file and not file.is_file():
        wrong = f"{file} is a folder" if file.is_dir() else f"there is no file {file}"
        raise ByocError(
            f"data.weights: {wrong}.", "Name a state dict, or the S3 address of a folder with one."
        )
    return file


def _check_weights(clients: Clients, uri: str, file: Path) -> None:
    """Another file of the same name may have been sent before."""
    bucket_name, key = s3.split(uri)
    there = clients.s3.head_object(Bucket=bucket_name, Key=key)
    same = there["ContentLength"] == file.stat().st_size
    digest = there["ETag"].strip('"')
    # Of what came in several parts or is encrypted with KMS, the ETag is not the content's MD5.
    if "-" in digest or there.get("ServerSideEncryption", "").startswith("aws:kms"):
        digest = there["Metadata"].get(MD5, "")
    if same and digest:
        same = digest == md5_of(file)
    if not same:
        raise ByocError(
            f"data.weights: at {uri} is another file than {file} is now.",
            "Send it with `byoc upload`.",
            kind="OtherWeights",
        )


def check_hyperparameters(hyperparameters: Mapping[str, Scalar]) -> None:
    """Let the trainer's own definition judge, before anything costs money."""
    from contract.hyperparameters import parse

    try:
        parse({key: text_of(value) for key, value in hyperparameters.items()})
    except ValueError as error:
        raise ByocError(str(error), kind="BadHyperparameter") from None


def hyperparameter(settings: Settings, name: str) -> Scalar:
    """What a hyperparameter is set to, or its default."""
    from contract.hyperparameters import HYPERPARAMETERS

    default = next(item.default for item in HYPERPARAMETERS if item.name == name)
    return settings.hyperparameters.get(name, default)


def check_isolation(settings: Settings, tuned: Mapping[str, Scalar]) -> None:
    """Without a network, weights that are in no channel cannot be fetched: known before a machine is paid.

    Args:
        tuned: hyperparameters on top of the settings' own.
    """
    weights = {"weights": hyperparameter(settings, "weights"), **tuned}["weights"]
    if settings.aws.network_isolation and not settings.data.weights and weights != "none":
        raise ByocError(
            f"aws.network_isolation is set, and weights={weights} would have to be downloaded.",
            "Name a state dict as data.weights and send it with `byoc upload`, or set weights=none.",
            kind="NoNetwork",
        )


def check_debugger(settings: Settings, *, trial: bool = False) -> None:
    """Let the debugger's own definitions judge its settings, before anything costs money.

    Args:
        trial: as in `requests.debugger_configuration`.
    """
    configuration = debugger_configuration(settings, trial=trial)
    if problems := configuration.problems():
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ByocError(
            f"Debugger settings: {problems[0]}{more}.",
            "docs/debugger.md lists the rules and their parameters.",
            kind="BadDebugger",
        )
    if trial and settings.tune.stop_hopeless and not hopeless_rules(settings):
        raise ByocError(
            f"tune.stop_hopeless needs one of the rules {', '.join(HOPELESS)}, and none of them runs.",
            "Add one to debugger.rules with debugger.enabled = true, or delete tune.stop_hopeless.",
            kind="BadDebugger",
        )
    try:
        configuration.to_environment()
    except ConfigurationError as error:
        raise ByocError(f"{error}.", kind="BadDebugger") from None
    if unused := _unused(settings):
        raise ByocError(*unused, kind="BadDebugger")


def _unused(settings: Settings) -> tuple[str, str] | None:
    """What is set and would be ignored, or would make the job ignore the rest; and the remedy."""
    debugger = settings.debugger
    own = [name for name in settings.train.environment if re.fullmatch(rf"{VARIABLE}(_\d+)?", name)]
    if own:
        return (
            f"train.environment.{own[0]} would replace what [debugger] and [profiler] say.",
            "Set it there: byoc checks it and puts it into this variable.",
        )
    if debugger.stop and not debugger.enabled:
        return (
            f"debugger.stop names {debugger.stop[0]}, but debugger.enabled = false lets no rule stop a job.",
            "Delete one of the two.",
        )
    if debugger.hook and not debugger.keep_tensors and debugger.service == "container":
        return (
            "debugger.hook says how tensors are written, but none are.",
            "Set debugger.keep_tensors = true, or delete debugger.hook.",
        )
    return None


def check_tuning(settings: Settings) -> None:
    """Both ends of each range, or each listed value, must be hyperparameters that the trainer takes."""
    tune = settings.tune
    fixed = {**settings.hyperparameters, **tune.hyperparameters}
    check_hyperparameters(fixed)
    for name, item in tune.ranges.items():
        values = item.values if item.categorical else (item.minimum, item.maximum)
        for value in values:
            try:
                check_hyperparameters({**fixed, name: value})
            except ByocError as error:
                raise ByocError(
                    f"[tune.ranges] {name}: {error.message}", error.remedy, kind=error.kind
                ) from None


def unique_name(project: str, kind: str, longest: int = 63) -> str:
    """A name that says what it is and when it began: `digits-train-0412-093007-51`."""
    now = time.time()
    stamp = time.strftime("%m%d-%H%M%S", time.localtime(now)) + f"-{int(now * 100) % 100:02}"
    return f"{project}-{kind}"[: longest - len(stamp) - 1].rstrip("-") + f"-{stamp}"
