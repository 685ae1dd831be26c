"""`byoc logs` and `byoc report`, with moto in place of AWS."""

import json
import time
from pathlib import Path
from typing import Any

import boto3

from contract.findings import FindingLine, MachineLine, Outcome, ProgressLine, VerdictLine, format_line
from tests.scripts.conftest import Run


def test_the_log_is_shown_without_the_toolkits_environment(ready: Path, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    lines = ["Training Env:", "{}", "Invoking script with the following command:", "torch 2.10"]
    write_log("digits-1/algo-1-1", lines)
    note = "(2 lines of SageMaker's toolkit are left out; `byoc logs --all` shows them.)"
    assert run("logs").stdout.splitlines() == [note, *lines[2:]]
    assert [line for line in run("logs", "-f").stdout.splitlines() if line[2:] in {note, *lines}] == [
        f"  {line}" for line in (note, *lines[2:])
    ]
    assert run("logs", "last", "--all").stdout.splitlines() == lines
    assert json.loads(run("logs", "--json").stdout)["lines"] == lines


def test_the_debuggers_lines_are_shown_in_words(ready: Path, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    lines = [
        format_line(ProgressLine(1, 2, 10, 20, 2.3)),
        format_line(MachineLine(1.0, 90.0)),
        format_line(FindingLine("Overfit", 10, "loss", "high", "It rises.", "Lower it.")),
        "level=warning few pictures",
        format_line(VerdictLine("Overfit", Outcome.ISSUES_FOUND, "It rises.", 1)),
    ]
    write_log("digits-1/algo-1-1", lines)
    shown = run("logs").stdout
    assert shown.splitlines()[:3] == ["! Overfit step 10, loss It rises.", "  → Lower it.", lines[3]]
    assert "Issues found" in shown
    assert "{" not in shown
    followed = run("logs", "-f").stdout
    assert "! Overfit step 10, loss It rises." in followed
    assert f"  {lines[3]}" in followed.splitlines()
    assert run("logs", "--all").stdout.splitlines() == lines


def test_warnings_and_the_recipe_are_shown_in_words_and_an_error_once(ready: Path, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    write_log(
        "digits-1/algo-1-1",
        ["epoch 1", "recipe: the head first", "level=warning few pictures", "level=error no classes"],
    )
    shown = run("watch", "digits-1").stdout
    assert "  recipe: the head first" in shown.splitlines()
    assert "! few pictures" in shown.splitlines()
    assert "level=" not in shown
    assert "no classes" not in shown  # the job's FailureReason, where it failed


def write_log(stream: str, lines: list[str]) -> None:
    logs: Any = boto3.client("logs", "us-east-1")
    group = "/aws/sagemaker/TrainingJobs"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + number, "message": line} for number, line in enumerate(lines)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def test_the_last_job_is_named_last(ready: Path, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    assert json.loads(run("report", "last", "--json").stdout)["jobs"] == ["digits-1"]


def test_a_misspelled_rule_costs_nothing(ready: Path, run: Run) -> None:
    wrong = ("--set", 'debugger.rules=["Overfti"]', "--no-wait")
    assert "did you mean Overfit?" in run("train", *wrong, code=2).stderr
    assert boto3.client("sagemaker", "us-east-1").list_training_jobs()["TrainingJobSummaries"] == []
