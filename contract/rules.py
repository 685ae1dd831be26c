"""The debugger's rules by AWS's names: what each looks for, and its parameters with type, default and bounds.

The rules themselves are in `debugger/rules/` and take their parameters from here; a rule or a parameter that
does not exist is refused on the user's machine by the same definitions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from contract.patterns import PatternError, compile_all
from contract.values import boolean, nearest

Scalar = str | int | float | bool
Value = float | int | bool | str | None
Kind = Literal["debugger", "profiler"]
AWS_GUIDE: Final = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
# Keys of RuleParameters that belong to the platform or to AWS's containers, not to a rule.
PLATFORM_KEYS: Final = frozenset(
    {"rule_to_invoke", "base_trial", "scan_interval_us", "action_json", "stop_training_on_fire"}
    | {"training_job_name_prefix", "training_job_prefix", "opt_out_telemetry", "start_step_rule"}
)


class ParameterError(ValueError):
    """A rule or a parameter of a rule that does not exist or has an impossible value; for the user."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a rule: its default gives its type, or `kind` where the default is None.

    `least` and `most` are the closed bounds of a number. A text must be one of `choices`, given in upper
    case, where there are any; with `regexes` it is a comma-separated list of regular expressions.
    """

    default: Value
    least: float | None = None
    most: float | None = None
    kind: type = str
    choices: tuple[str, ...] = ()
    regexes: bool = False

    def parse(self, name: str, raw: object) -> Value:
        """The value of the API's string. Raises `ParameterError`."""
        kind = type(self.default) if self.default is not None else self.kind
        text = str(raw).strip()
        if self.default is None and text.lower() in ("", "none", "null"):
            return None
        if kind is bool:
            flag = boolean(text)
            if flag is None:
                raise ParameterError(f"{name}={text!r} must be True or False")
            return flag
        if kind is str:
            self._check_text(name, text)
            return text
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (kind is int and number != int(number)):
            noun = "whole number" if kind is int else "number"
            raise ParameterError(f"{name}={text!r} must be a {noun}")
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            bounds = f"from {self.least:g}" + (f" to {self.most:g}" if self.most is not None else "")
            raise ParameterError(f"{name}={text!r} is out of bounds: give a number {bounds}")
        return int(number) if kind is int else number

    def _check_text(self, name: str, text: str) -> None:
        if self.choices and text.upper().removeprefix("MODEKEYS.") not in self.choices:
            raise ParameterError(f"{name}={text!r} is not one of {', '.join(self.choices)}")
        if self.regexes:
            try:
                compile_all(part.strip() for part in text.split(",") if part.strip())
            except PatternError as error:
                raise ParameterError(f"{name}: {error}") from None


@dataclass(frozen=True)
class Definition:
    """One rule.

    Attributes:
        looks_for: what it fires on, as the end of "Looks for …".
        question: what a person wants to know when they read its verdict.
        page: AWS's description, below `AWS_GUIDE`.
    """

    name: str
    kind: Kind
    looks_for: str
    question: str
    page: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The address of AWS's description."""
        return AWS_GUIDE + self.page


_PAGES: Final[Mapping[Kind, str]] = {
    "debugger": "debugger-built-in-rules.html",
    "profiler": "debugger-built-in-profiler-rules.html",
}


def _rule(
    kind: Kind, name: str, anchor: str, question: str, looks_for: str, **parameters: Parameter
) -> tuple[str, Definition]:
    return name, Definition(name, kind, looks_for, question, f"{_PAGES[kind]}#{anchor}", parameters)


_debugger, _profiler = partial(_rule, "debugger"), partial(_rule, "profiler")


def _share(default: float) -> Parameter:
    return Parameter(default, least=0.0, most=100.0)


_MODES: Final = ("TRAIN", "EVAL", "PREDICT", "GLOBAL")
_BOTTLENECK: Final = {
    "threshold": _share(50.0),
    "gpu_threshold": _share(10.0),
    "patience": Parameter(100, least=0),
}

