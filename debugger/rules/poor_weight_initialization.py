"""PoorWeightInitialization: a network that cannot start learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from debugger.observation import Observation
from debugger.rules.rule import Plan, Rule
from debugger.rules.selection import Selection

LEAST_FALL = 0.01  # of the first loss
MOST_RISEN = 0.2
OBSERVED = 30


class PoorWeightInitialization(Rule):
    """Fires when the loss does not move in the beginning and the tensors of the first `steps` show why.

    Why: the variances of the activation inputs differ between layers by more than `threshold`, or the
    gradients' 95th percentiles lie less than `distribution_range` above their 5th. AWS's documentation lists
    the checks one by one; each alone accuses healthy networks (the gradients of a ResNet's late layers are
    narrow from the start, and a warm-up holds the loss still). So the gradients of most layers must be
    narrow, and over `OBSERVED` saved steps the loss must stay where it was (the median of the newest
    `patience` ones counts).
    """

    name = "PoorWeightInitialization"
    needs = "losses and gradients of the first steps (collections 'losses', 'gradients', 'relu_input')"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._selection = Selection(self, regex="activation_inputs_regex", collection="relu_input")
        self._losses: list[float] = []
        self._ratio = 0.0
        self._narrowest: tuple[float, str] | None = None
        self._analysed = 0
        self._step = 0
        self._evidence: list[str] = []

    def observe(self, step: Observation) -> None:
        if step.mode == "EVAL" or len(self._losses) >= OBSERVED:
            return
        losses = list(step.losses().values())
        if losses:
            self._losses.append(losses[0])
            self._step = step.step
            self.seen += 1
        if self._analysed < self.integer("steps"):
            self._look(step)
        if len(self._losses) == OBSERVED:
            self._judge()

    def finish(self) -> None:
        if self.integer("patience") < len(self._losses) < OBSERVED:
            self._judge()

    def _judge(self) -> None:
        if not self._evidence or not self._flat():
            return
        self.add(
            step=self._step,
            severity="high",
            message=f"The loss stays at {self._losses[0]:.4g} over the first {len(self._losses)} saved "
            f"steps, and {'; '.join(self._evidence)}.",
            cause="Weights that start at zero or equal to each other, or are far too large or small.",
            remedy="Initialise with Kaiming or Xavier, keep torch's defaults, or load pretrained weights.",
        )

    def _look(self, step: Observation) -> None:
        variances = []
        for name in self._selection.names(step):
            variance = step.tensors[name].variance
            if variance is not None:
                variances.append((variance, name))
        gradients = [
            (name, gradient.span)
            for name, gradient in step.of_kind("gradient")
            if gradient.span is not None and not name.endswith("bias")
        ]
        if not variances and not gradients:
            return
        self._analysed += 1
        if len(variances) > 1:
            low, high = min(variances), max(variances)
            ratio = high[0] / low[0] if low[0] > 0 else math.inf
            self._ratio = max(self._ratio, ratio)
            if ratio > self.number("threshold"):
                self._note(
                    f"the variance of the activation inputs goes from {low[0]:.3g} ({low[1]}) to "
                    f"{high[0]:.3g} ({high[1]})"
                )
        narrow = 0
        for name, (low_p, high_p) in gradients:
            narrow += high_p - low_p < self.number("distribution_range")
            if self._narrowest is None or high_p - low_p < self._narrowest[0]:
                self._narrowest = (high_p - low_p, name)
        if self._narrowest is not None and narrow > len(gradients) / 2:
            name = self._narrowest[1].removeprefix("gradient/")
            limit = self.number("distribution_range")
            self._note(
                f"{narrow} of {len(gradients)} gradients span less than {limit:g} "
                f"({name} only {self._narrowest[0]:.3g})"
            )

    def _note(self, text: str) -> None:
        if len(self._evidence) < 2:
            self._evidence.append(text)

    def _flat(self) -> bool:
        first, level = self._losses[0], median(self._losses[-self.integer("patience") :])
        # A loss that rises is another rule's; this one is for a network that does not move.
        if not all(value <= (1 + MOST_RISEN) * abs(first) for value in self._losses):
            return False
        return first - level <= LEAST_FALL * abs(first)

    def undecided(self) -> str:
        if not self._losses:
            return super().undecided()
        if len(self._losses) <= self.integer("patience"):
            return (
                f"the losses of {len(self._losses)} steps were saved, and it takes "
                f"{self.integer('patience') + 1}: train longer, or save the losses more often (save_interval)"
            )
        if not self._analysed and self._flat():
            return (
                "the loss stays where it was, and whether the weights are to blame only the gradients of the "
                "first steps tell: add the collection 'gradients'"
            )
        return ""

    def summary(self) -> str:
        narrow = f", the narrowest gradient spanned {self._narrowest[0]:.3g}" if self._narrowest else ""
        ratio = f", activation variances differed by {self._ratio:.3g} times" if self._ratio else ""
        return (
            f"Over the first {len(self._losses)} saved steps the loss went from {self._losses[0]:.4g} to "
            f"{self._losses[-1]:.4g}{ratio}{narrow}."
        )
