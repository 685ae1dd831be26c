"""BatchSize: nothing on the machine is busy, so batches may be larger or the machine smaller."""

from __future__ import annotations

import numpy as np

from contract.findings import Finding
from debugger.profile import Sample
from debugger.rules.system import GPURule, by_gpu


class BatchSize(GPURule):
    """Fires when over the newest `window` samples the 95th percentiles of CPU use, GPU use and GPU memory all
    lie below their thresholds."""

    name = "BatchSize"

    def judge(self, samples: list[Sample]) -> None:
        samples = samples[-self.integer("window") :]
        cpu = [sample.cpu for sample in samples if sample.cpu is not None]
        gpu = by_gpu(samples).values()
        memory = by_gpu(samples, memory=True).values()
        if not cpu or not gpu or not memory:
            self.lack()
            return
        low_use = {
            "cpu": float(np.percentile(cpu, 95)),
            "gpu": max(float(np.percentile(use, 95)) for use in gpu),
            "gpu_memory": max(float(np.percentile(use, 95)) for use in memory),
        }
        self.evidence = (
            f"95th percentiles over {len(samples)} samples: CPU {low_use['cpu']:.0f} %, GPU "
            f"{low_use['gpu']:.0f} %, GPU memory {low_use['gpu_memory']:.0f} %."
        )
        if all(value < self.number(f"{name}_threshold_p95") for name, value in low_use.items()):
            self.replace(
                Finding(
                    step=None,
                    tensor=None,
                    severity="medium",
                    message=f"Nothing on the machine is busy. {self.evidence}",
                    cause="Batches too small for this machine.",
                    remedy="Raise the batch size (and the learning rate with it), or choose a smaller "
                    "instance.",
                )
            )
