"""ExplodingTensor: a value that is infinite or not a number."""

from __future__ import annotations

from collections.abc import Mapping

from debugger.observation import Observation, kind_of
from debugger.rules.rule import Plan, Rule
from debugger.rules.selection import Selection


class ExplodingTensor(Rule):
    """Fires on NaN, and unless `only_nan` on infinity, in any tensor that it looks at."""

    name = "ExplodingTensor"
    needs = "any tensors: the settings of all collections leave them out"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._selection = Selection(self)
        self._largest: tuple[float, str, int] | None = None
        self._reported: set[str] = set()

    def observe(self, step: Observation) -> None:
        for name in self._selection.names(step):
            tensor = step.tensors[name]
            self.seen += 1
            bad = tensor.nan if self.values["only_nan"] else tensor.nan + tensor.infinite
            if self._largest is None or tensor.largest > self._largest[0]:
                self._largest = (tensor.largest, name, step.step)
            if not bad or name in self._reported:
                continue
            self._reported.add(name)
            what = f"{tensor.nan} NaN and {tensor.infinite} infinite of {max(tensor.size, 1)} values"
            self.add(
                step=step.step,
                tensor=name,
                severity="high",
                message=f"{name} holds {what} at {step.mode} step {step.step}"
                + (": the training is lost from here." if kind_of(name) in ("loss", "weight") else "."),
                cause="A learning rate that is too high, a division by zero or a logarithm of zero in the "
                "loss, broken input values, or float16 beyond its range.",
                remedy="Lower the learning rate, clip gradients, check the input for NaN; train in bfloat16 "
                "rather than float16.",
            )

    def summary(self) -> str:
        if self._largest is None:
            return "No tensors were seen."
        value, name, step = self._largest
        bad = f"{self.total} held non-finite values" if self.total else "all were finite"
        return f"{self.seen} saved tensors: {bad}; the largest value was {value:.3g} ({name}, step {step})."
