"""The page of one training job: what is shown, in which order, in which words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contract.findings import Outcome
from report import words
from report.charts.curves import (
    KEPT_EPOCH,
    accuracy_figure,
    evaluation_figure,
    loss_figure,
    main_loss,
    rate_figure,
    sparkline,
)
from report.charts.figure import Figure
from report.charts.layers import activations_figure, gradients_figure, updates_figure
from report.charts.machine import cores_figure, traffic_figure, usage, utilisation_figure
from report.charts.quality import classes_figure, matrix_figure
from report.charts.ranks import rank_gradients_figure, rank_losses_figure
from report.charts.timing import histogram_figure, step_numbers, steps_figure
from report.pages.render import flat, redact, render
from report.read.findings import not_applying, stop_sentence
from report.read.inputs import ReportInputs
from report.read.jobs import UNDER_WAY
from report.read.quality import Quality, confusions, read_quality
from report.read.series import Series, read_series
from report.read.values import mapping, sequence
from report.verdicts import PASSED, Finding, Verdict, sentence, verdicts

PASSED_OVER = ("ResponseMetadata",)


@dataclass(frozen=True)
class Tile:
    """A key figure of the headline."""

    label: str
    value: str
    note: str = ""


@dataclass
class Job:
    """Everything about one job in the form in which pages use it."""

    inputs: ReportInputs
    series: Series
    quality: Quality
    verdicts: list[Verdict]

    @property
    def name(self) -> str:
        return self.inputs.job

    @property
    def status(self) -> str:
        return str(self.inputs.describe.get("TrainingJobStatus", "unknown"))

    @property
    def ended(self) -> bool:
        return self.status not in UNDER_WAY

    def metric(self, name: str) -> float:
        """A metric's last value, from the log, or from what SageMaker kept of it; NaN if there is none."""
        logged = self.inputs.log.metrics.get(name)
        if logged:
            return logged.last
        for raw in sequence(self.inputs.describe.get("FinalMetricDataList")):
            if mapping(raw).get("MetricName") == name:
                return float(mapping(raw).get("Value", math.nan))
        return math.nan

    @property
    def kept_epoch(self) -> float:
        """The epoch whose weights are in model.tar.gz; NaN where the job did not say."""
        return self.metric(KEPT_EPOCH)

    @property
    def rules(self) -> tuple[str, str]:
        """How many rules found issues, of how many, and what else is to be said of them."""
        issues, undecided = (
            sum(verdict.outcome is outcome for verdict in self.verdicts)
            for outcome in (Outcome.ISSUES_FOUND, Outcome.COULD_NOT_JUDGE)
        )
        if not self.complete and issues == len(self.verdicts):
            return f"{issues}", "found issues, the others have given no verdict"
        note = f"found issues, {undecided} could not judge" if undecided else "found issues"
        if idle := not_applying([verdict.result for verdict in self.verdicts]):
            note += f", {idle}"
        return f"{issues} of {len(self.verdicts)}", note

    @property
    def marked(self) -> list[Finding]:
        """The findings that the curves show at their steps.

        Those of the profiler's rules are slow steps, which the charts of time show; some are of evaluations.
        """
        debugger = (verdict for verdict in self.verdicts if verdict.result.kind == "debugger")
        return [item for verdict in debugger for item in verdict.findings]

    @property
    def headline(self) -> str:
        """Which rule stopped the training, and what all of them found."""
        said = sentence(self.verdicts, complete=self.complete)
        return f"{stop_sentence(self.inputs.findings)} {said}".strip()

    @property
    def complete(self) -> bool:
        """Whether the verdicts are those of all of the job's rules."""
        return self.inputs.findings is None or self.inputs.findings.complete

    @property
    def interruptions(self) -> str:
        """When the training was interrupted and went on; empty where it was not."""
        times = [words.moment(datetime.fromtimestamp(time, UTC)) for time in self.series.interruptions]
        if not times:
            return ""
        often = "once" if len(times) == 1 else f"{len(times)} times"
        text = f"The training was interrupted {often}; it went on from its last checkpoint at"
        return f"{text} {words.listing(times)}."

    @property
    def duration(self) -> float | None:
        describe = self.inputs.describe
        start = describe.get("TrainingStartTime") or describe.get("CreationTime")
        return words.seconds_between(start, describe.get("TrainingEndTime") or self.inputs.collected)

    @property
    def settings(self) -> dict[str, str]:
        """The hyperparameters: what the job was given, and behind it what the trainer took for the rest."""
        raw = mapping(self.inputs.describe.get("HyperParameters"))
        settings = {
            str(key).replace("-", "_"): redact(str(key), str(value).strip('"')) for key, value in raw.items()
        }
        return dict(sorted(settings.items()))

    @property
    def defaults(self) -> dict[str, str]:
        return {key: value for key, value in flat(self.quality.settings).items() if key not in self.settings}

    @property
    def machine(self) -> str:
        resources = mapping(self.inputs.describe.get("ResourceConfig"))
        groups = [mapping(group) for group in sequence(resources.get("InstanceGroups"))]
        if groups:
            return ", ".join(
                f"{group.get('InstanceCount')} × {group.get('InstanceType')}" for group in groups
            )
        return f"{resources.get('InstanceCount', 1)} × {resources.get('InstanceType', 'unknown')}"

    @property
    def cost(self) -> float | None:
        """Dollars, if the price is known."""
        seconds = self.inputs.describe.get("BillableTimeInSeconds")
        if self.inputs.price is None or seconds is None:
            return None
        resources = mapping(self.inputs.describe.get("ResourceConfig"))
        groups = [mapping(group) for group in sequence(resources.get("InstanceGroups"))] or [resources]
        machines = sum(int(group.get("InstanceCount") or 1) for group in groups)
        return self.inputs.price * machines * float(seconds) / 3600

    @property
    def image(self) -> str:
        specification = mapping(self.inputs.describe.get("AlgorithmSpecification"))
        return str(
            specification.get("TrainingImage") or specification.get("AlgorithmName") or words.NOT_KNOWN
        )


