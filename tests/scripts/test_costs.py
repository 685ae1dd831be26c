"""What jobs and endpoints cost, before and afterwards."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from scripts import costs
from scripts.costs import Estimate
from scripts.prices import Price

PRICE = Price(0.23, "AWS's price list")
REQUEST: dict[str, Any] = {
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


def test_a_training_costs_at_most_all_machines_for_its_longest_time() -> None:
    estimate = costs.of_training(REQUEST, PRICE)
    assert estimate.sentence() == (
        "Costs at most $0.46: 2 × ml.m5.xlarge for up to 1 h 0 min, $0.23 an hour and machine "
        "(AWS's price list)."
    )
    assert estimate.document() == {
        "currency": "USD",
        "hourly": 0.46,
        "at_most": 0.46,
        "source": "AWS's price list",
    }


def test_trials_are_multiplied_and_spot_is_an_upper_bound() -> None:
    spot = {**REQUEST, "EnableManagedSpotTraining": True}
    estimate = costs.of_training(spot, PRICE, jobs=8)
    assert estimate.at_most == pytest.approx(3.68)
    assert "8 trials of 2 × ml.m5.xlarge" in estimate.sentence()
    assert "spot capacity costs less, at a price that varies" in estimate.sentence()


def test_a_warm_pool_is_paid_for() -> None:
    resources = {**REQUEST["ResourceConfig"], "KeepAlivePeriodInSeconds": 1800}
    assert costs.of_training({**REQUEST, "ResourceConfig": resources}, PRICE).at_most == pytest.approx(0.69)


def test_an_unknown_price_names_the_machines_and_the_remedy() -> None:
    estimate = costs.of_training(REQUEST, None, "Nobody has it.")
    assert estimate.sentence() == (
        "Price unknown, give --price: 2 × ml.m5.xlarge for up to 1 h 0 min. Nobody has it."
    )
    assert estimate.document() == {"currency": "USD", "hourly": None, "at_most": None, "source": None}


def test_an_endpoint_costs_by_the_hour_and_the_month() -> None:
    told = Estimate("ml.m5.large", 1, Price(0.115, "--price")).standing()
    assert (
        told == "$0.115 an hour, $83.95 a month (730 hours), until it is deleted: 1 × ml.m5.large (--price)."
    )


def test_a_transform_job_has_no_longest_time() -> None:
    told = Estimate("ml.m5.large", 2, Price(0.115, "--price")).sentence()
    assert told.startswith(
        "$0.23 an hour for as long as it runs: 2 × ml.m5.large, $0.115 an hour and machine"
    )


def test_nothing_is_said_of_what_costs_nothing() -> None:
    free = Price(0, "AWS's price list")
    estimate = costs.of_training(REQUEST, free)
    assert (estimate.sentence(), estimate.standing(), estimate.document()) == ("", "", None)
    bill = costs.bill_of_training({"BillableTimeInSeconds": 5, **REQUEST}, free)
    assert bill
    assert (bill.sentence(), bill.document()) == ("", None)


def test_the_bill_counts_machines_and_what_spot_has_saved() -> None:
    job = {
        **REQUEST,
        "BillableTimeInSeconds": 900,
        "TrainingTimeInSeconds": 3600,
        "EnableManagedSpotTraining": True,
    }
    bill = costs.bill_of_training(job, PRICE)
    assert bill
    assert bill.sentence() == "Billed: 15 min of 2 × ml.m5.xlarge, $0.115. Spot capacity saved 75 %."
    assert bill.dollars == pytest.approx(0.115)
    unpriced = costs.bill_of_training({**REQUEST, "BillableTimeInSeconds": 60}, None)
    assert unpriced
    assert unpriced.sentence() == "Billed: 1 min of 2 × ml.m5.xlarge, price unknown."
    assert costs.bill_of_training(REQUEST, PRICE) is None


def test_the_time_of_a_warm_pool_is_billed_too() -> None:
    pool = {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 1800}
    bill = costs.bill_of_training({**REQUEST, "BillableTimeInSeconds": 1800, "WarmPoolStatus": pool}, PRICE)
    assert bill
    assert bill.dollars == pytest.approx(0.46)


def test_a_transform_job_is_billed_from_start_to_end() -> None:
    begin = datetime(2026, 11, 1)
    job = {
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "TransformStartTime": begin,
        "TransformEndTime": begin + timedelta(minutes=30),
    }
    bill = costs.bill_of_transform(job, PRICE)
    assert bill
    assert bill.dollars == pytest.approx(0.115)
    assert costs.bill_of_transform({**job, "TransformEndTime": None}, PRICE) is None
