"""What a report reads, through AWS's APIs: moto's S3 and scripted answers for the rest."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from contract.errors import NOT_FOUND, ByocError
from contract.findings import (
    FindingLine,
    Findings,
    Outcome,
    ProgressLine,
    VerdictLine,
    format_line,
)
from report.make import report_for_job
from report.read import artifacts
from report.read.inputs import collect
from report.read.metrics import parse_log
from tests.report.sample_findings import rule

HOOK = {"DebugHookConfig": {"S3OutputPath": "s3://bucket/out"}}
RESULTS = {"OutputDataConfig": {"S3OutputPath": "s3://bucket/results"}}
ARCHIVE = "results/job/output/output.tar.gz"
REPORT, SERIES = b'{"classes": ["a"]}', b'{"schema": 1, "losses": {}}'


def findings(*outcomes: Outcome, complete: bool = True, problems: tuple[str, ...] = ()) -> Findings:
    names = ("Overfit", "DeadRelu", "StepOutlier")
    rules = tuple(rule(name, outcome, "Seen.") for name, outcome in zip(names, outcomes, strict=False))
    return Findings("job", complete, rules, problems)


FINE = findings(Outcome.NO_ISSUES)


class Logs:
    """CloudWatch Logs with one stream a host, or without the log group."""

    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, streams: dict[str, list[str]] | None = None) -> None:
        self.streams = streams
        self.asked: list[str] = []

    def get_paginator(self, name: str) -> Any:
        error = {"Error": {"Code": "ResourceNotFoundException", "Message": "no log group"}}

        def paginate(logStreamNamePrefix: str, **_: Any) -> Any:
            if self.streams is None:
                raise ClientError(error, name)  # type: ignore[arg-type]
            found = [stream for stream in self.streams if stream.startswith(logStreamNamePrefix)]
            return [{"logStreams": [{"logStreamName": stream} for stream in found]}]

        return SimpleNamespace(paginate=paginate)

    def get_log_events(
        self, logStreamName: str, startFromHead: bool, limit: int = 10_000, nextToken: str = "", **_: Any
    ) -> Any:
        assert self.streams is not None
        self.asked.append(logStreamName)
        lines = [] if nextToken else self.streams[logStreamName]
        lines = lines[:limit] if startFromHead else lines[-limit:]
        return {
            "events": [{"message": line} for line in lines],
            "nextForwardToken": "end",
            "nextBackwardToken": "start",
        }


@pytest.fixture
def s3(aws: None) -> Any:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    return client


def clients(s3: Any, log: dict[str, list[str]] | None = None, **described: Any) -> Any:
    def describe(TrainingJobName: str) -> dict[str, Any]:
        if TrainingJobName != "job":
            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": "Requested resource not found."}},
                "DescribeTrainingJob",
            )
        return {"TrainingJobName": "job", "TrainingJobStatus": "Completed", **described}

    return SimpleNamespace(s3=s3, sagemaker=SimpleNamespace(describe_training_job=describe), logs=Logs(log))


def put(s3: Any, key: str, content: object) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    s3.put_object(Bucket="bucket", Key=key, Body=body)


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_an_unknown_job_is_told_in_a_sentence(s3: Any) -> None:
    with pytest.raises(ByocError, match="no training job other") as caught:
        collect(clients(s3), "other")
    assert caught.value.code == NOT_FOUND


@pytest.mark.parametrize("folder", ["", "data/"])
def test_all_parts_are_in_the_jobs_output(s3: Any, folder: str) -> None:
    members = {"debugger/findings.json": FINE.to_json().encode(), "debugger/series.json": SERIES}
    members["report.json"] = REPORT
    put(s3, ARCHIVE, archive(**{f"{folder}{name}": content for name, content in members.items()}))
    inputs = collect(clients(s3, **RESULTS), "job")
    assert inputs.findings == FINE
    assert inputs.series == json.loads(SERIES)
    assert inputs.report == {"classes": ["a"]}
    assert not inputs.problems
    assert not {"findings", "series", "report"} & inputs.missing.keys()
    assert inputs.sources["findings"] == f"s3://bucket/{ARCHIVE}, debugger/findings.json"


def test_the_output_is_fetched_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": FINE.to_json().encode(), "report.json": REPORT}))
    opened: list[str] = []
    whole = artifacts.open_s3

    def open_s3(client: Any, uri: str) -> Any:
        opened.append(uri)
        return whole(client, uri)

    monkeypatch.setattr(artifacts, "open_s3", open_s3)
    collect(clients(s3, **RESULTS), "job")
    assert opened == [f"s3://bucket/{ARCHIVE}"]


def test_what_is_missing_is_said_by_part(s3: Any) -> None:
    put(s3, ARCHIVE, archive(**{"report.json": REPORT}))
    inputs = collect(clients(s3, **RESULTS), "job")
    holds_no = f"s3://bucket/{ARCHIVE} holds no debugger"
    assert inputs.findings is None
    assert inputs.missing["findings"] == f"No verdicts: {holds_no}/findings.json."
    assert inputs.missing["series"] == (
        f"No gradients, weights, activations, step times or machine use: {holds_no}/series.json."
    )
    assert "report" not in inputs.missing


@pytest.mark.parametrize(
    ("status", "reason"), [("InProgress", "the job is not over yet"), ("Failed", "s3://")]
)
def test_a_job_without_output_is_told_by_its_log(s3: Any, status: str, reason: str) -> None:
    log = [
        format_line(ProgressLine(1, 4, 10, 400, 2.25)),
        format_line(FindingLine("Overfit", 10, None, "low", "It overfits.", "Stop.")),
        format_line(ProgressLine(1, 4, 20, 400, 2.0)),
        "Traceback (most recent call last):",
    ]
    inputs = collect(clients(s3, {"job/algo-1-1": log}, TrainingJobStatus=status, **RESULTS), "job")
    assert inputs.findings is not None
    assert [item.message for item in inputs.findings.rules[0].findings] == ["It overfits."]
    assert inputs.missing["findings"].startswith(
        f"The findings are those of the log, which leaves out causes and parameters: {reason}"
    )
    assert inputs.series["losses"]["loss"]["TRAIN"] == {"step": [10, 20], "value": [2.25, 2.0]}
    assert inputs.missing["series"].endswith("The losses are those of the log.")
    assert inputs.log.tail == ["Traceback (most recent call last):"]


def test_what_the_files_say_counts_before_the_log(s3: Any) -> None:
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": FINE.to_json().encode()}))
    log = [format_line(FindingLine("Overfit", 10)), format_line(ProgressLine(1, 4, 10, 400, 2.25))]
    inputs = collect(clients(s3, {"job/algo-1-1": log}, **RESULTS), "job")
    assert inputs.findings == FINE
    assert inputs.series  # the file has none


def test_rules_that_a_killed_job_left_open_are_closed(s3: Any) -> None:
    left = findings(Outcome.IN_PROGRESS, Outcome.ISSUES_FOUND, complete=False)
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": left.to_json().encode()}))
    stopped = collect(clients(s3, TrainingJobStatus="Stopped", **RESULTS), "job").findings
    running = collect(clients(s3, TrainingJobStatus="InProgress", **RESULTS), "job").findings
    assert stopped is not None
    assert [item.outcome for item in stopped.rules] == [Outcome.STOPPED, Outcome.ISSUES_FOUND]
    assert running == left


def test_what_rules_beside_the_training_wrote_is_read_where_the_container_wrote_nothing(s3: Any) -> None:
    put(s3, "out/job/rule-output/findings.json", json.loads(FINE.to_json()))
    put(s3, "out/job/rule-output/series.json", json.loads(SERIES))
    put(s3, ARCHIVE, archive(**{"report.json": REPORT}))
    inputs = collect(clients(s3, **HOOK, **RESULTS), "job")
    assert inputs.findings == FINE
    assert inputs.series == json.loads(SERIES)
    assert inputs.judged_outside
    assert not {"findings", "series", "report"} & inputs.missing.keys()
    own = findings(Outcome.ISSUES_FOUND)
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": own.to_json().encode()}))
    inputs = collect(clients(s3, **HOOK, **RESULTS), "job")
    assert inputs.findings == own
    assert not inputs.judged_outside


@pytest.mark.parametrize("in_the_log", [False, True])
def test_sagemakers_own_verdicts_stand_behind_the_containers(s3: Any, in_the_log: bool) -> None:
    own = findings(Outcome.NO_ISSUES)
    log = {"job/algo-1-1": [format_line(VerdictLine("Overfit", Outcome.NO_ISSUES, "Seen."))]}
    if not in_the_log:
        put(s3, ARCHIVE, archive(**{"debugger/findings.json": own.to_json().encode()}))
    status = {"RuleConfigurationName": "Overfit", "RuleEvaluationStatus": "Error", "StatusDetails": "Short."}
    inputs = collect(clients(s3, log, **HOOK, **RESULTS, DebugRuleEvaluationStatuses=[status]), "job")
    assert inputs.findings is not None
    assert [(item.name, item.outcome, item.summary) for item in inputs.findings.rules] == [
        ("Overfit", Outcome.NO_ISSUES, "Seen."),
        ("Overfit (SageMaker)", Outcome.ERROR, "Short."),
    ]


def test_statuses_of_the_api_fill_in_where_there_is_no_file(s3: Any) -> None:
    status = {"RuleConfigurationName": "Overfit", "RuleEvaluationStatus": "IssuesFound"}
    api = {"DebugRuleEvaluationStatuses": [status]}
    inputs = collect(clients(s3, **HOOK, **api), "job")
    assert inputs.findings is not None
    assert [item.outcome for item in inputs.findings.rules] == [Outcome.ISSUES_FOUND]
    assert inputs.missing["findings"].startswith("Only the rules' statuses are known: ")
    assert "rule-output/findings.json does not exist" in inputs.missing["findings"]
    put(s3, "out/job/rule-output/findings.json", json.loads(FINE.to_json()))
    assert collect(clients(s3, **HOOK, **api), "job").findings == FINE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"schema": 1, "rules": []}', "its schema is 1, and only 2 can be read"),
        (b'{"rules": []}', "its schema is None"),
        (b'{"schema": 2, "rules": [3]}', "an entry is not an object"),
        (b'{"schema": 2, "rules": [{"name": "A", "outcome": []}]}', "is not shown: "),
    ],
)
def test_findings_of_another_form_are_not_shown_and_the_report_says_why(
    s3: Any, content: bytes, reason: str
) -> None:
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": content, "debugger/series.json": SERIES}))
    inputs = collect(clients(s3, **RESULTS), "job")
    assert inputs.findings is None
    assert inputs.series == json.loads(SERIES)
    assert inputs.missing["findings"].startswith(
        f"No verdicts: s3://bucket/{ARCHIVE}, debugger/findings.json"
    )
    assert reason in inputs.missing["findings"]
    put(s3, ARCHIVE, archive(**{"report.json": REPORT}))
    put(s3, "out/job/rule-output/findings.json", content)
    assert reason in collect(clients(s3, **HOOK, **RESULTS), "job").missing["findings"]


def test_a_hook_that_went_off_is_known_without_any_rule(s3: Any) -> None:
    put(
        s3,
        "out/job/debug-output/hook-status.json",
        {"state": "disabled", "step": 7, "reason": "OSError: full"},
    )
    (problem,) = collect(clients(s3, **HOOK), "job").problems
    assert "switched itself off at step 7" in problem
    assert "OSError: full" in problem


def test_problems_that_the_debugger_met_are_told_and_told_once(s3: Any) -> None:
    put(s3, "out/job/debug-output/hook-status.json", {"state": "disabled", "step": 7, "reason": "full"})
    said = ("The debugger's hook switched itself off: full", "index/1.json names ../x, outside of the trial")
    put(s3, "out/job/rule-output/findings.json", json.loads(findings(problems=said).to_json()))
    assert collect(clients(s3, **HOOK), "job").problems == list(said)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[1]", "not an object"), (b"{", "not valid JSON"), (b"[" * 100_000, "not valid JSON")],
)
def test_a_part_that_is_no_json_object_is_a_sentence(s3: Any, content: bytes, reason: str) -> None:
    put(s3, ARCHIVE, archive(**{"debugger/series.json": content, "report.json": REPORT}))
    inputs = collect(clients(s3, **RESULTS), "job")
    assert reason in inputs.missing["series"]
    assert inputs.report == json.loads(REPORT)
    put(s3, "out/job/rule-output/series.json", content)
    assert reason in collect(clients(s3, **HOOK), "job").missing["series"]


def test_an_archive_is_read_as_a_stream_with_a_limit(s3: Any) -> None:
    put(s3, "bomb.tar.gz", archive(zeros=bytes(3_000_000), **{"report.json": b"{}"}))
    with pytest.raises(artifacts.Unreadable, match="unpacks to more"):
        artifacts.read_members(s3, "s3://bucket/bomb.tar.gz", ("report.json",), limit=1_000_000)
    put(s3, "torn.tar.gz", archive(**{"report.json": b"{}"})[:-20])
    with pytest.raises(artifacts.Unreadable):
        artifacts.read_members(s3, "s3://bucket/torn.tar.gz", ("report.json",))
    put(s3, "none.tar.gz", gzip.compress(b"no tar"))
    with pytest.raises(artifacts.Unreadable, match="not a readable"):
        artifacts.read_members(s3, "s3://bucket/none.tar.gz", ("report.json",))


def test_what_lies_before_the_damage_is_kept(s3: Any) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    content = archive(
        **{"debugger/findings.json": FINE.to_json().encode(), "noise": noise, "report.json": REPORT}
    )
    put(s3, ARCHIVE, content[: len(content) // 2])
    inputs = collect(clients(s3, **RESULTS), "job")
    assert inputs.findings == FINE
    assert "not a readable .tar.gz" in inputs.missing["report"]
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 0xFF
    put(s3, ARCHIVE, bytes(damaged))
    assert collect(clients(s3, **RESULTS), "job").findings == FINE


def test_an_archive_outside_its_folder_is_not_followed(s3: Any) -> None:
    names = ("../report.json", "/report.json", "data/../report.json", "data/data/report.json")
    put(s3, "evil.tar.gz", archive(**dict.fromkeys(names, b'{"evil": 1}')))
    assert artifacts.read_members(s3, "s3://bucket/evil.tar.gz", ("report.json",)) == {}


def test_metrics_come_with_their_step_and_epoch() -> None:
    lines = ["starting", "epoch=1 step=20 train_loss=2.5", "epoch=2 step=40 train_loss=nan"]
    log = parse_log(lines, [("train:loss", r"train_loss=(\S+)"), ("epoch", r"epoch=(\d+)")])
    loss = log.metrics["train:loss"]
    assert (loss.step, loss.epoch, loss.value[0]) == ([20, 40], [1.0, 2.0], 2.5)
    assert loss.value[1] != loss.value[1]
    assert log.tail[0] == "starting"


def test_a_metric_of_java_only_syntax_names_itself() -> None:
    log = parse_log(["x=1"], [("odd", r"\p{Alpha}("), ("x", r"x=(\d)")])
    assert "'odd'" in log.unusable[0]
    assert log.metrics["x"].value == [1]


def test_making_a_report_returns_what_was_read(s3: Any, tmp_path: Path) -> None:
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": FINE.to_json().encode()}))
    (inputs,) = report_for_job(clients(s3, **RESULTS), ["job", "job"], tmp_path / "job.html")
    assert inputs.findings == FINE
    assert "None of 1 rule found anything" in (tmp_path / "job.html").read_text()


def test_half_characters_do_not_cost_the_report(s3: Any, tmp_path: Path) -> None:
    half = Findings("job", True, (rule("Overfit", Outcome.ISSUES_FOUND, "Seen \ud800."),))
    put(s3, ARCHIVE, archive(**{"debugger/findings.json": half.to_json().encode()}))
    report_for_job(clients(s3, **RESULTS), ["job"], tmp_path / "job.html")
    assert "Seen ?." in (tmp_path / "job.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("regex", [r"\\p{Alpha}(", r"((a+)+)$"])
def test_a_metric_that_cannot_be_searched_for_costs_itself_alone(s3: Any, regex: str) -> None:
    metrics = [{"Name": "odd", "Regex": regex}, {"Name": "loss", "Regex": r"loss=(?<value>[0-9.]+)"}]
    log = ["loss=0.5 " + "a" * 60 + "!"]
    inputs = collect(
        clients(s3, {"job/algo-1-1": log}, AlgorithmSpecification={"MetricDefinitions": metrics}), "job"
    )
    assert "metrics" not in inputs.missing
    assert inputs.log.metrics["loss"].value == [0.5]
    assert "'odd'" in inputs.problems[0]


def test_a_metric_that_cannot_be_searched_costs_the_metrics_alone(s3: Any) -> None:
    odd = {"AlgorithmSpecification": {"MetricDefinitions": [{"Name": "odd", "Regex": r"\\p{Alpha}("}]}}
    log = ["starting", format_line(FindingLine("Overfit", 10))]
    inputs = collect(clients(s3, {"job/algo-1-1": log}, **odd), "job")
    assert "'odd'" in inputs.missing["metrics"]
    assert inputs.log.tail == ["starting"]
    assert inputs.findings is not None
