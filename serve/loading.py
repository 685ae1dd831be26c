"""The start of a worker: load the model, or tell the supervisor why that cannot be, and end."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contract.log import with_level
from model import artifact
from serve import classifier, events, memory, models, process, settings
from serve.classifier import Classifier
from serve.errors import RequestError, ServeError, printable

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Worker:
    """`choose`: from a request's headers to its model; raises RequestError, and what `Models.get` does.

    `seconds`: that a request may take.
    """

    choose: Callable[[Mapping[str, str]], Classifier]
    limits: settings.Limits
    seconds: int = 60


def start(properties: Mapping[str, Any]) -> Worker:
    """What multi-model-server's call without data does. Ends the process when serving is impossible."""
    silence_libraries()
    logging.getLogger("mms.service").setLevel(logging.WARNING)  # else it logs a metric for each request
    ours = logging.getLogger("serve")
    handler = logging.StreamHandler()  # stdout is multi-model-server's own
    handler.setFormatter(OneLine())
    ours.addHandler(handler)
    ours.propagate = False
    process.die_with_parent(os.getppid())
    # On a CPU the workers are forked from here. They wait for Java to open their pipes: without it, for ever.
    here = os.getpid()
    os.register_at_fork(after_in_child=lambda: process.die_with_parent(here))
    events.send("started")
    begin = time.perf_counter()
    try:
        worker, about = _load(properties)
    except (artifact.ArtifactError, ServeError, OSError, MemoryError) as error:
        events.send("failed", message=str(error) or type(error).__name__)
        raise SystemExit(1) from error
    except Exception as error:
        log.exception("the model could not be loaded")
        events.send("failed", message=f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    memory.give_back()
    gc.freeze()  # a later collection would touch every object, and with it every page that workers share
    events.send("loaded", message=f"{about}, loaded in {time.perf_counter() - begin:.1f} s")
    return worker


class OneLine(logging.Formatter):
    """Messages may hold what somebody else has named; only a traceback has lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return with_level(record.levelname, printable(super().formatMessage(record)))


def silence_libraries() -> None:
    """Keep from the log what decoders written in C say about a damaged picture.

    libtiff writes lines by the hundred to file descriptor 2, and whoever makes the picture chooses them. What
    Python writes goes on, through another descriptor.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def rehearse(wanted: str) -> str:
    """What all models need, before the workers are forked from here; about it, for the log.

    Of OpenVINO that is only its code: compiled here, a network would leave threads that no fork inherits, and
    a worker that compiles another would wait for them.
    """
    if classifier.has("openvino") and classifier.place(wanted) == "cpu":
        from serve import openvino_engine

        return openvino_engine.describe()
    from serve import torch_engine

    torch_engine.rehearse()
    return torch_engine.describe(wanted)


def _load(properties: Mapping[str, Any]) -> tuple[Worker, str]:
    limits = settings.read_limits(os.environ)
    wanted = settings.read_device(os.environ)
    threads = int(os.environ.get("BYOC_THREADS") or 1)
    precision = settings.read_precision(os.environ)
    gpu = properties.get("gpu_id")
    seconds = int(os.environ.get("BYOC_TIMEOUT") or Worker.seconds)

    def load(folder: Path) -> Classifier:
        return Classifier.load(folder, wanted, gpu, threads, precision)

    if live := os.environ.get(models.VARIABLE):
        about = rehearse(wanted)
        held = models.Models(load, Path(live))

        def choose(headers: Mapping[str, str]) -> Classifier:
            if models.HEADER not in headers:
                raise RequestError(404, "name a model: POST to /models/NAME/invoke")
            return held.get(headers[models.HEADER])

        return Worker(choose, limits, seconds), f"ready for many models; {about}"
    only = load(Path(os.environ.get("BYOC_MODEL_DIR") or properties["model_dir"]))
    about = (
        f"{only.model['architecture']} with {only.model['classes']} classes, "
        f"version {only.model['version']}; {only.engine.reason}; {only.engine.about}"
    )
    return Worker(lambda _headers: only, limits, seconds), about
