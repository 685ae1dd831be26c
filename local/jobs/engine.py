"""The engine: every job and endpoint that runs, and the threads that look after them."""

from __future__ import annotations

import threading
import time

from local.config import Config
from local.jobs.documents import fail
from local.jobs.files import remove_tree
from local.jobs.rules import settle_rules
from local.jobs.services import Services
from local.jobs.training import TrainingRun
from local.runtime import make_runtime
from local.seam import InvokeResult
from local.store import Store

_ORPHANED = (
    "InternalServerError: The local SageMaker ended while this job ran, and the job with it. Start it again."
)


class Engine:
    """Runs training jobs, tuning jobs and endpoints; `local.seam.EngineLike` says what each call means."""

    def __init__(self, config: Config, store: Store, *, services: Services | None = None) -> None:
        """`services` replaces what is made from `config` and `store` (other times, another runtime)."""
        self._services = services or Services(config, store, make_runtime(config))
        self._lock = threading.Lock()
        self._training: dict[str, TrainingRun] = {}
        self._closing = False

    def start(self) -> None:
        self._fail_orphans()

    def _fail_orphans(self) -> None:
        """Jobs that a dead service left behind end as Failed, and their private folders go."""
        store = self._services.store
        for doc in store.list("training-job"):
            if doc["TrainingJobStatus"] in ("InProgress", "Stopping"):
                store.mutate("training-job", doc["TrainingJobName"], lambda doc: fail(doc, _ORPHANED))
            store_doc = store.get("training-job", doc["TrainingJobName"]) or doc
            if settle_rules(store_doc, "Stopped", "The local SageMaker ended before the verdict."):
                store.put("training-job", doc["TrainingJobName"], store_doc)
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
        raise NotImplementedError

    def stop_tuning(self, name: str) -> None:
        raise NotImplementedError

    # --- endpoints --------------------------------------------------------------------------------

    def create_endpoint(self, name: str) -> None:
        raise NotImplementedError

    def update_endpoint(self, name: str) -> None:
        raise NotImplementedError

    def delete_endpoint(self, name: str) -> None:
        raise NotImplementedError

    def invoke(self, endpoint_name: str, body: bytes, headers: dict[str, str]) -> InvokeResult:
        raise NotImplementedError

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        grace = self._services.timing.close_grace
        with self._lock:
            self._closing = True
            runs = list(self._training.values())
        for run in runs:
            run.stop("service", grace)
        deadline = time.monotonic() + grace + 10
        for run in runs:
            run.join(max(0.1, deadline - time.monotonic()))
        self._services.runtime.close()
