"""Everything that can be set, in one place: byoc.toml, read strictly.

A value comes from a flag (`--set section.key=value`), else from the environment (endpoint and region only),
else from byoc.toml, else from the default below. An unknown key is an error that lists the allowed ones.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from contract.debugger import DEBUGGER_RULES, INTERVALS_MS, PROFILER_RULES
from contract.errors import ByocError
from contract.values import nearest
from scripts.ranges import Range, Scalar, parse_range

FILE = "byoc.toml"
_MACHINE = "the name of an instance type, as in ml.m5.xlarge"


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[Scalar] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str = "",
    form: str = "",
) -> Any:
    """A setting: its default, what it means, and what is allowed; `form` is `pattern` in words."""
    metadata = {
        "help": help, "choices": tuple(choices), "minimum": minimum, "maximum": maximum,
        "pattern": pattern, "form": form,
    }  # fmt: skip
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Project:
    """Names"""

    name: str = option(
        "pictures",
        "Begins the names of jobs and endpoints, and the S3 prefix.",
        pattern=r"[a-zA-Z0-9](-?[a-zA-Z0-9]){0,15}",
        form="at most 16 letters and digits, with single hyphens between them, as in flower-types",
    )


@dataclass(frozen=True)
class Aws:
    """Where everything runs"""

    endpoint_url: str = option(
        "",
        "The local SageMaker's address. Without this line, and without AWS_ENDPOINT_URL, it is AWS.",
        pattern=r"(https?://.+)?",
        form="an address that begins with http:// or https://",
    )
    region: str = option("", "Empty: AWS_REGION, else the profile's, else us-east-1.")
    profile: str = option("", "A profile of ~/.aws/config. Empty: AWS_PROFILE, else the default one.")
    bucket: str = option("", "Empty: sagemaker-<region>-<account>, created when it is missing.")
    bucket_owner: str = option(
        "",
        "Account that the bucket belongs to. Empty: this one.",
        pattern=r"(\d{12})?",
        form="the 12 digits of an account",
    )
    prefix: str = option("", "Folder in the bucket. Empty: byoc/<project name>.")
    role: str = option("byoc-sagemaker", "Name or ARN of the IAM role that SageMaker's jobs run under.")
    permissions_boundary: str = option(
        "",
        "ARN of the policy that bounds the role which `byoc setup` makes.",
        pattern=r"(arn:.+)?",
        form="an ARN, as in arn:aws:iam::123456789012:policy/NAME",
    )
    tags: Mapping[str, str] = option(dict, "Put on everything that is created.")
    subnets: tuple[str, ...] = option((), "Run inside these VPC subnets; needs security_groups too.")
    security_groups: tuple[str, ...] = option((), "Security groups for the subnets.")
    kms_key: str = option(
        "",
        "Key (id, alias/… or ARN) for pictures, what jobs write, disks and images. Empty: AWS's own.",
        pattern=r"[a-zA-Z0-9:/_-]*",
        form="made of letters, digits and : / _ -",
    )
    network_isolation: bool = option(
        False, "Containers reach nothing but their channels: pretrained weights must be one (data.weights)."
    )
    encrypt_between_containers: bool = option(
        False, "Encrypt what the machines of one training say to each other; slower."
    )


@dataclass(frozen=True)
class Data:
    """The pictures: a folder of class folders, or train/ validation/ test/ with class folders in each"""

    folder: str = option("data", "What `byoc upload` sends unless another folder is named.")
    validation: float = option(0.15, "Share of each class kept for validation.", minimum=0, maximum=0.9)
    test: float = option(0.15, "Share of each class kept for the final test.", minimum=0, maximum=0.9)
    seed: int = option(0, "The same seed gives the same split.", minimum=0)
    weights: str = option(
        "",
        "State dict to start from (channel `weights`): a file, which `byoc upload` sends along, or the S3 "
        "address of a folder with one.",
    )


@dataclass(frozen=True)
class Images:
    """The containers: a name in this account's ECR, or a full URI. `byoc push` stores what it pushed"""

    train: str = option("byoc-train", "The training image; in ECR it is sagemaker-byoc-train.")
    serve: str = option("byoc-serve", "The serving image for GPUs; in ECR it is sagemaker-byoc-serve.")
    serve_cpu: str = option("byoc-serve-cpu", "The serving image for machines without GPUs, a small one.")


