"""What a project has in SageMaker: jobs that run, warm pools, endpoints, configurations, models, records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from contract.errors import FAILED, ByocError
from report.read import jobs
from report.read.jobs import UNDER_WAY
from report.read.listing import has_warm_pool
from report.read.pace import Pace
from report.words import plural
from scripts import endpoints, kinds, prices, spending, warmpool
from scripts.aws import unless_gone
from scripts.cleanup.part import Found, Part
from scripts.tags import Owner, is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients

_LOOKS = 400  # at jobs that are to end, up to 8 s apart


@dataclass(frozen=True)
class Services:
    """Everything of the project that SageMaker lists, asked once."""

    clients: Clients
    owner: Owner
    unseen: list[str]
    """Sentences on what AWS did not allow to list."""
    foreign_endpoints: set[str] = field(default_factory=set)
    """Endpoints that were listed and are not the project's."""

    def _list(self, operation: str, answer: str, prefix: str, **filters: Any) -> dict[str, Mapping[str, Any]]:
        """Name → summary of the project's, of one kind."""
        from botocore.exceptions import ClientError

        # Each is asked for its tags: not all of the account's. Endpoints may have any name, and cost most.
        if not self.owner.knows_all and operation != "list_endpoints":
            filters["NameContains"] = self.owner.project
            self.unseen.append(
                "AWS does not allow tag:GetResources: jobs, configurations and models are seen only with "
                f"{self.owner.project} in their names; `byoc jobs --all` lists the others."
            )
        try:
            pages: Any = self.clients.sagemaker.get_paginator(operation).paginate(  # type: ignore[call-overload]
                **filters, PaginationConfig={"PageSize": 100}
            )
            listed = {item[f"{prefix}Name"]: item for page in pages for item in page[answer]}
        except ClientError as error:
            if not is_forbidden(error):
                raise
            self.unseen.append(f"AWS does not allow {error.operation_name}: what it would list stays.")
            return {}
        ours = self.owner.names({name: item[f"{prefix}Arn"] for name, item in listed.items()})
        if operation == "list_endpoints":
            self.foreign_endpoints.update(listed.keys() - ours)
        return {name: listed[name] for name in ours}

    @cached_property
    def training(self) -> Mapping[str, Mapping[str, Any]]:
        return self._list("list_training_jobs", "TrainingJobSummaries", "TrainingJob")

    @cached_property
    def tuning(self) -> Mapping[str, Mapping[str, Any]]:
        what = "HyperParameterTuningJob"
        return self._list("list_hyper_parameter_tuning_jobs", f"{what}Summaries", what)

    @cached_property
    def transform(self) -> Mapping[str, Mapping[str, Any]]:
        return self._list("list_transform_jobs", "TransformJobSummaries", "TransformJob")

    @cached_property
    def endpoints(self) -> Mapping[str, Mapping[str, Any]]:
        return self._list("list_endpoints", "Endpoints", "Endpoint")

    @cached_property
    def configs(self) -> Mapping[str, Mapping[str, Any]]:
        return self._list("list_endpoint_configs", "EndpointConfigs", "EndpointConfig")

    @cached_property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        return self._list("list_models", "Models", "Model")

    # --- what is deleted ------------------------------------------------------------------------------

    def running(self) -> Found:
        """Jobs under way are stopped, all at once, and waited for."""
        names = [
            name
            for listed, status in (
                (self.tuning, "HyperParameterTuningJobStatus"),
                (self.training, "TrainingJobStatus"),
                (self.transform, "TransformJobStatus"),
            )
            for name, item in listed.items()
            if item[status] in UNDER_WAY
        ]
        if not names:
            return Found()
        what = names[0] if len(names) == 1 else f"{names[0]} and {plural(len(names) - 1, 'other')}"
        kind = {**dict.fromkeys(self.training, "training"), **dict.fromkeys(self.transform, "transform")}
        hourly = _hourly(self.clients, [(kind[name], name) for name in names if name in kind])
        stop = Part(
            "running job", what, lambda: _end(self.clients, names), "will be stopped", hourly, "stopped"
        )
        return Found([stop])

    def warm_pools(self) -> Found:
        """Machines that wait for the next job, and are paid for until then."""
        kept = [name for name, job in self.training.items() if has_warm_pool(job)]
        parts = [
            Part(
                "warm pool",
                name,
                lambda name=name: warmpool.end(self.clients, name),  # type: ignore[misc]
                hourly=_hourly(self.clients, [("training", name)]),
            )
            for name in kept
        ]
        return Found(parts)

    def serving(self) -> Found:
        """Endpoints with what byoc made for them; then what is left of configurations and models."""
        parts = []
        for name, item in self.endpoints.items():
            status = str(item["EndpointStatus"])
            hourly = 0.0 if status in spending.GONE else _hourly(self.clients, [("endpoint", name)])
            parts.append(Part("endpoint", name, self._endpoint(name), status, hourly))
        sagemaker = self.clients.sagemaker
        for name in self.configs:
            remove = partial(unless_gone, sagemaker.delete_endpoint_config, EndpointConfigName=name)
            parts.append(Part("endpoint configuration", name, remove))
        parts += [
            Part("model", name, partial(unless_gone, sagemaker.delete_model, ModelName=name))
            for name in self.models
        ]
        return Found(parts)

    def _endpoint(self, name: str) -> Callable[[], object]:
        return lambda: endpoints.delete(self.clients, name, lambda _: None)

    def records(self) -> Found:
        """What SageMaker remembers of jobs. It costs nothing; AWS cannot delete a transform job's."""
        sagemaker = self.clients.sagemaker
        parts = [
            Part("record", name, partial(unless_gone, sagemaker.delete_training_job, TrainingJobName=name))
            for name in self.training
        ] + [
            Part(
                "record",
                name,
                partial(
                    unless_gone, sagemaker.delete_hyper_parameter_tuning_job, HyperParameterTuningJobName=name
                ),
            )
            for name in self.tuning
        ]
        count = len(self.transform)
        stays = [f"The records of {plural(count, 'transform job')}: AWS deletes none."] if count else []
        return Found(parts, stays)


def _hourly(clients: Clients, items: Iterable[tuple[str, str]]) -> float | None:
    """Dollars an hour of these (kind, name); None where a price is unknown or nothing may be looked at."""
    listed = [{"kind": kind, "name": name, "status": "InProgress"} for kind, name in items]
    spent = spending.of(clients, listed, ended=False)
    each = [line.dollars for line in spent.running]
    if spent.unknown or None in each:
        return 0.0 if prices.free(clients) else None
    return sum(dollars for dollars in each if dollars is not None)


def _end(clients: Clients, names: Sequence[str]) -> None:
    """Stop jobs, and wait until none of them runs: until then they write to S3 and to their logs.

    Machines that a stopped job would keep for the next one go, too.
    """
    for name in names:
        kinds.stop(clients, name)
    pace, left = Pace(), list(names)
    for _ in range(_LOOKS):
        left = [name for name in left if kinds.kind_of(clients, name).status(clients, name) in UNDER_WAY]
        if not left:
            break
        pace.wait()
    else:
        raise ByocError(
            f"{', '.join(left)} did not end, though asked to stop.",
            "`byoc jobs` shows the status; then run `byoc delete --all` again.",
            code=FAILED,
            kind="JobStillRuns",
        )
    for name in names:
        if has_warm_pool(jobs.find(clients, name) or {}):
            warmpool.end(clients, name)