RULES: Final[Mapping[str, Definition]] = dict(
    [
        _debugger(
            "LossNotDecreasing", "loss-not-decreasing", "Is the loss going down?",
            "a loss that rises, or does not fall at an adequate rate",
            collection_names=Parameter(None),
            tensor_regex=Parameter(None, regexes=True),
            use_losses_collection=Parameter(True),
            num_steps=Parameter(10, least=1),
            diff_percent=_share(0.1),
            increase_threshold_percent=Parameter(5.0, least=0.0),
            mode=Parameter("GLOBAL", choices=_MODES),
            smoothing=Parameter(5, least=1),
            learned_percent=_share(20.0),
        ),
        _debugger(
            "VanishingGradient", "vanishing-gradient", "Do all layers still get a gradient?",
            "gradients that become extremely small or zero, so that their layers stop learning",
            threshold=Parameter(1e-7, least=0.0),
        ),
        _debugger(
            "ExplodingTensor", "exploding-tensor", "Are all numbers finite?",
            "tensors with infinite values or NaN (not a number)",
            collection_names=Parameter(None),
            tensor_regex=Parameter(None, regexes=True),
            only_nan=Parameter(False),
        ),
        _debugger(
            "Overfit", "overfit", "Does it do as well on new pictures as on known ones?",
            "a validation loss well above the training loss",
            tensor_regex=Parameter(None, regexes=True),
            start_step=Parameter(0, least=0),
            patience=Parameter(1, least=1),
            ratio_threshold=Parameter(0.1, least=0.0),
            min_difference=Parameter(0.25, least=0.0),
            min_evaluations=Parameter(3, least=1),
        ),
        _debugger(
            "Overtraining", "overtraining", "Is it still getting better?",
            "a validation loss that stops improving while training goes on",
            patience_train=Parameter(5, least=1),
            patience_validation=Parameter(10, least=1),
            delta=Parameter(0.01, least=0.0),
        ),
        _debugger(
            "DeadRelu", "dead-relu", "Are the activations alive?",
            "layers in which most ReLU activations are always zero",
            tensor_regex=Parameter(".*relu_output|.*ReLU_output", regexes=True),
            threshold_inactivity=_share(1.0),
            threshold_layer=_share(50.0),
        ),
        _debugger(
            "PoorWeightInitialization", "poor-weight-initialization", "Did it start from sensible weights?",
            "a loss that does not fall in the first steps, with unequal activations or vanishing gradients",
            activation_inputs_regex=Parameter(".*relu_input|.*ReLU_input", regexes=True),
            threshold=Parameter(10.0, least=1.0),
            distribution_range=Parameter(0.001, least=0.0),
            patience=Parameter(5, least=2),
            steps=Parameter(10, least=1),
        ),
        _debugger(
            "WeightUpdateRatio", "weight-update-ratio", "Do the weights move at a sensible pace?",
            "weights that change by far more, or far less, than their own size",
            num_steps=Parameter(None, least=1, kind=int),
            large_threshold=Parameter(10.0, least=0.0),
            small_threshold=Parameter(1e-8, least=0.0),
            epsilon=Parameter(1e-9, least=0.0),
        ),
        _debugger(
            "ClassImbalance", "class-imbalance", "Are the classes balanced?",
            "classes with far fewer training pictures than others, or that the model always mistakes",
            threshold_imbalance=Parameter(10.0, least=1.0),
            threshold_misprediction=Parameter(0.7, least=0.0, most=1.0),
            samples=Parameter(500, least=1),
            argmax=Parameter(False),
            labels_regex=Parameter(".*labels", regexes=True),
            predictions_regex=Parameter(".*predictions", regexes=True),
        ),
        _profiler(
            "CPUBottleneck", "cpu-bottleneck", "Does the processor hold the accelerator up?",
            "GPUs that idle while the CPU is fully used",
            **_BOTTLENECK, cpu_threshold=_share(90.0),
        ),
        _profiler(
            "IOBottleneck", "io-bottleneck", "Does reading data hold the accelerator up?",
            "GPUs that idle while the machine waits for its disk",
            **_BOTTLENECK, io_threshold=_share(50.0),
        ),
        _profiler(
            "LowGPUUtilization", "low-gpu-utilization", "Is the accelerator busy?",
            "GPUs that are little used, or whose use goes up and down",
            threshold_p95=_share(70.0),
            threshold_p5=_share(10.0),
            window=Parameter(500, least=1),
            patience=Parameter(100, least=0),
        ),
        _profiler(
            "GPUMemoryIncrease", "gpu-memory-increase", "Is memory use steady?",
            "a large increase of memory use on a GPU",
            increase=_share(10.0),
            patience=Parameter(100, least=0),
            window=Parameter(10, least=1),
        ),
        _profiler(
            "LoadBalancing", "load-balancing", "Do all accelerators carry the same load?",
            "GPUs of which some work while others wait",
            threshold=Parameter(0.5, least=0.0, most=1.0),
            patience=Parameter(10, least=0),
        ),
        _profiler(
            "StepOutlier", "step-outlier", "Do all steps take about as long?",
            "steps that take much longer than the rest",
            stddev=Parameter(5.0, least=1.0),
            mode=Parameter(None, choices=_MODES),
            n_outliers=Parameter(10, least=0),
        ),
        _profiler(
            "MaxInitializationTime", "max-initialization-time", "Did training begin soon?",
            "a long time before the first training step",
            threshold=Parameter(20.0, least=0.0),
        ),
        _profiler(
            "BatchSize", "batch-size-rule", "Is the batch large enough for the machine?",
            "CPU, GPU and GPU memory that are all little used",
            cpu_threshold_p95=_share(70.0),
            gpu_threshold_p95=_share(70.0),
            gpu_memory_threshold_p95=_share(70.0),
            patience=Parameter(100, least=0),
            window=Parameter(500, least=1),
        ),
        _profiler(
            "Dataloader", "dataloader-rule", "Does training get its pictures in time?",
            "a training that waits for its data, and too few or too many loader processes",
            min_threshold=Parameter(70.0, least=0.0),
            max_threshold=Parameter(200.0, least=0.0),
        ),
        _profiler(
            "OverallSystemUsage", "overall-system-usage", "How is the machine used?",
            "nothing: it reports how much of the machine was used",
        ),
        _profiler(
            "OverallFrameworkMetrics", "overall-framework-metrics", "Where does the time go?",
            "nothing: it reports how a step's time divides",
        ),
        _profiler(
            "ProfilerReport", "profiler-report", "Everything about performance",
            "anything that any of the profiler rules looks for",
        ),
    ]
)  # fmt: skip
# The rules that ProfilerReport runs; its parameters are theirs, as <Rule>_<parameter>.
REPORT_PARTS: Final = tuple(
    sorted(name for name, rule in RULES.items() if rule.kind == "profiler" and name != "ProfilerReport")
)


