"""Metrics in a readable line of the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from report.words import percent
from scripts.output import short


def describe(values: Mapping[str, float]) -> str:
    """One line that fits 80 columns: `epoch 3  train loss 0.12, acc 96.12 %  ·  validation loss …`."""
    kept = "kept_epoch" in values
    parts = []
    for split in ("train", "validation", "test"):
        words = []
        # The losses of the kept weights stood in their epoch's line.
        if f"{split}:loss" in values and not kept:
            words.append(f"loss {short(values[f'{split}:loss'])}")
        if f"{split}:accuracy" in values:
            words.append(f"acc {percent(values[f'{split}:accuracy'], 2)}")
        if words:
            parts.append(f"{split} {', '.join(words)}")
    head = f"kept the weights of epoch {values['kept_epoch']:g}:  " if kept else ""
    if "epoch" in values and not kept:
        head = f"epoch {values['epoch']:g}  "
    return head + "  ·  ".join(parts)
