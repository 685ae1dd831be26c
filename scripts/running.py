"""What goes on running, and costs money, when a command ends otherwise than it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report.read import jobs, tuning
from scripts import prices, transform
from scripts.prices import Price, Use, money

if TYPE_CHECKING:
    from scripts.aws import Clients


@dataclass
class Running:
    """Something that was created and works on by itself."""

    name: str
    kind: Use
    machine: str
    """E.g. ml.g5.xlarge."""
    count: int
    watch: str
    """The command that comes back to it."""
    stop: str
    """The command that ends it."""
    hourly: float | None = None
    """Dollars for all of them; None where the price is unknown."""
    price: Price | None = None
    """Of one machine."""

    def at(self, price: Price | None) -> Running:
        """Itself, with what it costs. Asked early: credentials may expire while a command waits."""
        self.price = price
        self.hourly = None if price is None else price.hourly * self.count
        return self

    def sentence(self) -> str:
        price = "at the price of" if self.hourly is None else f"for {money(self.hourly)} an hour:"
        machines = f"{self.count} × {self.machine}" if self.count > 1 else self.machine
        cost = "" if self.hourly == 0 else f" {price} {machines}"  # nothing costs anything on this machine
        return (
            f"{self.name} goes on running{cost}. Come back to it with `{self.watch}`; `{self.stop}` ends it."
        )


def job(name: str, machine: str, count: int, kind: Use = "Training") -> Running:
    """`count`: for a tuning job the machines of all trials that run at a time."""
    return Running(name, kind, machine, count, f"byoc watch {name}", f"byoc stop {name}")


def endpoint(name: str, machine: str, count: int) -> Running:
    return Running(name, "Hosting", machine, count, "byoc jobs", f"byoc delete {name}")


def known_training(clients: Clients, name: str, named: float | None = None) -> Running:
    """A training job that was created before; `named` is a price that the user gave."""
    resources = jobs.describe(clients, name).get("ResourceConfig", {})
    return _known(clients, name, resources, named)


def known_tuning(clients: Clients, name: str, named: float | None = None) -> Running:
    """A tuning job that was created before."""
    described = tuning.find(clients, name) or {}
    resources = described.get("TrainingJobDefinition", {}).get("ResourceConfig", {})
    limits = described.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {})
    return _known(clients, name, resources, named, trials=limits.get("MaxParallelTrainingJobs", 1))


def known_transform(clients: Clients, name: str, named: float | None = None) -> Running:
    """A transform job that was created before."""
    resources = transform.describe(clients, name)["TransformResources"]
    return _known(clients, name, resources, named, "BatchTransform")


def _known(
    clients: Clients,
    name: str,
    resources: Mapping[str, Any],
    named: float | None,
    kind: Use = "Training",
    trials: int = 1,
) -> Running:
    machine, count = resources.get("InstanceType", "its machine"), resources.get("InstanceCount", 1)
    return job(name, machine, count * trials, kind).at(prices.find(clients, machine, kind, named))