@dataclass(frozen=True)
class Train:
    """Training jobs"""

    instance_type: str = option("ml.m5.xlarge", "ml.g5.xlarge has a GPU.", pattern=r"ml\..+", form=_MACHINE)
    instance_count: int = option(1, "More than one trains on several machines.", minimum=1)
    volume_gb: int = option(30, "Disk of the machine.", minimum=1)
    max_minutes: int = option(60, "SageMaker stops the job after that.", minimum=1, maximum=40320)
    spot: bool = option(False, "Spare capacity: cheaper, may be interrupted; checkpoints go to S3.")
    max_wait_minutes: int = option(
        0, "With spot: longest time with waiting. 0: twice max_minutes.", minimum=0
    )
    keep_alive_minutes: int = option(
        0,
        "Keep the machine for the next training: it starts sooner; the time between is billed. Trials "
        "reuse their machines anyway.",
        minimum=0,
        maximum=360,
    )
    retries: int = option(
        0, "Start the job again, at most so often, after a failure of AWS's.", minimum=0, maximum=30
    )
    input_mode: str = option(
        "File", "File copies the data first, FastFile streams it.", choices=("File", "FastFile")
    )
    checkpoints: bool = option(
        False, "Keep checkpoints in S3 (`byoc train --resume JOB`); with spot they always are."
    )
    environment: Mapping[str, str] = option(dict, "Environment variables of the container.")


@dataclass(frozen=True)
class Debugger:
    """The rules that watch training inside its container, in training jobs and in trials"""

    enabled: bool = option(True, "Off: no tensor is looked at, no debugger rule runs.")
    rules: tuple[str, ...] = option(DEBUGGER_RULES, "Rules by AWS's names.")
    parameters: Mapping[str, Mapping[str, Scalar]] = option(
        dict, "Parameters of a rule, by its name, where the defaults do not fit."
    )
    stop: tuple[str, ...] = option(
        (), "Rules that end the training when they fire; the best weights until then are kept."
    )
    collections: Mapping[str, Mapping[str, Scalar] | bool] = option(
        dict,
        "Changes to what is looked at, with SageMaker's CollectionParameters: gradients.save_interval = 20; "
        "gradients = false leaves them out.",
    )
    keep_tensors: bool = option(
        False,
        "Write the tensors too, for smdebug's create_trial. They are large: 89 MB for each step's "
        "weights and gradients of a ResNet-18.",
    )
    hook: Mapping[str, Scalar] = option(dict, "SageMaker's HookParameters, for keep_tensors.")
    service: str = option(
        "container",
        "sagemaker: the request has AWS's Debugger and Profiler too, which AWS closed to new customers.",
        choices=("container", "sagemaker"),
    )


@dataclass(frozen=True)
class Profiler:
    """Step times and utilisation of the machine"""

    enabled: bool = option(True, "Off: nothing is measured.")
    interval_ms: int = option(500, "How often the machine is measured.", choices=INTERVALS_MS)
    window_steps: int = option(
        0, "So many steps under torch.profiler: a trace for Perfetto, top operators.", minimum=0, maximum=50
    )
    window_start: int = option(10, "The first of them.", minimum=0)
    rules: tuple[str, ...] = option(PROFILER_RULES, "Rules by AWS's names.")
    parameters: Mapping[str, Mapping[str, Scalar]] = option(dict, "Parameters of a rule, by its name.")


def _default_ranges() -> dict[str, Range]:
    return {
        "lr": Range(1e-4, 1e-1, "Logarithmic"),
        "batch_size": Range(values=("16", "32", "64")),
    }


