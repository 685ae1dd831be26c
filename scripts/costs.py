"""What a job or an endpoint costs: an upper bound before, what is billed afterwards. Nothing is asked here.

Only machines are counted: their disks, S3, logs and images in ECR come on top, which is little beside them.
Where nothing costs anything (the price list of the local SageMaker says 0), nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from report.words import duration, percent, plural
from scripts.prices import MONTH, Price, money


@dataclass(frozen=True)
class Machines:
    """Machines of one job or endpoint; `price` is that of one, None where it is unknown."""

    machine: str
    count: int
    price: Price | None

    @property
    def free(self) -> bool:
        return self.price is not None and self.price.hourly == 0

    @property
    def hourly(self) -> float | None:
        return None if self.price is None else self.price.hourly * self.count

    @property
    def machines(self) -> str:
        return f"{self.count} × {self.machine}"

    @property
    def source(self) -> str | None:
        """Where the price comes from."""
        return self.price.origin if self.price else None


@dataclass(frozen=True)
class Estimate(Machines):
    """What may be billed."""

    seconds: float | None = None
    """The longest time of a job; None: until it ends, or is deleted."""
    jobs: int = 1
    spot: bool = False
    missing: str = ""
    """Why there is no price."""

    @property
    def at_most(self) -> float | None:
        """Dollars; None where the price is unknown, or there is no longest time."""
        if self.hourly is None or self.seconds is None:
            return None
        return self.hourly * self.seconds / 3600 * self.jobs

    def document(self) -> dict[str, Any] | None:
        """For --json; None where nothing costs anything."""
        if self.free:
            return None
        return {
            "currency": "USD",
            "hourly": self.hourly,
            "at_most": self.at_most,
            "source": self.source,
        }

    def sentence(self) -> str:
        """Before it begins; empty where nothing costs anything."""
        if self.free:
            return ""
        time = "" if self.seconds is None else f" for up to {duration(self.seconds)}"
        what = (
            f"{plural(self.jobs, 'trial')} of {self.machines}{time}"
            if self.jobs > 1
            else self.machines + time
        )
        if self.price is None or self.hourly is None:
            return f"Price unknown, give --price: {what}. {self.missing}".strip()
        each = f"{money(self.price.hourly)} an hour and machine ({self.price.origin})"
        if self.at_most is None:
            return f"{money(self.hourly)} an hour for as long as it runs: {what}, {each}."
        less = "; spot capacity costs less, at a price that varies" if self.spot else ""
        return f"Costs at most {money(self.at_most)}: {what}, {each}{less}."

    def standing(self) -> str:
        """The sentence of an endpoint, which runs until it is deleted."""
        if self.free or self.hourly is None or self.price is None:
            return self.sentence()
        return (
            f"{money(self.hourly)} an hour, {money(self.hourly * MONTH)} a month ({MONTH} hours), until it "
            f"is deleted: {self.machines} ({self.price.origin})."
        )


def of_training(
    request: Mapping[str, Any], price: Price | None, missing: str = "", jobs: int = 1
) -> Estimate:
    """Of a CreateTrainingJob, or of the definition inside a tuning job that starts `jobs` of them.

    Several attempts of a job (RetryStrategy) share its longest time. A warm pool is paid for until it ends.
    """
    resources = request["ResourceConfig"]
    longest = request["StoppingCondition"]["MaxRuntimeInSeconds"] + resources.get(
        "KeepAlivePeriodInSeconds", 0
    )
    return Estimate(
        resources["InstanceType"],
        resources["InstanceCount"],
        price,
        longest,
        jobs,
        bool(request.get("EnableManagedSpotTraining")),
        missing,
    )


@dataclass(frozen=True)
class Bill(Machines):
    """What a job that has ended was billed for, by its description."""

    seconds: float
    saved: float = 0.0
    """Share that spot capacity saved."""

    @property
    def dollars(self) -> float | None:
        """SageMaker counts the time of one machine, and fewer seconds for spot capacity at the full price."""
        return None if self.hourly is None else self.hourly * self.seconds / 3600

    def sentence(self) -> str:
        if self.free:
            return ""
        cost = "price unknown" if self.dollars is None else money(self.dollars)
        saved = f" Spot capacity saved {percent(self.saved, 0)}." if self.saved else ""
        return f"Billed: {duration(self.seconds)} of {self.machines}, {cost}.{saved}"

    def document(self) -> dict[str, Any] | None:
        if self.free:
            return None
        return {
            "currency": "USD",
            "billed": self.dollars,
            "billable_seconds": self.seconds,
            "spot_saved": self.saved,
            "source": self.source,
        }


def bill_of_training(job: Mapping[str, Any], price: Price | None) -> Bill | None:
    """By DescribeTrainingJob; None while nothing is billed yet. The time of its warm pool comes on top."""
    resources, billable = job.get("ResourceConfig", {}), job.get("BillableTimeInSeconds")
    if billable is None:
        return None
    trained = job.get("TrainingTimeInSeconds") or 0
    spot = bool(job.get("EnableManagedSpotTraining")) and trained > billable
    return Bill(
        resources.get("InstanceType", "unknown machine"),
        resources.get("InstanceCount", 1),
        price,
        billable + job.get("WarmPoolStatus", {}).get("ResourceRetainedBillableTimeInSeconds", 0),
        1 - billable / trained if spot else 0.0,
    )


def bill_of_transform(job: Mapping[str, Any], price: Price | None) -> Bill | None:
    """By DescribeTransformJob, which has no billable time: from its start to its end."""
    begin, end = job.get("TransformStartTime"), job.get("TransformEndTime")
    if not begin or not end:
        return None
    resources = job["TransformResources"]
    return Bill(resources["InstanceType"], resources["InstanceCount"], price, (end - begin).total_seconds())
