"""What goes on running, and costs money, when a command ends otherwise than it should."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from report.read import jobs, tuning
from scripts import transform

if TYPE_CHECKING:
    from scripts.aws import Clients

Component = Literal["Training", "Hosting", "BatchTransform"]


@dataclass
class Running:
    """Something that was created and works on by itself."""

    name: str
    kind: Component
    machine: str
    """E.g. ml.g5.xlarge."""
    count: int
    watch: str
    """The command that comes back to it."""
    stop: str
    """The command that ends it."""
    hourly: float | None = None
    """Dollars; None where the price is unknown."""

    def ask_price(self, clients: Clients) -> None:
        """Once, early: credentials may expire while a command waits, and then nothing can be asked."""
        each = hourly(clients, self.machine, self.kind)
        self.hourly = None if each is None else each * self.count

    def sentence(self) -> str:
        price = "at the price of" if self.hourly is None else f"for ${self.hourly:,.2f} an hour:"
        machines = f"{self.count} × {self.machine}" if self.count > 1 else self.machine
        cost = "" if self.hourly == 0 else f" {price} {machines}"  # nothing costs anything on this machine
        return (
            f"{self.name} goes on running{cost}. Come back to it with `{self.watch}`; `{self.stop}` ends it."
        )


def training(name: str, machine: str, count: int) -> Running:
    return Running(name, "Training", machine, count, f"byoc watch {name}", f"byoc stop {name}")


def tuning_job(name: str, machine: str, count: int) -> Running:
    """`count`: the machines of all trials that run at a time."""
    return Running(name, "Training", machine, count, f"byoc watch {name}", f"byoc stop {name}")


def transform_job(name: str, machine: str, count: int) -> Running:
    watch, stop = f"byoc watch {name}", f"byoc stop {name}"
    return Running(name, "BatchTransform", machine, count, watch, stop)


def endpoint(name: str, machine: str, count: int) -> Running:
    return Running(name, "Hosting", machine, count, "byoc jobs", f"byoc delete {name}")


def known_training(clients: Clients, name: str) -> Running:
    """A training job that was created before."""
    resources = jobs.describe(clients, name).get("ResourceConfig", {})
    job = training(name, resources.get("InstanceType", "its machine"), resources.get("InstanceCount", 1))
    job.ask_price(clients)
    return job


def known_tuning(clients: Clients, name: str) -> Running:
    """A tuning job that was created before."""
    job = tuning.find(clients, name) or {}
    resources = job.get("TrainingJobDefinition", {}).get("ResourceConfig", {})
    limits = job.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {})
    count = resources.get("InstanceCount", 1) * limits.get("MaxParallelTrainingJobs", 1)
    still_running = tuning_job(name, resources.get("InstanceType", "its machine"), count)
    still_running.ask_price(clients)
    return still_running


def known_transform(clients: Clients, name: str) -> Running:
    """A transform job that was created before."""
    resources = transform.describe(clients, name)["TransformResources"]
    job = transform_job(name, resources["InstanceType"], resources["InstanceCount"])
    job.ask_price(clients)
    return job


def hourly(clients: Clients, instance_type: str, kind: Component) -> float | None:
    """On-demand dollars for an hour of one machine, by AWS's price list; None where it cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    regions = clients.session.get_available_regions("pricing", clients.partition)
    region = next((one for one in (clients.region, "us-east-1", *regions) if one in regions), "")
    if not region:
        return None
    filters = {"regionCode": clients.region, "instanceName": instance_type}
    try:
        prices: Any = clients.service("pricing", region, patient=False, connect_timeout=2, read_timeout=3)
        pages = prices.get_products(
            ServiceCode="AmazonSageMaker",
            Filters=[{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in filters.items()],
        )
        return _cheapest(map(json.loads, pages["PriceList"]), kind)
    except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
        return None


def _cheapest(products: Any, kind: Component) -> float | None:
    """The on-demand price of an hour; the list writes Batch Transform and Batch-Transform, too."""
    prices = []
    for product in products:
        attributes = product["product"]["attributes"]
        words = f"{attributes.get('component', '')} {attributes.get('platoinstancetype', '')}"
        if kind.lower() not in words.lower().replace(" ", "").replace("-", ""):
            continue
        for term in product["terms"].get("OnDemand", {}).values():
            prices += [
                float(dimension["pricePerUnit"]["USD"])
                for dimension in term["priceDimensions"].values()
                if dimension.get("unit", "").lower().startswith("h") and "USD" in dimension["pricePerUnit"]
            ]
    return min(prices, default=None)
