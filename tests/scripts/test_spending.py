"""What listed jobs and endpoints cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient

from scripts import prices, spending
from scripts.prices import Price
from scripts.spending import Line, Spending
from tests.scripts.conftest import Refuse, Run

CHEAP = Price(0.1, "--price")


def test_what_runs_is_told_by_the_hour_and_an_endpoint_by_the_month() -> None:
    job = Line("t", "training", "ml.g5.xlarge", 2, None, Price(1.5, "x"))
    endpoint = Line("e", "endpoint", "ml.m5.large", 1, None, CHEAP)
    assert Spending([job], []).sentences() == ["Running now: $3.00 an hour: t (2 × ml.g5.xlarge)."]
    [told] = Spending([endpoint, job], []).sentences()
    assert told.startswith(
        "Running now: $3.10 an hour, $73.00 a month for the endpoints: e (1 × ml.m5.large), t"
    )


def test_bills_are_added_up() -> None:
    lines = [Line(f"t{n}", "training", "ml.m5.large", 2, 1800, CHEAP) for n in range(3)]
    assert Spending([], lines).sentences() == ["Billed for 3 jobs: $0.30, 3.00 hours of machines."]
    old = Price(0.1, "x", "2026-07-30")
    dated = Spending([Line("e", "endpoint", "m", 1, None, old)], []).sentences()
    assert dated == ["Running now: $0.10 an hour, $73.00 a month (prices as of 2026-07-30): e (1 × m)."]
    lines.append(Line("u", "training", "ml.x.large", 1, 3600))
    [told] = Spending([], lines).sentences()
    assert "$0.30 and the unknown price of ml.x.large" in told
    assert Spending([], lines).document()["without_price"] == ["u"]


def test_nothing_is_said_where_nothing_costs_anything() -> None:
    free = Price(0, "x")
    lines = [Line("e", "endpoint", "m", 1, None, free)], [Line("t", "training", "m", 1, 9, free)]
    assert Spending(*lines).sentences() == []


def test_jobs_adds_up_with_costs_and_names_the_endpoints_price(
    ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(prices, "asked", lambda clients, machine, use: asked.append((machine, use)) or 0.5)
    run("train", "--name", "digits-1", "--no-wait")
    run("train", "--name", "digits-2", "--no-wait")
    run("deploy", "digits-1", "--no-wait")
    asked.clear()
    shown = run("jobs").stdout
    assert "Running now: $0.50 an hour, $365.00 a month: digits (1 × ml.m5.large)." in shown
    assert "Billed" not in shown
    assert asked == [("ml.m5.large", "Hosting")]
    monkeypatch.setattr(
        spending.costs,
        "bill_of_training",
        lambda job, price: spending.costs.Bill("ml.m5.xlarge", 1, price, 720),
    )
    asked.clear()
    assert "Billed for 2 jobs: $0.20, 0.40 hours of machines." in run("jobs", "--costs").stdout
    assert sorted(asked) == [("ml.m5.large", "Hosting"), ("ml.m5.xlarge", "Training")]
    assert json.loads(run("jobs", "--costs", "--json").stdout)["cost"]["running_hourly"] == 0.5


def test_without_permission_to_describe_the_list_is_shown_all_the_same(
    ready: Path, run: Run, refuse: Refuse
) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    run("deploy", "digits-1", "--no-wait")
    with refuse("DescribeEndpoint", "AccessDeniedException"):
        shown = run("jobs").stdout
    assert "AWS does not allow to look at digits: their cost is unknown." in shown


def test_a_warm_pool_that_waits_runs_and_costs(
    ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "asked", lambda *_: 0.5)
    run("train", "--name", "digits-1", "--no-wait")
    send = BaseClient._make_api_call  # type: ignore[attr-defined]

    def answer(client: BaseClient, name: str, request: dict[str, Any]) -> Any:
        reply = send(client, name, request)
        for job in {
            "ListTrainingJobs": reply.get("TrainingJobSummaries"),
            "DescribeTrainingJob": [reply],
        }.get(name) or ():
            job["TrainingJobStatus"], job["WarmPoolStatus"] = "Completed", {"Status": "Available"}
        return reply

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    assert "Running now: $0.50 an hour: warm pool of digits-1 (1 × ml." in run("jobs").stdout
