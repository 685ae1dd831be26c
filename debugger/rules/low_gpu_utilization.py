"""LowGPUUtilization: a GPU that is paid for and not used."""

from __future__ import annotations

import numpy as np

from debugger.profile import Sample
from debugger.rules.system import GPURule, by_gpu


class LowGPUUtilization(GPURule):
    """Fires for a GPU whose 95th percentile of use over the newest `window` samples is below `threshold_p95`
    (too little to do), or is above it with a 5th percentile below `threshold_p5` (starts and stops)."""

    name = "LowGPUUtilization"

    def judge(self, samples: list[Sample]) -> None:
        parts = []
        for name, use in by_gpu(samples).items():
            window = use[-self.integer("window") :]
            low, high = (float(value) for value in np.percentile(window, [5, 95]))
            text = f"{name}: p5 {low:.0f} %, p95 {high:.0f} % over {window.size} samples"
            parts.append(text)
            if high < self.number("threshold_p95"):
                self.add(
                    tensor=name,
                    message=f"{text}: it has too little to do.",
                    cause="Batches too small for this GPU, or a loader that does not keep up.",
                    remedy="Raise the batch size, add loader workers, or choose a smaller instance.",
                )
            elif low < self.number("threshold_p5"):
                self.add(
                    tensor=name,
                    message=f"{text}: it keeps stopping.",
                    cause="It waits for data, checkpoints or evaluations between its bursts.",
                    remedy="Look at the step times: a large data wait asks for more loader workers.",
                )
        self.evidence = "; ".join(parts)
        if not parts:
            self.lack()
