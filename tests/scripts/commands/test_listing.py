"""`byoc jobs`, with moto in place of AWS."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from report.read import jobs
from scripts.commands import listing
from scripts.output import Output
from tests.scripts.conftest import Refuse, Run

NAMES = ("digits-4", "digits-" + "x" * 56, "digits-2", "digits-1")


def some(run: Run) -> None:
    run("train", "--name", NAMES[3], "--no-wait")
    run("transform", "--name", NAMES[2], "--no-wait")
    run("train", "--name", NAMES[1], "--no-wait")
    run("deploy", NAMES[3], "--endpoint", NAMES[0], "--no-wait")


def test_jobs_come_newest_first(ready: Path, run: Run) -> None:
    some(run)
    assert re.findall(r"digits-\w+", run("jobs").stdout.partition("Running now")[0]) == list(NAMES)


def test_a_name_is_never_broken(ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    some(run)
    for width, header in {
        40: "name",
        80: "name status",
        90: "kind name status",
        105: "kind name status created",
        120: "kind name status created",
    }.items():
        console = Console(width=width, soft_wrap=True)
        monkeypatch.setattr(Output, "console", property(lambda self, console=console: console))
        lines = [line.split() for line in run("jobs").stdout.partition("Running now")[0].splitlines()]
        assert header.split() in lines
        assert [word for line in lines for word in line if word.startswith("digits")] == list(NAMES)


def test_what_was_made_under_another_name_is_listed_and_other_projects_are_counted(
    ready: Path, run: Run
) -> None:
    run("train", "--name", "longrun", "--no-wait")
    theirs = ("--set", "project.name=digits2", "--set", "aws.prefix=byoc/digits")
    run("train", "--name", "theirs", "--no-wait", *theirs)
    run("train", "--name", "digits2-train-1", "--no-wait", *theirs)
    told = run("jobs").stdout
    assert "longrun" in told
    assert "theirs" not in told
    assert "digits2" not in told
    assert "2 others, not of digits: `byoc jobs --all` lists them." in told
    assert json.loads(run("jobs", "--json").stdout)["others"] == 2
    everything = run("jobs", "--all").stdout
    assert "theirs" in everything
    assert "not of digits" not in everything


def test_no_jobs_of_this_project(ready: Path, run: Run) -> None:
    assert "no jobs and no endpoints of digits. `byoc train`" in run("jobs").stdout


def test_table_and_json_have_the_newest_jobs_and_all_endpoints(
    ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two lists of the newest, by name and by tag, may have more than --limit; moto would cut before it sorts.
    newest = listing._newest
    monkeypatch.setattr(listing, "_newest", lambda clients, _, within: newest(clients, 100, within))
    for name in ("digits-1", "longrun", "digits-3"):
        run("train", "--name", name, "--no-wait")
    for name in ("digits", "x1", "x2"):
        run("deploy", "longrun", "--endpoint", name, "--no-wait")
    found = json.loads(run("jobs", "--limit", "2", "--json").stdout)
    assert [item["name"] for item in found["training"]] == ["digits-3", "longrun"]
    assert [item["name"] for item in found["endpoint"]] == ["x2", "x1", "digits"]
    rows = [line.split()[:2] for line in run("jobs", "--limit", "2").stdout.splitlines()]
    names = [row[1] for row in rows if row and row[0] in found]
    assert names == ["x2", "x1", "digits", "digits-3", "longrun"]


def test_one_request_tells_what_is_tagged(ready: Path, run: Run, refuse: Refuse) -> None:
    for name in ("digits-1", "longrun", "longer"):
        run("train", "--name", name, "--no-wait")
    with refuse("ListTags", "Unexpected"):
        assert re.findall(r"long\w+", run("jobs").stdout) == ["longer", "longrun"]
    for code in ("AccessDeniedException", "ThrottlingException"):
        with refuse("GetResources", code):  # each of them is asked, then
            assert re.findall(r"long\w+", run("jobs").stdout) == ["longer", "longrun"]


def test_without_the_permission_to_read_tags_names_decide(
    ready: Path, run: Run, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("digits-1", "longrun", "longer"):
        run("train", "--name", name, "--no-wait")
    monkeypatch.setattr("scripts.tags._all_of_project", lambda *_: None)
    with refuse("ListTags", "AccessDeniedException"):
        told = run("jobs").stdout
    assert "digits-1" in told
    assert "longrun" not in told
    assert told.count("AWS does not allow ListTags") == 1
    with refuse("ListTags", "ThrottlingException"):
        assert "go slower" in run("jobs", code=4).stderr
    with refuse("ListTags", "ResourceNotFound"):  # deleted since it was listed
        assert "longrun" not in run("jobs").stdout


def test_the_most_accurate_comes_first(ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = {
        "digits-1": {"validation:accuracy": 0.8, "epoch": 8.0},
        "digits-2": {"validation:accuracy": 0.9},
    }
    for name in ("digits-1", "digits-2", "digits-3"):
        run("train", "--name", name, "--no-wait", "--set", "lr=0.003")
    monkeypatch.setattr(jobs, "metrics", lambda job: reached.get(job["TrainingJobName"], {}))
    rows = [line.split() for line in run("jobs", "--metrics").stdout.splitlines()]
    assert [row[:3] for row in rows if row and row[0].startswith("digits")] == [
        ["digits-2", "90.00", "%"], ["digits-1", "80.00", "%"], ["digits-3", "–", "–"]
    ]  # fmt: skip
    assert all("0.003" in row for row in rows if row and row[0].startswith("digits"))
    told = json.loads(run("jobs", "--metrics", "--json").stdout)["training"]
    assert [item["metrics"] for item in told] == [reached["digits-2"], reached["digits-1"], {}]
