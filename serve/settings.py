"""Everything that can be set, by environment variable. SageMaker passes a model's Environment through.

| variable | default | meaning |
|---|---|---|
| SAGEMAKER_BASE_DIR | /opt/ml | the folder that holds `model/` |
| SAGEMAKER_BIND_TO_PORT | 8080 | port to listen on |
| SAGEMAKER_MULTI_MODEL | false | many models, loaded and unloaded by requests to /models |
| SAGEMAKER_MAX_PAYLOAD_IN_MB | | batch transform's payload limit; raises BYOC_MAX_BYTES |
| BYOC_BIND_ADDRESS | see below | address to listen on |
| BYOC_DEVICE | auto | auto, cpu or cuda |
| BYOC_PRECISION | auto | fp32, bf16, fp16 or int8; auto: the fastest that is proved and checked at start |
| BYOC_WORKERS | one a core, or one a GPU | worker processes |
| BYOC_THREADS | 1 | threads of one worker's forward pass |
| BYOC_BATCH_SIZE | 1; 16 on a GPU | requests that are put through the network together |
| BYOC_BATCH_DELAY_MS | 2 | how long a request waits for others |
| BYOC_QUEUE | 100 | requests that may wait; more are answered with 503 |
| BYOC_TIMEOUT | 60 | seconds that a request may take |
| BYOC_DRAIN_SECONDS | 25 | after SIGTERM, time for the requests under way |
| BYOC_LOST_SECONDS | 30 | without any worker for so long, the server gives up |
| BYOC_MAX_BYTES | 6291456 | largest request body |
| BYOC_MAX_PIXELS | 80000000 | largest picture, in pixels; less with little memory; a request: 5 times this |
| BYOC_MAX_ASPECT | 200 | longest picture, longer side to shorter side |
| BYOC_MAX_IMAGES | 64 | most pictures in one request |
| BYOC_TOP_K | 5 | classes in an answer, unless the request says otherwise |
| BYOC_MODELS_MEMORY_MB | 70 % of the memory | multi-model: what the models may take in all workers |
| BYOC_S3_PREFIXES | none | comma-separated, like s3://bucket/folder/: pictures that requests may name |
| BYOC_LOG_REQUESTS | false | a JSON line on stdout for each request |
| BYOC_METRICS_SECONDS | 0 | seconds between lines of metrics in CloudWatch's embedded format; 0: none |
| BYOC_JAVA | found | path of a Java runtime, 11 or newer |

Without BYOC_BIND_ADDRESS the server listens on every address of its container; started with another
SAGEMAKER_BASE_DIR than /opt/ml it runs on somebody's own machine, and listens on 127.0.0.1 only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from contract import container
from contract.values import boolean
from serve.errors import ServeError

DEFAULT_BASE: Final = "/opt/ml"
PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16", "int8")
PROGRAM: Final = Path(__file__).resolve().parent.parent
# The hungriest decoder (JPEG 2000) takes 18 bytes for each pixel, however few the file has.
_BYTES_A_PIXEL: Final = 20
_WITHOUT_PICTURES: Final = 1024**3  # Java, torch and a model
_PHOTO: Final = 16_000_000  # a phone's; taken in any case


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a caller may send. The fields are the BYOC_MAX_* variables, BYOC_TOP_K and BYOC_S3_PREFIXES."""

    bytes: int = 6_291_456
    pixels: int = 80_000_000
    aspect: int = 200
    images: int = 64
    top_k: int = 5
    s3: tuple[str, ...] = ()
    batch: bool = False
    """Whether this is batch transform, where an empty line of an object is a request of its own."""

    @property
    def answer(self) -> int:
        """Bytes of the largest answer; thousands of classes for dozens of pictures are many."""
        return max(self.bytes, 16 * 1024**2)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The variables above, read and checked. `gpus` is how many the system shows (0: use the CPU).

    `models_dir` is set in multi-model mode only.
    """

    model_dir: Path
    models_dir: Path | None
    models_memory_mb: int
    address: str
    port: int
    device: Literal["auto", "cpu", "cuda"]
    gpus: int
    workers: int
    threads: int
    batch_size: int
    batch_delay_ms: int
    queue: int
    timeout: int
    drain_seconds: int
    lost_seconds: int
    log_requests: bool
    metrics_seconds: int
    java: str | None
    limits: Limits


def read(environment: Mapping[str, str]) -> Settings:
    """Settings from the environment. Raises ServeError naming the variable, its value and what is allowed."""
    base = environment.get("SAGEMAKER_BASE_DIR") or DEFAULT_BASE
    own_machine = Path(base) != Path(DEFAULT_BASE)
    device = read_device(environment)
    gpus = 0 if device == "cpu" else visible_gpus()
    on_gpu = bool(gpus) or device == "cuda"
    workers = _number(environment, "BYOC_WORKERS", (gpus or 1) if on_gpu else container.cores(), 1, 512)
    limits = read_limits(environment, affordable_pixels(container.total_memory(), workers))
    read_precision(environment)
    memory_mb = int(0.7 * (container.total_memory() or 4 * 1024**3)) >> 20
    return Settings(
        model_dir=Path(base) / "model",
        models_dir=Path(base).absolute() / "models" if flag(environment, "SAGEMAKER_MULTI_MODEL") else None,
        models_memory_mb=_number(environment, "BYOC_MODELS_MEMORY_MB", memory_mb, 1, 10**7),
        address=environment.get("BYOC_BIND_ADDRESS") or ("127.0.0.1" if own_machine else "0.0.0.0"),
        port=_number(environment, "SAGEMAKER_BIND_TO_PORT", 8080, 1, 65535),
        device=device,
        gpus=gpus,
        workers=workers,
        threads=_number(environment, "BYOC_THREADS", 1, 1, 512),
        batch_size=_number(environment, "BYOC_BATCH_SIZE", 16 if on_gpu else 1, 1, 1024),
        batch_delay_ms=_number(environment, "BYOC_BATCH_DELAY_MS", 2, 1, 60_000),
        queue=_number(environment, "BYOC_QUEUE", 100, 1, 100_000),
        timeout=_number(environment, "BYOC_TIMEOUT", 60, 1, 3600),
        drain_seconds=_number(environment, "BYOC_DRAIN_SECONDS", 25, 0, 3600),
        lost_seconds=_number(environment, "BYOC_LOST_SECONDS", 30, 1, 3600),
        log_requests=flag(environment, "BYOC_LOG_REQUESTS"),
        metrics_seconds=_number(environment, "BYOC_METRICS_SECONDS", 0, 0, 3600),
        java=environment.get("BYOC_JAVA") or None,
        limits=limits,
    )


def read_device(environment: Mapping[str, str]) -> Literal["auto", "cpu", "cuda"]:
    """BYOC_DEVICE. Raises ServeError."""
    return _choice(environment, "BYOC_DEVICE", "auto", ("auto", "cpu", "cuda"))  # type: ignore[return-value]


def read_precision(environment: Mapping[str, str]) -> str:
    """BYOC_PRECISION. Raises ServeError."""
    return _choice(environment, "BYOC_PRECISION", "auto", PRECISIONS)


def affordable_pixels(memory_bytes: int | None, workers: int) -> int:
    """The default of BYOC_MAX_PIXELS: what all workers can decode at the same time."""
    if memory_bytes is None:
        return Limits.pixels
    each = (memory_bytes - _WITHOUT_PICTURES) // workers // _BYTES_A_PIXEL
    return min(max(each, _PHOTO), Limits.pixels)


def read_limits(environment: Mapping[str, str], pixels: int = Limits.pixels) -> Limits:
    """Only the limits: what a worker needs. `pixels`: the default of BYOC_MAX_PIXELS."""
    payload_mb = _number(environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0, 0, 100)
    default_bytes = max(Limits.bytes, payload_mb * 1024 * 1024)
    return Limits(
        bytes=_number(environment, "BYOC_MAX_BYTES", default_bytes, 1, 1024**3),
        pixels=_number(environment, "BYOC_MAX_PIXELS", pixels, 1, Limits.pixels),
        aspect=_number(environment, "BYOC_MAX_ASPECT", Limits.aspect, 1, 10**6),
        images=_number(environment, "BYOC_MAX_IMAGES", Limits.images, 1, 10**4),
        top_k=_number(environment, "BYOC_TOP_K", Limits.top_k, 1, 10**6),
        s3=_prefixes(environment),
        batch=environment.get("SAGEMAKER_BATCH", "").lower() == "true",
    )


def _prefixes(environment: Mapping[str, str]) -> tuple[str, ...]:
    text = environment.get("BYOC_S3_PREFIXES", "")
    prefixes = tuple(part.strip() for part in text.split(",") if part.strip())
    for prefix in prefixes:
        # Without the slash, s3://mine would allow s3://mine-not as well.
        if not re.fullmatch(r"s3://[a-z0-9.-]{3,63}/(.*/)?", prefix):
            raise ServeError(f"BYOC_S3_PREFIXES holds {prefix!r}; each must be like s3://bucket/folder/")
    return prefixes


def visible_gpus() -> int:
    """NVIDIA devices that the operating system shows. Whether torch can use them, `model.device` says."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ServeError(f"{name} is {text!r}; it must be a whole number from {low} to {high}")
    return value


def flag(environment: Mapping[str, str], name: str) -> bool:
    """True for true and 1. Raises ServeError for any other value."""
    text = environment.get(name, "").strip()
    wanted = boolean(text or "false")
    if wanted is None:
        raise ServeError(f"{name} is {text!r}; it must be true or false")
    return wanted


def _choice(environment: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    text = environment.get(name, "").strip().lower() or default
    if text not in allowed:
        raise ServeError(f"{name} is {text!r}; allowed: {', '.join(allowed)}")
    return text
