"""ExplodingTensor: a value that is infinite or not a number."""

from __future__ import annotations

from typing import ClassVar

from train.rules.observation import Observation, kind_of
from train.rules.rule import Parameter, Rule
from train.rules.selection import Selection


class ExplodingTensor(Rule):
    """Fires on NaN, and unless `only_nan` on infinity, in any tensor that it looks at."""

    name = "ExplodingTensor"
    source = "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html#exploding-tensor"
    looks_for = "tensors with infinite values or NaN (not a number)"
    needs = "any tensors: check CollectionConfigurations, nothing was saved"
    parameters: ClassVar = {
        "collection_names": Parameter(None),
        "tensor_regex": Parameter(None),
        "only_nan": Parameter(False),
    }

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        super().__init__(raw)
        self._selection = Selection(self)
        self._largest: tuple[float, str, int] | None = None
        self._told: set[str] = set()

    def observe(self, step: Observation) -> None:
        for name in self._selection.names(step):
            found = step.digest(name)
            self.seen += 1
            bad = found.nan if self.values["only_nan"] else found.nan + found.infinite
            largest = max(abs(found.minimum or 0.0), abs(found.maximum or 0.0))
            if self._largest is None or largest > self._largest[0]:
                self._largest = (largest, name, step.step)
            if not bad or name in self._told:
                continue
            self._told.add(name)
            what = f"{found.nan} NaN and {found.infinite} infinite of {max(found.size, 1)} values"
            self.add(
                step=step.step,
                tensor=name,
                severity="high",
                message=f"{name} holds {what} at {step.mode} step {step.step}"
                + (": the training is lost from here." if kind_of(name) in ("loss", "weight") else "."),
                cause="A learning rate that is too high, a division by zero or a logarithm of zero in the "
                "loss, "
                "broken input values, or float16 beyond its range.",
                remedy="Lower the learning rate, clip gradients, check the input for NaN; train in bfloat16 "
                "rather than float16.",
            )

    def summary(self) -> str:
        if self._largest is None:
            return "No tensors were seen."
        value, name, step = self._largest
        bad = f"{self.found} held non-finite values" if self.found else "all were finite"
        return f"{self.seen} saved tensors: {bad}; the largest value was {value:.3g} ({name}, step {step})."
