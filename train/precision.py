"""Which number format to compute in, chosen from what the hardware does well, and told."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from train.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Precision:
    """`name` is fp32, bf16 or fp16; `reason` says why, for the log."""

    name: str
    reason: str

    def autocast(self, device: str) -> contextlib.AbstractContextManager[object]:
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16 if self.name == "bf16" else torch.float16)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What matters for the choice: compute capability of the GPU, and whether the CPU multiplies bf16
    itself."""

    capability: tuple[int, int] | None = None
    cpu_bf16: bool = False


def probe(device: str) -> Hardware:
    if device == "cuda":
        return Hardware(capability=torch.cuda.get_device_capability())
    return Hardware(
        cpu_bf16=bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    )


# Below this size a step on a CPU is overhead and memory traffic, and converting costs more than it saves.
_MIN_CPU_BF16_SIZE = 96


def choose(setting: str, device: str, hardware: Hardware, image_size: int) -> Precision:
    """Free of I/O. Raises TrainingError for a setting that the device cannot do."""
    if setting == "fp16" and device == "cpu":
        raise TrainingError("precision=fp16 needs a GPU; on a CPU take auto, bf16 or fp32")
    if setting != "auto":
        return Precision(setting, "as asked")
    if device == "cuda":
        capability = hardware.capability or (0, 0)
        if capability >= (8, 0):
            return Precision("bf16", f"compute capability {capability[0]}.{capability[1]} is fast at it")
        if capability >= (7, 0):
            return Precision("fp16", f"compute capability {capability[0]}.{capability[1]} has no bf16")
        return Precision("fp32", "this GPU has no tensor cores")
    if hardware.cpu_bf16 and image_size >= _MIN_CPU_BF16_SIZE:
        return Precision("bf16", "this CPU multiplies it in hardware")
    return Precision(
        "fp32", "pictures this small gain nothing" if hardware.cpu_bf16 else "this CPU has no bf16"
    )
