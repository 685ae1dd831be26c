"""Everything that a report is made of, read through AWS APIs only: the same for AWS and the local SageMaker.

What is missing never is an error. It becomes a sentence in `ReportInputs.missing`, which the report prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from scripts.errors import NOT_FOUND, ByocError
from scripts.report.artifacts import Absent, Unreadable, join_s3, read_from_archive, read_json
from scripts.report.logs import Log, parse_log, read_lines

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient


class Clients(Protocol):
    """The three boto3 clients that a report reads with."""

    @property
    def sagemaker(self) -> SageMakerClient: ...
    @property
    def s3(self) -> S3Client: ...
    @property
    def logs(self) -> CloudWatchLogsClient: ...


@dataclass
class ReportInputs:
    """One training job's parts, as they were read. Absent parts are empty; `missing` says why, by part."""

    job: str
    describe: dict[str, Any]
    log: Log = field(default_factory=Log)
    status: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What makes the debugger's part incomplete."""
    price: float | None = None
    """Dollars for an hour of one machine."""
    collected: datetime = field(default_factory=lambda: datetime.now(UTC))


def collect(clients: Clients, job: str, price: float | None = None) -> ReportInputs:
    """Read all there is about one training job.

    Raises:
        ByocError: no such job, with the remedy. Everything else that is missing is told in the result.
    """
    from botocore.exceptions import ClientError

    try:
        answer = clients.sagemaker.describe_training_job(TrainingJobName=job)
    except ClientError as error:
        text = str(error.response.get("Error", {}).get("Message", error))
        if (
            "not found" in text.lower()
            or "does not exist" in text.lower()
            or "could not find" in text.lower()
        ):
            raise ByocError(
                f"There is no training job {job}.",
                "`byoc jobs` lists what there is.",
                code=NOT_FOUND,
                kind="NoJob",
            ) from error
        raise
    describe = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    inputs = ReportInputs(job=job, describe=describe, price=price)
    _read_log(clients, inputs)
    _read_rules(clients, inputs)
    _read_output(clients, inputs)
    return inputs


def _read_log(clients: Clients, inputs: ReportInputs) -> None:
    specification = _mapping(inputs.describe.get("AlgorithmSpecification"))
    definitions = [(str(d["Name"]), str(d["Regex"])) for d in specification.get("MetricDefinitions", [])]
    try:
        lines, truncated = read_lines(clients.logs, inputs.job)
        inputs.log = parse_log(lines, definitions)
        inputs.log.truncated = truncated
    except Unreadable as error:
        inputs.missing["log"] = f"No metrics: {error}."
        return
    inputs.sources["log"] = f"CloudWatch Logs /aws/sagemaker/TrainingJobs, {inputs.job}/*"
    if not definitions:
        inputs.missing["metrics"] = "No metrics: the job was created without MetricDefinitions."
    elif not lines:
        inputs.missing["log"] = "No metrics: the job has no log (yet)."
    elif not inputs.log.metrics and (status := inputs.describe.get("TrainingJobStatus")) != "Completed":
        over = status in ("Failed", "Stopped")
        inputs.missing["metrics"] = (
            "No metrics: the job ended before it had written any." if over else "No metrics yet."
        )
    elif not inputs.log.metrics:
        inputs.missing["metrics"] = (
            f"No metrics: none of the job's {len(lines):,} log lines matches its MetricDefinitions."
        )
    elif truncated:
        inputs.missing["log"] = (
            f"The log is longer than the {len(lines):,} lines that were read; later metrics are missing."
        )


def _read_rules(clients: Clients, inputs: ReportInputs) -> None:
    hook = _mapping(inputs.describe.get("DebugHookConfig"))
    profiler = _mapping(inputs.describe.get("ProfilerConfig"))
    root = hook.get("S3OutputPath") or profiler.get("S3OutputPath")
    asked = bool(
        inputs.describe.get("DebugRuleConfigurations") or inputs.describe.get("ProfilerRuleConfigurations")
    )
    if not hook:
        inputs.missing["debugger"] = (
            "No debugger output: the job had no DebugHookConfig, so no losses by step, gradients, weights "
            "or activations were saved."
        )
    if not profiler.get("S3OutputPath"):
        inputs.missing["profiler"] = (
            "No profiler output: the job had no ProfilerConfig, so no step times and no utilisation were "
            "recorded."
        )
    if not asked:
        inputs.missing["rules"] = "No verdicts: the job was created without debugger or profiler rules."
    if not root:
        return
    if hook.get("S3OutputPath"):
        _read_hook_status(clients, inputs, str(hook["S3OutputPath"]))
    folder = join_s3(str(root), inputs.job, "rule-output")
    for part in ("status", "findings", "series"):
        uri = f"{folder}/{part}.json"
        try:
            setattr(inputs, part, read_json(clients.s3, uri))
            inputs.sources[part] = uri
        except Absent:
            inputs.missing[part] = _absent_rules(part, asked, uri)
        except Unreadable as error:
            inputs.missing[part] = f"{error}."
    if inputs.status:
        inputs.missing.pop("rules", None)  # they ran as a processing job of their own
    problems = inputs.findings.get("problems")
    for problem in problems if isinstance(problems, list) else ():
        # The rules tell of the same file.
        if not (inputs.problems and "switched itself off" in str(problem)):
            inputs.problems.append(str(problem))


def _read_hook_status(clients: Clients, inputs: ReportInputs, root: str) -> None:
    """The hook leaves this file if it had to switch itself off: no rule needs to have run to know it."""
    uri = join_s3(root, inputs.job, "debug-output", "hook-status.json")
    try:
        status = read_json(clients.s3, uri, limit=100_000)
    except Unreadable:
        return  # as it should be: it is not there
    inputs.sources["hook"] = uri
    step = status.get("step")
    where = f" at step {step}" if isinstance(step, int) else ""
    inputs.problems.append(
        f"The hook switched itself off{where}, and no tensors were saved from there on: "
        f"{status.get('reason')}"
    )


def _absent_rules(part: str, asked: bool, uri: str) -> str:
    what = {
        "status": "No rule statuses",
        "findings": "No findings",
        "series": "No losses by step, gradients, step times or utilisation",
    }[part]
    if not asked:
        return f"{what}: no rules ran on this job, and they are what writes {uri}."
    return f"{what}: the rules have not written {uri} (yet)."


def _read_output(clients: Clients, inputs: ReportInputs) -> None:
    path = _mapping(inputs.describe.get("OutputDataConfig")).get("S3OutputPath")
    if not path:
        inputs.missing["report"] = "No data report: the job has no OutputDataConfig."
        return
    uri = join_s3(str(path), inputs.job, "output", "output.tar.gz")
    try:
        inputs.report = read_from_archive(clients.s3, uri, ("data/report.json", "report.json"))
        inputs.sources["report"] = f"{uri}, data/report.json"
    except Absent as error:
        running = inputs.describe.get("TrainingJobStatus") in {"InProgress", "Stopping"}
        why = "the job is not over yet" if running else str(error)
        inputs.missing["report"] = f"No data report, confusion matrix or worst mistakes: {why}."
    except Unreadable as error:
        inputs.missing["report"] = f"No data report, confusion matrix or worst mistakes: {error}."


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
