"""IOBottleneck: the GPU waits for input and output."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from train.rules.profile import Profile
from train.rules.rule import Finding, Parameter, Rule
from train.rules.system import NEEDS, NO_GPU, after_patience, paired


class IOBottleneck(Rule):
    """Fires when in over `threshold` percent of the samples I/O wait is above `io_threshold` while the
    GPUs are below `gpu_threshold`."""

    name = "IOBottleneck"
    source = (
        "https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-profiler-rules.html#io-bottleneck"
    )
    looks_for = "GPUs that idle while the machine waits for its disk"
    needs = NEEDS
    parameters: ClassVar = {
        "threshold": Parameter(50.0, least=0.0, most=100.0),
        "gpu_threshold": Parameter(10.0, least=0.0, most=100.0),
        "io_threshold": Parameter(50.0, least=0.0, most=100.0),
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
        busy, gpu = paired(after_patience(profile, self.integer("patience")), "io")
        if not busy.size:
            self._summary = f"Fewer samples than the patience of {self.integer('patience')}."
            return
        waiting = (busy > self.number("io_threshold")) & (gpu < self.number("gpu_threshold"))
        share = 100.0 * float(np.mean(waiting))
        self._summary = (
            f"In {share:.1f} % of {busy.size} samples the GPU waited for input and output "
            f"(limit {self.number('threshold'):g} %); mean {float(busy.mean()):.0f} %, mean GPU "
            f"{float(gpu.mean()):.0f} %."
        )
        finding = Finding(
            step=None,
            tensor=None,
            severity="high",
            message=self._summary,
            cause="Reading the pictures is limited by the disk or the network.",
            remedy="Use File mode instead of FastFile for many small files, pack pictures together, or "
            "keep them in memory.",
        )
        self.replace(finding if share > self.number("threshold") else None)

    def summary(self) -> str:
        return self._summary
