"""One production variant of an endpoint: a model in a container that is kept alive."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contract.names import ENDPOINT_LOGS
from local.errors import ModelError, ServiceUnavailable
from local.jobs.client import NoAnswer, TookTooLong
from local.jobs.logfile import LogFile
from local.jobs.services import Services, log
from local.jobs.serving import NOT_FORWARDED, ModelServer, ModelSpec, ServingProblem, model_spec
from local.runtime.container import Container, RuntimeProblem, exit_text
from local.seam import InvokeResult

_PINGS_MISSED = 3
_LONGEST_BACKOFF = 30.0
_MESSAGE_LIMIT = 4096
_DYING = 1.0  # seconds that a container may take to end after it has dropped a connection


@dataclass(frozen=True, kw_only=True)
class VariantSpec(ModelSpec):
    """What a variant runs, taken from its endpoint configuration and model when they were deployed."""

    name: str
    weight: float = 1.0


class Variant:
    """Serves one model. `start` blocks until it is healthy; afterwards a thread looks after it."""

    def __init__(self, services: Services, endpoint: str, spec: VariantSpec, folder: Path) -> None:
        self.spec = spec
        self._services = services
        self._endpoint = endpoint
        self._group = f"{ENDPOINT_LOGS}/{endpoint}"
        self._log = LogFile(services.config.log_file(self._group, f"{spec.name}/i-local"))
        self._server = ModelServer(
            services,
            spec,
            folder,
            self._log,
            name=f"{endpoint}-{spec.name}",
            unhealthy=f"The primary container for production variant {spec.name} did not pass the ping "
            "health check. Please check CloudWatch logs for this endpoint.",
        )
        self._healthy = threading.Event()
        self._idle = threading.Condition()
        self._in_flight = 0
        self._drained = False
        self._watcher: threading.Thread | None = None

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Unpacks the model and starts the container; returns once it is healthy. ServingProblem."""
        try:
            self._server.prepare()
            if not self._launch():
                raise ServingProblem("The endpoint was deleted before it was in service.")
        except RuntimeProblem as problem:
            raise ServingProblem(str(problem)) from problem
        self._watcher = threading.Thread(target=self._watch, name=f"endpoint {self._endpoint}", daemon=True)
        self._watcher.start()

    def cancel(self) -> None:
        """Makes a running `start` give up, and ends the watching."""
        self._server.stopping.set()

    def stop(self, grace: float) -> None:
        """Answers what was accepted; then SIGTERM, SIGKILL after `grace` seconds; returns when it is over."""
        self.cancel()
        with self._idle:
            self._drained = True
            self._idle.wait_for(lambda: self._in_flight == 0, timeout=grace)
        self._server.end(grace)
        if self._watcher is not None:
            self._watcher.join(10)
        self._log.close()
        self._server.close()

    def _launch(self) -> bool:
        if self._server.launch():
            self._healthy.set()
            return True
        return False

    def _watch(self) -> None:
        """Restarts the container when it has died or no longer answers pings."""
        missed = 0
        backoff = 0.5
        stopping = self._server.stopping
        while not stopping.is_set():
            container = self._server.container
            assert container is not None
            if container.wait(self._services.timing.ping_interval) is None:
                missed = 0 if self._server.ping(container) else missed + 1
                if missed < _PINGS_MISSED:
                    continue
                self._say(f"{missed} pings without an answer: the container is restarted")
                container.kill()
                container.wait(10)
            if stopping.is_set():
                return
            self._healthy.clear()
            missed = 0
            ended = exit_text(container.exit_code)
            self._say(f"the container ended with {ended}; restart in {backoff:g} s")
            if stopping.wait(backoff):
                return
            # Jitter, so that several variants do not start in step.
            backoff = min(_LONGEST_BACKOFF, backoff * 2 * random.uniform(0.9, 1.1))
            try:
                if not self._launch():
                    return
            except (ServingProblem, RuntimeProblem) as problem:
                self._say(str(problem))
            except Exception as error:
                log.exception("endpoint %s", self._endpoint)
                self._say(f"the local SageMaker failed: {error!r}")
                (self._server.container or container).kill()
            else:
                backoff = 0.5

    def _say(self, text: str) -> None:
        log.warning("endpoint %s, variant %s: %s", self._endpoint, self.spec.name, text)
        self._log.write(f"[local SageMaker] {text}")

    # --- requests ---------------------------------------------------------------------------------

    def invoke(self, body: bytes, headers: dict[str, str]) -> InvokeResult | None:
        """Sends a request to the container; None if it takes no more. ModelError for any answer but 2xx."""
        with self._idle:
            if self._drained:
                return None
            self._in_flight += 1
        try:
            return self._ask(body, headers)
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def _ask(self, body: bytes, headers: dict[str, str]) -> InvokeResult:
        container = self._server.container
        assert container is not None
        if not self._healthy.is_set():
            raise self._restarting(container)
        try:
            answer = self._server.invoke(body, headers, self._services.timing.invoke_timeout)
        except TookTooLong:
            raise self._model_error(
                0,
                "Your invocation timed out while waiting for a response from container primary. Review the "
                "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again.",
            ) from None
        except NoAnswer as error:
            if container.wait(_DYING) is not None:
                raise self._model_error(0, f"{self._ended(container)} before it had answered.") from None
            raise self._model_error(
                0, f"The container closed the connection without an answer ({error})."
            ) from None
        if not answer.good:
            raise self._model_error(answer.status, answer.text[:_MESSAGE_LIMIT])
        kept = {name: value for name, value in answer.headers.items() if name not in NOT_FORWARDED}
        return InvokeResult(answer.status, kept, answer.body, self.spec.name)

    def _restarting(self, container: Container) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._ended(container)} and is being restarted: try again in a few seconds."
        )

    def _ended(self, container: Container) -> str:
        """How the container went, the beginning of a sentence."""
        who = f"The container of variant {self.spec.name} of endpoint {self._endpoint}"
        if container.exit_code is None:
            return f"{who} does not answer"
        return f"{who} ended with {exit_text(container.exit_code)}"

    def _model_error(self, status: int, message: str) -> ModelError:
        kind = "client" if 400 <= status < 500 else "server"
        config = self._services.config
        return ModelError(
            f'Received {kind} error ({status}) from primary with message "{message}". '
            f"See {self._group} in account {config.account} for more information.",
            original_status=status,
            original_message=message,
            log_stream_arn=replace(config, region=self.spec.region or config.region).log_group_arn(
                self._group
            ),
        )


def variant_spec(variant: dict[str, Any], model: dict[str, Any]) -> VariantSpec:
    """The spec of a ProductionVariant that serves `model` (a DescribeModel document). ServingProblem."""
    served = model_spec(model)
    return VariantSpec(
        name=variant["VariantName"],
        image=served.image,
        model_data=served.model_data,
        environment=served.environment,
        region=served.region,
        weight=float(variant.get("InitialVariantWeight", 1.0)),
        startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
    )
