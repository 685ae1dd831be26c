"""What a report reads, through AWS's APIs: moto's S3 and scripted answers for the rest."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from scripts.errors import NOT_FOUND, ByocError
from scripts.report import artifacts
from scripts.report.inputs import collect
from scripts.report.logs import parse_log

HOOK = {"DebugHookConfig": {"S3OutputPath": "s3://bucket/out"}}
RULES = {"DebugRuleConfigurations": [{"RuleConfigurationName": "Overfit"}]}


class Logs:
    class exceptions:
        class ResourceNotFoundException(Exception):
            pass

    def get_paginator(self, name: str) -> Any:
        error = {"Error": {"Code": "ResourceNotFoundException", "Message": "no log group"}}

        def paginate(**_: Any) -> Any:
            raise ClientError(error, name)  # type: ignore[arg-type]

        return SimpleNamespace(paginate=paginate)


@pytest.fixture
def s3(aws: None) -> Any:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    return client


def clients(s3: Any, **described: Any) -> Any:
    def describe(TrainingJobName: str) -> dict[str, Any]:
        if TrainingJobName != "job":
            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": "Requested resource not found."}},
                "DescribeTrainingJob",
            )
        return {"TrainingJobName": "job", "TrainingJobStatus": "Completed", **described}

    return SimpleNamespace(s3=s3, sagemaker=SimpleNamespace(describe_training_job=describe), logs=Logs())


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


def test_all_parts_are_found_where_the_platform_puts_them(s3: Any) -> None:
    for part in ("status", "findings", "series"):
        put(s3, f"out/job/rule-output/{part}.json", {"part": part})
    put(s3, "results/job/output/output.tar.gz", archive(**{"data/report.json": b'{"classes": ["a"]}'}))
    inputs = collect(
        clients(s3, **HOOK, **RULES, OutputDataConfig={"S3OutputPath": "s3://bucket/results"}), "job"
    )
    assert [inputs.status, inputs.findings, inputs.series] == [
        {"part": "status"},
        {"part": "findings"},
        {"part": "series"},
    ]
    assert inputs.report == {"classes": ["a"]}
    assert not inputs.problems


def test_what_is_missing_is_said_by_part(s3: Any) -> None:
    inputs = collect(
        clients(s3, **HOOK, **RULES, OutputDataConfig={"S3OutputPath": "s3://bucket/results"}), "job"
    )
    assert "have not written" in inputs.missing["series"]
    assert "confusion matrix" in inputs.missing["report"]
    assert "no ProfilerConfig" in inputs.missing["profiler"]
    assert "rules" not in inputs.missing


def test_a_hook_that_went_off_is_known_without_any_rule(s3: Any) -> None:
    put(
        s3,
        "out/job/debug-output/hook-status.json",
        {"state": "disabled", "step": 7, "reason": "OSError: full"},
    )
    (problem,) = collect(clients(s3, **HOOK), "job").problems
    assert "switched itself off at step 7" in problem
    assert "OSError: full" in problem


def test_problems_that_the_rules_met_are_told_and_told_once(s3: Any) -> None:
    put(s3, "out/job/debug-output/hook-status.json", {"state": "disabled", "step": 7, "reason": "full"})
    said = ["The debugger's hook switched itself off: full", "index/1.json names ../x, outside of the trial"]
    put(s3, "out/job/rule-output/findings.json", {"problems": said})
    problems = collect(clients(s3, **HOOK, **RULES), "job").problems
    assert len(problems) == 2
    assert problems[1] == said[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[1]", "not an object"), (b"{", "not valid JSON"), (b"[" * 100_000, "not valid JSON")],
)
def test_a_part_that_is_no_json_object_is_a_sentence(s3: Any, content: bytes, reason: str) -> None:
    put(s3, "out/job/rule-output/series.json", content)
    assert reason in collect(clients(s3, **HOOK, **RULES), "job").missing["series"]


def test_an_archive_is_read_as_a_stream_with_a_limit(s3: Any) -> None:
    put(s3, "bomb.tar.gz", archive(zeros=bytes(3_000_000), **{"report.json": b"{}"}))
    with pytest.raises(artifacts.Unreadable, match="unpacks to more"):
        artifacts.read_from_archive(s3, "s3://bucket/bomb.tar.gz", ("report.json",), limit=1_000_000)
    put(s3, "torn.tar.gz", archive(**{"report.json": b"{}"})[:-20])
    with pytest.raises(artifacts.Unreadable):
        artifacts.read_from_archive(s3, "s3://bucket/torn.tar.gz", ("report.json",))
    put(s3, "none.tar.gz", gzip.compress(b"no tar"))
    with pytest.raises(artifacts.Unreadable, match="not a readable"):
        artifacts.read_from_archive(s3, "s3://bucket/none.tar.gz", ("report.json",))


def test_an_archive_outside_its_folder_is_not_followed(s3: Any) -> None:
    put(s3, "evil.tar.gz", archive(**{"../report.json": b'{"evil": 1}', "/report.json": b'{"evil": 1}'}))
    with pytest.raises(artifacts.Absent):
        artifacts.read_from_archive(s3, "s3://bucket/evil.tar.gz", ("report.json",))


def test_metrics_come_with_their_step_and_epoch() -> None:
    lines = ["starting", "epoch=1 step=20 train_loss=2.5", "epoch=2 step=40 train_loss=nan"]
    log = parse_log(lines, [("train:loss", r"train_loss=(\S+)"), ("epoch", r"epoch=(\d+)")])
    loss = log.metrics["train:loss"]
    assert (loss.step, loss.epoch, loss.value[0]) == ([20, 40], [1.0, 2.0], 2.5)
    assert loss.value[1] != loss.value[1]
    assert log.tail[0] == "starting"


def test_a_metric_of_java_only_syntax_names_itself() -> None:
    with pytest.raises(artifacts.Unreadable, match="'odd'"):
        parse_log(["x"], [("odd", r"\p{Alpha}(")])
