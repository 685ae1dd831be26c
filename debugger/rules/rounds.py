"""Training and evaluation in turns: the mean losses of each evaluation and of the training before it."""

from __future__ import annotations

import math

from debugger.observation import Observation
from debugger.rules.rule import Rule
from debugger.rules.selection import Selection


class _Mean:
    """A mean over pictures. A batch of unknown size counts as the one before it, the first as one picture."""

    def __init__(self) -> None:
        self.total = self.weight = 0.0

    def add(self, value: float, weight: float) -> None:
        self.total += value * weight
        self.weight += weight

    @property
    def value(self) -> float:
        return self.total / self.weight


class Rounds:
    """Groups losses into rounds. One batch says little; the mean over an evaluation's pictures is its result.

    Batches count by their pictures: two in a last batch weigh a sixteenth of thirty-two.
    """

    def __init__(self, rule: Rule) -> None:
        self._selection = Selection(rule, default=("loss",))
        self._train, self._validation = _Mean(), _Mean()
        self._pictures = 1.0
        self._step = 0
        # Of the evaluation that was closed last, None if unknown; the accuracy is a share.
        self.pictures: float | None = None
        self.accuracy: float | None = None
        self._right: int | None = None
        self._counted = False
        self.saved = {"TRAIN": 0, "EVAL": 0}  # losses, finite or not

    def add(self, step: Observation) -> tuple[int, float, float] | None:
        """Add a step; returns (training step, mean training loss, mean validation loss) of a closed round."""
        losses = step.losses()
        values = [losses[name] for name in self._selection.names(step) if name in losses][:1]
        if step.pictures is not None:
            self._pictures, self._counted = float(step.pictures), True
        evaluating = step.mode == "EVAL"
        if values:
            self.saved["EVAL" if evaluating else "TRAIN"] += 1
        usable = [value for value in values if math.isfinite(value) and self._pictures]
        if evaluating:
            if step.right is not None:
                self._right = (self._right or 0) + step.right
            for value in usable:
                self._validation.add(value, self._pictures)
            return None
        closed = self.finish() if self._validation.weight else None
        for value in usable:
            self._train.add(value, self._pictures)
            self._step = step.step
        return closed

    def too_few(self, closed: int, least: int) -> str:
        """Why so many closed rounds are too few, and what would be enough."""
        if not all(self.saved.values()):
            return ""
        evaluations = "1 evaluation" if closed == 1 else f"{closed} evaluations"
        return (
            f"finite training losses were recorded before {evaluations}, and it takes {least}: train for "
            "more epochs"
        )

    def finish(self) -> tuple[int, float, float] | None:
        """Close the round that is open, if it has both losses."""
        train, validation, right = self._train, self._validation, self._right
        self._validation, self._right = _Mean(), None
        if not train.weight or not validation.weight:
            return None
        self._train = _Mean()
        self.pictures = validation.weight if self._counted else None
        self.accuracy = None if right is None else right / validation.weight
        return self._step, train.value, validation.value
