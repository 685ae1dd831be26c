"""CPUBottleneck and IOBottleneck: the GPU waits for something else on the machine."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from contract.findings import Finding
from debugger.profile import Sample, io_wait
from debugger.rules.system import GPURule


class Bottleneck(GPURule):
    """Fires when in over `threshold` percent of the samples the suspect is above its own threshold while
    the GPUs' is below `gpu_threshold`."""

    suspect: ClassVar[str]  # the parameter of its threshold
    waits_for: ClassVar[str]
    cause: ClassVar[str]
    remedy: ClassVar[str]

    def use(self, sample: Sample) -> float | None:
        """How busy the suspect was, in percent; None where that was not measured."""
        raise NotImplementedError

    def judge(self, samples: list[Sample]) -> None:
        measured = [(self.use(sample), sample.gpu) for sample in samples]
        pairs = [(use, gpu) for use, gpu in measured if use is not None and gpu is not None]
        if not pairs:
            self.lack()
            return
        use, gpu = np.array(pairs, dtype=np.float64).T
        waiting = (use > self.number(self.suspect)) & (gpu < self.number("gpu_threshold"))
        share = 100.0 * float(np.mean(waiting))
        self.evidence = (
            f"In {share:.1f} % of {len(pairs)} samples the GPU waited for {self.waits_for} "
            f"(limit {self.number('threshold'):g} %); mean {float(use.mean()):.0f} %, mean GPU "
            f"{float(gpu.mean()):.0f} %."
        )
        if share > self.number("threshold"):
            self.replace(Finding(None, None, "high", self.evidence, self.cause, self.remedy))


class CPUBottleneck(Bottleneck):
    """Decoding and augmenting keep up with the GPU no longer."""

    name = "CPUBottleneck"
    suspect = "cpu_threshold"
    waits_for = "the CPU"
    cause = "Decoding and augmenting the pictures takes all cores."
    remedy = (
        "Use more loader workers or an instance with more cores per GPU; store smaller pictures; augment on "
        "the GPU."
    )

    def use(self, sample: Sample) -> float | None:
        return sample.cpu


class IOBottleneck(Bottleneck):
    """The disk or the network keeps up with the GPU no longer."""

    name = "IOBottleneck"
    suspect = "io_threshold"
    waits_for = "input and output"
    cause = "Reading the pictures is limited by the disk or the network."
    remedy = (
        "Use File mode instead of FastFile for many small files, pack pictures together, or keep them in "
        "memory."
    )

    def use(self, sample: Sample) -> float | None:
        return io_wait(sample)
