"""What costs money is said: before it begins, and when it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any

import typer

from report.words import plural
from scripts import costs, prices
from scripts.context import Context
from scripts.costs import Bill, Estimate
from scripts.prices import Price, Use, money
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients

PriceOption = Annotated[
    float | None,
    typer.Option(
        "--price",
        min=0,
        metavar="DOLLARS",
        help="For an hour of one machine. Default: AWS's price list, else byoc's own table.",
        show_default=False,
    ),
]
_THREADS = 8


def before_training(
    context: Context, request: Mapping[str, Any], named: float | None, *, jobs: int = 1
) -> Estimate:
    """Ask for the price, print the most that a training costs; or `jobs` trials of it."""
    price, missing = _price(context.clients, request["ResourceConfig"]["InstanceType"], "Training", named)
    return _said(context, costs.of_training(request, price, missing, jobs))


def before_transform(context: Context, settings: Settings, named: float | None) -> Estimate:
    """The same for a transform job, which no request gives a longest time."""
    machine = settings.transform
    price, missing = _price(context.clients, machine.instance_type, "BatchTransform", named)
    return _said(context, Estimate(machine.instance_type, machine.instance_count, price, missing=missing))


def before_endpoint(context: Context, settings: Settings, named: float | None) -> Estimate:
    """The same for an endpoint: by the hour and the month."""
    machine = settings.deploy
    price, missing = _price(context.clients, machine.instance_type, "Hosting", named)
    estimate = Estimate(machine.instance_type, machine.instance_count, price, missing=missing)
    if sentence := estimate.standing():
        context.out.raw(sentence)
    return estimate


def _price(clients: Clients, machine: str, use: Use, named: float | None) -> tuple[Price | None, str]:
    price = prices.find(clients, machine, use, named)
    return price, "" if price else prices.unknown(clients, machine, use)


def _said(context: Context, estimate: Estimate) -> Estimate:
    if sentence := estimate.sentence():
        context.out.raw(sentence)
    return estimate


def after(context: Context, bill: Bill | None) -> dict[str, Any] | None:
    """Print what a job was billed for; the same for --json."""
    if bill is None:
        return None
    if sentence := bill.sentence():
        context.out.raw(sentence)
    return bill.document()


def after_tuning(context: Context, trials: Iterable[str], price: Price | None) -> dict[str, Any] | None:
    """The same for all trials of a tuning job. Where nothing costs anything, none is looked at."""
    from report.read import jobs

    if price is not None and price.hourly == 0:
        return None
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        described = list(pool.map(lambda name: jobs.find(context.clients, name) or {}, trials))
    bills = [bill for job in described if (bill := costs.bill_of_training(job, price))]
    if not bills:
        return None
    dollars = [bill.dollars for bill in bills if bill.dollars is not None]
    seconds = sum(bill.seconds * bill.count for bill in bills)
    total = money(sum(dollars)) if dollars else "price unknown"
    context.out.raw(
        f"Billed for {plural(len(bills), 'trial')}: {seconds / 3600:.2f} hours of machines, {total}."
    )
    return {
        "currency": "USD",
        "billed": sum(dollars) if dollars else None,
        "billable_seconds": seconds,
        "source": price.origin if price else None,
    }
