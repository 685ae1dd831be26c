"""One batch transform job from its start to its end."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from contract.names import TRANSFORM_LOGS
from local.jobs.channels import DataProblem
from local.jobs.documents import shortened
from local.jobs.files import remove_tree
from local.jobs.invocations import STRATEGIES, Invocations, Limits, Stopped
from local.jobs.logfile import LogFile
from local.jobs.objects import Objects
from local.jobs.run import Cause, JobFailure, Run, cause_of
from local.jobs.services import Services, log
from local.jobs.serving import ModelServer, ModelSpec, ServingProblem, model_spec
from local.runtime.container import RuntimeProblem
from local.store import Document

_UNHEALTHY = (
    "The primary container of the transform job did not pass the ping health check. Please check CloudWatch "
    "logs for this job."
)


class TransformRun(Run):
    """Runs one transform job in a thread of its own. Its document must be in the store."""

    kind = "transform-job"
    noun = "TransformJob"

    def __init__(self, services: Services, name: str) -> None:
        super().__init__(services, name)
        doc = self._doc
        # Now, because it may be deleted while the job waits.
        self._model = services.store.get("model", doc["ModelName"])
        self._folder = services.config.jobs_root / f"{name}-transform-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._cause: Cause | None = None
        self._decided = False
        self._cancelled = threading.Event()
        self._server: ModelServer | None = None
        stream = f"{name}/i-local-{int(time.time())}"
        self._log = LogFile(services.config.log_file(TRANSFORM_LOGS, stream))
        self._data_log = LogFile(services.config.log_file(TRANSFORM_LOGS, f"{stream}/data-log"))
        self._objects = Objects(services, doc, self._folder / "aside", self._cancelled, self._say)

    def stop(self, cause: Cause = "user", grace: float | None = None) -> None:
        """Asks the job to stop. From here on nothing makes it a failure."""
        with self._lock:
            if self._decided or self._cause is not None:
                return
            self._cause = cause
            self._change(lambda doc: doc.update({"TransformJobStatus": "Stopping"}))
            self._cancelled.set()
            if self._server is not None:
                self._server.stopping.set()
        self._services.slots.wake()

    @staticmethod
    def fail(doc: Document, reason: str) -> None:
        doc["FailureReason"] = shortened(reason)
        _enter(doc, "Failed")

    # --- the job's life ---------------------------------------------------------------------------

    def _run(self) -> None:
        reason = ""
        try:
            if self._services.slots.acquire(1, self._cancelled) is not None:
                try:
                    self._transform()
                finally:
                    self._services.slots.release()
            reason = self._objects.reason()
        except Stopped:
            pass
        except (JobFailure, DataProblem) as problem:
            reason = str(problem)
        except RuntimeProblem as problem:
            reason = f"ClientError: {problem}"
        except ServingProblem as problem:
            reason = f"AlgorithmError: {problem}"
        except Exception as error:
            log.exception("transform job %s", self.name)
            reason = f"InternalServerError: {cause_of(error)}"
        self._end(reason)

    def _end(self, reason: str) -> None:
        with self._lock:
            self._decided = True
        if self._cause is not None:
            # As on AWS, a job that is stopped leaves no output.
            self._objects.discard()
            self._say("the job was stopped")
        elif reason:
            self._say(reason)
        self._log.close()
        self._data_log.close()
        # Before the document: should the disk be full, this makes room for it.
        remove_tree(self._folder)
        if self._cause is not None:
            self._change(lambda doc: _enter(doc, "Stopped"))
        elif reason:
            self._change(lambda doc: self.fail(doc, reason))
        else:
            self._change(lambda doc: _enter(doc, "Completed"))

    def _transform(self) -> None:
        self._change(lambda doc: doc.update({"TransformStartTime": time.time()}))
        try:
            self._services.config.output_path(self._doc["TransformOutput"]["S3OutputPath"])
        except ValueError as error:
            raise JobFailure(f"ClientError: S3OutputPath {error}") from error
        self._objects.find((self._model or {}).get("ExecutionRoleArn", "-"))
        server = ModelServer(
            self._services,
            self._spec(),
            self._folder / "model",
            self._log,
            name=self.name,
            unhealthy=_UNHEALTHY,
        )
        try:
            with self._lock:
                self._server = server
                if self._cancelled.is_set():
                    return
            try:
                server.prepare()
            except ServingProblem as problem:
                raise JobFailure(f"ClientError: {problem}") from problem
            if not server.launch():
                return
            limits = Limits.of(self._doc, server, self._say)
            asking = Invocations(self._services, self._doc, server, self._cancelled, self._say)
            with ThreadPoolExecutor(limits.parallel, thread_name_prefix=self.name) as pool:
                try:
                    self._objects.send(limits, lambda batch: pool.submit(asking.ask, batch))
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
                    # Requests whose answers nobody waits for end with the container.
                    server.end(self._grace)
        finally:
            server.end(self._grace)
            server.close()

    @property
    def _grace(self) -> float:
        timing = self._services.timing
        return timing.close_grace if self._cause == "service" else timing.endpoint_grace

    def _spec(self) -> ModelSpec:
        """The model, with the variables of a transform job. JobFailure if it cannot be served."""
        if self._model is None:
            raise JobFailure(f"ClientError: Model {self._doc['ModelName']} does not exist.")
        try:
            spec = model_spec(self._model)
        except ServingProblem as problem:
            raise JobFailure(f"ClientError: {problem}") from problem
        variables = {
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": self._doc.get("MaxPayloadInMB"),
            "SAGEMAKER_BATCH_STRATEGY": STRATEGIES.get(self._doc.get("BatchStrategy", "")),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": self._doc.get("MaxConcurrentTransforms"),
        }
        environment = {
            **spec.environment,
            **self._doc.get("Environment", {}),
            "SAGEMAKER_BATCH": "true",
            # As on AWS, only what the request has.
            **{name: str(value) for name, value in variables.items() if value is not None},
        }
        return replace(spec, environment=environment)

    def _say(self, text: str) -> None:
        self._data_log.write(f"[sagemaker logs]: {text}")


def _enter(doc: Document, status: str) -> None:
    doc["TransformJobStatus"] = status
    doc["TransformEndTime"] = time.time()
