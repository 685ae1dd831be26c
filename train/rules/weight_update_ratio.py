"""WeightUpdateRatio: updates that are far too large or too small for the weights."""

from __future__ import annotations

from typing import ClassVar

from train.rules.observation import Array, Observation, kind_of
from train.rules.rule import Parameter, Rule
from train.rules.series import update_ratio


class WeightUpdateRatio(Rule):
    """Fires when |change| / |weights| of a weight tensor lies outside the two thresholds.

    Compared are a saved step and the one saved before it, or with `num_steps` one at least so many steps
    back. Weights that were all zero are not judged: any update is infinitely larger. Frozen ones
    (requires_grad=False) are not either: this project's hook does not save them.
    """

    name = "WeightUpdateRatio"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html#weight-update-ratio"
    )
    looks_for = "weights that change by far more, or far less, than their own size"
    needs = "weights of two training steps: add the collection 'weights' with train.save_interval"
    parameters: ClassVar = {
        "num_steps": Parameter(None, least=1, kind=int),
        "large_threshold": Parameter(10.0, least=0.0),
        "small_threshold": Parameter(1e-8, least=0.0),
        "epsilon": Parameter(1e-9, least=0.0),
    }

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        super().__init__(raw)
        self._anchor: dict[str, tuple[int, Array]] = {}
        self._smallest: tuple[float, str] | None = None
        self._largest: tuple[float, str] | None = None
        self._told: set[str] = set()

    def observe(self, step: Observation) -> None:
        if step.mode == "EVAL" or step.worker != "worker_0":
            return
        for name, array in step.arrays.items():
            if kind_of(name) != "weight":
                continue
            before = self._anchor.get(name)
            if before is not None and step.step - before[0] < self._distance:
                continue
            self._anchor[name] = (step.step, array)
            ratio = update_ratio(before[1], array, self.number("epsilon")) if before is not None else None
            if before is not None:
                self.seen += 1
            if before is None or ratio is None:
                continue
            self._smallest = min(self._smallest or (ratio, name), (ratio, name))
            self._largest = max(self._largest or (ratio, name), (ratio, name))
            self._judge(name, ratio, before[0], step.step)

    def _judge(self, name: str, ratio: float, first: int, last: int) -> None:
        if name in self._told:
            return
        if ratio < self.number("small_threshold"):
            self._told.add(name)
            moved = "did not change at all" if ratio == 0 else f"changed by only {ratio:.2g} of their size"
            self.add(
                step=last,
                tensor=name,
                severity="high",
                message=f"The weights {name} {moved} between steps {first} and {last}.",
                cause="The layer is missing from the optimizer, the loss does not depend on it, the learning "
                "rate is far too low, or its gradients vanish.",
                remedy="Check the optimizer's parameter groups, and that the layer gets gradients; raise the "
                "learning rate.",
            )
        elif not ratio <= self.number("large_threshold"):
            self._told.add(name)
            self.add(
                step=last,
                tensor=name,
                severity="high",
                message=f"The weights {name} changed by {ratio:.3g} times their size between steps {first} "
                "and "
                f"{last} (limit {self.number('large_threshold'):g}).",
                cause="The learning rate is far too high, or single gradients explode.",
                remedy="Lower the learning rate, warm it up, or clip the gradients.",
            )

    def undecided(self) -> str:
        if self.seen or not self._anchor:
            return super().undecided()
        step = max(at for at, _ in self._anchor.values())
        apart = f" that are {distance} steps or more apart" if (distance := self._distance) > 1 else ""
        return (
            f"the weights were saved at step {step} only, and it compares two saved steps{apart}: train "
            "longer, or save the collection 'weights' more often (save_interval)"
        )

    @property
    def _distance(self) -> int:
        return self.integer("num_steps") if self.values["num_steps"] is not None else 1

    def summary(self) -> str:
        if self._smallest is None or self._largest is None:
            return "All weights were zero, and of those no update is judged."
        return (
            f"{self.seen} comparisons; between saves the weights changed by {self._smallest[0]:.2g} "
            f"({self._smallest[1]}) to {self._largest[0]:.2g} ({self._largest[1]}) of their size."
        )
