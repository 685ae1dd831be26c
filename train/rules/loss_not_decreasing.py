"""LossNotDecreasing: a loss that rises or stands still."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean, median, pvariance
from typing import ClassVar

from train.rules.observation import Observation
from train.rules.rule import Parameter, Rule, Severity
from train.rules.selection import Selection

# A change must exceed so many standard errors of a median to be more than the noise of single batches.
SIGNIFICANT = 5.0
# A loss that stands still must do so over so many checks: a slow fall hides in the noise for a while.
CHECKS_WITHOUT_FALL = 3
LEAST_CHECKS = 5
MOST = 0.8


@dataclass
class _Curve:
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    checked: int | None = None
    lowest: float = math.inf
    lowest_spread: float = 0.0
    still: int = 0
    judged: bool = False  # it has fallen, or long enough not
    told: set[str] = field(default_factory=set)


class LossNotDecreasing(Rule):
    """Every `num_steps` compares the loss with the newest one at least `num_steps` back. Fires when it
    fell by less than `diff_percent`, or rose by more than `increase_threshold_percent`.

    Single batches are noise, and a loss that has reached its floor no longer falls, so to the letter every
    healthy training fires. Two parameters of ours prevent that. `smoothing`: at least so many saved losses
    are taken together, and a change must exceed their noise. `learned_percent`: a rise must also be this
    share of the first loss, and a standstill after the loss has fallen by this share is success.
    `smoothing` 1 gives AWS's definition to the letter.
    """

    name = "LossNotDecreasing"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html#loss-not-decreasing"
    )
    looks_for = "a loss that rises, or does not fall at an adequate rate"
    needs = "losses: add the collection 'losses' with a save_interval well below the number of steps"
    parameters: ClassVar = {
        "collection_names": Parameter(None),
        "tensor_regex": Parameter(None),
        "use_losses_collection": Parameter(True),
        "num_steps": Parameter(10, least=1),
        "diff_percent": Parameter(0.1, least=0.0, most=100.0),
        "increase_threshold_percent": Parameter(5.0, least=0.0),
        "mode": Parameter("GLOBAL"),
        "smoothing": Parameter(5, least=1),
        "learned_percent": Parameter(20.0, least=0.0, most=100.0),
    }

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        super().__init__(raw)
        self._selection = Selection(self, default=("loss",))
        wanted = self.text("mode").upper().removeprefix("MODEKEYS.")
        # GLOBAL would mix the batches of evaluations with those of the training.
        self._modes = ("EVAL",) if wanted == "EVAL" else ("TRAIN", "GLOBAL")
        self._curves: dict[str, _Curve] = {}
        self._checks = 0

    def observe(self, step: Observation) -> None:
        if step.mode not in self._modes or step.worker != "worker_0":
            return
        losses = step.losses()
        for name in self._selection.names(step):
            value = losses.get(name)
            found = step.digest(name)
            if value is None and found.mean is not None and found.size == 1:
                value = found.mean
            if value is None:
                continue
            self.seen += 1
            curve = self._curves.setdefault(name, _Curve())
            curve.steps.append(step.step)
            curve.values.append(value)
            if curve.checked is None:
                curve.checked = step.step
            elif step.step - curve.checked >= self.integer("num_steps"):
                curve.checked = step.step
                self._check(name, curve)

    def _check(self, name: str, curve: _Curve) -> None:
        now = curve.steps[-1]
        back = next(
            (
                index
                for index in range(len(curve.steps) - 1, -1, -1)
                if now - curve.steps[index] >= self.integer("num_steps")
            ),
            None,
        )
        if back is None:
            return
        if not math.isfinite(curve.values[-1]):
            self._tell(name, curve, "nan", "high", f"The loss is not a number at step {now}.")
        elif self.integer("smoothing") == 1:
            self._checks += 1
            curve.judged = True
            self._to_the_letter(name, curve, back)
        else:
            self._smoothed(name, curve)

    def _to_the_letter(self, name: str, curve: _Curve, back: int) -> None:
        new, old = curve.values[-1], curve.values[back]
        fall = 100.0 * (old - new) / abs(old) if old else 0.0
        if self.number("diff_percent") <= fall or -self.number("increase_threshold_percent") <= fall < 0:
            return
        text = f"fell by only {fall:.2g} %" if fall >= 0 else f"rose by {-fall:.2g} %"
        self._tell(
            name,
            curve,
            f"{curve.steps[-1]}",
            "medium",
            f"The loss {text} between step {curve.steps[back]} ({old:.4g}) and step {curve.steps[-1]} "
            f"({new:.4g}).",
        )

    def _smoothed(self, name: str, curve: _Curve) -> None:
        first, step = curve.values[0], curve.steps[-1]
        window = [
            value
            for at, value in zip(curve.steps[1:], curve.values[1:], strict=True)
            if at > step - self.integer("num_steps")
        ]
        window = [value for value in window if math.isfinite(value)]
        if len(window) < self.integer("smoothing"):
            window = [value for value in curve.values[1:] if math.isfinite(value)][
                -self.integer("smoothing") :
            ]
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
        if rise > least * abs(reference) and (lost or above):
            self._tell(
                name,
                curve,
                "rise",
                "high",
                f"The loss rises: around step {step} it is {level:.4g} (median of {len(window)} saved "
                "steps), after "
                f"{first:.4g} in the first one and {reference:.4g} at its lowest level so far.",
            )
        if level < curve.lowest:
            curve.lowest, curve.lowest_spread = level, spread
        falls = curve.lowest <= abs(first) * (1 - learned) or self._falls(curve)
        curve.still = curve.still + 1 if falls is False else 0
        curve.judged = curve.judged or bool(falls) or curve.still >= CHECKS_WITHOUT_FALL
        if curve.still >= CHECKS_WITHOUT_FALL:
            self._tell(
                name,
                curve,
                "still",
                "high",
                f"The loss does not fall: around step {step} it is {level:.4g}, after {first:.4g} in the "
                "first "
                f"saved step; over all {len(curve.values)} saved steps there is no fall beyond the noise.",
            )

    def _falls(self, curve: _Curve) -> bool | None:
        """Whether the newest third of the losses lies below the oldest by more than chance explains; None
        while it is too early to say."""
        values = [value for value in curve.values if math.isfinite(value)]
        third = len(values) // 3
        if third < 3 or curve.steps[-1] - curve.steps[0] < LEAST_CHECKS * self.integer("num_steps"):
            return None
        old, new = values[:third], values[-third:]
        fall = fmean(old) - fmean(new)
        error = math.sqrt((pvariance(old) + pvariance(new)) / (third - 1))
        return fall > max(2.0 * error, self.number("diff_percent") / 100.0 * abs(values[0]))

    def _tell(self, name: str, curve: _Curve, topic: str, severity: Severity, message: str) -> None:
        if topic in curve.told:
            return
        curve.told.add(topic)
        rising = topic == "rise" or topic == "nan"
        self.add(
            step=curve.steps[-1],
            tensor=name,
            severity=severity,
            message=message,
            cause="Usually a learning rate that is too high: each update overshoots."
            if rising
            else "A learning rate far too high or far too low, frozen or badly initialised layers, labels "
            "that do "
            "not match the pictures, or a model that has already converged.",
            remedy="Lower the learning rate by a factor of ten or more, and warm it up."
            if rising
            else "Try learning rates a factor of ten lower and higher; check that the layers receive "
            "gradients and "
            "that labels and pictures belong together.",
        )

    def undecided(self) -> str:
        if not self._curves or any(curve.judged for curve in self._curves.values()):
            return super().undecided()
        curve, distance = next(iter(self._curves.values())), self.integer("num_steps")
        broken = sum(not math.isfinite(value) for value in curve.values)
        saved = f"the loss of {len(curve.steps)} steps was saved, up to step {curve.steps[-1]}"
        saved += f" ({broken} of them no number)" if broken else ""
        if self.integer("smoothing") == 1:
            enough = f"it compares two that are {distance} steps or more apart"
        else:
            steps = (LEAST_CHECKS + CHECKS_WITHOUT_FALL - 1) * distance
            enough = (
                f"to tell a fall from noise takes {max(9, self.integer('smoothing') + 1)}, over {steps} steps"
            )
        return f"{saved}, and {enough}: train longer, or lower num_steps and save_interval"

    def summary(self) -> str:
        if not self._curves:
            return "No losses were seen."
        name, curve = next(iter(self._curves.items()))
        return (
            f"{name} went from {curve.values[0]:.4g} (step {curve.steps[0]}) to {curve.values[-1]:.4g} (step "
            f"{curve.steps[-1]}), lowest {min(curve.values):.4g}; {self._checks} checks, one every "
            f"{self.integer('num_steps')} steps or more."
        )
