"""What the page in the browser shows of a job, as values for JSON, in the report's words and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from contract.findings import MachineLine, Outcome, ProgressLine
from report import words
from report.charts.figure import Figure
from report.pages.render import redact
from report.read.findings import beside, ended, of_description
from report.read.jobs import UNDER_WAY
from report.read.listing import KINDS
from report.read.live import LiveTraining
from report.read.series import Series, numbers, read_series
from report.read.tuning import TuningJob
from report.read.values import mapping, sequence
from report.verdicts import Verdict, sentence, verdicts

ENDPOINT_ON = frozenset({"InService", "Creating", "Updating", "SystemUpdating", "RollingBack"})


def iso(value: object) -> str | None:
    """A moment for JavaScript's Date."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else None


def figure_document(item: Figure) -> dict[str, Any]:
    return asdict(item)


def row(item: Mapping[str, Any], project: str, *, ours: bool) -> dict[str, Any]:
    """A line of the list of jobs."""
    return {
        "kind": item["kind"],
        "name": item["name"],
        "status": item["status"],
        "at": iso(item["at"]),
        "ended": iso(item["ended"]),
        "runs": is_running(item["kind"], item["status"]),
        "ours": ours or project.lower() in item["name"].lower(),
    }


def is_running(kind: str, status: str) -> bool:
    """Whether it works, and costs money where a machine does."""
    assert kind in KINDS
    return status in (ENDPOINT_ON if kind == "endpoint" else UNDER_WAY)


def machines(resources: Mapping[str, Any]) -> tuple[str, int]:
    """Instance type and count of a ResourceConfig."""
    groups = [mapping(group) for group in sequence(resources.get("InstanceGroups"))]
    if groups:
        return str(groups[0].get("InstanceType")), sum(int(group.get("InstanceCount", 1)) for group in groups)
    return str(resources.get("InstanceType", "")), int(resources.get("InstanceCount", 1) or 1)


def cost(seconds: float | None, count: int, hourly: float | None) -> float | None:
    """Dollars so far; None where the price or the time is unknown."""
    return None if seconds is None or hourly is None else seconds / 3600 * count * hourly


def training_seconds(job: Mapping[str, Any]) -> float | None:
    """What is billed of a described training job: of one that runs, since it has begun to train."""
    billable = job.get("BillableTimeInSeconds")
    if billable is not None and job.get("TrainingJobStatus") not in UNDER_WAY:
        return float(billable)
    return words.seconds_between(
        job.get("TrainingStartTime"), job.get("TrainingEndTime") or datetime.now(UTC)
    )


def training_document(live: LiveTraining, hourly: float | None) -> dict[str, Any]:
    """The headline of a training job; `hourly` is the price of one machine."""
    job, log = live.job, live.reader.log
    machine, count = machines(mapping(job.get("ResourceConfig")))
    judged = live.reader.findings()
    described = of_description(job)
    judged = beside(judged, described) if judged else described
    if judged is not None and live.ended:
        judged = ended(judged)
    shown = verdicts(judged)
    complete = judged is None or judged.complete
    seconds = training_seconds(job)
    transitions = [mapping(item) for item in sequence(job.get("SecondaryStatusTransitions"))]
    return {
        "name": live.name,
        "status": job["TrainingJobStatus"],
        "runs": not live.ended,
        "secondary": job.get("SecondaryStatus", ""),
        "message": str(transitions[-1].get("StatusMessage") or "") if transitions else "",
        "reason": str(job.get("FailureReason") or ""),
        "created": iso(job.get("CreationTime")),
        "started": iso(job.get("TrainingStartTime")),
        "ended": iso(job.get("TrainingEndTime")),
        "machine": machine,
        "count": count,
        "spot": job.get("EnableManagedSpotTraining") is True,
        "seconds": seconds,
        "hourly": hourly,
        "cost": cost(seconds, count, hourly),
        "progress": None if live.ended else progress(live.reader.progress),
        "tiles": _tiles(live),
        "headline": sentence(shown, complete=complete) if shown else "",
        "stopped_by": judged.stopped_by if judged else "",
        "verdicts": [verdict(item) for item in shown],
        "settings": _settings(job),
        "tuning": str(job.get("TuningJobArn") or "").rpartition("/")[2],
        "phases": [
            {
                "name": str(item.get("Status", "")),
                "seconds": words.seconds_between(item.get("StartTime"), item.get("EndTime")),
                "text": str(item.get("StatusMessage") or ""),
            }
            for item in transitions
        ],
        "model": str(mapping(job.get("ModelArtifacts")).get("S3ModelArtifacts") or ""),
        "lines": log.lines,
    }


