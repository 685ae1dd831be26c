"""What SageMaker's machines carry, by family: GPUs, drivers, processors, disks; and what our images need.

Sources, 2026-11-29: AWS's "Best practices to minimize interruptions during GPU driver upgrades"
(docs.aws.amazon.com/sagemaker/latest/dg/inference-gpu-drivers.html) for drivers, the API reference's
ProductionVariant.InferenceAmiVersion and TransformResources.TransformAmiVersion for machine images, EC2's
"Instance types" for GPUs, processors and disks, NVIDIA's "CUDA compatibility" for the oldest driver of a GPU,
and torch 2.10.0+cu128's own list of architectures (sm_70, 75, 80, 86, 90, 100, 120).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from contract.errors import ByocError

_AMI_535 = "al2-ami-sagemaker-inference-gpu-2-1"
_AMI_550 = "al2-ami-sagemaker-inference-gpu-3-1"
_AMI_580 = "al2023-ami-sagemaker-inference-gpu-4-1"
_BATCH_535 = "al2-ami-sagemaker-batch-gpu-535"
_CUDA_DRIVER = 525  # the oldest that CUDA 12 runs with


@dataclass(frozen=True)
class Family:
    """Machines with NVIDIA GPUs."""

    gpu: str
    architecture: str
    """Compute capability, as torch names it; the images have code for it, or for one that it runs."""
    default_driver: int
    """Of endpoints, where no machine image is named; 0 where AWS does not say."""
    endpoint_image: str
    """The machine image that our endpoints run on; empty where none is known to work."""
    batch_driver: int = 0
    """The newest of batch transform's; 0 where batch transform does not have the family."""
    oldest_driver: int = _CUDA_DRIVER


FAMILIES: Mapping[str, Family] = {
    "p2": Family("K80", "sm_37", 470, "", 535),
    "p3": Family("V100", "sm_70", 470, _AMI_535, 535),
    "p3dn": Family("V100", "sm_70", 470, _AMI_535),
    "g4dn": Family("T4", "sm_75", 470, _AMI_535, 535),
    "g5": Family("A10G", "sm_86", 470, _AMI_535, 535),
    "p4d": Family("A100", "sm_80", 470, _AMI_535),
    "p4de": Family("A100", "sm_80", 470, _AMI_535),
    "g6": Family("L4", "sm_89", 535, _AMI_535, 535),
    "g6e": Family("L40S", "sm_89", 535, _AMI_535, 535),
    "p5": Family("H100", "sm_90", 535, _AMI_535),
    "p5e": Family("H200", "sm_90", 550, _AMI_550),
    "p5en": Family("H200", "sm_90", 550, _AMI_550),
    # Blackwell. Images with CUDA 12.9 were reported to hang on the only machine image with a driver for it.
    "p6-b200": Family("B200", "sm_100", 0, "", oldest_driver=570),
    "p6-b300": Family("B300", "sm_103", 0, "", oldest_driver=580),
    "p6e-gb200": Family("GB200", "sm_100", 0, "", oldest_driver=570),
    "g7": Family("RTX PRO 4500", "sm_120", 0, "", oldest_driver=570),
    "g7e": Family("RTX PRO 6000", "sm_120", 0, "", oldest_driver=570),
}
_TORCH = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120")
_DRIVERS = {_AMI_535: 535, "al2-ami-sagemaker-inference-gpu-2": 535, _AMI_550: 550, _AMI_580: 580}
_ARM = re.compile(r"[cmrtx]\d+g[dn]?|p6e-gb200")
_ACCELERATORS = re.compile(r"(inf|trn|dl)\d")
_LOCAL_DISK = re.compile(r"[cmr]\d+(i|g|a)?dn?|g4dn|g\d+e?|p3dn|p[4-9].*|trn\d.*|dl1")


def family_of(instance_type: str) -> str:
    """`ml.g5.xlarge` → `g5`."""
    return instance_type.removeprefix("ml.").partition(".")[0]


def has_gpu(instance_type: str) -> bool:
    """Whether SageMaker's machine of that type carries NVIDIA GPUs (families g and p)."""
    return re.match(r"ml\.(g|p)\d", instance_type) is not None


