"""What the settings leave open and the account knows: role, bucket, images, and which channels hold data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts import state
from scripts.errors import NOT_FOUND, ByocError
from scripts.requests import CHANNELS, Place, data_uri, root_uri
from scripts.settings import Scalar, Settings, text_of
from scripts.upload import UNFINISHED, md5_of

if TYPE_CHECKING:
    from scripts.aws import Clients

TRUST_POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
ROLE_POLICY = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"


def role_arn(settings: Settings, clients: Clients) -> str:
    """The role's ARN; a name is looked up."""
    role = settings.aws.role
    if role.startswith("arn:"):
        return role
    try:
        return clients.iam.get_role(RoleName=role)["Role"]["Arn"]
    except clients.iam.exceptions.NoSuchEntityException:
        raise ByocError(
            f"There is no IAM role {role} in account {clients.account}.",
            "Create it with `byoc doctor --create-role`, or name another one as aws.role in byoc.toml.",
            code=NOT_FOUND,
            kind="NoRole",
        ) from None


def bucket(settings: Settings, clients: Clients) -> str:
    """The bucket's name; SageMaker's usual one where none is set."""
    return settings.aws.bucket or f"sagemaker-{clients.region}-{clients.account}"


def image(settings: Settings, clients: Clients, which: str) -> str:
    """URI of the `train` or `serve` image: what `byoc push` stored, else :latest in this account's ECR.

    A full URI in the settings is taken as it is. What was pushed to another account's ECR does not count.
    """
    name: str = getattr(settings.images, which)
    if "/" in name:
        return name
    pushed = str(state.read(settings).get("images", {}).get(which, ""))
    ours = pushed.startswith(f"{clients.registry}/{name}@") or ".dkr.ecr." not in pushed
    if pushed and ours and ":" not in name:
        return pushed
    return f"{clients.registry}/{name if ':' in name else name + ':latest'}"


def place(settings: Settings, clients: Clients, *, data: bool = False) -> Place:
    """Everything that the request builders need to know.

    Args:
        data: look up which channels hold pictures; missing training data is then an error.
    """
    from train.interface import METRIC_DEFINITIONS

    found = Place(
        role_arn=role_arn(settings, clients),
        bucket=bucket(settings, clients),
        train_image=image(settings, clients, "train"),
        serve_image=image(settings, clients, "serve"),
        metrics=tuple(METRIC_DEFINITIONS),
    )
    return Place(**{**vars(found), "channels": channels(settings, clients, found)}) if data else found


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
        found = _first(clients, uri)
        if found and (not file or found == split_uri(uri)[1]):
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
    bucket_name, prefix = split_uri(uri)
    try:
        found = clients.s3.list_objects_v2(Bucket=bucket_name, Prefix=prefix, MaxKeys=1).get("Contents", ())
    except clients.s3.exceptions.NoSuchBucket:
        return ""
    return found[0]["Key"] if found else ""


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
    bucket_name, key = split_uri(uri)
    there = clients.s3.head_object(Bucket=bucket_name, Key=key)
    same = there["ContentLength"] == file.stat().st_size
    digest = there["ETag"].strip('"')
    # Of what came in several parts or is encrypted with KMS, the ETag is not the content's MD5.
    if same and "-" not in digest and not there.get("ServerSideEncryption", "").startswith("aws:kms"):
        same = digest == md5_of(file)
    if not same:
        raise ByocError(
            f"data.weights: at {uri} is another file than {file} is now.",
            "Send it with `byoc upload`.",
            kind="OtherWeights",
        )


def check_hyperparameters(given: Mapping[str, Scalar]) -> None:
    """Let the trainer's own definition judge, before anything costs money."""
    from train.interface import parse

    try:
        parse({key: text_of(value) for key, value in given.items()})
    except ValueError as error:
        raise ByocError(str(error), kind="BadHyperparameter") from None


def check_rules(settings: Settings) -> None:
    """Let the rules' own definitions judge their names and parameters, before anything costs money."""
    from train.rules.registry import RULES, make
    from train.rules.rule import ParameterError

    for section in (settings.debugger, settings.profiler):
        where = type(section).__name__.lower()
        if not section.enabled:
            continue
        for name in section.rules:
            if name not in RULES:
                raise ByocError(
                    f"{where}.rules: there is no rule {name}.",
                    f"{_meant(name, RULES)}Allowed: {', '.join(RULES)}.",
                    kind="UnknownRule",
                )
        for name, parameters in section.parameters.items():
            if name not in section.rules:
                raise ByocError(
                    f"{where}.parameters: {name} is not in {where}.rules.",
                    f"{_meant(name, section.rules)}In the list: {', '.join(section.rules)}.",
                    kind="UnknownRule",
                )
            try:
                make({"rule_to_invoke": name, **{key: text_of(value) for key, value in parameters.items()}})
            except ParameterError as error:
                known = RULES[name].parameters
                hints = (_meant(key, known) for key in parameters if key not in known)
                raise ByocError(
                    f"{where}.parameters.{name}: {error}.", next(hints, "").strip(), kind="BadRuleParameter"
                ) from None


def _meant(given: str, allowed: Iterable[str]) -> str:
    names = {name.lower(): name for name in allowed}
    found = get_close_matches(given.lower(), names, 1)
    return f"Did you mean {names[found[0]]}? " if found else ""


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


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/some/key` → (bucket, some/key)."""
    if not uri.startswith("s3://") or len(uri) <= len("s3://"):
        raise ByocError(f"{uri} is not an S3 address.", "It begins with s3:// and a bucket.")
    bucket_name, _, key = uri.removeprefix("s3://").partition("/")
    return bucket_name, key