def _settings(job: Mapping[str, Any]) -> dict[str, str]:
    """The hyperparameters as a person writes them, without what SageMaker's toolkit adds."""
    raw = mapping(job.get("HyperParameters"))
    return {
        str(key): redact(str(key), str(value).strip('"'))
        for key, value in sorted(raw.items())
        if not str(key).startswith(("sagemaker_", "_tuning_"))
    }


def progress(line: ProgressLine | None) -> dict[str, Any] | None:
    if line is None:
        return None
    share = line.step / line.steps if line.steps else 0.0
    left = f", {words.duration(line.seconds_left)} left" if line.seconds_left is not None else ""
    speed = f", {line.images_per_second:,.0f} pictures/s" if line.images_per_second is not None else ""
    text = f"Epoch {line.epoch} of {line.epochs}, step {line.step:,} of {line.steps:,}{speed}{left}"
    return {"share": share, "text": text}


def verdict(item: Verdict) -> dict[str, Any]:
    """A rule's outcome, and what it found."""
    return {
        "rule": item.name,
        "outcome": str(item.outcome),
        "label": item.label,
        "bad": item.outcome is Outcome.ISSUES_FOUND,
        "question": item.question,
        "summary": item.summary,
        "unlisted": item.unlisted,
        "advice": [
            {
                "severity": advice.severity,
                "cause": advice.cause,
                "remedy": advice.remedy,
                "span": advice.span,
                "messages": [finding.message for finding in advice.findings[:3]],
            }
            for advice in item.advice
        ],
    }


def _tiles(live: LiveTraining) -> list[dict[str, str]]:
    metrics = live.reader.log.metrics
    tiles = []
    for name, label in (("test:accuracy", "Test accuracy"), ("validation:accuracy", "Validation accuracy")):
        if name in metrics:
            tiles.append({"label": label, "value": words.percent(metrics[name].last)})
    losses = live.reader.log.losses
    if losses:
        tiles.append({"label": "Loss", "value": words.number(losses[max(losses)])})
    return tiles


def live_series(live: LiveTraining) -> Series:
    """What the log knows of what the debugger writes into its files: losses, and the machine's use."""
    losses = live.reader.log.losses
    raw = {"losses": {"loss": {"TRAIN": {"step": list(losses), "value": list(losses.values())}}}}
    series = read_series(raw if losses else {})
    _add_machine(series, live.reader.machine)
    return series


def _add_machine(series: Series, lines: Sequence[MachineLine]) -> None:
    time = numbers([line.time for line in lines])
    series.time = time
    for name in ("cpu", "memory", "io_wait", "gpu", "gpu_memory"):
        values = numbers([getattr(line, name) for line in lines])
        if np.isfinite(values).any():
            series.system[name] = values


def training_figures(live: LiveTraining) -> list[Figure]:
    """The report's curves as far as the log has come."""
    from report.charts.curves import accuracy_figure, loss_figure, rate_figure
    from report.charts.machine import utilisation_figure

    log, series = live.reader.log, live_series(live)
    findings = [
        finding
        for item in verdicts(live.reader.findings())
        if item.result.kind == "debugger"
        for finding in item.findings
    ]
    drawn = [
        loss_figure(series, log, findings, 0),
        accuracy_figure(log, findings, 0),
        utilisation_figure(series),
        rate_figure(log),
    ]
    figures = [item for item in drawn if item is not None]
    for item in figures:
        item.spec["height"] = 260
        item.wide = item.id == "loss" and len(figures) % 2 == 1  # two beside each other, and no gap
    return figures


def tuning_figures(job: TuningJob) -> list[Figure]:
    """The report's charts of the trials so far."""
    from report.charts.tuning import parallel_figure, parameter_figures, progress_figure, timeline_figure

    drawn = [progress_figure(job), *parameter_figures(job), parallel_figure(job), timeline_figure(job)]
    return [item for item in drawn if item is not None]
