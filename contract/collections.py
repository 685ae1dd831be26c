"""Collections of tensors: their names, and the parameters that say in which steps they are saved.

Names and parameters are SageMaker Debugger's (CollectionConfigurations). Values are the API's strings or
JSON's own types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contract.patterns import PatternError, compile_pattern
from contract.rules import Scalar
from contract.values import boolean

# AWS's rule configurations name these without always sending their regex.
REGEXES: Final = {
    "relu_input": ".*relu_input",
    "relu_output": ".*relu_output",
    "loss_inputs": ".*Loss_input",
}
ACTIVATIONS: Final = frozenset({"relu_input", "relu_output"})  # every ReLU, whatever the model calls it
BUILT_IN: Final = frozenset({"all", "default", "weights", "biases", "gradients", "losses"})
# What is looked at unless the settings say otherwise. None: an interval that suits the length of the
# training.
DEFAULT: Final[Mapping[str, int | None]] = {
    "losses": None,
    "loss_inputs": None,
    "gradients": None,
    "weights": None,
    "relu_input": None,
    "relu_output": None,
}
MODES: Final = ("train.", "eval.", "predict.", "global.")
_BOOLEANS: Final = ("save_raw_tensor", "save_shape", "save_histogram", "save_all", "export_tensorboard")
_REDUCTION: Final = re.compile(r"(abs_)?(min|max|mean|std|variance|sum|prod|l1_norm|l2_norm)")


def check_parameters(raw: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """Those of the parameters that can be used: strings, and booleans where smdebug wants booleans.

    What is wrong is left out, and `problems` says what and why; smdebug would fail on it or divide by zero.
    """
    kept: dict[str, Any] = {}
    for key, value in raw.items():
        bare = key
        for mode in MODES:
            bare = bare.removeprefix(mode)
        text = str(value).strip()
        if bare in _BOOLEANS:
            parsed = boolean(value)
            if parsed is None:
                problems.append(f"{where}: {key}={text!r} is neither true nor false")
            else:
                kept[key] = parsed
        elif bare in ("save_interval", "start_step", "end_step"):
            least = 1 if bare == "save_interval" else 0
            if re.fullmatch(r"\d{1,12}", text) and int(text) >= least:
                kept[key] = text
            else:
                problems.append(f"{where}: {key}={text!r} is not a whole number from {least}")
        elif bare == "save_steps":
            if re.fullmatch(r"\d{1,12}(\s*,\s*\d{1,12}){0,9999}", text):
                kept[key] = text
            else:
                problems.append(f"{where}: {key}={text[:60]!r} is not a list of step numbers")
        elif bare == "reductions":
            names = [name.strip() for name in text.split(",") if name.strip()]
            wrong = [name for name in names if not _REDUCTION.fullmatch(name)]
            if wrong:
                problems.append(f"{where}: there are no reductions {', '.join(wrong)}")
            kept[key] = ",".join(name for name in names if name not in wrong)
        elif bare == "include_regex":
            patterns = []
            for pattern in (part.strip() for part in text.split(",")):
                try:
                    compile_pattern(pattern)
                except PatternError as error:
                    problems.append(f"{where}: {error}")
                else:
                    patterns.append(pattern)
            if patterns:
                kept[key] = ",".join(patterns)
        elif bare in ("include_workers", "tensorboard_dir"):
            kept[key] = text
        else:
            problems.append(f"{where}: {key} is not a parameter of the hook")
    return kept


@dataclass(frozen=True)
class Schedule:
    """In which training steps, counted from 0, a collection is due."""

    interval: int
    start: int = 0
    end: int | None = None  # exclusive
    steps: frozenset[int] = frozenset()  # beside the interval's, as smdebug does

    def due(self, step: int) -> bool:
        """Whether the collection is due in this step."""
        if step in self.steps:
            return True
        within = self.start <= step and (self.end is None or step < self.end)
        return within and (step - self.start) % self.interval == 0

    @classmethod
    def of(cls, parameters: Mapping[str, Scalar], default: int) -> Schedule:
        """From checked parameters, those with the prefix `train.` first; `default` is the interval else."""

        def value(key: str) -> str | None:
            chosen = parameters.get(f"train.{key}", parameters.get(key))
            return None if chosen is None else str(chosen)

        end, steps = value("end_step"), value("save_steps")
        return cls(
            interval=int(value("save_interval") or default),
            start=int(value("start_step") or 0),
            end=int(end) if end is not None else None,
            steps=frozenset(int(part) for part in steps.split(",")) if steps else frozenset(),
        )


MOST_LOSSES: Final = 20_000
MOST_LOOKS: Final = 2_000  # at many tensors each; the report's curves have no more points


def shortest_interval(collection: str, steps: int) -> int:
    """The shortest interval that a training of so many steps can have: what is seen is kept in memory."""
    most = MOST_LOSSES if collection == "losses" else MOST_LOOKS
    return max(1, -(-steps // most))


def fitting_interval(collection: str, steps: int) -> int:
    """How often to look at a collection in a training of so many steps, where nobody chose.

    Short trainings are looked at more often, so that each rule has its evidence; long ones less often, so
    that what is kept stays small. One look at gradients or weights costs about 4 ns a value, at a loss
    nothing.
    """
    if collection == "losses":
        return shortest_interval(collection, steps)
    if collection in ("relu_input", "relu_output"):  # whole batches of activations
        return min(max(1, (steps - 1) // 4), 100) if steps <= 10_000 else steps // 100
    if collection == "loss_inputs":
        return min(max(1, steps // 200), 10) if steps <= 20_000 else steps // 2_000
    return min(max(1, steps // 20), 50) if steps <= 10_000 else steps // 200
