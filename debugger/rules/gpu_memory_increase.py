"""GPUMemoryIncrease: GPU memory that keeps growing."""

from __future__ import annotations

import numpy as np

from debugger.profile import Sample
from debugger.rules.system import GPURule, by_gpu


class GPUMemoryIncrease(GPURule):
    """Fires when a GPU's memory use, averaged over `window` samples, grows by over `increase` points from one
    window to the next."""

    name = "GPUMemoryIncrease"

    def judge(self, samples: list[Sample]) -> None:
        parts = []
        for name, use in by_gpu(samples, memory=True).items():
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
                    cause="Tensors that are kept over steps (a loss summed without .item()), or a batch far "
                    "larger than the others.",
                    remedy="Detach what is kept over steps; check the largest batch; leave room before "
                    "raising the batch size.",
                )
        self.evidence = "; ".join(parts)
        if not parts:
            self.lack(2 * self.integer("window"))
