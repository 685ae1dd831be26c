"""Prices: what the user says, AWS's price list, the table."""

import json
import re
from typing import Any

import boto3
import pytest

from scripts import prices
from scripts.aws import Clients
from scripts.prices import TABLE, Price, money
from tests.scripts.failing import failing


def listed(component: str, dollars: str, unit: str = "Hrs", plato: str = "") -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": dollars}}
    attributes = {"component": component, "instanceName": "ml.g5.xlarge", "platoinstancetype": plato}
    return json.dumps(
        {
            "product": {"attributes": attributes},
            "terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}},
        }
    )


@pytest.mark.parametrize(("kind", "price"), [("Training", 1.408), ("Hosting", 1.5), ("BatchTransform", 1.6)])
def test_the_price_list_is_asked(kind: Any, price: float) -> None:
    with failing() as server:
        products = [
            listed("Training", "1.408"),
            listed("Training", "0.4", plato="SpotTraining"),
            listed("Training Warm Pool", "1.9"),
            listed("", "13.57"),
            listed("Training", "99", unit="Quantity"),
            listed("Hosting", "1.5", plato="Hosting"),
            listed("Hosting", "0", plato="Free Hosting"),
            listed("Batch Transform", "1.6", plato="BatchTransform"),
        ]
        server.after = (200, {"PriceList": products})
        clients = Clients(boto3.Session("a", "b"), "eu-west-1", server.url)
        assert prices.find(clients, "ml.g5.xlarge", kind) == Price(price, "AWS's price list")


def test_where_the_list_may_not_be_read_the_table_answers() -> None:
    with failing() as server:
        server.after = (400, {"__type": "AccessDeniedException", "message": "no"})
        clients = Clients(boto3.Session("a", "b"), "us-east-1", server.url)
        price = prices.find(clients, "ml.m5.large", "Training")
        assert price
        assert price.hourly == 0.115
        assert price.origin == "as of 2026-08-11; today's could not be read"
        assert prices.find(clients, "ml.p5.48xlarge", "Training") is None
        assert prices.find(clients, "ml.p5.48xlarge", "Training", 60) == Price(60, "--price")
        told = prices.unknown(clients, "ml.p5.48xlarge", "BatchTransform")
    assert "has ml.p5.48xlarge for batch transform in us-east-1." in told


def test_regions_without_a_price_list_in_their_partition_ask_nobody() -> None:
    clients = Clients(boto3.Session("a", "b"), "us-gov-west-1")
    assert prices.find(clients, "ml.m5.large", "Training") is None


def test_each_price_of_the_table_has_source_and_date() -> None:
    for (region, machine, _), price in TABLE.items():
        assert region in boto3.Session().get_available_regions("sagemaker")
        assert machine.startswith("ml.")
        assert price.source
        assert price.hourly > 0
        assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", price.date)


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0, "$0.00"),
        (0.0002, "less than $0.001"),
        (0.115, "$0.115"),
        (0.23, "$0.23"),
        (0.5, "$0.50"),
        (1.4084, "$1.41"),
        (1204.0, "$1,204.00"),
    ],
)
def test_money(dollars: float, text: str) -> None:
    assert money(dollars) == text
