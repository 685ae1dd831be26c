"""Overfit: the model does better on the training data than on the validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping

from debugger.observation import Observation
from debugger.rules.rounds import Rounds
from debugger.rules.rule import Plan, Rule

LEARNED = 0.8  # of the first training loss
LEAST_PICTURES = 20  # the mean loss of fewer is noise
LEAST_COUNTED = 10  # where their mistakes are counted too, and must be more than chance
# Of the validation pictures, this share may be misclassified: the gap then only says how confident the
# network is. More may be by chance, up to so many standard errors.
MISTAKES = 0.05
CHANCE = 1.645


class Overfit(Rule):
    """Fires when (validation - training) / training of the mean losses exceeds `ratio_threshold`.

    The means are taken over one evaluation and over the training steps since the evaluation before it, and
    the ratio must be exceeded in `patience` evaluations in a row. AWS's ratio alone accuses every model
    that has learned its task (0.01 against 0.02 is a ratio of 1), and every evaluation of a network whose
    batch normalisation is still settling. So four more things are asked for. The gap must be at least
    `min_difference`, a parameter of ours. The validation loss must have been lower before, and stay above for
    `min_evaluations` in a row and a third of all, or to the end; fewer pictures than `LEAST_PICTURES`, or
    `LEAST_COUNTED` where mistakes are counted, cannot show that. The training loss must have fallen, at first
    and since then: what has learned nothing, overfits nothing. And the network must misclassify significantly
    more than a twentieth of the validation pictures, if mistakes are counted. With `min_difference` 0 the
    definition is AWS's to the letter.
    """

    name = "Overfit"
    needs = (
        "losses of both TRAIN and EVAL steps: add the collection 'losses' with train.save_interval and "
        "eval.save_interval"
    )

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._rounds = Rounds(self)
        self._run = 0
        self._gap: tuple[int, float] | None = None  # step and ratio of the newest evaluation, if it shows one
        self._over = False
        self._best = float("inf")
        self._train_at_best = float("inf")
        self._first: float | None = None
        self._last = ""
        self._why_not = ""

    def observe(self, step: Observation) -> None:
        if self._first is None and step.mode == "TRAIN" and step.step >= self.plan.joins:
            self._first = max((value for value in step.losses().values() if value > 0), default=None)
        self._judge(self._rounds.add(step))

    def finish(self) -> None:
        self._over = True
        if not self._judge(self._rounds.finish()) and self._gap and self._run >= self._patience:
            self._accuse(self._gap)

    def _judge(self, closed: tuple[int, float, float] | None) -> bool:
        """Take one evaluation; whether there was one."""
        if closed is None or closed[0] < max(self.integer("start_step"), self.plan.joins) or closed[1] <= 0:
            return False
        step, train, validation = closed
        self.seen += 1
        ratio = (validation - train) / train
        self._last = (
            f"at step {step} the mean validation loss was {validation:.4g} and the mean training loss "
            f"{train:.4g} (ratio {ratio:+.2f}, limit {self.number('ratio_threshold'):g}, "
            f"gap {validation - train:+.3g}, least gap {self.number('min_difference'):g})"
        )
        self._why_not = self._excuse(ratio, train, validation)
        bad = not self._why_not
        if validation < self._best:
            self._best, self._train_at_best = validation, train
        self._run = self._run + 1 if bad else 0
        self._gap = (step, ratio) if bad else None
        if bad and self._run < self._patience:
            self._why_not = f"it takes {self._patience} such evaluations in a row"
        elif self._gap:
            self._accuse(self._gap)
        return True

    def _accuse(self, gap: tuple[int, float]) -> None:
        step, ratio = gap
        self._gap = None
        self.add(
            step=step,
            severity="high" if ratio > 1 else "medium",
            message=f"The model overfits: {self._last}.",
            cause="Too few or too similar training pictures for the size of the model, too many epochs, or "
            "no augmentation.",
            remedy="Add pictures or augmentation, use weight decay or dropout, a smaller model, or stop at "
            "the best validation loss.",
        )

    def _excuse(self, ratio: float, train: float, validation: float) -> str:
        """Why this evaluation shows no overfitting; empty where it does."""
        least = self.number("min_difference")
        if ratio <= self.number("ratio_threshold"):
            return "the ratio is within its limit"
        if not least:
            return ""
        if self._too_few_pictures:
            return self._too_few_pictures
        accuracy, pictures = self._rounds.accuracy, self._rounds.pictures
        if accuracy is not None and pictures:
            allowed = MISTAKES + CHANCE * math.sqrt(MISTAKES * (1 - MISTAKES) / pictures)
            if 1 - accuracy <= allowed:
                return f"{accuracy:.0%} of the validation pictures are classified correctly"
        if validation - train <= least:
            return "the gap is smaller than the least one"
        if self._first is not None and train >= LEARNED * self._first:
            return (
                f"the training loss, {self._first:.4g} at first, has not fallen by {1 - LEARNED:.0%}: what "
                "has learned nothing overfits nothing"
            )
        if validation <= self._best:
            before = f"was {self._best:.4g} at best" if math.isfinite(self._best) else "was not measured"
            return f"the validation loss {before} before, and only one that has risen again counts"
        if train >= self._train_at_best:
            return (
                f"the training loss was {self._train_at_best:.4g} at the best evaluation, and what is not "
                "learned better than then is not learned by heart"
            )
        return ""

    @property
    def _patience(self) -> int:
        """How many evaluations in a row must show it. While the training goes on, it may still settle."""
        if not self.number("min_difference"):
            return self.integer("patience")
        share = 0 if self._over else -(-self.plan.evaluations // 3)
        return max(self.integer("patience"), self.integer("min_evaluations"), share)

    @property
    def _too_few_pictures(self) -> str:
        pictures = self._rounds.pictures
        least = LEAST_PICTURES if self._rounds.accuracy is None else LEAST_COUNTED
        if not self.number("min_difference") or pictures is None or pictures >= least:
            return ""
        return f"the validation set has {pictures:g} pictures, and it takes {least}"

    def undecided(self) -> str:
        if self._too_few_pictures:
            return self._too_few_pictures
        # A gap counts only after a better evaluation, and a single one may be noise.
        least = self.integer("patience") + (self.number("min_difference") > 0)
        if self._run and self.number("min_difference"):
            least = max(self.integer("patience"), self.integer("min_evaluations")) + 1
        if self.seen >= least:
            return ""
        return self._rounds.too_few(self.seen, least) or super().undecided()

    def summary(self) -> str:
        reason = f". No finding, as {self._why_not}" if self._why_not and not self.total else ""
        return f"In the newest evaluation, {self._last}{reason}."
