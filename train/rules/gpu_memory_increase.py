"""GPUMemoryIncrease: GPU memory that keeps growing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Profile
from train.rules.rule import Parameter, Rule
from train.rules.system import NEEDS, NO_GPU, after_patience, by_gpu


class GPUMemoryIncrease(Rule):
    """Fires when a GPU's memory use, averaged over `window` samples, grows by over `increase` points from one
    window to the next."""

    name = "GPUMemoryIncrease"
    source = "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#gpu-memory-increase"
    looks_for = "a large increase of memory use on a GPU"
    needs = NEEDS
    parameters: ClassVar = {
        "increase": Parameter(10.0, least=0.0, most=100.0),
        "patience": Parameter(100, least=0),
        "window": Parameter(10, least=1),
    }

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        super().__init__(raw)
        self._summary = ""

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.samples)
        self.replace(None)
        if not profile.has_gpu:
            self._summary = NO_GPU
            return
        parts = []
        for name, use in by_gpu(after_patience(profile, self.integer("patience")), memory=True).items():
            windows = use.size // self.integer("window")
            if windows < 2:
                continue
            means = use[: windows * self.integer("window")].reshape(windows, -1).mean(axis=1)
            jump = float(np.diff(means).max())
            parts.append(f"{name}: largest increase {jump:+.1f} points, peak {float(use.max()):.0f} %")
            if jump > self.number("increase"):
                self.add(
                    tensor=name,
                    message=f"The memory use of {name} grew by {jump:.1f} points between two windows of "
                    f"{self.integer('window')} samples (limit {self.number('increase'):g}).",
                    cause="Tensors that are kept over steps (a loss summed without .item()), or a batch "
                    "far larger "
                    "than the others.",
                    remedy="Detach what is kept over steps; check the largest batch; leave room before "
                    "raising "
                    "the batch size.",
                )
        self._summary = "; ".join(parts) or "Too few samples."

    def summary(self) -> str:
        return self._summary
