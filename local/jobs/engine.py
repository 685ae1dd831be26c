"""The engine: every job and endpoint that runs, and the threads that look after them."""

from __future__ import annotations

import threading
import time

from local.config import Config
from local.jobs.documents import Document, fail
from local.jobs.endpoints import Endpoints
from local.jobs.files import remove_tree
from local.jobs.rules import settle_rules, unsettled_rules
from local.jobs.services import Services
from local.jobs.training import TrainingRun
from local.jobs.transform import TransformRun, fail_transform
from local.jobs.tuning import TuningRun
from local.runtime import make_runtime
from local.seam import InvokeResult
from local.store import Store

_ORPHANED = (
    "InternalServerError: The local SageMaker ended while this job ran, and the job with it. Start it again."
)


class Engine:
    """Runs jobs and endpoints; `local.seam.EngineLike` says what each call means."""

    def __init__(self, config: Config, store: Store, *, services: Services | None = None) -> None:
        """`services` replaces what is made from `config` and `store` (other times, another runtime)."""
        self._services = services or Services(config, store, make_runtime(config))
        self._lock = threading.Lock()
        self._training: dict[str, TrainingRun] = {}
        self._tuning: dict[str, TuningRun] = {}
        self._transform: dict[str, TransformRun] = {}
        self._endpoints = Endpoints(self._services)
        self._closing = False

    def start(self) -> None:
        self._fail_orphans()
        self._endpoints.restore()

    def _fail_orphans(self) -> None:
        """Jobs that a dead service left behind end as Failed, and their private folders go."""
        store = self._services.store
        for doc in store.each("training-job"):
            if doc["TrainingJobStatus"] in ("InProgress", "Stopping"):
                store.mutate("training-job", doc["TrainingJobName"], lambda doc: fail(doc, _ORPHANED))
            if unsettled_rules(doc):
                store.mutate("training-job", doc["TrainingJobName"], _settle)
        for doc in store.each("tuning-job"):
            if doc["HyperParameterTuningJobStatus"] in ("InProgress", "Stopping"):
                store.mutate("tuning-job", doc["HyperParameterTuningJobName"], _fail_tuning)
        for doc in store.each("transform-job"):
            if doc["TransformJobStatus"] in ("InProgress", "Stopping"):
                store.mutate(
                    "transform-job", doc["TransformJobName"], lambda doc: fail_transform(doc, _ORPHANED)
                )
        root = self._services.config.jobs_root
        if root.is_dir():
            for folder in root.iterdir():
                remove_tree(folder)

    # --- training ---------------------------------------------------------------------------------

    def submit_training(self, name: str) -> None:
        self._launch(TrainingRun(self._services, name))

    def _launch(self, run: TrainingRun) -> None:
        with self._lock:
            self._training = {key: value for key, value in self._training.items() if value.alive}
            self._training[run.name] = run
            run.start()
            closing = self._closing
        if closing:
            run.stop("service", self._services.timing.close_grace)

    def stop_training(self, name: str) -> None:
        with self._lock:
            run = self._training.get(name)
        if run is not None:
            run.stop("user")

    # --- tuning -----------------------------------------------------------------------------------

    def submit_tuning(self, name: str) -> None:
        run = TuningRun(self._services, name, self._launch)
        with self._lock:
            self._tuning = {key: value for key, value in self._tuning.items() if value.alive}
            self._tuning[name] = run
            run.start()
            closing = self._closing
        if closing:
            run.stop("service")

    def stop_tuning(self, name: str) -> None:
        with self._lock:
            run = self._tuning.get(name)
        if run is not None:
            run.stop("user")

    # --- batch transform --------------------------------------------------------------------------

    def submit_transform(self, name: str) -> None:
        run = TransformRun(self._services, name)
        with self._lock:
            self._transform = {key: value for key, value in self._transform.items() if value.alive}
            self._transform[name] = run
            run.start()
            closing = self._closing
        if closing:
            run.stop("service")

    def stop_transform(self, name: str) -> None:
        with self._lock:
            run = self._transform.get(name)
        if run is not None:
            run.stop("user")

    # --- endpoints --------------------------------------------------------------------------------

    def create_endpoint(self, name: str) -> None:
        self._endpoints.create(name)

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
            tuning = list(self._tuning.values())
        for each in tuning:
            each.stop("service")
        with self._lock:
            training, transform = list(self._training.values()), list(self._transform.values())
        for run in training:
            run.stop("service", grace)
        for job in transform:
            job.stop("service")
        self._endpoints.close(grace)
        deadline = time.monotonic() + grace + 10
        runs: list[TrainingRun | TransformRun | TuningRun] = [*training, *transform, *tuning]
        for ending in runs:
            ending.join(max(0.1, deadline - time.monotonic()))
        self._services.runtime.close()


def _settle(doc: Document) -> None:
    settle_rules(doc, "Stopped", "The local SageMaker ended before the verdict.")


def _fail_tuning(doc: Document) -> None:
    doc["HyperParameterTuningJobStatus"] = "Failed"
    doc["HyperParameterTuningEndTime"] = time.time()
    doc["FailureReason"] = _ORPHANED
    counters = doc.get("TrainingJobStatusCounters", {})
    counters["NonRetryableError"] = counters.get("NonRetryableError", 0) + counters.get("InProgress", 0)
    counters["InProgress"] = 0
