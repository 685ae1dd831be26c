"""The hyperparameters of a training job: type, default, bounds, and what each does.

SageMaker hands them over as strings; `parse` turns them into `Settings` or says what is wrong, on the user's
machine before the job is paid for, and in the container.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from contract.values import boolean, nearest

# torchvision's classifiers, those first that most people want.
ARCHITECTURES: Final = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2", "alexnet",
    "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "densenet121", "densenet161",
    "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2",
    "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
    "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf",
    "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf", "regnet_y_128gf", "regnet_y_16gf",
    "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf", "regnet_y_400mf", "regnet_y_800mf",
    "regnet_y_8gf", "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "squeezenet1_0", "squeezenet1_1",
    "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t", "vgg11", "vgg11_bn", "vgg13",
    "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16",
    "vit_l_32", "wide_resnet101_2", "wide_resnet50_2",
)  # fmt: skip

# What SageMaker and its toolkit add to the hyperparameters for themselves.
_RESERVED: Final = re.compile(r"sagemaker_.*|_tuning_objective_metric|default_user_module_name", re.DOTALL)
_SPELLED_OTHERWISE: Final = {
    "learning_rate": "lr", "model": "arch", "architecture": "arch", "num_epochs": "epochs",
    "mini_batch_size": "batch_size", "input_size": "image_size", "pretrained": "weights", "num_workers":
    "workers",
}  # fmt: skip


class HyperparameterError(ValueError):
    """Hyperparameters that are not allowed; one sentence for each, with what is allowed."""


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """One setting.

    Attributes:
        name: as in Settings; a hyphen in what the user writes counts as an underscore.
        type: int, float, bool or str.
        default: used where it is not given.
        help: what it does and why the default is what it is.
        low, high: the closed range of numbers.
        choices: the allowed strings; empty for any.
        example: a sensible other value, as a user would write it.
        tunable: whether a tuning job may sensibly search over it.
    """

    name: str
    type: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    example: str = ""
    tunable: bool = False

    @property
    def allowed(self) -> str:
        """In words, e.g. "a number from 1e-06 to 10"."""
        if self.choices:
            shown = ", ".join(self.choices[:12])
            more = len(self.choices) - 12
            return f"one of {shown}" + (f" or {more} others (torchvision's names)" if more > 0 else "")
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return "text"
        kind = "a whole number" if self.type is int else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"

    def read(self, text: str) -> Any:
        """The typed value. Raises ValueError without a text of use."""
        if self.type is bool:
            if (flag := boolean(text)) is None:
                raise ValueError
            return flag
        if self.type is str:
            if not text or (self.choices and text not in self.choices):
                raise ValueError
            return text
        if not re.fullmatch(r"[+-]?\d+" if self.type is int else r"[+-]?[\d.]+([eE][+-]?\d+)?", text):
            raise ValueError
        value = self.type(text)
        if self.low is None or self.high is None or not self.low <= value <= self.high:
            raise ValueError
        return value


def _setting(default: Any, help: str, **details: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, **details})


def _choice(default: str, choices: tuple[str, ...], help: str, **details: Any) -> Any:
    return _setting(default, help, choices=choices, **details)


def _number(default: float, low: float, high: float, help: str, **details: Any) -> Any:
    return _setting(default, help, low=low, high=high, **details)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a training job. Every default is meant to work for fine-tuning on photos."""

    # The network
    arch: str = _choice(
        "resnet18", ARCHITECTURES,
        "Network. The smallest is the default: with few pictures a larger one gains little.",
        example="resnet50",
    )  # fmt: skip
    weights: str = _setting(
        "auto",
        "What the network starts from: auto (the channel 'weights' if the job has one, else imagenet), "
        "imagenet (torchvision's, downloaded), channel, none (random), or a path in the container.",
        example="none",
    )
    image_size: int = _number(
        224, 16, 1024,
        "Side of the square that the network sees, in pixels. 224 is what ImageNet weights saw.",
        example="32",
    )  # fmt: skip
    freeze: str = _choice(
        "auto", ("auto", "none", "backbone"),
        "auto, with pretrained weights: in the first epoch only the new head learns, on features that the "
        "backbone computes once; then all learns, while norms keep their statistics; below 20 pictures a "
        "class to learn from it ends after the head. none: all learns from the start. backbone: only the "
        "head ever does; with augment=none on stored features, then take epochs=30.",
        example="none",
    )  # fmt: skip
    unfreeze_epochs: int = _number(
        0, 0, 10_000,
        "Epochs between the unfreezing of one quarter of the backbone and the next, the one next to the head "
        "first; 0 for all at once.",
        example="1",
    )  # fmt: skip

    # Learning
    epochs: int = _number(10, 1, 10_000, "Passes over the training pictures.", example="5")
    batch_size: int = _number(
        32,
        2,
        65_536,
        "Pictures in each optimizer step, over all GPUs and hosts together.",
        example="64",
        tunable=True,
    )
    lr: float = _number(
        0.01, 1e-7, 10.0,
        "Highest learning rate of sgd, for the backbone; reached after the warm-up. It belongs to the batch "
        "size: double both. Where optimizer=auto becomes adamw, a fiftieth of it is taken.",
        example="0.003", tunable=True,
    )  # fmt: skip
    head_lr_multiplier: float = _number(
        10.0, 0.01, 1000.0,
        "How many times faster the new head learns than a pretrained backbone, which needs smaller steps; "
        "with sgd never faster than its features allow, which is measured at the start. Not used with "
        "weights=none, where everything is new.",
        tunable=True,
    )  # fmt: skip
    optimizer: str = _choice(
        "auto", ("auto", "sgd", "adamw"),
        "auto: adamw with a fiftieth of lr where freeze=auto fine-tunes pretrained weights, else sgd. sgd "
        "has Nesterov momentum, and by name it lets all learn from the start. For adamw by name take a lr "
        "some 50 times smaller.",
        example="adamw",
    )  # fmt: skip
    momentum: float = _number(0.9, 0.0, 0.999, "Of sgd; the first beta of adamw.", tunable=True)
    weight_decay: float = _number(
        1e-4, 0.0, 1.0,
        "Decay of weights, but not of norms and biases, which it only hurts. adamw likes 0.05.",
        example="0.0005", tunable=True,
    )  # fmt: skip
    schedule: str = _choice(
        "cosine",
        ("cosine", "constant"),
        "How lr goes on after the warm-up: down to 0 along a cosine, or unchanged.",
    )
    warmup_epochs: float = _number(
        0.5, 0.0, 100.0,
        "Epochs in which lr rises from 0, so that the random head does not destroy the backbone; at most a "
        "fifth of "
        "all.",
    )  # fmt: skip
    label_smoothing: float = _number(
        0.1, 0.0, 0.9,
        "Share of the target given to all classes alike; keeps the network from being too sure.",
        tunable=True,
    )  # fmt: skip
    class_weights: str = _choice(
        "none", ("none", "balanced"), "balanced weighs the loss by the inverse frequency of the class.",
        example="balanced",
    )  # fmt: skip
    sampling: str = _choice(
        "natural", ("natural", "balanced"),
        "balanced shows every class equally often, and so pictures of small classes several times an epoch; "
        "take it or class_weights, not both.",
        example="balanced",
    )  # fmt: skip
    mixup: float = _number(
        0.0, 0.0, 10.0,
        "Alpha of mixup, which blends pairs of pictures and labels; 0 for none. 0.2 helps long trainings, "
        "and costs accuracy in short ones.",
        example="0.2",
    )  # fmt: skip
    erase: float = _number(
        0.0, 0.0, 1.0,
        "Share of pictures in which a random rectangle is blanked, against looking at one detail only.",
        example="0.1",
    )  # fmt: skip
    clip_grad_norm: float = _number(0.0, 0.0, 1e6, "Longest gradient allowed; 0 for no limit.", example="1.0")
    ema: float = _number(
        0.0, 0.0, 0.99999,
        "Decay of the moving average of the weights that is evaluated and kept; 0 for none.",
        example="0.999",
    )  # fmt: skip
    patience: int = _number(
        0, 0, 10_000,
        "Stop after so many epochs without a better validation accuracy, counted from where the backbone "
        "joins (freeze=auto); 0 to run all epochs.",
        example="5",
    )  # fmt: skip
    seed: int = _number(
        1, 0, 2**31 - 1, "Of the head, the order, the split and the augmentation.", example="42"
    )

    # Pictures
    augment: str = _choice(
        "flip", ("none", "crop", "flip", "trivial", "rand"),
        "none; crop: random zoom and position; flip: crop and mirrored half of the time (not for text or "
        "digits); "
        "trivial: flip and one random change of colour or shape; rand: flip and two such changes.",
        example="crop",
    )  # fmt: skip
    validation_share: float = _number(
        0.2, 0.01, 0.9, "Share of the training pictures set aside where the job has no channel 'validation'."
    )
    max_skipped_share: float = _number(
        0.1, 0.0, 1.0,
        "Share of unreadable pictures, or of files with other endings in the class folders, above which the "
        "job fails instead of skipping them.",
    )  # fmt: skip
    cache_mb: int = _number(
        0, -1, 10_000_000,
        "Memory for decoded pictures, so that later epochs do not decode; 0 for 40 % of what is free, -1 "
        "for none.",
        example="4096",
    )  # fmt: skip
    cache_disk_mb: int = _number(
        0, -1, 10_000_000,
        "Disk for decoded pictures that do not fit in memory; 0 for half of what is free, -1 for none.",
        example="20000",
    )  # fmt: skip
    workers: int = _number(0, 0, 512, "Threads that decode; 0 for one a core, 16 at most.", example="4")

    # The machine
    device: str = _choice(
        "auto",
        ("auto", "cpu", "cuda"),
        "auto takes the GPU where there is one, and fails if it cannot be used.",
    )
    precision: str = _choice(
        "auto", ("auto", "fp32", "bf16", "fp16"),
        "auto takes bf16 where the hardware is fast at it, fp16 on older GPUs, else fp32.",
        example="fp32",
    )  # fmt: skip
    compile: bool = _setting(
        False,
        "Compile the network with torch.compile: pays on recent GPUs with many steps, costs a minute or more "
        "at the start, and needs a C++ compiler, which the image does not have.",
        example="true",
    )
    checkpoint_every_minutes: float = _number(
        10.0, 0.0, 100_000.0, "Time between checkpoints; 0 after every step. One more is written on SIGTERM."
    )
    checkpoint_every_steps: int = _number(
        0, 0, 10**9, "Steps between checkpoints, beside the time between them; 0 for no such limit.",
        example="1000",
    )  # fmt: skip
    quantize: str = _choice(
        "auto", ("auto", "off"),
        "auto measures, in up to a minute after the training, which lower precisions keep the answers, so "
        "that an endpoint on a CPU may compute in them: bf16, and 8-bit integers, several times as fast, "
        "where 300 pictures or more can judge them. off: it computes in fp32.",
        example="off",
    )  # fmt: skip
    save_model: bool = _setting(
        True, "Off: keep metrics and reports, not the weights. For trials that are only to be compared.",
        example="false",
    )  # fmt: skip
    max_minutes: float = _number(
        0.0, 0.0, 100_000.0,
        "Stop cleanly with the best model after so long; 0 for no limit. Set it some minutes below "
        "MaxRuntimeInSeconds.",
    )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


