"""Everything that a report is made of, read through AWS APIs only: the same for AWS and the local SageMaker.

It comes from output.tar.gz and from the log. Jobs whose rules ran outside of the training container (their
requests have a DebugHookConfig or a ProfilerConfig) have files of the same form beside their output.

What is missing never is an error. It becomes a sentence in `ReportInputs.missing`, which the report prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from contract import s3
from contract.debugger import FINDINGS_FILE, SERIES_FILE
from contract.findings import Findings
from contract.names import DEBUG_OUTPUT, HOOK_STATUS, RULE_OUTPUT, TRAINING_LOGS
from report.read import findings, jobs
from report.read.artifacts import Absent, Unreadable, read_json, read_members
from report.read.aws import Clients
from report.read.jobs import UNDER_WAY
from report.read.logs import read_lines
from report.read.metrics import Log, parse_log
from report.read.values import mapping

REPORT_FILE: Final = "report.json"
PARTS: Final = {"findings": FINDINGS_FILE, "series": SERIES_FILE, "report": REPORT_FILE}
_WITHOUT: Final = {
    "findings": "No verdicts",
    "series": "No gradients, weights, activations, step times or machine use",
    "report": "No data report, confusion matrix or worst mistakes",
}


@dataclass
class ReportInputs:
    """One training job's parts, as they were read. Absent parts are empty; `missing` says why, by part."""

    job: str
    describe: dict[str, Any]
    log: Log = field(default_factory=Log)
    findings: Findings | None = None
    series: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    judged_outside: bool = False
    """Whether the rules ran outside of the training container, on files that the hook left in S3."""
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
        ByocError: no such job, with the remedy. Everything else that is missing is reported in the result.
    """
    describe = jobs.describe(clients, job)
    inputs = ReportInputs(job=job, describe=describe, price=price)
    _read_log(clients, inputs)
    lacking = _read_output(clients, inputs)
    _read_rule_output(clients, inputs, lacking)
    _fill_in(inputs, lacking)
    if inputs.findings is not None:
        if describe.get("TrainingJobStatus") not in UNDER_WAY:
            inputs.findings = findings.ended(inputs.findings)
        inputs.problems += inputs.findings.problems
    return inputs


def _read_log(clients: Clients, inputs: ReportInputs) -> None:
    specification = mapping(inputs.describe.get("AlgorithmSpecification"))
    definitions = [(str(d["Name"]), str(d["Regex"])) for d in specification.get("MetricDefinitions", [])]
    try:
        lines, truncated = read_lines(clients, inputs.job)
    except Unreadable as error:
        inputs.missing["log"] = f"No metrics: {error}."
        return
    inputs.log = parse_log(lines, definitions)
    inputs.log.truncated = truncated
    inputs.sources["log"] = f"CloudWatch Logs {TRAINING_LOGS}, {inputs.job}/*"
    unusable = "; ".join(inputs.log.unusable)
    if unusable and inputs.log.metrics:
        inputs.problems.append(f"A metric is left out: {unusable}.")
    elif unusable:
        inputs.missing["metrics"] = f"No metrics: {unusable}."
    elif not definitions:
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


def _read_output(clients: Clients, inputs: ReportInputs) -> dict[str, str]:
    """What the training container left; returns why parts of it are lacking."""
    path = mapping(inputs.describe.get("OutputDataConfig")).get("S3OutputPath")
    if not path:
        return dict.fromkeys(PARTS, "the job has no OutputDataConfig")
    uri = s3.join(str(path), inputs.job, "output", "output.tar.gz")
    try:
        members = read_members(clients.s3, uri, PARTS.values())
    except Absent as error:
        running = inputs.describe.get("TrainingJobStatus") in UNDER_WAY
        return dict.fromkeys(PARTS, "the job is not over yet" if running else str(error))
    except Unreadable as error:
        return dict.fromkeys(PARTS, str(error))
    lacking: dict[str, str] = {}
    for part, name in PARTS.items():
        content = members.get(name, Absent(f"{uri} holds no {name}"))
        if isinstance(content, Unreadable):
            lacking[part] = str(content)
        else:
            _keep(inputs, part, content, f"{uri}, {name}", lacking)
    return lacking


def _read_rule_output(clients: Clients, inputs: ReportInputs, lacking: dict[str, str]) -> None:
    """What rules left that ran beside the training, where the container itself left nothing."""
    hook = mapping(inputs.describe.get("DebugHookConfig")).get("S3OutputPath")
    root = hook or mapping(inputs.describe.get("ProfilerConfig")).get("S3OutputPath")
    if not root or "findings" not in lacking:
        return
    folder = s3.join(str(root), inputs.job, RULE_OUTPUT)
    for part in [part for part in ("findings", "series") if part in lacking]:
        uri = f"{folder}/{part}.json"
        try:
            _keep(inputs, part, read_json(clients.s3, uri), uri, lacking)
        except Absent as error:
            lacking[part] += f", and {error}"
        except Unreadable as error:
            lacking[part] = str(error)
        else:
            inputs.judged_outside = True
    if hook and inputs.findings is None:
        _read_hook_status(clients, inputs, str(hook))


def _read_hook_status(clients: Clients, inputs: ReportInputs, root: str) -> None:
    """The hook leaves this file if it had to switch itself off: no rule needs to have run to know it."""
    uri = s3.join(root, inputs.job, DEBUG_OUTPUT, HOOK_STATUS)
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


def _keep(
    inputs: ReportInputs, part: str, content: dict[str, Any], source: str, lacking: dict[str, str]
) -> None:
    if part == "findings":
        try:
            inputs.findings = Findings.from_dict(content)
        except ValueError as error:
            lacking[part] = f"{source} is not shown: {error}"
            return
    else:
        setattr(inputs, part, content)
    inputs.sources[part] = source
    lacking.pop(part, None)


def _fill_in(inputs: ReportInputs, lacking: Mapping[str, str]) -> None:
    """What the log and the job's description say in the place of missing files, and what then is missing."""
    without = {part: _WITHOUT[part] for part in lacking}
    described = findings.of_description(inputs.describe)
    if inputs.findings is not None:
        if not inputs.judged_outside:
            inputs.findings = findings.beside(inputs.findings, described)
    else:
        logged = inputs.log.findings
        inputs.findings = findings.beside(logged, described) if logged else described
        if logged:
            without["findings"] = "The findings are those of the log, which leaves out causes and parameters"
        elif described:
            without["findings"] = "Only the rules' statuses are known"
    inputs.missing |= {part: f"{text}: {lacking[part]}." for part, text in without.items()}
    losses = inputs.log.losses
    if not inputs.series and losses:
        curve = {"step": list(losses), "value": list(losses.values())}
        inputs.series = {"losses": {"loss": {"TRAIN": curve}}}
        inputs.missing["series"] += " The losses are those of the log."
