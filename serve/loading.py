"""The start of a worker: load the model, or report the reason to the supervisor and exit."""

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
    """`choose`: finds the model for a request's headers; raises RequestError, and the errors of `Models.get`.

    `seconds`: the time limit of a request.
    """

    choose: Callable[[Mapping[str, str]], Classifier]
    limits: settings.Limits
    seconds: int = 60


def start(properties: Mapping[str, Any]) -> Worker:
    """Handle multi-model-server's first call, which has no data. Exits if serving is impossible."""
    silence_libraries()
    logging.getLogger("mms.service").setLevel(logging.WARNING)  # else it logs a metric for each request
    ours = logging.getLogger("serve")
    handler = logging.StreamHandler()  # multi-model-server uses stdout itself
    handler.setFormatter(OneLine())
    ours.addHandler(handler)
    ours.propagate = False
    process.die_with_parent(os.getppid())
    # On a CPU the workers are forked from here. They wait for Java to open their pipes, for ever if it dies.
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
    """Keeps a message in one line, as it may hold names that a caller chose. Only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return with_level(record.levelname, printable(super().formatMessage(record)))


def silence_libraries() -> None:
    """Keep the messages of decoders written in C out of the log.

    For a damaged picture libtiff may write hundreds of lines to file descriptor 2, and the picture's author
    controls their text. Python's stderr goes on, through another descriptor.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def rehearse(wanted: str) -> str:
    """Load the code that all models share, before the workers are forked. Returns a text for the log.

    For OpenVINO it compiles no network: that would start threads, which a fork does not inherit, and a worker
    that compiles another network would wait for them.
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
