"""Which device to compute on, and one line that says why.

`probe` looks at the machine; `choose` and `describe` are free of I/O, so every case is testable anywhere.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Final, Literal

import torch

# The NVIDIA driver that the CUDA 12.8 wheels need at least (minor-version compatibility of CUDA 12).
MIN_DRIVER: Final = (525, 60)

_WITHOUT: Final = "go on without the GPU: device=cpu (serving: BYOC_DEVICE=cpu)"
_HAND_OVER: Final = "docker run --gpus all"


class DeviceError(RuntimeError):
    """A GPU is there or was asked for, and cannot be used; the text says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    name: str
    capability: tuple[int, int]
    memory_bytes: int


@dataclasses.dataclass(frozen=True)
class Machine:
    """What `probe` found.

    Attributes:
        torch, cuda: versions; cuda is that which torch was built for, None for a CPU-only build.
        driver: the host's NVIDIA driver, None where there is none.
        present: how many GPUs the operating system shows, usable or not.
        hidden: CUDA_VISIBLE_DEVICES names none, so nobody wants them used.
        gpus: those that torch can open.
        architectures: what torch was compiled for, e.g. ("sm_80", "sm_90").
        error: what torch said when it could not open the GPUs.
    """

    torch: str
    cuda: str | None = None
    driver: str | None = None
    present: int = 0
    hidden: bool = False
    gpus: tuple[Gpu, ...] = ()
    architectures: tuple[str, ...] = ()
    error: str = ""


def probe() -> Machine:
    """Look at this machine. Does not touch CUDA where there is no GPU."""
    present = len(list(Path("/dev").glob("nvidia[0-9]*")))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    gpus: tuple[Gpu, ...] = ()
    architectures: tuple[str, ...] = ()
    error = ""
    # Windows hands its GPUs to Linux as /dev/dxg, which is there without any, too.
    if not hidden and (present or _driver() or Path("/dev/dxg").exists()):
        try:
            for index in range(torch.cuda.device_count()):
                properties = torch.cuda.get_device_properties(index)
                gpus += (Gpu(properties.name, (properties.major, properties.minor), properties.total_memory),)
            architectures = tuple(torch.cuda.get_arch_list())
        except (RuntimeError, AssertionError) as failure:
            error = str(failure).strip().splitlines()[0]
    return Machine(
        torch.__version__, torch.version.cuda, _driver(), present, hidden, gpus, architectures, error
    )


def choose(machine: Machine, wanted: Literal["auto", "cpu", "cuda"] = "auto") -> Literal["cpu", "cuda"]:
    """The device to use.

    "auto" takes the GPU where there is one, and never falls back silently from one that is there to the CPU:
    a machine with a GPU is paid for.

    Raises:
        DeviceError: a GPU is there or was asked for, and cannot be used.
    """
    there = (machine.present or machine.gpus) and not machine.hidden
    if wanted == "cpu" or (wanted == "auto" and not there):
        return "cpu"
    if not there:
        reason = "CUDA_VISIBLE_DEVICES hides the GPUs" if machine.hidden else "this machine shows no GPU"
        if machine.driver and not machine.hidden:
            reason += f" to this container ({_HAND_OVER})"
        raise DeviceError(f"device=cuda was asked for, and {reason}; use a GPU instance, or {_WITHOUT}")
    if machine.cuda is None:
        raise DeviceError(
            f"there is a GPU, and torch {machine.torch} is built without CUDA; "
            f"install a CUDA build, or {_WITHOUT}"
        )
    if machine.driver and _version(machine.driver) < MIN_DRIVER:
        needed = ".".join(map(str, MIN_DRIVER))
        raise DeviceError(
            f"NVIDIA driver {machine.driver} is too old for CUDA {machine.cuda}, which needs {needed} or "
            "newer; on SageMaker choose a newer machine image (InferenceAmiVersion for endpoints, "
            f"TransformAmiVersion for batch transform), elsewhere install a newer driver, or {_WITHOUT}"
        )
    if not machine.gpus:
        raise DeviceError(
            f"there is a GPU, and torch cannot open it: {machine.error or 'no reason given'}; "
            f"check that nvidia-smi works here (in a container: {_HAND_OVER}), or {_WITHOUT}"
        )
    for gpu in machine.gpus:
        if machine.architectures and not _supported(gpu.capability, machine.architectures):
            capabilities = ", ".join(machine.architectures)
            raise DeviceError(
                f"{gpu.name} has compute capability {gpu.capability[0]}.{gpu.capability[1]}, and torch "
                f"{machine.torch} has code for {capabilities} only; use another GPU instance, or {_WITHOUT}"
            )
    return "cuda"


def describe(machine: Machine, device: str) -> str:
    """One line for the log: versions, driver, device, compute capability."""
    cuda = f"CUDA {machine.cuda}" if machine.cuda else "no CUDA"
    text = f"torch {machine.torch}, {cuda}, NVIDIA driver {machine.driver or 'none'}, device {device}"
    if device == "cuda":
        names = sorted({f"{gpu.name} (sm_{gpu.capability[0]}{gpu.capability[1]})" for gpu in machine.gpus})
        text += f": {len(machine.gpus)} x {', '.join(names)}"
    elif machine.driver and not machine.present and not machine.hidden:
        text += f" (there is a driver, but no GPU was handed to this container: {_HAND_OVER})"
    return text


def _supported(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    # Code for sm_80 also runs on sm_86, not on sm_75 or sm_90; compute_90 is compiled further by the driver.
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        if not digits.isdigit():
            continue
        major, minor = int(digits[:-1]), int(digits[-1])
        same = major == capability[0] and minor <= capability[1]
        if same or (kind == "compute" and (major, minor) <= capability):
            return True
    return False


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _driver() -> str | None:
    try:
        line = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  ..." (open: "... for x86_64  570.")
    return next((word for word in line.split() if word[0].isdigit() and "." in word), None)
