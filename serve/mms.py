"""How multi-model-server is set up: its properties file, its environment, and the Java command."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from serve import events, java
from serve.errors import ServeError
from serve.settings import PROGRAM, Settings

FRONTEND = Path(__file__).parent / "frontend" / "byoc-frontend.jar"
LOGGING = Path(__file__).parent / "log4j2.xml"

# They would override the properties file, or point into a folder that is not ours.
_UNWANTED = ("MMS_CONFIG_FILE", "LOG_LOCATION", "METRICS_LOCATION", "MODEL_SERVER_HOME", "TEMP")

# The largest payload of a batch transform, and the most that may be under way at a time.
_TRANSFORM_MB = 100


def execution_parameters(settings: Settings) -> dict[str, str | int]:
    """What batch transform should send: as much as keeps the workers busy, within SageMaker's limits.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
    """
    payload_mb = min(max(settings.limits.bytes // 1024**2, 1), _TRANSFORM_MB)
    # While a worker answers one batch, the next already waits for it.
    requests = 2 * settings.workers * settings.batch_size
    return {
        "MaxConcurrentTransforms": max(min(requests, _TRANSFORM_MB // payload_mb), 1),
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": payload_mb,
    }


def properties(settings: Settings, private: Path) -> dict[str, str]:
    """The content of the properties file; names that begin with byoc are read by our front end."""
    return {
        # The store holds one empty folder: the model itself is found by our handler. A Python file or a
        # manifest in the artifact would otherwise be imported or obeyed by the worker.
        "model_store": str(private / "store"),
        "model_server_home": str(_home()),
        "PYTHON_EXECUTABLE": sys.executable,
        "default_service_handler": "serve.handler:handle",
        # Neither CUDA nor the threads of a forward pass survive a fork.
        "preload_model": "false" if uses_gpu(settings) or settings.threads > 1 else "true",
        "number_of_gpu": str(settings.gpus),
        "number_of_netty_threads": "1",
        "netty_client_threads": "1",
        "job_queue_size": str(settings.queue),
        # Loading has to fit into it as well; the time of a request is kept by an alarm in the worker.
        "default_response_timeout_seconds": str(max(settings.timeout + 10, 600)),
        "max_request_size": str(settings.limits.bytes),
        "max_response_size": str(settings.limits.answer + 65536),
        "decode_input_request": "false",
        "async_logging": "false",
        "blacklist_env_vars": "(JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS)",
        "byoc.address": settings.address,
        "byoc.port": str(settings.port),
        "byoc.workers": str(settings.workers),
        "byoc.batch_size": str(settings.batch_size),
        "byoc.batch_delay_ms": str(settings.batch_delay_ms),
        "byoc.timeout": str(settings.timeout),
        "byoc.drain_seconds": str(settings.drain_seconds),
        "byoc.lost_seconds": str(settings.lost_seconds),
        "byoc.execution_parameters": json.dumps(execution_parameters(settings)),
        "byoc.models_root": str(settings.models_dir or ""),
        "byoc.models_live": str(private / "live"),
        "byoc.models_memory_mb": str(settings.models_memory_mb),
    }


def wants_records(settings: Settings) -> bool:
    """Whether the front end has to say something about each request."""
    return settings.log_requests or settings.metrics_seconds > 0


def uses_gpu(settings: Settings) -> bool:
    return bool(settings.gpus) or settings.device == "cuda"


def escape(text: str) -> str:
    """One key or value as java.util.Properties reads it."""
    plain = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    units = plain.encode("utf-16-be", "surrogatepass")
    pairs = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    escaped = "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in pairs)
    return f"\\{escaped}" if escaped.startswith((" ", "#", "!")) else escaped


def write_properties(path: Path, values: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={escape(value)}\n" for name, value in values.items()), encoding="ascii")


def environment(settings: Settings, private: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """For Java and, through it, the workers."""
    result = {name: value for name, value in inherited.items() if name not in _UNWANTED}
    python_path = [str(PROGRAM), *filter(None, [inherited.get("PYTHONPATH")])]
    threads = str(settings.threads)
    result |= {
        "PYTHONPATH": ":".join(python_path),
        "PYTHONUNBUFFERED": "1",
        # Several workers with several threads each would spin against each other.
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TMPDIR": str(private),
        "BYOC_MAX_PIXELS": str(settings.limits.pixels),
        "BYOC_MODEL_DIR": str(settings.model_dir),
        events.VARIABLE: str(private / "events"),
    }
    if settings.models_dir is not None:
        result["BYOC_MODELS_LIVE"] = str(private / "live")
    return result


def command(settings: Settings, private: Path, runtime: Path, number: int) -> list[str]:
    # Bodies may fill a quarter of the heap (Traffic.java); a few large ones must fit.
    heap_mb = 256 + 8 * (settings.limits.bytes // 1024**2)
    # A worker's answers to a batch come in one piece, of which there are two copies for a moment.
    heap_mb += 2 * (settings.batch_size - 1) * (settings.limits.answer // 1024**2)
    return [
        str(runtime),
        *java.options(number, private, heap_mb),
        f"-Dbyoc.records={'true' if wants_records(settings) else 'false'}",
        f"-Dlog4j.configurationFile={LOGGING.as_uri()}",
        "-cp",
        f"{FRONTEND}:{_home() / 'mms' / 'frontend' / 'model-server.jar'}",
        "byoc.Frontend",
        str(private / "mms.properties"),
    ]


def _home() -> Path:
    package = importlib.util.find_spec("mms")
    if package is None or package.origin is None:
        raise ServeError("the package multi-model-server is not installed in this Python environment")
    return Path(package.origin).resolve().parent.parent