def has_local_disk(instance_type: str) -> bool:
    """Whether its disk is its own, encrypted by its hardware: a request with a key for it is refused."""
    return _LOCAL_DISK.fullmatch(family_of(instance_type)) is not None


def check(instance_type: str, setting: str) -> None:
    """ByocError for a machine that our images cannot run on, or would run on without what it costs for.

    Args:
        setting: what names it.
    """
    family = family_of(instance_type)
    if _ARM.fullmatch(family):
        raise _unfit(setting, instance_type, "it has Arm processors, and the images are for linux/amd64")
    if _ACCELERATORS.match(family):
        raise _unfit(setting, instance_type, "the images do not use its accelerators, and it costs for them")
    gpu = FAMILIES.get(family)
    if gpu and gpu.architecture not in _TORCH:
        raise _unfit(
            setting, instance_type, f"the images' torch has no code for its {gpu.gpu} ({gpu.architecture})"
        )


def endpoint_image(instance_type: str, chosen: str) -> str:
    """The machine image of an endpoint; "" for one without GPUs.

    Args:
        chosen: deploy.ami_version, which the user answers for where its driver is not known to be too old.

    Raises:
        ByocError: no driver that SageMaker has there is known to run the serving image.
    """
    check(instance_type, "deploy.instance_type")
    if not has_gpu(instance_type):
        return ""
    gpu = FAMILIES.get(family_of(instance_type))
    if gpu is None:
        if chosen:
            return chosen
        raise _unfit(
            "deploy.instance_type", instance_type, "its GPU is not known here, nor which driver it has",
            "Set deploy.ami_version to the machine image that AWS names for it, or choose ml.g5 or ml.g6.",
        )  # fmt: skip
    driver = _DRIVERS.get(chosen, gpu.oldest_driver)
    if chosen and driver >= gpu.oldest_driver:
        return chosen
    if chosen:
        raise _unfit(
            "deploy.ami_version", chosen,
            f"its driver is {driver}, and a {gpu.gpu} needs {gpu.oldest_driver}",
            "Leave deploy.ami_version out, or name a newer one.",
        )  # fmt: skip
    if gpu.endpoint_image:
        return gpu.endpoint_image
    raise _unfit(
        "deploy.instance_type",
        instance_type,
        f"its {gpu.gpu} needs NVIDIA driver {gpu.oldest_driver} or newer, and no machine image with one is "
        "known to run the serving image (CUDA 12.8)",
        f'Choose ml.g6e or ml.p5, or try deploy.ami_version = "{_AMI_580}".',
    )


def batch_image(instance_type: str, chosen: str) -> str:
    """The machine image of a transform job; "" for one without GPUs. ByocError as in `endpoint_image`."""
    check(instance_type, "transform.instance_type")
    if not has_gpu(instance_type):
        return ""
    gpu = FAMILIES.get(family_of(instance_type))
    if not chosen and (gpu is None or gpu.batch_driver < gpu.oldest_driver):
        raise _unfit(
            "transform.instance_type", instance_type,
            "batch transform is not known to have a driver for its GPU that runs the serving image",
            "Choose ml.g4dn, ml.g5, ml.g6 or ml.g6e.",
        )  # fmt: skip
    return chosen or _BATCH_535


def check_multi_model(instance_type: str, environment: Mapping[str, str]) -> None:
    """ByocError for a multi-model endpoint on GPUs: SageMaker has them for Triton's image only."""
    if has_gpu(instance_type) and environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true":
        raise _unfit(
            "deploy.instance_type", instance_type,
            "on GPUs, SageMaker serves several models with Triton only",
            "Choose a machine without GPUs (ml.c7i.xlarge), or an endpoint for each model.",
        )  # fmt: skip


def _unfit(setting: str, value: str, why: str, remedy: str = "") -> ByocError:
    return ByocError(
        f"{setting} is {value}: {why}.",
        remedy or "Choose another one: ml.m5, ml.c7i, or with GPUs ml.g5, ml.g6.",
        kind="UnfitMachine",
    )
