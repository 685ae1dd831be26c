"""LowGPUUtilization: a GPU that is paid for and not used."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Sample
from train.rules.rule import Parameter
from train.rules.system import GPURule, by_gpu


class LowGPUUtilization(GPURule):
    """Fires for a GPU whose 95th percentile of use over the newest `window` samples is below `threshold_p95`
    (too little to do), or is above it with a 5th percentile below `threshold_p5` (starts and stops)."""

    name = "LowGPUUtilization"
    source = "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#low-gpu-utilization"
    looks_for = "GPUs that are little used, or whose use goes up and down"
    parameters: ClassVar = {
        "threshold_p95": Parameter(70.0, least=0.0, most=100.0),
        "threshold_p5": Parameter(10.0, least=0.0, most=100.0),
        "window": Parameter(500, least=1),
        "patience": Parameter(100, least=0),
    }

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
