"""What runs on when a command fails is named, with what it costs."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from report.read import jobs
from scripts import prices, running
from scripts.aws import Clients
from tests.scripts.conftest import Refuse, Run


def test_without_a_price_the_machines_are_named() -> None:
    started = running.job("t", "ml.g5.xlarge", 4).at(None)
    assert "t goes on running at the price of 4 × ml.g5.xlarge" in started.sentence()
    assert "`byoc watch t`; `byoc stop t` ends it" in started.sentence()


def expired(*_: Any, **__: Any) -> Any:
    raise ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "it has expired"}}, "Describe")


@pytest.mark.parametrize(
    ("command", "name"),
    [(("train", "--name", "mine"), "mine"), (("tune", "--name", "mine"), "mine"), (("deploy",), "pictures")],
)
def test_credentials_that_expire_while_waiting(
    ready: Any, run: Run, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, command: Any, name: str
) -> None:
    name = "digits" if command == ("deploy",) else name
    monkeypatch.setattr(prices, "asked", lambda *_: 0.23)
    if command == ("deploy",):
        run("train", "--name", "before", "--no-wait")
        monkeypatch.setattr("scripts.endpoints.wait", expired)
    elif command[0] == "tune":
        monkeypatch.setattr("report.read.tuning.look", expired)
    else:
        monkeypatch.setattr(jobs, "describe", expired)
    told = run(*command, "--json", code=3)
    error = json.loads(told.stdout)["error"]
    assert "aws sso login" in error["remedy"]
    assert f"{name} goes on running for $0.{46 if command[0] == 'tune' else 23} an hour" in error["remedy"]
    back = {"train": "byoc watch mine", "tune": "byoc watch mine", "deploy": "byoc jobs"}
    assert back[command[0]] in error["remedy"]
    state = json.loads((ready / ".byoc" / "state.json").read_text())
    assert name in state.values()


def test_a_job_that_has_failed_does_not_go_on(ready: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = jobs.describe

    def failed(clients: Clients, name: str) -> Any:
        return {**real(clients, name), "TrainingJobStatus": "Failed", "FailureReason": "oh"}

    monkeypatch.setattr(jobs, "describe", failed)
    monkeypatch.setattr("scripts.commands.training._report_after", lambda *_: (None, None))
    assert "goes on running" not in run("train", "--name", "mine", code=1).stderr


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("train", "--name", "mine"), "InProgress"),
        (("train", "--name", "mine", "--stop-on-interrupt"), "Stopping"),
        (("deploy", "--endpoint", "mine"), "Creating"),
        (("transform", "--name", "mine"), "InProgress"),
        (("transform", "--name", "mine", "--stop-on-interrupt"), "Stopping"),
    ],
)
def test_ctrl_c_leaves_one_document_too(
    ready: Any, run: Run, monkeypatch: pytest.MonkeyPatch, command: Any, status: str
) -> None:
    if command[0] != "train":
        run("train", "--name", "before", "--no-wait")
    monkeypatch.setattr("scripts.commands.training.show", interrupt)
    monkeypatch.setattr("scripts.commands.transform._watch", interrupt)
    monkeypatch.setattr("scripts.endpoints.wait", interrupt)
    monkeypatch.setattr("scripts.kinds.stop", lambda *_: None)  # moto cannot stop jobs
    result = run(*command, "--json", code=130)
    assert json.loads(result.stdout) == {"name": "mine", "status": status, "interrupted": True}


def test_ctrl_c_while_nothing_runs_is_an_error_for_machines(
    ready: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.kinds.stop", interrupt)
    error = json.loads(run("stop", "mine", "--json", code=130).stdout)["error"]
    assert (error["kind"], error["exit"]) == ("Interrupted", 130)