def read_job(inputs: ReportInputs) -> Job:
    return Job(inputs, read_series(inputs.series), read_quality(inputs.report), verdicts(inputs.findings))


def tiles(job: Job) -> list[Tile]:
    shown = []
    test, validation = job.metric("test:accuracy"), job.metric("validation:accuracy")
    if not math.isnan(test):
        support = sum(row.support for row in job.quality.per_class if math.isfinite(row.support))
        note = f"on {support:,.0f} pictures" if support and job.quality.split == "test" else ""
        if not math.isnan(job.kept_epoch):
            note = f"{note}, kept weights".removeprefix(", ")
        shown.append(Tile("Test accuracy", words.percent(test), note))
    if not math.isnan(validation):
        log = job.inputs.log.metrics.get("validation:accuracy")
        note = "of the last epoch"
        if not math.isnan(job.kept_epoch):
            note = f"kept weights, of epoch {job.kept_epoch:.0f}"
            if job.kept_epoch == job.metric("epoch"):
                note += ", the last"
            elif log:
                note += f"; the last epoch had {words.percent(log.last_epoch)}"
        shown.append(Tile("Validation accuracy", words.percent(validation), note))
    _, loss = main_loss(job.series)
    train = (
        job.metric("train:loss")
        if "train:loss" in job.inputs.log.metrics
        else (float(loss.value[-1]) if len(loss) else math.nan)
    )
    if len(loss) or "train:loss" in job.inputs.log.metrics:
        shown.append(Tile("Training loss", words.number(train), "at the end" if job.ended else "so far"))
    billable = job.inputs.describe.get("BillableTimeInSeconds")
    note = f"{words.duration(float(billable))} billable on {job.machine}" if billable else f"on {job.machine}"
    shown.append(Tile("Duration", words.duration(job.duration), note))
    if job.cost is not None:
        shown.append(Tile("Cost", f"${job.cost:,.3f}", f"at ${job.inputs.price:g} an hour and machine"))
    speed = job.metric("images_per_second")
    if not math.isnan(speed):
        shown.append(Tile("Throughput", f"{words.number(speed)}/s", "pictures, last epoch"))
    if job.verdicts:
        shown.append(Tile("Rules", *job.rules))
    return shown


def timeline(job: Job) -> list[tuple[str, str, str]]:
    """The job's phases: name, how long, what was said; behind the last training what ended or broke it."""
    rows, place = [], 0
    for raw in sequence(job.inputs.describe.get("SecondaryStatusTransitions")):
        item = mapping(raw)
        seconds = words.seconds_between(item.get("StartTime"), item.get("EndTime"))
        rows.append(
            (str(item.get("Status", "")), words.duration(seconds), str(item.get("StatusMessage") or ""))
        )
        place = len(rows) if item.get("Status") == "Training" else place
    for name, text in (
        ("Stopped by a rule", stop_sentence(job.inputs.findings)),
        ("Interrupted", job.interruptions),
    ):
        if text:
            rows.insert(place, (name, "", text))
    return rows


