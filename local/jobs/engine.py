"""The engine: every job and endpoint that runs, and the threads that look after them."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial

from local.config import Config
from local.errors import ResourceNotFound, ValidationException
from local.jobs import warmpools
from local.jobs.documents import Document, enter, retries_left
from local.jobs.endpoints import Endpoints
from local.jobs.files import remove_tree
from local.jobs.rules import settle_rules, unsettled_rules
from local.jobs.run import Run
from local.jobs.services import Services
from local.jobs.training import TrainingRun
from local.jobs.transform import TransformRun
from local.jobs.tuning import TuningRun
from local.runtime.choice import make_runtime
from local.seam import InvokeResult
from local.store import Store

_ORPHANED = (
    "InternalServerError: The local SageMaker ended while this job ran, and the job with it. Start it again."
)
_RUNS: tuple[type[Run], ...] = (TrainingRun, TuningRun, TransformRun)


class Engine:
    """Runs jobs and endpoints; `local.seam.EngineLike` says what each call means."""

    def __init__(self, config: Config, store: Store, *, services: Services | None = None) -> None:
        """`services` replaces what is made from `config` and `store` (other times, another runtime)."""
        self._services = services or Services(config, store, make_runtime(config))
        self._lock = threading.Lock()
        self._runs: list[Run] = []  # the newest last; a deleted job's may outlive its name
        self._endpoints = Endpoints(self._services)
        self._closing = False

    def start(self) -> None:
        self._fail_orphans()
        self._endpoints.restore()

    def _fail_orphans(self) -> None:
        """Jobs that a dead service left behind end as Failed, and their private folders go.

        Those whose RetryStrategy has an attempt left start again.
        """
        store = self._services.store
        again = []
        for run in _RUNS:
            for doc in store.each(run.kind):
                if run is TrainingRun and _may_start_again(doc):
                    again.append(doc["TrainingJobName"])
                    store.mutate("training-job", again[-1], _start_again)
                elif run.under_way(doc):
                    store.mutate(run.kind, doc[f"{run.noun}Name"], partial(run.fail, reason=_ORPHANED))
        for doc in store.each("training-job"):
            if unsettled_rules(doc):
                store.mutate("training-job", doc["TrainingJobName"], _settle)
            if warmpools.terminate(doc):
                store.mutate("training-job", doc["TrainingJobName"], _end_pool)
        root = self._services.config.jobs_root
        if root.is_dir():
            for folder in root.iterdir():
                remove_tree(folder)
        for name in again:
            self.submit("training-job", name)

    # --- jobs -------------------------------------------------------------------------------------

    def submit(self, kind: str, name: str) -> None:
        if kind == "training-job":
            self._launch(TrainingRun(self._services, name))
        elif kind == "tuning-job":
            self._launch(TuningRun(self._services, name, self._launch))
        elif kind == "transform-job":
            self._launch(TransformRun(self._services, name))
        elif kind == "endpoint":
            self._endpoints.create(name)
        else:
            raise ValueError(f"nothing runs a {kind}")

    def _launch(self, run: Run) -> None:
        with self._lock:
            self._runs = [*(other for other in self._runs if other.alive), run]
            run.start()
            closing = self._closing
            doc = self._services.store.get(run.kind, run.name)
        if closing:
            run.stop("service", self._services.timing.close_grace)
        elif doc is not None and doc[f"{run.noun}Status"] == "Stopping":
            run.stop("user")  # asked for before the job was launched

    def stop(self, kind: str, name: str) -> None:
        with self._lock:
            named = [run for run in self._runs if (run.kind, run.name) == (kind, name)]
            run = named[-1] if named else None
            if run is None:  # its document is in the store, and it is about to be launched
                [noun] = (each.noun for each in _RUNS if each.kind == kind)
                with contextlib.suppress(KeyError):
                    self._services.store.mutate(kind, name, partial(_mark_stopping, member=f"{noun}Status"))
        if run is not None:
            run.stop("user")

    def keep_warm(self, name: str, seconds: int) -> None:
        self._services.pools.prolong(self._services.store, name, seconds)

    def interrupt(self, name: str, *, wait: float | None = None, grace: float | None = None) -> None:
        with self._lock:
            named = [run for run in self._runs if isinstance(run, TrainingRun) and run.name == name]
        if named and named[-1].alive:
            named[-1].interrupt(wait=wait, grace=grace)
        elif (doc := self._services.store.get("training-job", name)) is None:
            raise ResourceNotFound(f"There is no training job {name!r}.")
        else:
            status = doc["TrainingJobStatus"]
            raise ValidationException(
                f"The training job {name} does not run ({status}): nothing can be taken away."
            )

    # --- endpoints --------------------------------------------------------------------------------

    def update_endpoint(self, name: str) -> None:
        self._endpoints.update(name)

    def delete_endpoint(self, name: str) -> None:
        self._endpoints.delete(name)

    def invoke(self, endpoint_name: str, body: bytes, headers: dict[str, str]) -> InvokeResult:
        return self._endpoints.invoke(endpoint_name, body, headers)

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        grace = self._services.timing.close_grace
        with self._lock:
            self._closing = True
            runs = list(self._runs)
        # Tuning jobs first: they start no more trials then.
        for run in sorted(runs, key=lambda run: run.kind != "tuning-job"):
            run.stop("service", grace)
        self._endpoints.close(grace)
        deadline = time.monotonic() + grace + 10
        with self._lock:
            runs = list(self._runs)
        for run in runs:
            run.join(max(0.1, deadline - time.monotonic()))
        self._services.pools.close(self._services.store)
        self._services.runtime.close()


def _may_start_again(doc: Document) -> bool:
    """Whether a job that a dead service has left starts again: one that nobody has stopped, and no trial."""
    return doc["TrainingJobStatus"] == "InProgress" and retries_left(doc) > 0 and "_TuningJobName" not in doc


def _start_again(doc: Document) -> None:
    doc["_Retries"] = doc.get("_Retries", 0) + 1
    # The machine went when the document was changed last, not now.
    doc["SecondaryStatusTransitions"][-1].setdefault("EndTime", doc["LastModifiedTime"])
    enter(doc, "Starting")


def _mark_stopping(doc: Document, *, member: str) -> None:
    if doc[member] == "InProgress":
        doc[member] = "Stopping"


def _end_pool(doc: Document) -> None:
    warmpools.terminate(doc)


def _settle(doc: Document) -> None:
    settle_rules(doc, "Stopped", "The local SageMaker ended before the verdict.")
