"""WeightUpdateRatio: updates that are far too large or too small for the weights."""

from __future__ import annotations

from collections.abc import Mapping

from debugger.observation import FIRST_WORKER, Observation, kind_of
from debugger.rules.rule import Plan, Rule

STILL = 2  # the first may lie in the warm-up


class WeightUpdateRatio(Rule):
    """Fires when |change| / |weights| of a weight tensor lies outside the two thresholds.

    Compared are a step and the one that was looked at before it, or with `num_steps` one at least so many
    steps back. Weights that were all zero are not judged: any update is infinitely larger. Frozen ones
    (requires_grad=False) are not either: this project's hook does not save them. A tensor's first
    comparison begins at its random values, and behind it a normalisation makes large updates harmless: it
    counts as too large only if the second one is, too, or if there is none. An update counts as too small
    only if the weight has not moved in its first `STILL` comparisons: at the end of a schedule,
    when the training pictures are learned, healthy weights stand still.
    """

    name = "WeightUpdateRatio"
    needs = "weights of two training steps: add the collection 'weights' with train.save_interval"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._smallest: tuple[float, str] | None = None
        self._largest: tuple[float, str] | None = None
        self._newest: int | None = None  # step with weights
        self._reported: set[str] = set()
        self._moved: set[str] = set()
        self._still: dict[str, list[tuple[float, int, int]]] = {}  # comparisons of what has not moved yet
        self._first: dict[str, tuple[float, int, int] | None] = {}  # too large ones; None once it is decided

    def observe(self, step: Observation) -> None:
        if step.mode == "EVAL" or step.worker != FIRST_WORKER:
            return
        for name, weight in step.tensors.items():
            if kind_of(name) != "weight":
                continue
            self._newest = step.step
            if weight.change is None:
                continue
            self.seen += 1
            ratio = weight.change.ratio(self.number("epsilon"))
            if ratio is None:
                if weight.change.norm > 0:
                    self._moved.add(name)
                continue
            self._smallest = min(self._smallest or (ratio, name), (ratio, name))
            self._largest = max(self._largest or (ratio, name), (ratio, name))
            self._judge(name, ratio, weight.change.step, step.step)

    def _judge(self, name: str, ratio: float, first: int, last: int) -> None:
        if name in self._reported:
            return
        if ratio < self.number("small_threshold"):
            self._first.setdefault(name, None)
            if name in self._moved:
                return
            still = self._still.setdefault(name, [])
            still.append((ratio, first, last))
            if len(still) == STILL:
                self._add_still(name)
            return
        self._moved.add(name)
        is_large = not ratio <= self.number("large_threshold")
        if name not in self._first:
            self._first[name] = (ratio, first, last) if is_large else None
            return
        if is_large:
            self._add_large(name, *(self._first[name] or (ratio, first, last)))
        self._first[name] = None

    def _add_large(self, name: str, ratio: float, first: int, last: int) -> None:
        self._reported.add(name)
        self.add(
            step=last,
            tensor=name,
            severity="high",
            message=f"The weights {name} changed by {ratio:.3g} times their size between steps {first} and "
            f"{last} (limit {self.number('large_threshold'):g}).",
            cause="The learning rate is far too high, or single gradients explode.",
            remedy="Lower the learning rate, warm it up, or clip the gradients.",
        )

    def _add_still(self, name: str) -> None:
        comparisons = self._still[name]
        ratio, first, last = max(comparisons)[0], comparisons[0][1], comparisons[-1][2]
        moved = "did not change at all" if ratio == 0 else f"changed by only {ratio:.2g} of their size"
        self._reported.add(name)
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

    def finish(self) -> None:
        for name, large in self._first.items():
            if large and name not in self._reported:
                self._add_large(name, *large)
        for name in self._still:
            if name not in self._moved and name not in self._reported:
                self._add_still(name)  # a short training has no second comparison

    def undecided(self) -> str:
        if self.seen or self._newest is None:
            return super().undecided()
        apart = f" that are {distance} steps or more apart" if (distance := self.distance) > 1 else ""
        return (
            f"the weights were looked at last in step {self._newest}, and it compares two steps{apart}: "
            "train longer, or set a smaller save_interval for the collection 'weights'"
        )

    @property
    def distance(self) -> int:
        """How many steps apart the two steps are that it compares, at the least."""
        return self.integer("num_steps") if self.values["num_steps"] is not None else 1

    def summary(self) -> str:
        if self._smallest is None or self._largest is None:
            return "All weights were zero, and of those no update is judged."
        return (
            f"{self.seen} comparisons; between saves the weights changed by {self._smallest[0]:.2g} "
            f"({self._smallest[1]}) to {self._largest[0]:.2g} ({self._largest[1]}) of their size."
        )