def channels(describe: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for raw in sequence(describe.get("InputDataConfig")):
        source = mapping(mapping(mapping(raw).get("DataSource")).get("S3DataSource"))
        rows.append((str(mapping(raw).get("ChannelName", "")), str(source.get("S3Uri") or words.NOT_KNOWN)))
    return rows


def _cost(job: Job) -> str:
    seconds = job.inputs.describe.get("BillableTimeInSeconds")
    billable = f"{float(seconds):,.0f} billable seconds on {job.machine}" if seconds else words.NOT_KNOWN
    if job.cost is None:
        return f"{billable}; byoc report --price DOLLARS_PER_HOUR says what that is"
    return f"${job.cost:,.4f}: {billable} at ${job.inputs.price:g} an hour"


def origin(job: Job) -> list[tuple[str, str]]:
    describe = job.inputs.describe
    rows = [
        ("Training job", str(describe.get("TrainingJobArn") or job.name)),
        ("Created", words.moment(describe.get("CreationTime"))),
        ("Ended", words.moment(describe.get("TrainingEndTime"))),
        ("Training image", job.image),
        ("Machine", job.machine),
        ("Cost", _cost(job)),
        ("Role", str(describe.get("RoleArn") or words.NOT_KNOWN)),
        ("Tuning job", str(describe.get("TuningJobArn") or "none")),
        ("Model", str(mapping(describe.get("ModelArtifacts")).get("S3ModelArtifacts") or "none")),
    ]
    rows += [(f"Channel {name}", uri) for name, uri in channels(describe)]
    environment = mapping(describe.get("Environment"))
    rows += [
        (f"Environment {name}", redact(str(name), str(value))) for name, value in sorted(environment.items())
    ]
    return rows


def request(describe: Mapping[str, Any]) -> str:
    """The job's description as JSON, times as text, secrets hidden."""
    import json

    def clean(value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: clean(item, str(name)) for name, item in value.items() if name not in PASSED_OVER}
        if isinstance(value, list):
            return [clean(item, key) for item in value]
        if isinstance(value, datetime):
            return value.isoformat()
        return redact(key, value) if isinstance(value, str) else value

    return json.dumps(clean(describe), indent=2, ensure_ascii=False, default=str)


def job_page(inputs: ReportInputs) -> str:
    """The report on one training job as HTML."""
    job = read_job(inputs)
    classes = len(job.quality.classes)
    groups: dict[str, list[Figure | None]] = {
        "learning": [
            loss_figure(job.series, inputs.log, job.marked, classes),
            accuracy_figure(inputs.log, job.marked, classes),
            rate_figure(inputs.log),
            evaluation_figure(job.series, own_steps=inputs.judged_outside)
            if "validation:loss" not in inputs.log.metrics
            else None,
            rank_losses_figure(job.series),
            rank_gradients_figure(job.series),
        ],
        "layers": [gradients_figure(job.series), updates_figure(job.series), activations_figure(job.series)],
        "time": [steps_figure(job.series), histogram_figure(job.series)],
        "machine": [utilisation_figure(job.series), cores_figure(job.series), traffic_figure(job.series)],
        "data": [classes_figure(job.quality)],
        "mistakes": [matrix_figure(job.quality)],
    }
    figures = {name: [item for item in members if item is not None] for name, members in groups.items()}
    return render(
        "job.html.j2",
        [item for members in figures.values() for item in members],
        job=job,
        inputs=inputs,
        quality=job.quality,
        problems=inputs.problems[:20],
        issues=[item for item in job.verdicts if item.outcome is Outcome.ISSUES_FOUND],
        undecided=[item for item in job.verdicts if item.outcome not in (Outcome.ISSUES_FOUND, *PASSED)],
        passed=[item for item in job.verdicts if item.outcome is Outcome.NO_ISSUES],
        idle=[item for item in job.verdicts if item.outcome is Outcome.DOES_NOT_APPLY],
        tiles=tiles(job),
        spark=sparkline(main_loss(job.series)[1]),
        figures=figures,
        steps=step_numbers(job.series),
        usage=usage(job.series),
        operators=job.series.operators[:15],
        confusions=confusions(job.quality),
        timeline=timeline(job),
        origin=origin(job),
        environment=flat(job.quality.environment),
        request=request(inputs.describe),
    )