@dataclass(frozen=True)
class Tune:
    """Tuning jobs: several training jobs that look for the best hyperparameters"""

    jobs: int = option(8, "Training jobs in all.", minimum=1, maximum=750)
    parallel: int = option(2, "Training jobs at a time.", minimum=1, maximum=100)
    strategy: str = option(
        "Bayesian",
        "How the next values are chosen.",
        choices=("Bayesian", "Random", "Hyperband", "Grid"),
    )
    objective: str = option(
        "validation:accuracy",
        "The metric to improve; a loss is minimised, anything else maximised.",
        choices=("validation:accuracy", "validation:loss", "validation:macro_f1", "validation:top5"),
    )
    seed: int = option(0, "The same seed tries the same values.", minimum=0, maximum=2**31 - 1)
    min_epochs: int = option(1, "With Hyperband: epochs before which no trial is stopped.", minimum=1)
    early_stopping: bool = option(False, "Stop trials that are worse than the median of the others.")
    stop_hopeless: bool = option(
        False, "Let LossNotDecreasing and ExplodingTensor end trials that cannot come to anything."
    )
    hyperparameters: Mapping[str, Scalar] = option(
        dict, "What differs from [hyperparameters] in the trials, e.g. fewer epochs."
    )
    ranges: Mapping[str, Range] = option(_default_ranges, "What is looked for.")


@dataclass(frozen=True)
class Deploy:
    """The endpoint"""

    endpoint: str = option(
        "",
        "Its name. Empty: the project's name.",
        pattern=r"([a-zA-Z0-9](-*[a-zA-Z0-9]){0,62})?",
        form="at most 63 letters and digits, with hyphens between them",
    )
    instance_type: str = option("ml.m5.large", "ml.g5.xlarge has a GPU.", pattern=r"ml\..+", form=_MACHINE)
    instance_count: int = option(1, "Machines behind the endpoint.", minimum=1)
    ami_version: str = option(
        "", "Machine image for GPU instances. Empty: one whose driver runs this torch (docs/aws.md)."
    )
    startup_seconds: int = option(
        300, "How long the container may take to become healthy.", minimum=60, maximum=3600
    )
    environment: Mapping[str, str] = option(dict, "Environment variables of the container.")


@dataclass(frozen=True)
class Transform:
    """Batch transform: predictions for a whole folder in S3"""

    instance_type: str = option("ml.m5.large", "ml.g4dn.xlarge has a GPU.", pattern=r"ml\..+", form=_MACHINE)
    instance_count: int = option(1, "Machines that share the folder.", minimum=1)
    ami_version: str = option("", "Machine image for GPU instances. Empty: one whose driver runs this torch.")
    max_payload_mb: int = option(6, "Largest picture, in MB.", minimum=1, maximum=100)
    parallel: int = option(
        0, "Requests at a time for each machine. 0: as many as the container wants.", minimum=0, maximum=100
    )


@dataclass(frozen=True)
class Settings:
    """All settings. `hyperparameters` holds only what differs from the trainer's own defaults."""

    project: Project = field(default_factory=Project)
    aws: Aws = field(default_factory=Aws)
    data: Data = field(default_factory=Data)
    images: Images = field(default_factory=Images)
    hyperparameters: Mapping[str, Scalar] = field(default_factory=dict)
    train: Train = field(default_factory=Train)
    debugger: Debugger = field(default_factory=Debugger)
    profiler: Profiler = field(default_factory=Profiler)
    tune: Tune = field(default_factory=Tune)
    deploy: Deploy = field(default_factory=Deploy)
    transform: Transform = field(default_factory=Transform)
    # No settings themselves: where byoc.toml lies, as relative paths and .byoc/ start there; and what the
    # environment has otherwise than byoc.toml, in sentences.
    folder: Path = field(default_factory=Path, metadata={"setting": False})
    moved: tuple[str, ...] = field(default=(), metadata={"setting": False})

    @property
    def endpoint_name(self) -> str:
        return self.deploy.endpoint or self.project.name

    @property
    def weights_file(self) -> Path | None:
        """The state dict to start from, where data.weights names a file of this machine."""
        weights = self.data.weights
        return (
            None if not weights or weights.startswith("s3://") else self.folder / Path(weights).expanduser()
        )

    @property
    def prefix(self) -> str:
        return (self.aws.prefix or f"byoc/{self.project.name}").strip("/")


