"""What Search asks of a resource: properties by their paths, filters, and how they are put together.

A property's type comes from the shape that SageMaker's model gives the resource in an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from botocore.model import ListShape, MapShape, Shape, StructureShape

from local.errors import ValidationException

Kind = Literal["text", "number", "time", "boolean", "hyperparameter", "group"]
Record = Mapping[str, Any]

_NUMBERS = ("integer", "long", "float", "double")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "GreaterThan": lambda have, want: have > want,
    "GreaterThanOrEqualTo": lambda have, want: have >= want,
    "LessThan": lambda have, want: have < want,
    "LessThanOrEqualTo": lambda have, want: have <= want,
}
_MOST_PARTS = 50  # filters, nested filters and expressions, all of them together


@dataclass(frozen=True)
class Property:
    """A property that resources of one kind may have."""

    name: str
    kind: Kind

    def values(self, record: Record) -> list[Any]:
        """What a resource has there: several values where a list is on the way, none where it has nothing."""
        first, _, rest = self.name.partition(".")
        if rest and first == "Metrics":
            metrics = record.get("FinalMetricDataList", [])
            return [metric["Value"] for metric in metrics if metric["MetricName"] == rest]
        if rest and first == "Tags":
            return [tag["Value"] for tag in record.get("Tags", []) if tag["Key"] == rest]
        return list(_descend(record, self.name))


def _descend(value: Any, path: str) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _descend(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        if path in value:  # a map's key may have dots
            yield from _descend(value[path], "")
        else:
            first, _, rest = path.partition(".")
            if rest and first in value:
                yield from _descend(value[first], rest)


def find_property(shape: StructureShape, name: str) -> Property:
    """The property `name` of resources that look like `shape`. ValidationException if they have none."""
    first, _, rest = name.partition(".")
    if rest and first == "Metrics" and "FinalMetricDataList" in shape.members:
        return Property(name, "number")
    if rest and first == "Tags" and "Tags" in shape.members:
        return Property(name, "text")
    current: Shape = shape
    left = name
    while left:
        while isinstance(current, ListShape):
            current = current.member
        part, _, left = left.partition(".")
        if isinstance(current, MapShape):
            return Property(name, "hyperparameter" if first == "HyperParameters" else "text")
        if not isinstance(current, StructureShape) or part not in current.members:
            raise ValidationException(
                f"Unknown property name: {name}. Use one of the resource in SearchRecord."
            )
        current = current.members[part]
    while isinstance(current, ListShape):
        current = current.member
    return Property(name, _kind(current))


def _kind(shape: Shape) -> Kind:
    if isinstance(shape, StructureShape | MapShape):
        return "group"
    if shape.type_name in _NUMBERS:
        return "number"
    if shape.type_name == "timestamp":
        return "time"
    return "boolean" if shape.type_name == "boolean" else "text"


# --- filters ------------------------------------------------------------------------------------------

Test = Callable[[Record], bool]


def compile_filter(shape: StructureShape, given: Mapping[str, Any], below: str = "") -> Test:
    """A Filter as a test of a resource, or of an element of its list `below`. ValidationException."""
    wanted = find_property(shape, given["Name"])
    name = wanted.name
    if below:
        if not name.startswith(f"{below}."):
            raise ValidationException(
                f"The nested filter of {below} has the property {name}, which is not in it."
            )
        wanted = Property(name.removeprefix(f"{below}."), wanted.kind)
    operator = given.get("Operator", "Equals")
    if operator in ("Exists", "NotExists"):
        if "Value" in given:
            raise ValidationException(f"The filter of {name} has a Value: {operator} takes none.")
        return lambda record: bool(wanted.values(record)) == (operator == "Exists")
    if "Value" not in given:
        raise ValidationException(f"The filter of {name} has no Value, which {operator} needs.")
    matches = _comparison(wanted.kind, operator, given["Value"], name)
    if operator == "NotEquals":
        return lambda record: not any(map(matches, wanted.values(record)))
    return lambda record: any(map(matches, wanted.values(record)))


def _comparison(kind: Kind, operator: str, value: str, name: str) -> Callable[[Any], bool]:
    """The test of one value; NotEquals tests as Equals does."""
    if kind == "group":
        raise ValidationException(f"The property {name} has parts: name one of them, or use Exists.")
    if operator in ("Contains", "In"):
        if kind not in ("text", "hyperparameter"):
            raise ValidationException(f"The operator {operator} is not supported for {name}: for text only.")
        choices = [choice.strip() for choice in value.split(",")]
        return lambda have: value in str(have) if operator == "Contains" else str(have) in choices
    order = _ORDERS.get(operator)
    if kind == "hyperparameter":
        return _of_hyperparameter(order, value)
    if kind in ("text", "boolean"):
        if order is not None:
            raise ValidationException(f"The operator {operator} is not supported for {name}: not for {kind}.")
        return lambda have: (str(have).lower() if kind == "boolean" else have) == value
    want = _time(value, name) if kind == "time" else _number(value, name)
    if order is None:
        return lambda have: (math.floor(have) if kind == "time" else have) == want
    return lambda have: order(have, want)


def _of_hyperparameter(order: Callable[[Any, Any], bool] | None, value: str) -> Callable[[Any], bool]:
    """As numbers where both are; whole ones where `value` is."""

    def test(have: Any) -> bool:
        try:
            want, number = float(value), float(have)
        except ValueError:
            return order is None and str(have) == value
        if value.lstrip("+-").isdecimal() and math.isfinite(number):
            number = float(math.trunc(number))
        return number == want if order is None else order(number, want)

    return test


def _number(value: str, name: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValidationException(f"The value {value[:100]!r} of {name} must be a number.") from None


def _time(value: str, name: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValidationException(
            f"The value {value[:100]!r} of {name} must be a time, as in 2026-01-31T12:00:00."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# --- expressions --------------------------------------------------------------------------------------


def compile_expression(shape: StructureShape, expression: Mapping[str, Any]) -> Test:
    """A SearchExpression as a test of a resource. ValidationException for what AWS refuses."""
    parts = list(_parts(expression))
    if len(parts) > _MOST_PARTS:
        raise ValidationException(
            f"The SearchExpression has {len(parts)} filters, nested filters and subexpressions; at most "
            f"{_MOST_PARTS} are possible."
        )
    if sum(part.get("Operator") == "Contains" for part in parts) > 1:
        raise ValidationException("'CONTAINS' operator usage limit of 1 exceeded.")
    return _compile(shape, expression)


def _parts(expression: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from expression.get("Filters", [])
    for nested in expression.get("NestedFilters", []):
        yield {}
        yield from nested["Filters"]
    for below in expression.get("SubExpressions", []):
        yield {}
        yield from _parts(below)


def _compile(shape: StructureShape, expression: Mapping[str, Any]) -> Test:
    tests = [
        *(compile_filter(shape, each) for each in expression.get("Filters", [])),
        *(_nested(shape, each) for each in expression.get("NestedFilters", [])),
        *(_compile(shape, each) for each in expression.get("SubExpressions", [])),
    ]
    if not tests:
        raise ValidationException(
            "A SearchExpression must have at least one of Filters, NestedFilters and SubExpressions."
        )
    every = expression.get("Operator", "And") == "And"
    return lambda record: (all if every else any)(test(record) for test in tests)


def _nested(shape: StructureShape, nested: Mapping[str, Any]) -> Test:
    """One element of the list must satisfy all filters."""
    name = nested["NestedPropertyName"]
    if not isinstance(_shape_of(shape, name), ListShape):
        raise ValidationException(f"The NestedPropertyName {name} is not a list of the resource.")
    tests = [compile_filter(shape, each, name) for each in nested["Filters"]]
    elements = Property(name, "group")
    return lambda record: any(all(test(item) for test in tests) for item in elements.values(record))


def _shape_of(shape: StructureShape, name: str) -> Shape | None:
    current: Shape | None = shape
    for part in name.split("."):
        current = current.members.get(part) if isinstance(current, StructureShape) else None
    return current


# --- order --------------------------------------------------------------------------------------------


def ordered(records: Sequence[Record], by: Property, *, descending: bool) -> list[Record]:
    """The resources by a property, those without a value last. ValidationException for one with parts."""
    if by.kind == "group":
        raise ValidationException(f"SortBy is {by.name}, which has parts: name one of them.")
    with_value: list[tuple[Any, Record]] = []
    without: list[Record] = []
    for record in records:
        values = by.values(record)
        if values:
            with_value.append((values[0], record))
        else:
            without.append(record)
    as_numbers = by.kind != "hyperparameter" or all(_is_number(value) for value, _ in with_value)
    with_value.sort(
        key=lambda pair: float(pair[0]) if by.kind != "text" and as_numbers else str(pair[0]),
        reverse=descending,
    )
    return [*(record for _, record in with_value), *without]


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
