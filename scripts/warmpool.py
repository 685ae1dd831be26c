"""The warm pool that a training job leaves: a machine that waits for the next job, and is billed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from report.words import duration
from scripts import prices
from scripts.aws import ask
from scripts.prices import money

if TYPE_CHECKING:
    from scripts.aws import Clients


def sentence(clients: Clients, job: Mapping[str, Any]) -> str:
    """What a pool goes on costing, for how long, and what ends it."""
    resources = job["ResourceConfig"]
    count, machine = resources["InstanceCount"], resources["InstanceType"]
    each = prices.find(clients, machine, "Training")
    what = (
        f"at the price of {count} × {machine}"
        if each is None
        else f"for {money(each.hourly * count)} an hour"
    )
    cost = "" if each and each.hourly == 0 else f" {what}"  # nothing costs anything on this machine
    kept = duration(resources["KeepAlivePeriodInSeconds"])
    return (
        f"Its machine stays warm for {kept}{cost}, unless the next training job takes it; "
        f"`byoc stop {job['TrainingJobName']}` ends it."
    )


def end(clients: Clients, job: str) -> bool:
    """End the pool that a job has left; whether there still was one."""
    over: Any = {"KeepAlivePeriodInSeconds": 0}
    update = clients.sagemaker.update_training_job
    # ValidationException: its time has just ended, or another job has taken it.
    answer = ask(lambda: update(TrainingJobName=job, ResourceConfig=over), "ValidationException")
    return answer is not None
