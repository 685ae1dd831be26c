"""Numbers and times as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

NOT_KNOWN = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits; a power of ten only where zeros would have to be counted."""
    if value is None:
        return NOT_KNOWN
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-4 <= size < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{value:,.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"{mantissa.rstrip('0').rstrip('.')}·10{raised}"
    return text.replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as percent."""
    if share is None or math.isnan(share):
        return NOT_KNOWN
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return NOT_KNOWN
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def milliseconds(value: float) -> str:
    return f"{number(value / 1000)} s" if value >= 10_000 else f"{number(value)} ms"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def moment(value: object) -> str:
    """A point in time, in UTC."""
    return (
        value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if isinstance(value, datetime) else NOT_KNOWN
    )


def seconds_between(start: object, end: object) -> float | None:
    if isinstance(start, datetime) and isinstance(end, datetime):
        return max((end - start) / timedelta(seconds=1), 0.0)
    return None


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listing(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
