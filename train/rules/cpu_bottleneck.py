"""CPUBottleneck: the GPU waits for the CPU."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Profile
from train.rules.rule import Finding, Parameter, Rule
from train.rules.system import NEEDS, NO_GPU, after_patience, paired


class CPUBottleneck(Rule):
    """Fires when in over `threshold` percent of the samples the CPU is above `cpu_threshold` while the
    GPUs are below `gpu_threshold`."""

    name = "CPUBottleneck"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#cpu-bottleneck"
    )
    looks_for = "GPUs that idle while the CPU is fully used"
    needs = NEEDS
    parameters: ClassVar = {
        "threshold": Parameter(50.0, least=0.0, most=100.0),
        "gpu_threshold": Parameter(10.0, least=0.0, most=100.0),
        "cpu_threshold": Parameter(90.0, least=0.0, most=100.0),
        "patience": Parameter(100, least=0),
    }

    def __init__(self, raw: dict[str, object] | None = None) -> None:
        super().__init__(raw)
        self._summary = ""

    def profile(self, profile: Profile) -> None:
        self.seen = len(profile.samples)
        if not profile.has_gpu:
            self._summary = NO_GPU
            return
        busy, gpu = paired(after_patience(profile, self.integer("patience")), "cpu")
        if not busy.size:
            self._summary = f"Fewer samples than the patience of {self.integer('patience')}."
            return
        waiting = (busy > self.number("cpu_threshold")) & (gpu < self.number("gpu_threshold"))
        share = 100.0 * float(np.mean(waiting))
        self._summary = (
            f"In {share:.1f} % of {busy.size} samples the GPU waited for the CPU "
            f"(limit {self.number('threshold'):g} %); mean {float(busy.mean()):.0f} %, mean GPU "
            f"{float(gpu.mean()):.0f} %."
        )
        finding = Finding(
            step=None,
            tensor=None,
            severity="high",
            message=self._summary,
            cause="Decoding and augmenting the pictures takes all cores.",
            remedy="Use more loader workers or an instance with more cores per GPU; store smaller "
            "pictures; augment on the GPU.",
        )
        self.replace(finding if share > self.number("threshold") else None)

    def summary(self) -> str:
        return self._summary
