"""What a request must look like and an answer may look like, by botocore's service model.

botocore itself checks required members, types and minimums only, and on the client's side; AWS checks the
rest, so this does: enums, patterns, lengths, maximums, with AWS's sentences.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from local.errors import SerializationException, ValidationException

# Names in the path to a member: Python's own limit is further, and differs between versions.
_DEEPEST = 400
# AWS counts all of them and lists these many.
_MOST_SHOWN = 10


class _Problems(list[str]):
    """Sentences about constraints that are not met, and the paths of members that the shapes do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown: list[str] = []


def read(shape: Shape | None, value: Any) -> dict[str, Any]:
    """The JSON body `value` as `shape` has it.

    A member that the shape does not have is refused: a client whose model of AWS is newer means it.
    SerializationException for a wrong JSON type, ValidationException for everything else.
    """
    if shape is None:
        return {}
    problems = _Problems()
    parsed = _read(shape, value, "", problems)
    if problems:
        raise ValidationException(describe(problems))
    if problems.unknown:
        raise ValidationException(
            f"{problems.unknown[0]}: the service's model of AWS does not have this member; leave it out, or "
            "update botocore where the service runs."
        )
    return dict(parsed)


def describe(problems: Sequence[str]) -> str:
    """AWS's sentence for one or more failed constraints."""
    count = len(problems)
    noun = "error" if count == 1 else "errors"
    return f"{count} validation {noun} detected: " + "; ".join(problems[:_MOST_SHOWN])