def find(name: str) -> Definition:
    """The rule of that name, in whatever case AWS's clients write it. Raises `ParameterError`."""
    wanted = name.strip().lower()
    for rule in RULES.values():
        if rule.name.lower() == wanted:
            return rule
    raise ParameterError(f"there is no rule {name!r}; {_meant(name, RULES)}the rules are {', '.join(RULES)}")


def _meant(name: str, allowed: Iterable[str]) -> str:
    near = nearest(name, allowed)
    return f"did you mean {near}? " if near else ""


def parse_parameters(rule: Definition, raw: Mapping[str, object]) -> dict[str, Value]:
    """All parameters of the rule, given or default. Raises `ParameterError`.

    For ProfilerReport they are those of its parts, under `<Rule>_<parameter>`.
    """
    allowed = all_parameters(rule)
    spelled = {name.lower(): name for name in allowed}
    values: dict[str, Value] = {name: parameter.default for name, parameter in allowed.items()}
    for key, value in raw.items():
        if key in PLATFORM_KEYS:
            continue
        name = spelled.get(str(key).lower())
        if name is None:
            raise ParameterError(
                f"{rule.name} has no parameter {key!r}; {_meant(str(key), allowed)}"
                f"it has {', '.join(sorted(allowed)) or 'none'}"
            )
        values[name] = allowed[name].parse(name, value)
    stops_job(raw)
    return values


def all_parameters(rule: Definition) -> Mapping[str, Parameter]:
    """The rule's parameters by name, ProfilerReport's under `<Rule>_<parameter>`."""
    if rule.name != "ProfilerReport":
        return rule.parameters
    return {
        f"{part}_{name}": parameter
        for part in REPORT_PARTS
        for name, parameter in RULES[part].parameters.items()
    }


def stops_job(raw: Mapping[str, object]) -> bool:
    """Whether a rule's parameters ask to stop the job when it fires. Raises `ParameterError`."""
    flag = raw.get("stop_training_on_fire", False)
    wanted = boolean(flag)
    if wanted is None:
        raise ParameterError(f"stop_training_on_fire={flag!r} must be True or False")
    text = str(raw.get("action_json", "")).strip()
    if wanted or not text:
        return wanted
    try:
        actions: Any = json.loads(text[:10_000])
    except (ValueError, RecursionError):
        raise ParameterError(f"action_json={text[:60]!r} is not JSON") from None
    listed = actions if isinstance(actions, list) else [actions]
    return "stoptraining" in [
        str(action.get("name", "")).lower() for action in listed if isinstance(action, dict)
    ]


def names(kind: Kind) -> tuple[str, ...]:
    """The rules of one kind."""
    return tuple(name for name, rule in RULES.items() if rule.kind == kind)
