"""LossNotDecreasing: a loss that rises or stands still."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from contract.findings import Finding, Severity
from debugger.observation import FIRST_WORKER, Observation
from debugger.rules.rule import Plan, Rule
from debugger.rules.selection import Selection

# A change must exceed so many standard errors of a median to be more than the noise of single batches.
SIGNIFICANT = 5.0
# A rise must be seen in so many checks: the first updates can throw a loss up that then falls back.
# One is enough where the loss is so many times what it was.
CHECKS_ABOVE = 2
BLOWN_UP = 2.0
# A loss that stands still must do so over so many checks: a slow fall hides in the noise for a while.
CHECKS_WITHOUT_FALL = 3
CHECKS_AT_THE_END = 2
LEAST_CHECKS = 5
# And over this share of the training: a long one may begin slowly.
LEAST_SHARE = 0.05
# Ranks of losses follow their steps by chance as closely as this in one of 150 trainings that stand still.
TREND = 2.5
START = 0.2  # of the losses, so many are left out when a fall is looked for, for the same reason
MOST = 0.8


@dataclass
class _Curve:
    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    checked: int | None = None
    lowest: float = math.inf
    lowest_spread: float = 0.0
    still: int = 0
    above: int = 0
    blown_up: bool = False  # a rise reached `BLOWN_UP` times the first loss
    hopeless: bool = False  # at the newest check, it has not learned, and does not begin to
    rise: str = ""
    judged: bool = False  # it has fallen, or long enough not
    learned: bool = False  # it has fallen by as much as counts as success
    reported: dict[str, Finding] = field(default_factory=dict)  # by topic: rise, still, nan, or a step

    def begin_again(self, step: int) -> None:
        """Forget the lowest level: from this step on the losses are those of another training."""
        self.checked, self.lowest, self.lowest_spread, self.still, self.above = step, math.inf, 0.0, 0, 0


class LossNotDecreasing(Rule):
    """Every `num_steps` compares the loss with the newest one at least `num_steps` back. Fires when it
    fell by less than `diff_percent`, or rose by more than `increase_threshold_percent`.

    Single batches are noise, and a loss that has reached its floor no longer falls, so to the letter every
    healthy training fires. Two parameters of ours prevent that. `smoothing`: at least so many losses are
    taken together, and a change must exceed their noise. `learned_percent`: a rise must also be this share
    of the first loss, and a standstill after the loss has fallen by this share is success. `smoothing` 1
    gives AWS's definition to the letter.

    A standstill is judged at the earliest `LEAST_CHECKS` checks after the warm-up, and after `LEAST_SHARE` of
    the training; so late a rise too may end the job, where the rule is to do that. What the rest
    of the training refutes is withdrawn at its end: a standstill before a fall, a rise before a success,
    but for one to `BLOWN_UP` times the first loss.
    """

    name = "LossNotDecreasing"
    needs = "losses: add the collection 'losses' with a save_interval well below the number of steps"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._selection = Selection(self, default=("loss",))
        wanted = self.text("mode").upper().removeprefix("MODEKEYS.")
        # GLOBAL would mix the batches of evaluations with those of the training.
        self._modes = ("EVAL",) if wanted == "EVAL" else ("TRAIN", "GLOBAL")
        self._curves: dict[str, _Curve] = {}
        self._checks = 0
        self._checks_without_fall = CHECKS_WITHOUT_FALL
        distance = self.integer("num_steps")
        self._least_steps = (
            max(LEAST_CHECKS * distance, math.ceil(LEAST_SHARE * self.plan.steps)) + self.plan.warmup
        )

    def observe(self, step: Observation) -> None:
        if step.mode not in self._modes or step.worker != FIRST_WORKER:
            return
        losses = step.losses()
        for name in self._selection.names(step):
            value = losses.get(name)
            tensor = step.tensors[name]
            if value is None and tensor.mean is not None and tensor.size == 1:
                value = tensor.mean
            if value is None:
                continue
            self.seen += 1
            curve = self._curves.setdefault(name, _Curve())
            if curve.steps and curve.steps[-1] < self.plan.joins <= step.step:
                curve.begin_again(step.step)
            curve.steps.append(step.step)
            curve.values.append(value)
            if not math.isfinite(value):
                self._report(name, curve, "nan", "high", f"The loss is not a number at step {step.step}.")
            if curve.checked is None:
                curve.checked = step.step
            elif step.step - curve.checked >= self.integer("num_steps"):
                curve.checked = step.step
                self._check(name, curve)

    @property
    def confirmed(self) -> bool:
        return any("nan" in curve.reported or curve.hopeless for curve in self._curves.values())

    def finish(self) -> None:
        self._checks_without_fall = CHECKS_AT_THE_END
        for name, curve in self._curves.items():
            if curve.checked is not None and curve.steps[-1] - curve.checked >= self.integer("smoothing"):
                self._check(name, curve)
            if curve.above:
                self._report_rise(name, curve)
        self._withdraw()

    def _withdraw(self) -> None:
        """Take back what the rest of the training has refuted: a standstill before a fall, a rise before a
        success. What is hopeless at the newest check is not: the job may have been ended for it."""
        for curve in self._curves.values():
            if curve.above or curve.hopeless:
                continue
            success = abs(curve.values[0]) * (1 - self.number("learned_percent") / 100.0)
            succeeds = median(self._window(curve) or [math.inf]) <= success
            if "rise" in curve.reported and succeeds and not curve.blown_up:
                self.withdraw(curve.reported.pop("rise"))
            if "still" in curve.reported and (succeeds or self._falls(curve)):
                self.withdraw(curve.reported.pop("still"))

    def _check(self, name: str, curve: _Curve) -> None:
        if not math.isfinite(curve.values[-1]):
            return
        if self.integer("smoothing") == 1:
            self._checks += 1
            curve.judged = True
            self._to_the_letter(name, curve)
        else:
            self._smoothed(name, curve)

    def _to_the_letter(self, name: str, curve: _Curve) -> None:
        now, distance = curve.steps[-1], self.integer("num_steps")
        back = next(
            index for index in range(len(curve.steps) - 1, -1, -1) if now - curve.steps[index] >= distance
        )
        new, old = curve.values[-1], curve.values[back]
        fall = 100.0 * (old - new) / abs(old) if old else 0.0
        if self.number("diff_percent") <= fall or -self.number("increase_threshold_percent") <= fall < 0:
            return
        text = f"fell by only {fall:.2g} %" if fall >= 0 else f"rose by {-fall:.2g} %"
        self._report(
            name,
            curve,
            f"{now}",
            "medium",
            f"The loss {text} between step {curve.steps[back]} ({old:.4g}) and step {now} ({new:.4g}).",
        )

    def _smoothed(self, name: str, curve: _Curve) -> None:
        first, step = curve.values[0], curve.steps[-1]
        window = self._window(curve)
        if len(window) < self.integer("smoothing") or not math.isfinite(first):
            return
        self._checks += 1
        level = median(window)
        spread = 1.4826 * median(abs(value - level) for value in window)
        least = self.number("increase_threshold_percent") / 100.0
        reference = min(first, curve.lowest)
        learned = self.number("learned_percent") / 100.0
        error = 1.25 * max(spread, curve.lowest_spread) * math.sqrt(2.0 / len(window))
        rise = level - reference
        # Noise on the floor is a rise by many percent of little.
        lost = rise > learned * abs(first) and rise > SIGNIFICANT * error
        # A training that blows up in its first steps may be on its way back when it is first looked at.
        higher = sum(1 for value in window if value > first + least * abs(first))
        above = higher >= MOST * len(window) and rise > learned * abs(first)
        risen = rise > least * abs(reference) and (lost or above)
        curve.above = curve.above + 1 if risen else 0
        curve.rise = (
            f"The loss rises: around step {step} it is {level:.4g} (median of {len(window)} steps), after "
            f"{first:.4g} in the first one and {reference:.4g} at its lowest level so far."
        )
        blown_up = risen and level >= BLOWN_UP * abs(first)
        curve.blown_up = curve.blown_up or blown_up
        if curve.above >= CHECKS_ABOVE or blown_up:
            self._report_rise(name, curve)
        if level < curve.lowest:
            curve.lowest, curve.lowest_spread = level, spread
        falling = self._falls(curve)
        curve.learned = curve.learned or curve.lowest <= abs(first) * (1 - learned)
        falls = curve.learned or falling
        curve.still = curve.still + 1 if falls is False else 0
        late = step - curve.steps[0] >= self._least_steps
        enough = late and curve.still >= self._checks_without_fall
        rises_on = curve.above >= CHECKS_ABOVE and falling is not True
        curve.hopeless = enough or (late and (rises_on or ("rise" in curve.reported and not curve.learned)))
        curve.judged = curve.judged or bool(falls) or enough
        if enough:
            self._report(
                name,
                curve,
                "still",
                "high",
                f"The loss does not fall: around step {step} it is {level:.4g}, after {first:.4g} in the "
                f"first step; over {len(curve.values)} recorded steps there is no fall beyond the noise.",
            )

    def _report_rise(self, name: str, curve: _Curve) -> None:
        self._report(name, curve, "rise", "high", curve.rise)

    def _window(self, curve: _Curve) -> list[float]:
        """The newest finite losses without the very first: of `num_steps` steps, at least `smoothing`."""
        oldest, least = curve.steps[-1] - self.integer("num_steps"), self.integer("smoothing")
        window: list[float] = []
        for index in range(len(curve.steps) - 1, 0, -1):
            if curve.steps[index] <= oldest and len(window) >= least:
                break
            if math.isfinite(curve.values[index]):
                window.append(curve.values[index])
        return window

    def _falls(self, curve: _Curve) -> bool | None:
        """Whether the newest third of the losses lies below the oldest by more than chance explains, or all
        losses show a trend down; None while it is too early to say.

        The trend is Spearman's rank correlation, which single large losses of small batches do not hide. It
        does not count after an explosion: from there losses fall back, and none below the first.
        """
        if curve.steps[-1] - curve.steps[0] < LEAST_CHECKS * self.integer("num_steps"):
            return None
        values = np.frombuffer(curve.values, dtype=np.float64)
        values = values[np.isfinite(values)]
        highest = values.max(initial=0.0)
        values = values[int(START * values.size) :]
        third = values.size // 3
        if third < 3:
            return None
        old, new = values[:third], values[-third:]
        fall = float(np.median(old) - np.median(new))
        error = 1.2533 * math.sqrt((float(old.var()) + float(new.var())) / (third - 1))
        first = abs(curve.values[0])
        if fall <= self.number("diff_percent") / 100.0 * first:
            return False
        return fall > 2.0 * error or (bool(highest < BLOWN_UP * first) and _trend(values) < -TREND)

    def _report(self, name: str, curve: _Curve, topic: str, severity: Severity, message: str) -> None:
        if topic in curve.reported:
            return
        rising = topic in ("rise", "nan")
        curve.reported[topic] = self.add(
            step=curve.steps[-1],
            tensor=name,
            severity=severity,
            message=message,
            cause="Usually a learning rate that is too high: each update overshoots."
            if rising
            else "A learning rate far too high or far too low, frozen or badly initialised layers, labels "
            "that do not match the pictures, or a model that has already converged.",
            remedy="Lower the learning rate by a factor of ten or more, and warm it up."
            if rising
            else "Try learning rates a factor of ten lower and higher; check that the layers receive "
            "gradients and that labels and pictures belong together.",
        )

    def undecided(self) -> str:
        if not self._curves or any(curve.judged for curve in self._curves.values()):
            return super().undecided()
        curve, distance = next(iter(self._curves.values())), self.integer("num_steps")
        broken = sum(not math.isfinite(value) for value in curve.values)
        recorded = f"the loss of {len(curve.steps)} steps was recorded, up to step {curve.steps[-1]}"
        recorded += f" ({broken} of them not finite)" if broken else ""
        if self.integer("smoothing") == 1:
            enough = f"it compares two that are {distance} steps or more apart"
        else:
            last = (LEAST_CHECKS + CHECKS_AT_THE_END - 2) * distance
            steps = max(self._least_steps, last + self.integer("smoothing"))
            enough = f"to distinguish a fall from noise takes {steps} steps"
        return f"{recorded}, and {enough}: train longer, or lower num_steps"

    def summary(self) -> str:
        if not self._curves:
            return "No losses were recorded."
        name, curve = next(iter(self._curves.items()))
        finite = [value for value in curve.values if math.isfinite(value)]
        return (
            f"{name} went from {curve.values[0]:.4g} (step {curve.steps[0]}) to {curve.values[-1]:.4g} (step "
            f"{curve.steps[-1]}), lowest {min(finite, default=math.nan):.4g}; {self._checks} checks, one "
            f"every {self.integer('num_steps')} steps or more."
        )


def _trend(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Standard errors of the rank correlation between values and their order; negative where they fall."""
    count = values.size
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float(np.corrcoef(ranks, np.arange(count))[0, 1] * math.sqrt(count - 1))
