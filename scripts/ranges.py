"""The range of a hyperparameter in tuning: an interval or a list, from byoc.toml or from a flag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract.errors import ByocError

Scalar = str | int | float | bool
_SCALES = {
    "": "Auto",
    "auto": "Auto",
    "linear": "Linear",
    "log": "Logarithmic",
    "logarithmic": "Logarithmic",
    "reverse_log": "ReverseLogarithmic",
    "reverselogarithmic": "ReverseLogarithmic",
}
_RANGE_HELP = 'Write {min = 1e-4, max = 0.1, scale = "log"} for an interval or [16, 32, 64] for a list.'


@dataclass(frozen=True)
class Range:
    """What a hyperparameter may be in tuning: an interval, or a list of values."""

    minimum: float | int = 0
    maximum: float | int = 0
    scale: str = "Auto"
    values: tuple[str, ...] = ()

    @property
    def categorical(self) -> bool:
        return bool(self.values)


def parse_range(value: Any, name: str) -> Range:
    """From TOML's {min, max, scale} or [a, b, c], or from a flag's `1e-4:0.1:log` or `16,32,64`."""
    if isinstance(value, str):
        value = _range_from_flag(value)
    if isinstance(value, list):
        if not value or not all(isinstance(item, str | int | float) for item in value):
            raise ByocError(f"The range of {name} is {value!r}, which lists no values.", _RANGE_HELP)
        return Range(values=tuple(text_of(item) for item in value))
    if (
        not isinstance(value, dict)
        or not {"min", "max"} <= set(value)
        or set(value) - {"min", "max", "scale"}
    ):
        raise ByocError(f"The range of {name} is {value!r}: neither an interval nor a list.", _RANGE_HELP)
    low, high, scale = value["min"], value["max"], str(value.get("scale", "")).lower()
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in (low, high))
    if not numbers or not low < high:
        raise ByocError(
            f"The range of {name} goes from {low!r} to {high!r}: min must be a number below max.", _RANGE_HELP
        )
    if scale not in _SCALES:
        raise ByocError(
            f"The range of {name} has an unknown scale, {scale!r}.",
            "Allowed: linear, log, reverse_log, auto.",
        )
    if _SCALES[scale] == "Logarithmic" and low <= 0:
        raise ByocError(
            f"The range of {name} begins at {low}: a logarithmic scale needs values above 0.",
            "Raise min, or set the scale linear.",
        )
    if _SCALES[scale] == "ReverseLogarithmic" and not (low >= 0 and high < 1):
        raise ByocError(
            f"The range of {name} goes from {low} to {high}: a reverse logarithmic scale needs 0 ≤ x < 1.",
            "Set a min and a max between 0 and 1, or the scale linear.",
        )
    return Range(low, high, _SCALES[scale])


def _range_from_flag(text: str) -> Any:
    if ":" not in text:
        return [item.strip() for item in text.split(",") if item.strip()]
    low, high, *scale = text.split(":")
    if len(scale) > 1:
        return text
    return {"min": number_or_text(low), "max": number_or_text(high), "scale": scale[0] if scale else ""}


def number_or_text(text: str) -> int | float | str:
    """What a value from the command line stands for in a range."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def text_of(value: Scalar) -> str:
    """How SageMaker wants a hyperparameter: as text, booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)
