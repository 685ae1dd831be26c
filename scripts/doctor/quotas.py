"""Service Quotas: as many machines at a time as these settings start. New accounts have 0 GPU machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.doctor.finding import Finding
from scripts.machines import has_gpu
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients


@dataclass(frozen=True)
class Need:
    """So many machines of a type, and what starts them."""

    quota: str
    count: int
    why: str
    gpu: bool


def needs(settings: Settings) -> list[Need]:
    """The quotas by Service Quotas' own names, for what can run at a time."""
    train, tune, deploy, transform = settings.train, settings.tune, settings.deploy, settings.transform
    trials = min(tune.parallel, tune.jobs) if tune.strategy != "Grid" else tune.parallel
    use = "spot training job" if train.spot else "training job"
    at_a_time = f"{trials} trials at a time" if trials > 1 else "one training job"
    each = f", {train.instance_count} machines each" if train.instance_count > 1 else ""
    warm = _need(train.instance_type, "training warm pool", train.instance_count, "the warm pool")
    return [
        _need(train.instance_type, use, train.instance_count * trials, f"{at_a_time}{each}"),
        *([warm] if train.keep_alive_minutes else []),
        _need(deploy.instance_type, "endpoint", deploy.instance_count, "the endpoint"),
        _need(transform.instance_type, "transform job", transform.instance_count, "a transform job"),
    ]


def _need(kind: str, use: str, count: int, why: str) -> Need:
    return Need(f"{kind} for {use} usage", count, why, has_gpu(kind))


def quotas(settings: Settings, clients: Clients) -> Iterator[Finding]:
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = clients.service("service-quotas", patient=False)
    wanted = needs(settings)
    try:
        values = _listed(client, "list_service_quotas")
        if any(need.quota not in values for need in wanted):  # where nothing else was applied for
            values = {**_listed(client, "list_aws_default_service_quotas"), **values}
    except (ClientError, BotoCoreError):
        names = ", ".join(need.quota for need in wanted)
        yield Finding("quota", "skipped", f"Service Quotas could not be asked for {names}")
        return
    for need in wanted:
        yield judged(need, values)


def _listed(client: Any, operation: str) -> dict[str, float]:
    pages = client.get_paginator(operation).paginate(ServiceCode="sagemaker")
    return {item["QuotaName"]: item["Value"] for page in pages for item in page["Quotas"]}


def judged(need: Need, values: Mapping[str, float]) -> Finding:
    if need.quota not in values:
        return Finding("quota", "skipped", f"{need.quota}: Service Quotas does not list it")
    value = values[need.quota]
    if value >= need.count:
        return Finding("quota", "ok", f"{need.quota}: {value:g}; {need.why} takes {need.count}")
    ask = f"Ask for {need.count} in the AWS console: Service Quotas, Amazon SageMaker, {need.quota}."
    if value < 1:
        gpu = " (GPU)" if need.gpu else ""
        return Finding("quota", "error", f"{need.quota} is 0{gpu}; {need.why} takes {need.count}", ask)
    return Finding(
        "quota", "error", f"{need.quota} is {value:g}; {need.why} takes {need.count}",
        f"{ask} Or lower the number of machines, or tune.parallel.",
    )  # fmt: skip
