"""Which number and memory format to compute in, chosen from what the hardware does well, and logged."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from train.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Precision:
    """`name` is fp32, bf16 or fp16; `reason` says why, for the log.

    channels_last keeps the channels of a pixel together in memory: tensor cores want it, and CPUs gain a
    quarter with photos, but lose a third of the speed with pictures as small as digits.
    """

    name: str
    reason: str
    channels_last: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: str) -> contextlib.AbstractContextManager[object]:
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16 if self.name == "bf16" else torch.float16)


FULL = Precision("fp32", "as an endpoint computes")


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


# Below this size a step on a CPU is overhead and memory traffic; converting costs more than it saves.
_SMALL = 96


def choose(setting: str, device: str, hardware: Hardware, image_size: int) -> Precision:
    """Free of I/O. Raises TrainingError for a setting that the device cannot do."""
    if setting == "fp16" and device == "cpu":
        raise TrainingError("precision=fp16 needs a GPU; on a CPU take auto, bf16 or fp32")
    channels_last = device == "cuda" or image_size >= _SMALL
    name, reason = (setting, "as asked") if setting != "auto" else _best(device, hardware, image_size)
    return Precision(name, reason, channels_last)


def _best(device: str, hardware: Hardware, image_size: int) -> tuple[str, str]:
    if device == "cuda":
        major, minor = hardware.capability or (0, 0)
        if major >= 8:
            return "bf16", f"compute capability {major}.{minor} is fast at it"
        if major >= 7:
            return "fp16", f"compute capability {major}.{minor} has no bf16"
        return "fp32", f"compute capability {major}.{minor} has no tensor cores"
    if not hardware.cpu_bf16:
        return "fp32", "this CPU has no instructions for bf16"
    if image_size < _SMALL:
        return "fp32", "bf16 gains nothing with pictures this small"
    return "bf16", "this CPU has instructions for it"
