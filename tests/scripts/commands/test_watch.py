"""`byoc watch`: a job of whatever kind."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import NOT_FOUND, ByocError
from scripts import kinds, running
from scripts.commands import watch
from tests.scripts.conftest import Run

Calls = list[tuple[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls: Calls = []
    for what in ("training", "tuning", "transform"):
        monkeypatch.setattr(
            watch, f"watch_{what}", lambda context, job, what=what, **_: calls.append((what, job)) or "seen"
        )
        monkeypatch.setattr(watch, f"conclude_{what}", lambda context, *what: calls.append(("end", what[-2])))
    return calls


@pytest.mark.parametrize("kind", ["training", "tuning"])
def test_a_job_is_shown_as_the_command_that_made_it_shows_it(
    ready: Path, run: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run("train", "--name", "j", "--no-wait")
    monkeypatch.setattr(kinds, "kind_of", lambda clients, name: SimpleNamespace(name=f"{kind} job"))
    monkeypatch.setattr("scripts.running.known_tuning", lambda *_: running.job("j", "m", 1))
    run("watch", "j")
    assert calls == [(kind, "j"), ("end", "seen")]


def test_a_tuning_job_has_no_full_log(
    ready: Path, run: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "kind_of", lambda clients, name: SimpleNamespace(name="tuning job"))
    assert "--full-log: t is a tuning job" in run("watch", "t", "--full-log", code=2).stderr
    assert calls == []


def test_without_a_name_it_is_this_folders_job(ready: Path, run: Run, calls: Calls) -> None:
    assert "Which job?" in run("watch", code=2).stderr
    run("train", "--name", "mine", "--no-wait")
    run("watch")
    assert calls[0] == ("training", "mine")


def test_a_transform_job(ready: Path, run: Run, calls: Calls) -> None:
    run("train", "--name", "j", "--no-wait")
    run("transform", "--name", "t", "--no-wait")
    run("watch", "t")
    assert [what for what, _ in calls] == ["transform", "end"]
    assert calls[0][1].name == "t"


def test_an_endpoint_has_no_end(ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(clients: Any, name: str) -> None:
        raise ByocError(f"There is no job {name}.", code=NOT_FOUND)

    monkeypatch.setattr(kinds, "kind_of", nothing)
    monkeypatch.setattr("scripts.endpoints.status_of", lambda clients, name: "InService")
    assert "`byoc logs -f e` follows its log" in run("watch", "e", code=2).stderr
    monkeypatch.setattr("scripts.endpoints.status_of", lambda clients, name: "")
    assert "There is no job e" in run("watch", "e", code=5).stderr
