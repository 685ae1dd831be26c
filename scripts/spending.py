"""What listed jobs and endpoints cost: what runs now, by the hour; what has ended, by its bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report.read import aws, jobs
from report.read.jobs import UNDER_WAY
from report.read.listing import has_warm_pool
from report.words import plural
from scripts import costs, prices, transform
from scripts.prices import MONTH, Price, Use, money
from scripts.tags import if_allowed

if TYPE_CHECKING:
    from scripts.aws import Clients

_THREADS = 8
GONE = ("Deleting", "Failed")  # of endpoints: these cost nothing


@dataclass(frozen=True)
class Line:
    """Machines of one job or endpoint."""

    name: str
    kind: str
    """`training`, `transform` or `endpoint`."""
    machine: str
    count: int
    seconds: float | None
    """Billed; None while it runs."""
    price: Price | None = None

    @property
    def dollars(self) -> float | None:
        """Of one that runs, for an hour; None where the price is unknown."""
        if self.price is None:
            return None
        return self.price.hourly * self.count * (1 if self.seconds is None else self.seconds / 3600)


@dataclass(frozen=True)
class Spending:
    running: Sequence[Line]
    ended: Sequence[Line]
    unknown: Sequence[str] = ()
    """Names of what AWS did not allow to look at."""

    def sentences(self) -> list[str]:
        """What there is to say; nothing where nothing costs anything."""
        sentences = []
        if running := [line for line in self.running if line.dollars != 0]:
            hourly, unpriced = _sum(running)
            # A job ends, so a month of it says nothing.
            endpoints = [line for line in running if line.kind == "endpoint"]
            whose = "" if len(endpoints) == len(running) else " for the endpoints"
            standing, _ = _sum(endpoints)
            month = f", {money(standing * MONTH)} a month{whose}" if standing else ""
            what = ", ".join(f"{line.name} ({line.count} × {line.machine})" for line in running)
            cost = f" {money(hourly)} an hour{month}{unpriced}" if hourly else " price unknown"
            sentences.append(f"Running now:{cost}: {what}.")
        if ended := [line for line in self.ended if line.dollars != 0]:
            total, unpriced = _sum(ended)
            cost = f"{money(total)}{unpriced}" if total else "price unknown"
            hours = sum((line.seconds or 0) * line.count for line in ended) / 3600
            sentences.append(
                f"Billed for {plural(len(ended), 'job')}: {cost}, {hours:.2f} hours of machines."
            )
        if self.unknown:
            sentences.append(
                f"AWS does not allow to look at {', '.join(self.unknown)}: their cost is unknown."
            )
        return sentences

    def document(self) -> dict[str, Any]:
        return {
            "currency": "USD",
            "running_hourly": _sum(self.running)[0],
            "billed": _sum(self.ended)[0] if self.ended else None,
            "without_price": sorted(line.name for line in (*self.running, *self.ended) if line.price is None),
        }


def _sum(lines: Sequence[Line]) -> tuple[float, str]:
    """Dollars, and a note on the machines whose price is unknown."""
    unpriced = sorted({line.machine for line in lines if line.dollars is None})
    note = f" and the unknown price of {', '.join(unpriced)}" if unpriced else ""
    if dates := [line.price.date for line in lines if line.price and line.price.date]:
        note += f" (prices as of {min(dates)})"
    return sum(line.dollars for line in lines if line.dollars is not None), note


def of(clients: Clients, items: Iterable[Mapping[str, Any]], *, ended: bool) -> Spending:
    """Look at what runs, and where `ended` at the rest, too.

    Args:
        items: with `kind`, `name` and `status`, and `pool` for a job that has left a warm pool. Tuning jobs
            are passed over: their trials are training jobs.
    """
    wanted = [item for item in items if item["kind"] in _LOOK and (ended or _runs(item))]
    unknown: list[str] = []

    def look(item: Mapping[str, Any]) -> list[Line]:
        lines = if_allowed(lambda: _LOOK[item["kind"]](clients, item["name"]))
        if lines is None:
            unknown.append(item["name"])
        return lines or []

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        looked = [line for lines in pool.map(look, wanted) for line in lines]
    lines = _priced(clients, looked)
    return Spending(
        [line for line in lines if line.seconds is None],
        [line for line in lines if line.seconds is not None],
        sorted(unknown),
    )


def _runs(item: Mapping[str, Any]) -> bool:
    if item["kind"] == "endpoint":
        return item["status"] not in GONE
    return item["status"] in UNDER_WAY or bool(item.get("pool"))


def _priced(clients: Clients, lines: Iterable[Line]) -> list[Line]:
    price_of: dict[tuple[str, Use], Price | None] = {}
    priced = []
    for line in lines:
        use = _USES[line.kind]
        if (line.machine, use) not in price_of:
            price_of[line.machine, use] = prices.find(clients, line.machine, use)
        priced.append(Line(**{**vars(line), "price": price_of[line.machine, use]}))
    return priced


def _training(clients: Clients, name: str) -> list[Line]:
    job = jobs.find(clients, name) or {}
    bill = costs.bill_of_training(job, None)
    resources = job.get("ResourceConfig", {})
    if job.get("TrainingJobStatus") in UNDER_WAY and "InstanceType" in resources:
        return [Line(name, "training", resources["InstanceType"], resources.get("InstanceCount", 1), None)]
    lines = [Line(name, "training", bill.machine, bill.count, bill.seconds)] if bill else []
    if has_warm_pool(job):
        pool = f"warm pool of {name}"
        lines.append(Line(pool, "training", resources["InstanceType"], resources["InstanceCount"], None))
    return lines


def _transform(clients: Clients, name: str) -> list[Line]:
    job = transform.find(clients, name) or {}
    bill = costs.bill_of_transform(job, None) if job else None
    if job.get("TransformJobStatus") in UNDER_WAY:
        resources = job["TransformResources"]
        return [Line(name, "transform", resources["InstanceType"], resources["InstanceCount"], None)]
    return [Line(name, "transform", bill.machine, bill.count, bill.seconds)] if bill else []


def endpoint(clients: Clients, name: str) -> list[Line]:
    """The machines of an endpoint, without prices; a serverless variant has none."""
    sagemaker = clients.sagemaker
    described = aws.find(lambda: sagemaker.describe_endpoint(EndpointName=name)) or {}
    config = described.get("EndpointConfigName", "")
    described_config = (
        aws.find(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=config)) if config else None
    )
    now = {each["VariantName"]: each for each in described.get("ProductionVariants", ())}
    lines = []
    for variant in (described_config or {}).get("ProductionVariants", ()):
        if "InstanceType" in variant:
            first = variant.get("InitialInstanceCount", 1)
            count = now.get(variant["VariantName"], {}).get("CurrentInstanceCount", first)
            lines.append(Line(name, "endpoint", variant["InstanceType"], count, None))
    return lines


_LOOK = {"training": _training, "transform": _transform, "endpoint": endpoint}
_USES: Mapping[str, Use] = {"training": "Training", "transform": "BatchTransform", "endpoint": "Hosting"}
