"""The page of a tuning job: which settings paid, how the search went, and what each trial cost."""

from __future__ import annotations

import math
from collections import Counter

from contract.findings import Outcome
from report import words
from report.charts.tuning import (
    parallel_figure,
    parameter_figures,
    parameters,
    progress_figure,
    setting,
    timeline_figure,
)
from report.pages.job import Tile
from report.pages.render import redact, render
from report.read.findings import stop_sentence
from report.read.rungs import Rungs
from report.read.trials import Trial
from report.read.tuning import LOGS_LIMIT, TuningJob
from report.read.values import mapping


def rules(trial: Trial) -> str:
    """Which rules found issues, and whether one ended the trial; empty where its log says nothing."""
    if trial.findings is None:
        return ""
    firing = [item.rule for item in trial.findings.rules if item.outcome is Outcome.ISSUES_FOUND]
    text = ""
    if firing:
        text = f"Issues found: {', '.join(firing)}."
    elif trial.findings.complete:
        text = "No issues."
    return f"{stop_sentence(trial.findings)} {text}".strip()


def tuning_page(job: TuningJob, rungs: Rungs | None = None, pictures: int | None = None) -> str:
    """The report on a tuning job as HTML. `pictures`: how many validated each trial."""
    search = [progress_figure(job), *parameter_figures(job), parallel_figure(job)]
    first = [item for item in search if item is not None]
    last = [item for item in (timeline_figure(job),) if item is not None]
    missing = {}
    if len(job.trials) > LOGS_LIMIT:
        missing["rules"] = (
            f"What the rules said of each trial is left out: the job has more than {LOGS_LIMIT} trials. "
            "`byoc report TRIAL` shows it for one."
        )
    static = mapping(job.definition.get("StaticHyperParameters"))
    return render(
        "tuning.html.j2",
        first + last,
        job=job,
        best=job.best,
        setting=setting,
        rules=rules,
        tiles=tiles(job),
        first=first,
        last=last,
        missing=missing,
        names=list(parameters(job)),
        judged=any(item.findings for item in job.trials),
        rungs=rungs,
        alike=[trial.name for trial in job.alike(pictures)],
        pictures=pictures,
        ranked=sorted(job.judged, key=job.rank)
        + [item for item in job.trials if not math.isfinite(item.objective)],
        static={str(key): redact(str(key), str(value).strip('"')) for key, value in sorted(static.items())},
    )


def tiles(job: TuningJob) -> list[Tile]:
    """The key figures of the headline."""
    counts = Counter(trial.status for trial in job.trials)
    stopped = sum(bool(trial.findings and trial.findings.stopped_by) for trial in job.trials)
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    begin = job.described.get("CreationTime")
    end = job.described.get("HyperParameterTuningEndTime") or job.collected
    return [
        Tile(
            f"Best {job.metric}",
            job.value(job.best.objective) if job.best else words.NOT_KNOWN,
            "larger is better" if job.maximise else "smaller is better",
        ),
        Tile(
            "Trials",
            f"{len(job.trials)}",
            statuses + (f"; {stopped} stopped by a rule" if stopped else ""),
        ),
        Tile(
            "Strategy",
            str(job.config.get("Strategy", words.NOT_KNOWN)),
            f"{job.limits.get('MaxParallelTrainingJobs', '?')} at a time, "
            f"{job.limits.get('MaxNumberOfTrainingJobs', '?')} at most",
        ),
        Tile("Duration", words.duration(words.seconds_between(begin, end))),
    ]