_TYPES: Final = {"int": int, "float": float, "bool": bool, "str": str}

HYPERPARAMETERS: Final[tuple[Hyperparameter, ...]] = tuple(
    Hyperparameter(field.name, _TYPES[str(field.type)], field.default, **field.metadata)
    for field in dataclasses.fields(Settings)
)


def is_reserved(name: str) -> bool:
    """Whether SageMaker or its toolkit sets it, not the user."""
    return _RESERVED.fullmatch(name.strip().replace("-", "_")) is not None


def parse(raw: Mapping[str, str]) -> Settings:
    """Settings from what SageMaker hands over.

    Values are strings and may be JSON-quoted; a hyphen in a name counts as an underscore; names that
    SageMaker adds for itself are passed over.

    Raises:
        HyperparameterError: with all problems, and for each what is allowed.
    """
    parameters = {parameter.name: parameter for parameter in HYPERPARAMETERS}
    values: dict[str, Any] = {}
    unknown, problems = [], []
    for key, text in raw.items():
        name = key.strip().replace("-", "_")
        if is_reserved(name):
            continue
        if name not in parameters:
            unknown.append(_with_hint(key, name))
        elif name in values:
            problems.append(f"hyperparameter {name} is given twice (a hyphen counts as an underscore)")
        else:
            plain = _unquote(text)
            try:
                values[name] = parameters[name].read(plain)
            except (ValueError, OverflowError):
                problems.append(
                    f"hyperparameter {name}={plain!r} is not allowed: it must be {parameters[name].allowed}"
                )
                values[name] = None
    if unknown:
        problems.append(f"unknown hyperparameter {', '.join(unknown)}; allowed: {', '.join(parameters)}")
    if values.get("freeze") == "backbone" and values.get("weights") == "none":
        problems.append(
            "freeze=backbone needs pretrained weights, not weights=none: a random backbone has nothing to "
            "keep"
        )
    if problems:
        raise HyperparameterError("; ".join(problems))
    return Settings(**values)


def _unquote(text: object) -> str:
    if isinstance(text, bool):
        return str(text).lower()
    plain = str(text).strip()
    if len(plain) >= 2 and plain[0] == plain[-1] == '"':
        try:
            plain = str(json.loads(plain)).strip()
        except ValueError:
            return plain
    return plain


def _with_hint(key: str, name: str) -> str:
    names = [parameter.name for parameter in HYPERPARAMETERS]
    hint = _SPELLED_OTHERWISE.get(name.lower()) or nearest(name.lower(), names)
    return repr(key) + (f" (did you mean {hint}?)" if hint else "")


# Settings that change nothing about what is computed: a job may go on with others.
FREE: Final = (
    "workers",
    "cache_mb",
    "cache_disk_mb",
    "checkpoint_every_minutes",
    "checkpoint_every_steps",
    "save_model",
    "quantize",
    "max_minutes",
    "max_skipped_share",
    "patience",
)
