"""DeadRelu: activations that never fire."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from debugger.observation import Observation
from debugger.rules.rule import Plan, Rule
from debugger.rules.selection import Selection


class DeadRelu(Rule):
    """Fires when over `threshold_layer` percent of a layer's ReLUs are active less than
    `threshold_inactivity` percent of the time. One ReLU is one channel of the layer's output.

    It does not judge a training of which only the first step was saved: no update can have killed any.
    """

    name = "DeadRelu"
    needs = "ReLU outputs: add the collection 'relu_output' (include_regex .*relu_output)"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._selection = Selection(self, collection="relu_output")
        self._worst: tuple[float, str, int] | None = None
        self._reported: set[str] = set()
        self._newest = 0  # step with ReLU outputs
        self._asked_for = False
        self._learning: set[str] = set()  # layers with a gradient

    def observe(self, step: Observation) -> None:
        if step.mode == "EVAL":
            return
        self._asked_for = self._asked_for or "relu_output" in step.configured
        self._learning.update(
            name.removeprefix("gradient/").rpartition(".")[0]
            for name in step.tensors
            if name.startswith("gradient/")
        )
        for name in self._selection.names(step):
            shares = step.tensors[name].active
            if shares is None or not shares.size:
                continue
            self.seen += 1
            self._newest = step.step
            dead = 100.0 * float(np.mean(shares * 100.0 < self.number("threshold_inactivity")))
            if self._worst is None or dead > self._worst[0]:
                self._worst = (dead, name, step.step)
            if dead > self.number("threshold_layer") and name not in self._reported:
                self._reported.add(name)
                self.add(
                    step=step.step,
                    tensor=name,
                    severity="high" if dead > 90 else "medium",
                    message=f"{dead:.0f} % of the {shares.size} ReLUs of {name} are dead: they are active in "
                    f"less than {self.number('threshold_inactivity'):g} % of their outputs.",
                    cause="A learning rate so high that an update pushed the weights or biases far below "
                    "zero, or a strongly negative bias at the start.",
                    remedy="Lower the learning rate or warm it up, check the biases, normalise the inputs, "
                    "or use leaky ReLUs.",
                )

    @property
    def _head_alone(self) -> str:
        """The only layer that learned, where no ReLU ran beside it."""
        alone = self._asked_for and not self.seen and len(self._learning) == 1
        return next(iter(self._learning)) if alone else ""

    def inapplicable(self) -> str:
        if not self._head_alone:
            return ""
        return (
            f"Only {self._head_alone} learned, and the backbone with its ReLUs did not run in the steps, so "
            "this does not apply."
        )

    def undecided(self) -> str:
        if not self.seen and self._asked_for:
            return (
                "the collection 'relu_output' was asked for, but in none of the steps that it saves was a "
                "ReLU seen to run: its save_interval is longer than the training, the model is compiled, or "
                "the backbone did not run, as only the head learned (freeze)"
            )
        if self.seen and not self._newest:
            return (
                "ReLU outputs were saved at step 0 only, of the network as it was before it learned: train "
                "longer, or save the collection 'relu_output' more often (save_interval)"
            )
        return super().undecided()

    def summary(self) -> str:
        if self._worst is None:
            return "No ReLU outputs were seen."
        dead, name, step = self._worst
        return (
            f"{self.seen} saved ReLU outputs; the worst had {dead:.0f} % dead units ({name}, step {step}); "
            f"the limit is {self.number('threshold_layer'):g} %."
        )
