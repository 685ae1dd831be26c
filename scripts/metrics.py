"""Metrics out of log lines, by the same MetricDefinitions that SageMaker is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from scripts.output import percent, short

# Told otherwise, or for the report only: a line should fit the terminal.
_NOT_SHOWN = ("epoch", "kept_epoch", "train:top5", "train:macro_f1")
SHOWN_AS_SHARE = ("accuracy", "top5", "macro_f1", "share")


class Parser:
    """Compiled definitions; a line gives the metrics whose expression it matches."""

    def __init__(self, definitions: Iterable[Mapping[str, str]]) -> None:
        self._patterns = [(item["Name"], re.compile(item["Regex"])) for item in definitions]

    def parse(self, line: str) -> dict[str, float]:
        """Metric → value; empty for a line that is no metrics line."""
        found: dict[str, float] = {}
        for name, pattern in self._patterns:
            if match := pattern.search(line):
                try:
                    found[name] = float(match[1])
                except ValueError:
                    continue
        return found


def describe(values: Mapping[str, float]) -> str:
    """One readable line: `epoch 3   train loss 0.12 accuracy 96.12 %   validation loss …`."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        group, _, key = name.rpartition(":")
        if name in _NOT_SHOWN:
            continue
        text = percent(value) if key.endswith(SHOWN_AS_SHARE) else short(value)
        groups.setdefault(group, []).append(f"{key.replace('_', ' ')} {text}")
    parts = [f"{group} {', '.join(items)}".strip() for group, items in groups.items() if group]
    parts += [", ".join(groups[""])] if "" in groups else []
    head = f"epoch {values['epoch']:g}  " if "epoch" in values else ""
    if "kept_epoch" in values:
        head = f"kept the weights of epoch {values['kept_epoch']:g}:  "
    return head + "  ·  ".join(parts)