def load(
    path: Path | None = None,
    overrides: Iterable[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    required: bool = True,
) -> Settings:
    """Read byoc.toml and put the environment and `overrides` (KEY=VALUE) on top.

    A bare KEY in an override names a hyperparameter: `lr=0.001` is `hyperparameters.lr=0.001`.
    Without `required`, a missing file gives the defaults.
    """
    environment = os.environ if environment is None else environment
    file = path or Path(FILE)
    raw: dict[str, Any] = {}
    moved: dict[str, str] = {}
    if file.is_file():
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ByocError(f"{file} is not valid TOML: {error}.", "Mend that line.") from None
    elif required or path:
        raise ByocError(
            f"There is no {file} here.",
            "Write one with `byoc init`, or name one with --config.",
            kind="NoSettings",
        )
    for key, variables in (
        ("endpoint_url", ("AWS_ENDPOINT_URL",)),
        ("region", ("AWS_REGION", "AWS_DEFAULT_REGION")),
    ):
        if name := next((name for name in variables if environment.get(name)), ""):
            section = raw.setdefault("aws", {})
            if isinstance(section, dict):  # what else it is, _build will say
                # A file with a region and no endpoint means AWS.
                said = section.get(key) or ("AWS" if key == "endpoint_url" and section.get("region") else "")
                if said not in ("", environment[name]):
                    moved[key] = (
                        f"{name} moves this project: aws.{key} is {environment[name]}, and not "
                        f"{said} as {file} says. To stay there: `unset {name}`."
                    )
                section[key] = environment[name]
    settings: Settings = _build(Settings, raw, "", str(file))
    for override in overrides:
        _override(raw, override)
        moved.pop(override.partition("=")[0].strip().removeprefix("aws."), None)
        settings = _build(Settings, raw, "", f"--set {override}")
    _check_together(settings)
    object.__setattr__(settings, "folder", file.parent)
    object.__setattr__(settings, "moved", tuple(moved.values()))
    return settings


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ByocError(
            f"--set {override} has no value.",
            "Write KEY=VALUE, e.g. --set lr=0.001 or --set train.spot=true.",
        )
    *path, last = key.split(".") if "." in key else ["hyperparameters", key]
    table = raw
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ByocError(f"--set {override}: {name} holds no further settings.")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text
    if not isinstance(table[last], str | int | float | bool | list | dict):
        table[last] = text  # a date, say: nobody means one here


def _build(kind: Any, raw: Any, where: str, source: str) -> Any:
    """A dataclass from a TOML table, every key and type checked."""
    if not isinstance(raw, dict):
        raise ByocError(f"{source}: [{where}] must be a table, not {raw!r}.")
    hints = typing.get_type_hints(kind)
    allowed = {item.name: item for item in fields(kind) if item.metadata.get("setting", True)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{where}.{key}" if where else key
        if key not in allowed:
            raise _unknown(name, key, list(allowed), source)
        hint = hints[key]
        if is_dataclass(hint):
            values[key] = _build(hint, value, name, source)
        else:
            values[key] = _value(hint, value, name, source)
            _check(allowed[key].metadata, values[key], name, source)
    return kind(**values)


def _unknown(name: str, key: str, allowed: list[str], source: str) -> ByocError:
    near = nearest(key, allowed)
    hint = f"Did you mean {near}? " if near else ""
    return ByocError(
        f"{source}: there is no setting {name}.",
        f"{hint}Allowed here: {', '.join(allowed)}.",
        kind="UnknownSetting",
    )


def _value(hint: Any, value: Any, name: str, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Range:
        return parse_range(value, name)
    if origin is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            raise _wrong(name, value, "a list of texts", source)
        return tuple(_value(arguments[0], item, name, source) for item in items)
    if origin in {Mapping, dict} or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, dict):
            raise _wrong(name, value, "a table", source)
        return {key: _value(arguments[1], item, f"{name}.{key}", source) for key, item in value.items()}
    if origin in {types.UnionType, typing.Union}:
        if table := next((item for item in arguments if typing.get_origin(item) is Mapping), None):
            return value if isinstance(value, bool) else _value(table, value, name, source)
        if isinstance(value, str | int | float | bool):
            return value
        raise _wrong(name, value, "a text, a number or true / false", source)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    raise _wrong(name, value, words.get(hint, str(hint)), source)


def _wrong(name: str, value: Any, expected: str, source: str) -> ByocError:
    return ByocError(f"{source}: {name} is {value!r}, but must be {expected}.", kind="BadSetting")


def _check(rules: Mapping[str, Any], value: Any, name: str, source: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(name, value, "a finite number", source)
    if rules.get("choices") and value not in rules["choices"]:
        raise _wrong(name, value, "one of " + ", ".join(map(str, rules["choices"])), source)
    if rules.get("minimum") is not None and value < rules["minimum"]:
        raise _wrong(name, value, f"at least {rules['minimum']}", source)
    if rules.get("maximum") is not None and value > rules["maximum"]:
        raise _wrong(name, value, f"at most {rules['maximum']}", source)
    if rules.get("pattern") and not re.fullmatch(rules["pattern"], value):
        raise _wrong(name, value, rules["form"], source)


def _check_together(settings: Settings) -> None:
    if settings.data.validation + settings.data.test >= 1:
        raise ByocError(
            f"data.validation = {settings.data.validation:g} and data.test = {settings.data.test:g} leave "
            "nothing to train on.",
            "Lower them: their sum must be below 1.",
        )
    if settings.data.validation == 0:
        raise ByocError(
            "data.validation is 0, but training needs pictures to choose the best epoch by.",
            "Set it above 0, e.g. to 0.15.",
        )
    _check_tags(settings.aws.tags)
    if bool(settings.aws.subnets) != bool(settings.aws.security_groups):
        there, missing = (
            ("subnets", "security_groups") if settings.aws.subnets else ("security_groups", "subnets")
        )
        raise ByocError(
            f"aws.{there} is set, and aws.{missing} is empty: they go together.", "Set both or neither."
        )
    if settings.train.max_wait_minutes and settings.train.max_wait_minutes < settings.train.max_minutes:
        raise ByocError(
            f"train.max_wait_minutes is {settings.train.max_wait_minutes}, and train.max_minutes "
            f"{settings.train.max_minutes}: the first counts waiting and training together.",
            "Raise train.max_wait_minutes, or set it to 0: then it is twice train.max_minutes.",
        )
    if settings.train.spot and settings.train.keep_alive_minutes:
        raise ByocError(
            "train.spot and train.keep_alive_minutes exclude each other: AWS keeps no spot machine warm.",
            "Leave one of them out: `--no-spot`, or `--set train.keep_alive_minutes=0`.",
        )


_MOST_TAGS = 49  # AWS's 50 less byoc's own
_TAG = r"[\w\s.:/=+\-@]"


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise ByocError(
            f"aws.tags has {len(tags)} tags; {_MOST_TAGS} are possible.", "Remove some.", kind="BadSetting"
        )
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise ByocError(
                f"aws.tags: {key!r} begins with aws:, which AWS keeps for itself.",
                "Choose another key.",
                kind="BadSetting",
            )
        if key.lower() == "byoc:project":  # IAM's keys ignore case
            raise ByocError(
                f"aws.tags: {key!r} is the tag by which byoc recognises what belongs to a project.",
                "Leave it out; project.name sets it.",
                kind="BadSetting",
            )
        if not re.fullmatch(_TAG + "{1,128}", key) or not re.fullmatch(_TAG + "{0,256}", value):
            raise ByocError(
                f"aws.tags: {key!r} = {value!r} cannot be a tag.",
                "Letters, digits, spaces and _ . : / = + - @; 128 characters for the key, 256 for the value.",
                kind="BadSetting",
            )


def defaults_of(kind: Any) -> dict[str, tuple[Any, str]]:
    """Each setting of a section: default and help, for the template and the documentation."""
    defaults: dict[str, tuple[Any, str]] = {}
    for item in fields(kind):
        factory: Callable[[], Any] | Any = item.default_factory
        default = factory() if factory is not MISSING else item.default
        defaults[item.name] = (default, item.metadata.get("help", ""))
    return defaults
