"""How the debugger inside the training container is configured, on both sides of the job.

The configuration is JSON in the container's environment variable `BYOC_DEBUGGER`, and holds only what
differs from the defaults. SageMaker allows 512 characters a variable, so a longer one goes on in
`BYOC_DEBUGGER_2` and so on. The user's side checks it before the job is paid for; the container checks it
again, because others may have written it, and goes on without what it cannot use.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from contract import collections, rules
from contract.rules import ParameterError, Scalar

VARIABLE: Final = "BYOC_DEBUGGER"
LONGEST_VALUE: Final = 512  # characters of an environment variable, SageMaker's limit
MOST_VARIABLES: Final = 16
FOLDER: Final = "debugger"  # below /opt/ml/output/data, and so in output.tar.gz
FINDINGS_FILE: Final = f"{FOLDER}/findings.json"
SERIES_FILE: Final = f"{FOLDER}/series.json"
TENSORS_FOLDER: Final = f"{FOLDER}/tensors"
INTERVALS_MS: Final = (100, 200, 500, 1000, 5000, 60000)
LONGEST_WINDOW: Final = 50  # steps
DEBUGGER_RULES: Final = (
    "LossNotDecreasing", "VanishingGradient", "ExplodingTensor", "Overfit", "DeadRelu",
    "PoorWeightInitialization", "WeightUpdateRatio", "ClassImbalance",
)  # fmt: skip
PROFILER_RULES: Final = (
    "ProfilerReport", "CPUBottleneck", "IOBottleneck", "LowGPUUtilization", "StepOutlier",
)  # fmt: skip
# Those that mean that a training cannot come to anything.
HOPELESS: Final = ("LossNotDecreasing", "ExplodingTensor")


class ConfigurationError(ValueError):
    """A configuration that cannot be used; the message names each problem."""


@dataclass(frozen=True)
class Configuration:
    """What the debugger does in one training.

    Attributes:
        enabled: off means: no tensor is looked at, no debugger rule runs.
        collections: changes to `contract.collections.DEFAULT`: parameters, or False for none of it.
        rules: debugger rules, by name.
        parameters: parameters of rules of both kinds, by the rule's name.
        stop: rules that end the training when they fire.
        keep_tensors: also write the tensors themselves, in smdebug's format.
        hook: SageMaker's HookParameters, for `keep_tensors`.
        profile: step times and the machine's use, and the profiler rules.
        interval_ms: how often the machine is measured.
        window_steps, window_start: so many steps under torch.profiler, from that one on.
        profiler_rules: profiler rules, by name.
    """

    enabled: bool = True
    collections: Mapping[str, Mapping[str, Scalar] | bool] = field(default_factory=dict)
    rules: tuple[str, ...] = DEBUGGER_RULES
    parameters: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    keep_tensors: bool = False
    hook: Mapping[str, Scalar] = field(default_factory=dict)
    profile: bool = True
    interval_ms: int = 500
    window_steps: int = 0
    window_start: int = 10
    profiler_rules: tuple[str, ...] = PROFILER_RULES

    def wanted_collections(self) -> dict[str, dict[str, Scalar]]:
        """Every collection that is looked at, with its parameters; {} where all of them are chosen for
        one."""
        wanted: dict[str, dict[str, Scalar]] = {name: {} for name in collections.DEFAULT}
        for name, parameters in self.collections.items():
            if isinstance(parameters, bool):
                wanted.pop(name, None)
                if parameters:
                    wanted[name] = {}
            else:
                wanted[name] = {**wanted.get(name, {}), **parameters}
        for name, parameters in wanted.items():
            if name in collections.REGEXES:
                parameters.setdefault("include_regex", collections.REGEXES[name])
        return wanted

    def stopping_rules(self) -> frozenset[str]:
        """Those of the rules that run that end the training when they fire, by `stop` or by a parameter of
        their own; in lower case."""
        running = {name.lower() for name in self.rules if self.enabled}
        running |= {name.lower() for name in self.profiler_rules if self.profile}
        wanted = {name.lower() for name in self.stop}
        for name, parameters in self.parameters.items():
            # `problems` names a parameter that says neither.
            with contextlib.suppress(ParameterError):
                if rules.stops_job(parameters):
                    wanted.add(name.lower())
        return frozenset(running & wanted)

    def usable(self) -> Configuration:
        """The same with the defaults in place of the numbers that `problems` names."""
        standard = Configuration()
        window = 0 <= self.window_steps <= LONGEST_WINDOW
        return replace(
            self,
            interval_ms=self.interval_ms if self.interval_ms in INTERVALS_MS else standard.interval_ms,
            window_steps=self.window_steps if window else standard.window_steps,
            window_start=self.window_start if self.window_start >= 0 else standard.window_start,
        )

    def problems(self) -> list[str]:
        """What in it cannot be used, one sentence each."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        wanted = self.wanted_collections()
        for name, collection in wanted.items():
            problems: list[str] = []
            collections.check_parameters(collection, f"collection {name}", problems)
            yield from problems
            if name not in collections.BUILT_IN and not collection.get("include_regex"):
                yield (
                    f"collection {name} has no include_regex, and is not one of "
                    f"{', '.join(sorted(collections.BUILT_IN | collections.REGEXES.keys()))}"
                )
        problems = []
        collections.check_parameters(self.hook, "hook", problems)
        yield from problems
        for kind, names in (("debugger", self.rules), ("profiler", self.profiler_rules)):
            for name in names:
                try:
                    rule = rules.find(name)
                except ParameterError as error:
                    yield str(error)
                    continue
                if rule.kind != kind:
                    yield f"{rule.name} is a {rule.kind} rule, and is listed among the {kind}'s rules"
        chosen = {name.lower() for name in (*self.rules, *self.profiler_rules)}
        for name, parameters in self.parameters.items():
            try:
                values = rules.parse_parameters(rules.find(name), parameters)
            except ParameterError as error:
                yield f"parameters of {name}: {error}"
                continue
            if name.lower() not in chosen:
                yield f"parameters of {name}: it is not among the rules that run"
            for chosen_collection in str(values.get("collection_names") or "").split(","):
                if chosen_collection.strip() and chosen_collection.strip() not in wanted:
                    yield f"parameters of {name}: the collection {chosen_collection.strip()} is not looked at"
        for name in self.stop:
            if name.lower() not in chosen:
                yield f"{name} is to stop the training, but is not among the rules that run"
        if self.interval_ms not in INTERVALS_MS:
            yield f"interval_ms={self.interval_ms} is not one of {', '.join(map(str, INTERVALS_MS))}"
        if not 0 <= self.window_steps <= LONGEST_WINDOW:
            yield (
                f"window_steps={self.window_steps} is not from 0 to {LONGEST_WINDOW}: a trace grows by "
                "megabytes a step"
            )
        if self.window_start < 0:
            yield f"window_start={self.window_start} is below 0"

    def to_environment(self) -> dict[str, str]:
        """The container's variables; none where everything is as by default.

        Raises:
            ConfigurationError: it is longer than SageMaker's environment can carry.
        """
        standard = Configuration()
        changed = {name: value for name, value in vars(self).items() if value != getattr(standard, name)}
        if not changed:
            return {}
        text = json.dumps(changed, separators=(",", ":"), default=list)
        parts = [text[start : start + LONGEST_VALUE] for start in range(0, len(text), LONGEST_VALUE)]
        if len(parts) > MOST_VARIABLES:
            raise ConfigurationError(
                f"the debugger's configuration has {len(text)} characters, and SageMaker's environment "
                f"carries {LONGEST_VALUE * MOST_VARIABLES}: give fewer parameters"
            )
        return {
            VARIABLE if number == 1 else f"{VARIABLE}_{number}": part
            for number, part in enumerate(parts, start=1)
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Configuration:
        """What `to_environment` wrote; the defaults where there is nothing.

        Raises:
            ConfigurationError: it is not of that form. `problems` has still to be asked.
        """
        parts = [environment.get(VARIABLE, "")]
        while len(parts) < MOST_VARIABLES and (more := environment.get(f"{VARIABLE}_{len(parts) + 1}")):
            parts.append(more)
        text = "".join(parts).strip()
        if not text:
            return cls()
        if len(text) > LONGEST_VALUE * MOST_VARIABLES:
            raise ConfigurationError(
                f"{VARIABLE} holds {len(text)} characters, and at most {LONGEST_VALUE * MOST_VARIABLES} are "
                "allowed"
            )
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{VARIABLE} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise ConfigurationError(f"{VARIABLE} holds {text[:60]!r}, and must hold a JSON object")
        return cls(**{name: _typed(name, value) for name, value in content.items()})


_LISTS: Final = ("rules", "stop", "profiler_rules")
_FLAGS: Final = ("enabled", "keep_tensors", "profile")
_NUMBERS: Final = ("interval_ms", "window_steps", "window_start")
_TABLES: Final = ("parameters", "collections")


def _typed(name: str, value: Any) -> Any:
    """A member of the configuration, of the right type and depth."""
    if name in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if name in _FLAGS and isinstance(value, bool):
        return value
    if name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool):
        return value
    if name == "hook" and _is_flat(value):
        return value
    if (
        name in _TABLES
        and isinstance(value, dict)
        and all(
            _is_flat(item) or (name == "collections" and isinstance(item, bool)) for item in value.values()
        )
    ):
        return value
    allowed = [*_FLAGS, *_LISTS, *_NUMBERS, *_TABLES, "hook"]
    if name not in allowed:
        raise ConfigurationError(f"{VARIABLE} has no member {name!r}; it has {', '.join(allowed)}")
    raise ConfigurationError(f"{VARIABLE}: {name} is {str(value)[:60]!r}, which is not of its type")


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, Scalar) for item in value.values())
