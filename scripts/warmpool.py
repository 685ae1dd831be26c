"""The warm pool that a training job leaves: a machine that waits for the next job, and is billed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from report.words import duration
from scripts import running

if TYPE_CHECKING:
    from scripts.aws import Clients


def is_left(job: Mapping[str, Any]) -> bool:
    """Whether a described job has left a pool that nobody has taken, and whose time is not over."""
    return bool(job.get("WarmPoolStatus", {}).get("Status") == "Available")


def sentence(clients: Clients, job: Mapping[str, Any]) -> str:
    """What a pool goes on costing, for how long, and what ends it."""
    resources = job["ResourceConfig"]
    count, machine = resources["InstanceCount"], resources["InstanceType"]
    each = running.hourly(clients, machine, "Training")
    price = f"at the price of {count} × {machine}" if each is None else f"for ${each * count:,.2f} an hour"
    cost = "" if each == 0 else f" {price}"  # nothing costs anything on this machine
    kept = duration(resources["KeepAlivePeriodInSeconds"])
    return (
        f"Its machine stays warm for {kept}{cost}, unless the next training job takes it; "
        f"`byoc stop {job['TrainingJobName']}` ends it."
    )


def end(clients: Clients, job: Mapping[str, Any]) -> bool:
    """End the pool that a described job has left; whether there was one."""
    from botocore.exceptions import ClientError

    if not is_left(job):
        return False
    try:
        clients.sagemaker.update_training_job(
            TrainingJobName=job["TrainingJobName"], ResourceConfig={"KeepAlivePeriodInSeconds": 0}
        )
    except ClientError as error:
        # Its time has just ended, or another job has taken it.
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return False
    return True
