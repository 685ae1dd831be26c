"""BatchSize: nothing on the machine is busy, so batches may be larger or the machine smaller."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Sample
from train.rules.rule import Finding, Parameter
from train.rules.system import GPURule, by_gpu


class BatchSize(GPURule):
    """Fires when over the newest `window` samples the 95th percentiles of CPU use, GPU use and GPU memory all
    lie below their thresholds."""

    name = "BatchSize"
    source = "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#batch-size-rule"
    looks_for = "CPU, GPU and GPU memory that are all little used"
    parameters: ClassVar = {
        "cpu_threshold_p95": Parameter(70.0, least=0.0, most=100.0),
        "gpu_threshold_p95": Parameter(70.0, least=0.0, most=100.0),
        "gpu_memory_threshold_p95": Parameter(70.0, least=0.0, most=100.0),
        "patience": Parameter(100, least=0),
        "window": Parameter(500, least=1),
    }

    def judge(self, samples: list[Sample]) -> None:
        samples = samples[-self.integer("window") :]
        cpu = [sample.cpu for sample in samples if sample.cpu is not None]
        gpu = by_gpu(samples).values()
        memory = by_gpu(samples, memory=True).values()
        if not cpu or not gpu or not memory:
            self.lack()
            return
        found = {
            "cpu": float(np.percentile(cpu, 95)),
            "gpu": max(float(np.percentile(use, 95)) for use in gpu),
            "gpu_memory": max(float(np.percentile(use, 95)) for use in memory),
        }
        self.evidence = (
            f"95th percentiles over {len(samples)} samples: CPU {found['cpu']:.0f} %, GPU "
            f"{found['gpu']:.0f} %, GPU "
            f"memory {found['gpu_memory']:.0f} %."
        )
        if all(value < self.number(f"{name}_threshold_p95") for name, value in found.items()):
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
