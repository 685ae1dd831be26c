"""VanishingGradient: gradients so small that the layer no longer learns."""

from __future__ import annotations

from collections.abc import Mapping

from debugger.observation import Observation
from debugger.rules.rule import Plan, Rule

# Gradients shrink with the loss; once it has fallen to this share of its start, small ones mean success.
CONVERGED_SHARE = 0.02


class VanishingGradient(Rule):
    """Fires when the mean of a gradient's absolute values drops below `threshold`.

    In addition to AWS's definition the training must still have something to learn: it stays silent once the
    training loss has fallen below 2 % of where it began. And it looks at weights: a bias before a batch
    normalisation has no gradient by construction.
    """

    name = "VanishingGradient"
    needs = "gradients: add the collection 'gradients'"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._smallest: tuple[float, str, int] | None = None
        self._first_loss: float | None = None
        self._converged = False
        self._reported: set[str] = set()

    def observe(self, step: Observation) -> None:
        if step.mode == "EVAL":
            return
        for value in list(step.losses().values())[:1]:
            self._first_loss = value if self._first_loss is None else self._first_loss
            self._converged = value < CONVERGED_SHARE * self._first_loss
        for name, gradient in step.of_kind("gradient"):
            mean = gradient.mean_abs
            if mean is None or name.endswith("bias"):
                continue
            self.seen += 1
            if self._smallest is None or mean < self._smallest[0]:
                self._smallest = (mean, name, step.step)
            if mean < self.number("threshold") and not self._converged and name not in self._reported:
                self._reported.add(name)
                self.add(
                    step=step.step,
                    tensor=name,
                    severity="high",
                    message=f"The mean absolute gradient of {name.removeprefix('gradient/')} is "
                    f"{mean:.3g}, below {self.number('threshold'):.3g}: this layer does not learn.",
                    cause="Weights that start at zero, saturated or dead activations, a layer that the loss "
                    "does not depend on, or a very deep network without normalisation.",
                    remedy="Check the initialisation and the activations before this layer; use batch "
                    "normalisation or residual connections.",
                )

    def summary(self) -> str:
        if self._smallest is None:
            return "No gradients were seen."
        value, name, step = self._smallest
        return (
            f"The smallest mean absolute gradient was {value:.3g} ({name.removeprefix('gradient/')}, "
            f"step {step}) among {self.seen} saved gradients; the limit is {self.number('threshold'):.3g}."
        )
