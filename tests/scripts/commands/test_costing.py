"""What commands say of costs, with moto in place of AWS."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from report.read import jobs
from scripts import prices
from scripts.commands import costing
from scripts.output import Output
from scripts.prices import Price
from tests.scripts.conftest import Run

TWO = ("--price", "2")


def test_a_training_says_its_upper_bound(ready: Path, run: Run) -> None:
    shown = run("train", "--no-wait", *TWO, "--set", "train.max_minutes=90", "--spot").stdout
    assert "Costs at most $3.00: 1 × ml.m5.xlarge for up to 1 h 30 min, $2.00 an hour and machine" in shown
    assert "spot capacity costs less" in shown
    cost = json.loads(run("train", "--no-wait", *TWO, "--instance-count", "3", "--json").stdout)["cost"]
    assert cost == {"currency": "USD", "hourly": 6.0, "at_most": 6.0, "source": "--price"}


def test_a_tuning_job_says_that_of_all_trials(ready: Path, run: Run) -> None:
    shown = run("tune", "--no-wait", "--jobs", "8", *TWO).stdout
    assert "Costs at most $16.00: 8 trials of 1 × ml.m5.xlarge" in shown
    lists = ("--range", "lr=0.1,0.01,0.001", "--range", "batch_size=16,32")
    grid = run("tune", "--no-wait", *lists, "--set", "tune.strategy=Grid", *TWO, "--json").stdout
    assert json.loads(grid)["cost"]["at_most"] == 12.0


def test_an_endpoint_and_a_transform_job_say_what_an_hour_costs(ready: Path, run: Run) -> None:
    run("train", "--no-wait", "--name", "j")
    shown = run("deploy", "j", "--no-wait", *TWO).stdout
    assert "$2.00 an hour, $1,460.00 a month (730 hours), until it is deleted: 1 × ml.m5.large" in shown
    assert "$2.00 an hour for as long as it runs" in run("transform", "--job", "j", "--no-wait", *TWO).stdout
    assert run("deploy", "j", "--endpoint", "e", "--price", "-1", code=2).stderr


def test_without_a_price_the_command_names_the_remedy(ready: Path, run: Run) -> None:
    shown = run("train", "--no-wait", "--instance-type", "ml.c7i.xlarge").stdout
    assert "Price unknown, give --price: 1 × ml.c7i.xlarge for up to 1 h 0 min." in shown
    assert "has ml.c7i.xlarge for training in us-east-1." in shown


def test_nothing_is_said_where_the_price_list_says_nothing_costs(
    ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "asked", lambda *_: 0.0)
    told = run("train", "--no-wait", "--name", "j").stdout + run("deploy", "j", "--no-wait").stdout
    told += (
        run("tune", "--no-wait").stdout + run("transform", "--no-wait").stdout + run("jobs", "--costs").stdout
    )
    assert "$" not in told
    assert json.loads(run("train", "--no-wait", "--json").stdout)["cost"] is None


def test_the_bills_of_trials_are_added_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"BillableTimeInSeconds": 1800, "ResourceConfig": {"InstanceType": "m", "InstanceCount": 2}}
    looked: list[str] = []
    monkeypatch.setattr(
        jobs, "find", lambda clients, name: looked.append(name) or (job if name != "c" else {})
    )
    context: Any = SimpleNamespace(out=Output(), clients=None)
    cost = costing.after_tuning(context, ["a", "b", "c"], Price(0.5, "--price"))
    assert capsys.readouterr().out == "Billed for 2 trials: 2.00 hours of machines, $1.00.\n"
    assert cost == {"currency": "USD", "billed": 1.0, "billable_seconds": 7200, "source": "--price"}
    looked.clear()
    assert costing.after_tuning(context, ["a"], Price(0, "--price")) is None
    assert not looked