def write(shape: Shape | None, value: Any) -> Any:
    """`value` cut to what `shape` declares: no private or unknown members, no None; times in milliseconds."""
    if isinstance(shape, StructureShape):
        members = shape.members
        return {
            name: write(members[name], item)
            for name, item in value.items()
            if name in members and item is not None
        }
    if isinstance(shape, ListShape):
        return [write(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {str(key): write(shape.value, item) for key, item in value.items()}
    if shape is not None and shape.type_name == "timestamp":
        return round(float(value), 3)
    return value


# --- reading ---------------------------------------------------------------------------------------


def _read(shape: Shape, value: Any, path: str, problems: _Problems) -> Any:
    if isinstance(shape, StructureShape):
        return _read_structure(shape, value, path, problems)
    if isinstance(shape, ListShape):
        _expect(isinstance(value, list), value, "a list", path)
        _check_size(shape, value, len(value), path, problems)
        return [
            _read(shape.member, item, f"{path}.{number}.member", problems)
            for number, item in enumerate(value, 1)
            if _is_there(item, f"{path}.{number}.member", problems)
        ]
    if isinstance(shape, MapShape):
        return _read_map(shape, value, path, problems)
    return _read_scalar(shape, value, path, problems)


def _is_there(value: Any, path: str, problems: _Problems) -> bool:
    if value is None:
        problems.append(f"Value null at '{path}' failed to satisfy constraint: Member must not be null")
    return value is not None


def _read_structure(shape: StructureShape, value: Any, path: str, problems: _Problems) -> dict[str, Any]:
    _expect(isinstance(value, Mapping), value, "an object", path)
    if path.count(".") > _DEEPEST:
        raise ValidationException("The request is nested too deeply.")
    parsed: dict[str, Any] = {}
    prefix = f"{path}." if path else ""
    problems.unknown += [
        prefix + _lower(name)
        for name, member_value in value.items()
        if name not in shape.members and member_value is not None
    ]
    for name, member in shape.members.items():
        below = prefix + _lower(name)
        member_value = value.get(name)
        if member_value is not None:
            parsed[name] = _read(member, member_value, below, problems)
        elif name in shape.required_members:
            _is_there(None, below, problems)
    if getattr(shape, "is_tagged_union", False) and len(parsed) != 1:
        raise ValidationException(f"{path}: give exactly one of {', '.join(shape.members)}.")
    return parsed


def _read_map(shape: MapShape, value: Any, path: str, problems: _Problems) -> dict[str, Any]:
    _expect(isinstance(value, Mapping), value, "an object", path)
    _check_size(shape, value, len(value), path, problems)
    parsed: dict[str, Any] = {}
    for key, item in value.items():
        for part, constrained, content in (("keys", shape.key, key), ("values", shape.value, item)):
            if content is None or isinstance(constrained, StructureShape | ListShape | MapShape):
                continue
            broken = _constraints(constrained, _scalar(constrained, content, path))
            if broken:
                problems.append(
                    f"Value '{_shown(content)}' at '{path}' failed to satisfy constraint: "
                    f"Map {part} must satisfy constraint: [{', '.join(broken)}]"
                )
        if _is_there(item, f"{path}.{key}.member", problems):
            # The map's own sentence above stands for those of a scalar item.
            ignored = _Problems()
            nested = isinstance(shape.value, StructureShape | ListShape | MapShape)
            parsed[key] = _read(shape.value, item, f"{path}.{key}", problems if nested else ignored)
    return parsed


def _read_scalar(shape: Shape, value: Any, path: str, problems: _Problems) -> Any:
    parsed = _scalar(shape, value, path)
    problems.extend(
        f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: {broken}"
        for broken in _constraints(shape, parsed)
    )
    return parsed


def _scalar(shape: Shape, value: Any, path: str) -> Any:
    """`value` as the scalar's Python type. SerializationException for a wrong JSON type."""
    kind = shape.type_name
    if kind == "boolean":
        _expect(isinstance(value, bool), value, "a boolean", path)
    elif kind in ("integer", "long"):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        _expect(whole and not isinstance(value, bool), value, "an integer", path)
        return int(value)
    elif kind in ("float", "double", "timestamp"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _expect(number and math.isfinite(value), value, "a number", path)
        return float(value)
    else:
        _expect(isinstance(value, str), value, "a string", path)
    return value


def _constraints(shape: Shape, value: Any) -> list[str]:
    """The constraints of a scalar that `value` breaks, in AWS's words."""
    broken = []
    rules = shape.metadata
    if isinstance(value, str):
        low, high = rules.get("min"), rules.get("max")
        if low is not None and len(value) < low:
            broken.append(f"Member must have length greater than or equal to {low}")
        if high is not None and len(value) > high:
            broken.append(f"Member must have length less than or equal to {high}")
        if rules.get("enum") and value not in rules["enum"]:
            broken.append(f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]")
        pattern = rules.get("pattern")
        # A text that is too long anyway is kept from patterns that backtrack.
        if pattern is not None and not broken and not matches(pattern, value):
            broken.append(f"Member must satisfy regular expression pattern: {pattern}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if rules.get("min") is not None and value < rules["min"]:
            broken.append(f"Member must have value greater than or equal to {rules['min']}")
        if rules.get("max") is not None and value > rules["max"]:
            broken.append(f"Member must have value less than or equal to {rules['max']}")
    return broken


def _check_size(shape: Shape, value: Any, size: int, path: str, problems: _Problems) -> None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    for broken, words in (
        (low is not None and size < low, f"greater than or equal to {low}"),
        (high is not None and size > high, f"less than or equal to {high}"),
    ):
        if broken:
            problems.append(
                f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
                f"Member must have length {words}"
            )


def _expect(condition: bool, value: Any, wanted: str, path: str) -> None:
    if not condition:
        where = f" at '{path}'" if path else ""
        raise SerializationException(f"Value {_shown(value)!r}{where} must be {wanted}.")


def _shown(value: Any, limit: int = 200) -> str:
    text = str(value)
    return text if len(text) <= limit else text[:limit] + "…"


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


# --- Java's regular expressions ----------------------------------------------------------------------

# Python's `re` has no \p{…}. AWS uses it to admit letters, digits, … of any script beside ASCII's, so each
# character beyond ASCII is matched as one that stands for its category, and \p{…} is ASCII's share and that.
_STANDS_FOR = {"L": "\ue000", "M": "\ue001", "N": "\ue002", "P": "\ue003", "S": "\ue004", "Z": "\ue005"}
_CATEGORIES = {
    "Alnum": "a-zA-Z0-9",
    "L": "a-zA-Z\ue000",
    "M": "\ue001",
    "N": "0-9\ue002",
    "P": r"!-#%-*,-/:;?@\[-\]_{}" + "\ue003",
    "S": r"$+<=>\^`|~" + "\ue004",
    "Z": " \ue005",
}


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` matches `pattern`, which is written for Java."""
    compiled = _compiled(pattern)
    if r"\p{" in pattern and not text.isascii():
        text = "".join(c if c.isascii() else _STANDS_FOR.get(unicodedata.category(c)[0], c) for c in text)
    return compiled.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    python = re.sub(r"\\p\{(\w+)\}", lambda found: _CATEGORIES[found[1]], pattern)
    # Surrogates as ranges, which in Python are single characters.
    python = python.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    # A quantified end of text, which says nothing.
    python = re.sub(r"\$\{\d+,\d+\}$", "", python)
    return re.compile(python, re.ASCII)
