"""A warm pool is named with its price, and ended."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from report.read.listing import has_warm_pool
from scripts import warmpool
from scripts.aws import Clients
from tests.scripts.failing import failing
from tests.scripts.test_prices import listed


def job(status: str | None = "Available") -> dict[str, Any]:
    pool = {} if status is None else {"WarmPoolStatus": {"Status": status}}
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "KeepAlivePeriodInSeconds": 1800}
    return {"TrainingJobName": "digits-1", "ResourceConfig": resources, **pool}


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        ((200, {"PriceList": [listed("Training", "1.5")]}), "30 min for $3.00 an hour, unless"),
        ((200, {"PriceList": [listed("Training", "0")]}), "30 min, unless the next"),
        ((400, {"__type": "AccessDeniedException"}), "30 min at the price of 2 × ml.g5.xlarge, unless"),
    ],
)
def test_what_it_costs(price: Any, cost: str) -> None:
    with failing() as server:
        server.after = price
        said = warmpool.sentence(Clients(boto3.Session("a", "b"), "sa-east-1", server.url), job())
    assert f"stays warm for {cost}" in said
    assert "`byoc stop digits-1` ends it" in said


def test_it_is_ended_once() -> None:
    with failing() as server:
        clients = Clients(boto3.Session("a", "b"), "eu-west-1", server.url)
        for status in (None, "InUse", "Reused", "Terminated"):
            assert not has_warm_pool(job(status))
        assert has_warm_pool(job())
        assert warmpool.end(clients, "digits-1")
        assert server.seen == ["UpdateTrainingJob"]
        # Its time has ended in between.
        server.after = (400, {"__type": "ValidationException", "message": "no warm pool"})
        assert not warmpool.end(clients, "digits-1")
        server.after = (400, {"__type": "AccessDeniedException", "message": "no"})
        with pytest.raises(ClientError):
            warmpool.end(clients, "digits-1")
