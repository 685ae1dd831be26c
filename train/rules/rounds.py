"""Training and evaluation in turns: the mean losses of each evaluation and of the training before it."""

from __future__ import annotations

import math

from train.rules.observation import Observation
from train.rules.rule import Rule
from train.rules.selection import Selection


class Rounds:
    """Groups losses into rounds. One evaluation's batches say little each; their mean says what it found."""

    def __init__(self, rule: Rule) -> None:
        self._selection = Selection(rule, default=("loss",))
        self._train: list[float] = []
        self._validation: list[float] = []
        self._step = 0
        self.saved = {"TRAIN": 0, "EVAL": 0}  # losses, finite or not

    def add(self, step: Observation) -> tuple[int, float, float] | None:
        """Add a step; returns (training step, mean training loss, mean validation loss) of a closed round."""
        losses = step.losses()
        chosen = [losses[name] for name in self._selection.names(step) if name in losses]
        values = [value for value in chosen[:1] if math.isfinite(value)]
        if chosen:
            self.saved["EVAL" if step.mode == "EVAL" else "TRAIN"] += 1
        if step.mode == "EVAL":
            self._validation += values
            return None
        closed = self.finish() if self._validation else None
        if values:
            self._train += values
            self._step = step.step
        return closed

    def too_few(self, closed: int, least: int) -> str:
        """Why so many closed rounds are too few, and what would be enough."""
        if not all(self.saved.values()):
            return ""
        evaluations = "1 evaluation" if closed == 1 else f"{closed} evaluations"
        return (
            f"finite training losses were saved before {evaluations}, and it takes {least}: train "
            "for more epochs, or save the losses more often (save_interval)"
        )

    def finish(self) -> tuple[int, float, float] | None:
        """Close the round that is open, if it has both losses."""
        train, validation = self._train, self._validation
        self._validation = []
        if not train or not validation:
            return None
        self._train = []
        return self._step, sum(train) / len(train), sum(validation) / len(validation)
