"""Overtraining: training goes on although nothing gets better any more."""

from __future__ import annotations

from collections.abc import Mapping

from debugger.observation import Observation
from debugger.rules.rounds import Rounds
from debugger.rules.rule import Plan, Rule


class Overtraining(Rule):
    """Fires when the validation loss has not improved by `delta` for `patience_validation` evaluations.

    AWS counts steps; a step here is one evaluation with the training since the one before, because single
    batches are noise. `patience_train` decides what the finding says: whether the model still learns the
    training data by heart or has finished learning.
    """

    name = "Overtraining"
    needs = "losses of both TRAIN and EVAL steps: add the collection 'losses' with eval.save_interval"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._rounds = Rounds(self)
        self._best = {"train": float("inf"), "validation": float("inf")}
        self._stale = {"train": 0, "validation": 0}
        self._best_step = 0
        self._evaluations = 0

    def observe(self, step: Observation) -> None:
        self._judge(self._rounds.add(step))

    def finish(self) -> None:
        self._judge(self._rounds.finish())

    def _judge(self, closed: tuple[int, float, float] | None) -> None:
        if closed is None or closed[0] < self.plan.joins:
            return
        self.seen += 1
        self._evaluations += 1
        step, train, validation = closed
        for name, value in (("train", train), ("validation", validation)):
            if value < self._best[name] - self.number("delta"):
                self._best[name] = value
                self._stale[name] = 0
                if name == "validation":
                    self._best_step = step
            else:
                self._stale[name] += 1
        if self._stale["validation"] != self.integer("patience_validation"):
            return
        finished = self._stale["train"] >= self.integer("patience_train")
        detail = "neither does the training loss" if finished else "while the training loss still falls"
        self.add(
            step=step,
            severity="low" if finished else "medium",
            message=f"The validation loss has not improved by {self.number('delta'):g} since step "
            f"{self._best_step} ({self._stale['validation']} evaluations, best "
            f"{self._best['validation']:.4g}, now {validation:.4g}); {detail}.",
            cause="The model has learned what these pictures can teach it, and now learns them by heart.",
            remedy=f"Stop near step {self._best_step}, or lower the learning rate there; keep the model of "
            "the best evaluation.",
        )

    def undecided(self) -> str:
        # One that still improves is judged, however short it is.
        least = 2 if not self._stale["validation"] else self.integer("patience_validation") + 1
        if self._evaluations >= least:
            return ""
        return self._rounds.too_few(self._evaluations, least) or super().undecided()

    def summary(self) -> str:
        return (
            f"{self._evaluations} evaluations; the best validation loss was {self._best['validation']:.4g} "
            f"at step {self._best_step}, {self._stale['validation']} evaluations before the end "
            f"(limit {self.integer('patience_validation')})."
        )
