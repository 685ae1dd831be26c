"""Endpoints: created, updated without a gap, brought back after a restart, invoked, deleted."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from local.errors import RequestTooLarge, ValidationError
from local.jobs.documents import Document, shortened
from local.jobs.files import remove_tree
from local.jobs.run import cause_of
from local.jobs.services import Services, log
from local.jobs.serving import ServingProblem
from local.jobs.variant import Variant, VariantSpec, variant_spec
from local.seam import InvokeResult

T = TypeVar("T")
_TARGET_VARIANT = "x-amzn-sagemaker-target-variant"
# Headers that select a model, container or component: an endpoint here has one of each, so they are refused.
_REFUSED = {
    "x-amzn-sagemaker-target-model": ("TargetModel", "has no multi-model endpoints"),
    "x-amzn-sagemaker-target-container-hostname": ("TargetContainerHostname", "runs one container a model"),
    "x-amzn-sagemaker-inference-component": ("InferenceComponentName", "has no inference components"),
    "x-amzn-sagemaker-session-id": ("SessionId", "has no stateful sessions"),
    "x-amzn-sagemaker-enable-explanations": ("EnableExplanations", "has no Clarify"),
}


class Fleet:
    """All variants of one endpoint configuration."""

    def __init__(self, services: Services, endpoint: str, specs: list[VariantSpec]) -> None:
        root = services.config.jobs_root / f"{endpoint}-{uuid.uuid4().hex[:8]}"
        self.specs = specs
        self._variants = [Variant(services, endpoint, spec, root / spec.name) for spec in specs]
        self._root = root

    def start(self) -> None:
        """Returns when all variants are healthy. ServingProblem as soon as one of them cannot be."""
        problems: list[ServingProblem] = []

        def start(variant: Variant) -> None:
            try:
                variant.start()
            except ServingProblem as problem:
                problems.append(problem)
                self.cancel()
            except Exception as error:
                log.exception("endpoint: variant %s", variant.spec.name)
                problems.append(ServingProblem(cause_of(error)))
                self.cancel()

        _in_parallel(start, self._variants)
        if problems:
            raise problems[0]

    def cancel(self) -> None:
        for variant in self._variants:
            variant.cancel()

    def stop(self, grace: float) -> None:
        _in_parallel(lambda variant: variant.stop(grace), self._variants)
        remove_tree(self._root)

    def choose(self, target: str | None) -> Variant | None:
        """The variant that a request names, or one by weight; None if there is none of that name."""
        if target is not None:
            return next((variant for variant in self._variants if variant.spec.name == target), None)
        weights = [variant.spec.weight for variant in self._variants]
        if not any(weights):
            weights = [1.0] * len(weights)
        return random.choices(self._variants, weights)[0]


def _in_parallel(work: Callable[[T], None], items: list[T]) -> None:
    """Does `work` on each item in a thread of its own, and waits for all."""
    threads = [threading.Thread(target=work, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class EndpointRun:
    """One endpoint. Its operations run one after the other, each in a thread."""

    def __init__(self, services: Services, name: str) -> None:
        self.name = name
        self._services = services
        self._operation = threading.Lock()
        self._lock = threading.Lock()
        self._live: Fleet | None = None
        self._pending: Fleet | None = None
        self._gone = False

    def deploy(self) -> None:
        """Brings the configuration that the document names into service, in place of what serves now."""
        threading.Thread(target=self._deploy, name=f"deploy {self.name}", daemon=True).start()

    def restore(self) -> None:
        """Brings back what served before the service ended."""
        threading.Thread(
            target=lambda: self._deploy(restored=True), name=f"restore {self.name}", daemon=True
        ).start()

    def delete(self) -> None:
        self._give_up()
        threading.Thread(target=self._delete, name=f"delete {self.name}", daemon=True).start()

    def close(self, grace: float) -> None:
        """Stops all processes; the document stays, so that a restart brings the endpoint back."""
        self._give_up()
        with self._operation:
            if self._live is not None:
                self._live.stop(grace)
                self._live = None

    def invoke(self, body: bytes, headers: dict[str, str]) -> InvokeResult:
        refuse(self.name, headers)
        target = headers.get(_TARGET_VARIANT)
        while True:
            live = self._live
            if live is None:
                raise ValidationError(f"Endpoint {self.name} is not in service.")
            variant = live.choose(target)
            if variant is None:
                names = ", ".join(spec.name for spec in live.specs)
                raise ValidationError(f"Variant {target!r} is not in endpoint {self.name}; it has: {names}.")
            result = variant.invoke(body, headers)
            if result is not None:
                return result
            if live is self._live:
                raise ValidationError(f"Endpoint {self.name} is being deleted.")
            # An update has replaced the fleet since it was chosen.

    # --- operations -------------------------------------------------------------------------------

    def _give_up(self) -> None:
        with self._lock:
            self._gone = True
            if self._pending is not None:
                self._pending.cancel()

    def _deploy(self, *, restored: bool = False) -> None:
        with self._operation:
            try:
                self._bring_up(restored)
            except ServingProblem as problem:
                self._fail(str(problem))
            except Exception as error:
                log.exception("endpoint %s", self.name)
                self._fail(cause_of(error))

    def _bring_up(self, restored: bool) -> None:
        services = self._services
        doc = services.store.get("endpoint", self.name)
        if doc is None:
            return
        stored = doc.get("_Live")
        lost = None
        if restored and stored:
            lost = _pending(doc)
            specs = [VariantSpec(**spec) for spec in stored["Variants"]]
            config = stored["EndpointConfigName"]
        else:
            config = _pending(doc) or doc["EndpointConfigName"]
            specs = self._specs(config)
        fleet = Fleet(services, self.name, specs)
        with self._lock:
            self._pending = fleet
            if self._gone:
                fleet.cancel()
        try:
            fleet.start()
        except BaseException:
            fleet.stop(services.timing.endpoint_grace)
            raise
        finally:
            with self._lock:
                self._pending = None
        old, self._live = self._live, fleet
        self._change(lambda doc: _in_service(doc, config, specs, lost))
        if old is not None:
            old.stop(services.timing.endpoint_grace)

    def _specs(self, config_name: str) -> list[VariantSpec]:
        store = self._services.store
        config = store.get("endpoint-config", config_name)
        if config is None:
            raise ServingProblem(f"Endpoint configuration {config_name} does not exist.")
        specs = []
        for variant in config["ProductionVariants"]:
            model = store.get("model", variant.get("ModelName", ""))
            if model is None:
                raise ServingProblem(
                    f"Model {variant.get('ModelName')} of variant {variant['VariantName']} does not exist."
                )
            specs.append(variant_spec(variant, model))
        return specs

    def _fail(self, reason: str) -> None:
        """A failed creation is a Failed endpoint; a failed update leaves the old one in service."""

        def change(doc: Document) -> None:
            doc["FailureReason"] = shortened(reason)
            doc.pop("PendingDeploymentSummary", None)
            if self._live is None:
                doc["EndpointStatus"] = "Failed"
            else:
                doc["EndpointStatus"] = "InService"

        if not self._gone:
            self._change(change)

    def _delete(self) -> None:
        with self._operation:
            try:
                if self._live is not None:
                    self._live.stop(self._services.timing.endpoint_grace)
                    self._live = None
            finally:
                self._services.store.delete("endpoint", self.name)

    def _change(self, change: Callable[[Document], None]) -> None:
        try:
            self._services.store.mutate("endpoint", self.name, change)
        except KeyError:
            log.warning("endpoint %s: its document is gone", self.name)


def refuse(endpoint: str, headers: Mapping[str, str]) -> None:
    """ValidationError for an invocation that asks for what no endpoint here does. `headers`: lower case."""
    for header in headers.keys() & _REFUSED.keys():
        member, why = _REFUSED[header]
        raise ValidationError(f"{member} of endpoint {endpoint}: the local SageMaker {why}; leave it out.")


def _pending(doc: Document) -> str | None:
    """The configuration that an update is to bring; the document names the one that serves until then."""
    name: str | None = doc.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    return name


def _in_service(doc: Document, config: str, specs: list[VariantSpec], lost: str | None) -> None:
    """`lost`: the configuration of an update that did not survive a restart."""
    doc["EndpointConfigName"] = config
    doc["EndpointStatus"] = "InService"
    doc.pop("FailureReason", None)
    doc.pop("PendingDeploymentSummary", None)
    if lost:
        doc["FailureReason"] = (
            f"The local SageMaker ended during the update to {lost}; {config} serves. Update it again."
        )
    doc["ProductionVariants"] = [_summary(spec) for spec in specs]
    # The configuration and the model may be deleted while the endpoint serves.
    doc["_Live"] = {
        "EndpointConfigName": config,
        "Variants": [dataclasses.asdict(spec) for spec in specs],
    }


def _summary(spec: VariantSpec) -> dict[str, Any]:
    return {
        "VariantName": spec.name,
        "DeployedImages": [
            {"SpecifiedImage": spec.image, "ResolvedImage": spec.image, "ResolutionTime": time.time()}
        ],
        "CurrentWeight": spec.weight,
        "DesiredWeight": spec.weight,
        # One process here, whatever the configuration asks for.
        "CurrentInstanceCount": 1,
        "DesiredInstanceCount": 1,
    }


class Endpoints:
    """All endpoints of the service."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._runs: dict[str, EndpointRun] = {}

    def restore(self) -> None:
        """After a restart: what was in service comes back, what was being deleted goes."""
        for doc in self._services.store.each("endpoint"):
            name, status = doc["EndpointName"], doc["EndpointStatus"]
            if status == "Deleting":
                self._services.store.delete("endpoint", name)
            elif status != "Failed":
                self._services.store.mutate("endpoint", name, _restoring)
                self._run_of(name).restore()

    def create(self, name: str) -> None:
        self._run_of(name, fresh=True).deploy()

    def update(self, name: str) -> None:
        self._run_of(name).deploy()

    def delete(self, name: str) -> None:
        with self._lock:
            run = self._runs.pop(name, None)
        (run or EndpointRun(self._services, name)).delete()

    def invoke(self, name: str, body: bytes, headers: dict[str, str]) -> InvokeResult:
        run = self._runs.get(name)
        if run is None:
            raise ValidationError(f"Endpoint {name} of account {self._services.config.account} not found.")
        limit = self._services.payload_limit
        if len(body) > limit:
            raise RequestTooLarge(
                f"The body has {len(body)} bytes; endpoint {name} takes at most {limit}. Send less."
            )
        return run.invoke(body, headers)

    def close(self, grace: float) -> None:
        with self._lock:
            runs = list(self._runs.values())
            self._runs.clear()
        _in_parallel(lambda run: run.close(grace), runs)

    def _run_of(self, name: str, *, fresh: bool = False) -> EndpointRun:
        with self._lock:
            if fresh or name not in self._runs:
                self._runs[name] = EndpointRun(self._services, name)
            return self._runs[name]


def _restoring(doc: Document) -> None:
    # Not in service until it answers again.
    doc["EndpointStatus"] = "Updating" if doc["EndpointStatus"] == "Updating" else "Creating"
