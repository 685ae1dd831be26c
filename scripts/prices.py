"""What an hour of a machine costs: what the user says, else AWS's price list, else a small table with dates.

The table is for users who may not read the price list (pricing:GetProducts). It holds what AWS's price list
was read to say, with the SKU or the usage type and the day, and what AWS's own repositories on GitHub list:
a bill of an account in Ireland with a line for each use, and one price for each machine in N. Virginia. A
machine that no such source names is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from scripts.aws import Clients

Use = Literal["Training", "Hosting", "BatchTransform"]
"""As the price list calls them."""
MONTH: Final = 730
"""Hours, as AWS counts them."""


@dataclass(frozen=True)
class Price:
    """On-demand dollars for an hour of one machine."""

    hourly: float
    source: str
    date: str = ""
    """Of a price in the table; empty where it is today's."""

    @property
    def origin(self) -> str:
        """For a message; the whole source is in the table."""
        return f"as of {self.date}; today's could not be read" if self.date else self.source


_LIST: Final = "AWS's price list"
_G5_LIST: Final = f"{_LIST}, USE1-Train:ml.g5.2xlarge"
_BILL: Final = "github.com/aws-samples/sagemaker-ssh-helper, Sample_Costs.md: a bill of December 2023"
_BENCHMARK: Final = (
    "github.com/aws-samples/foundation-model-benchmarking-tool, pricing.yml: SageMaker's price for an hour, "
    "no use named"
)

TABLE: Final[Mapping[tuple[str, str, Use], Price]] = {
    ("us-east-1", "ml.m5.large", "Training"): Price(0.115, f"{_LIST}, SKU JMCWJEAPVJNFJ5P4", "2026-08-11"),
    ("us-east-1", "ml.m5.large", "Hosting"): Price(0.115, f"{_LIST}, USE1-Host:ml.m5.large", "2026-07-30"),
    ("us-east-1", "ml.m5.xlarge", "Training"): Price(0.23, _BENCHMARK, "2025-01-26"),
    ("us-east-1", "ml.m5.xlarge", "Hosting"): Price(0.23, f"{_LIST}, SKU JDZQJFUVUR8SUWHS", "2026-06-27"),
    ("us-east-1", "ml.m5.xlarge", "BatchTransform"): Price(0.23, _BENCHMARK, "2025-01-26"),
    ("us-east-1", "ml.g5.xlarge", "Training"): Price(1.4084, _BENCHMARK, "2025-01-26"),
    ("us-east-1", "ml.g5.xlarge", "Hosting"): Price(1.4084, _BENCHMARK, "2025-01-26"),
    ("us-east-1", "ml.g5.xlarge", "BatchTransform"): Price(1.4084, _BENCHMARK, "2025-01-26"),
    ("us-east-1", "ml.g5.2xlarge", "Training"): Price(1.515, _G5_LIST, "2026-08-20"),
    ("us-east-1", "ml.g5.2xlarge", "Hosting"): Price(1.515, _BENCHMARK, "2025-01-26"),
    ("eu-west-1", "ml.m5.xlarge", "Training"): Price(0.257, _BILL, "2023-12"),
    ("eu-west-1", "ml.m5.xlarge", "Hosting"): Price(0.257, _BILL, "2023-12"),
    ("eu-west-1", "ml.m5.xlarge", "BatchTransform"): Price(0.257, _BILL, "2023-12"),
    ("eu-west-1", "ml.g4dn.xlarge", "Training"): Price(0.822, _BILL, "2023-12"),
    ("eu-west-1", "ml.g4dn.xlarge", "Hosting"): Price(0.821, _BILL, "2023-12"),
    ("eu-west-1", "ml.g5.xlarge", "Training"): Price(1.57, _BILL, "2023-12"),
}  # fmt: skip
STORAGE: Final[Mapping[tuple[str, str], Price]] = {
    ("us-east-1", "S3"): Price(0.023, "aws.amazon.com/s3/pricing, class Standard", "2026-08-11"),
    ("us-east-1", "ECR"): Price(0.10, "aws.amazon.com/ecr/pricing", "2026-09-27"),
}
"""Dollars for a GB and month, by region and service."""


def find(clients: Clients, machine: str, use: Use, named: float | None = None) -> Price | None:
    """The price of a machine such as ml.g5.xlarge; None where nothing is known.

    Args:
        named: what the user said (`--price`), which counts before all else.
    """
    if named is not None:
        return Price(named, "--price")
    dollars = asked(clients, machine, use)
    if dollars is not None:
        return Price(dollars, _LIST)
    return TABLE.get((clients.region, machine, use))


def asked(clients: Clients, machine: str, use: Use) -> float | None:
    """On-demand dollars for an hour of one machine, by AWS's price list; None where it cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    regions = clients.session.get_available_regions("pricing", clients.partition)
    region = next((one for one in (clients.region, "us-east-1", *regions) if one in regions), "")
    if not region:
        return None
    filters = {"regionCode": clients.region, "instanceName": machine}
    try:
        service: Any = clients.service("pricing", region, patient=False, connect_timeout=2, read_timeout=3)
        pages = service.get_products(
            ServiceCode="AmazonSageMaker",
            Filters=[{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in filters.items()],
        )
        return listed(map(json.loads, pages["PriceList"]), use)
    except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
        return None


def listed(products: Iterable[Any], use: Use) -> float | None:
    """The price of an hour among the products of one machine.

    The list also has rows for spot training, warm pools, reserved plans and free rules: only those count
    whose component is the use itself (Batch Transform is written with a blank, a hyphen or neither). Where
    several do, the highest: it is to be an upper bound.
    """
    prices = []
    for product in products:
        attributes = product["product"]["attributes"]
        names = {_plain(attributes.get(key, "")) for key in ("component", "platoinstancetype")} - {""}
        if names != {_plain(use)}:
            continue
        for term in product["terms"].get("OnDemand", {}).values():
            prices += [
                float(dimension["pricePerUnit"]["USD"])
                for dimension in term["priceDimensions"].values()
                if dimension.get("unit", "").lower().startswith("h") and "USD" in dimension["pricePerUnit"]
            ]
    return max(prices, default=None)


def _plain(text: str) -> str:
    return text.lower().replace(" ", "").replace("-", "")


def unknown(clients: Clients, machine: str, use: Use) -> str:
    """Why there is no price."""
    words = dict(zip(get_args(Use), ("training", "hosting", "batch transform"), strict=True))
    return (
        f"Neither AWS's price list nor byoc's own table has {machine} for {words[use]} in {clients.region}."
    )


def money(dollars: float) -> str:
    """`$0.115`, `$83.95`, `$1,204.00`: at least two decimals, and more where a small sum needs them."""
    if 0 < dollars < 0.001:
        return "less than $0.001"
    text = f"{dollars:,.3f}" if dollars < 1 else f"{dollars:,.2f}"
    return f"${text[:-1] if dollars < 1 and text.endswith('0') else text}"


@cache
def free(clients: Clients) -> bool:
    """Whether the price list gives machines for nothing, as the local SageMaker's does: then all is free."""
    return asked(clients, "ml.m5.large", "Hosting") == 0


def storage(clients: Clients, service: Literal["S3", "ECR"], size: int) -> float | None:
    """Dollars an hour for so many bytes, in S3's class Standard; None where the price is unknown."""
    if not size or free(clients):
        return 0.0
    price = STORAGE.get((clients.region, service))
    return None if price is None else price.hourly * size / 1e9 / MONTH
