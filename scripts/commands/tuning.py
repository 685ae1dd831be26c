"""tune, best."""

from __future__ import annotations

import math
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import FAILED, ByocError
from report.words import duration, plural
from scripts import state
from scripts.commands import costing
from scripts.commands.costing import PriceOption
from scripts.commands.watching import end_watching
from scripts.context import Context, command, last
from scripts.output import Output, short
from scripts.prices import Price
from scripts.ranges import Range, parse_range
from scripts.settings import Settings

if TYPE_CHECKING:
    from report.read.trials import Trial
    from report.read.tuning import TuningJob

PANEL = "Train"
_STOPS = ("Stopping", "Stopped")


def register(app: typer.Typer) -> None:
    command(app, "tune", rich_help_panel=PANEL)(tune)
    command(app, "best", rich_help_panel=PANEL)(best)


def tune(
    context: Context,
    jobs: Annotated[int | None, typer.Option(help="Training jobs in all.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Training jobs at a time.")] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option(
            "--range", metavar="NAME=RANGE", help="lr=1e-4:0.1:log or batch_size=16,32. Repeatable."
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="How values are chosen: bayesian, random, hyperband or grid.")
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            "--warm-start", metavar="TUNING_JOB", help="Go on from what this one has found. Repeatable."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training job.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine of each training job.")] = None,
    stop_hopeless: Annotated[
        bool | None, typer.Option(help="Let the debugger's rules end hopeless trials.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the tuning job.")] = "",
    price: PriceOption = None,
    wait: Annotated[bool, typer.Option(help="Watch it until it has ended.")] = True,
) -> None:
    """Look for good hyperparameters with several training jobs; then show and remember the best.

    The ranges are in byoc.toml, in the section tune.ranges.

    Examples:

        byoc tune --jobs 8 --parallel 2
        byoc tune --range lr=1e-4:0.1:log --range batch_size=16,32,64 --stop-hopeless
        byoc tune --strategy hyperband --jobs 27 --epochs 9
        byoc tune --warm-start digits-tune-0412-093007-51 --range lr=1e-3:0.03:log
        byoc tune --no-wait
    """
    from report.read import tuning
    from scripts import account, creation, requests, running, warmstart

    set_here = {item.split("=")[0].strip() for item in context.overrides if "." not in item.split("=")[0]}
    for key, value in (("jobs", jobs), ("parallel", parallel)):
        context.override(f"tune.{key}", value)
    context.override("tune.strategy", strategy and strategy.capitalize())
    context.override("train.instance_type", instance_type)
    context.override("tune.hyperparameters.epochs", epochs)
    context.override("tune.stop_hopeless", stop_hopeless)
    settings = _with_ranges(context.settings, range_ or [])
    if both := sorted(set_here & set(settings.tune.ranges)):
        raise ByocError(
            f"--set {both[0]} fixes a hyperparameter that [tune.ranges] varies.",
            f"Give --range {both[0]}=… instead, or take {both[0]} out of [tune.ranges].",
        )
    account.check_tuning(settings)
    account.check_isolation(settings, settings.tune.hyperparameters)
    account.check_debugger(settings, trial=True)
    place = account.place(settings, context.clients, data=True)
    name = name or account.unique_name(settings.project.name, "tune", longest=32)
    parents = warmstart.look(context.clients, warm_start or [])
    request = requests.tuning_job(settings, place, name)
    if parents:
        kind, why = warmstart.kind(context.clients, request, parents)
        request = warmstart.warm_started(request, parents, kind)
        names = ", ".join(parent["HyperParameterTuningJobName"] for parent in parents)
        context.out.say(
            "Warm start from {names}: {kind}{why}.", names=names, kind=kind, why=f", as {why}" if why else ""
        )
    combinations = requests.combinations(settings)
    if settings.tune.strategy == "Grid" and combinations != settings.tune.jobs:
        context.out.warn(
            f"Grid runs a trial for each of the {combinations} combinations in [tune.ranges], and ignores "
            f"tune.jobs = {settings.tune.jobs}."
        )
    state.check(settings)
    sagemaker, machine = context.clients.sagemaker, settings.train
    limits = request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    estimate = costing.before_training(
        context,
        request["TrainingJobDefinition"],
        price,
        jobs=limits.get("MaxNumberOfTrainingJobs") or combinations or 1,
    )
    creation.create(
        place,
        lambda: sagemaker.create_hyper_parameter_tuning_job(**request),
        lambda: tuning.find(context.clients, name),
    )
    count = machine.instance_count * limits["MaxParallelTrainingJobs"]
    started = running.job(name, machine.instance_type, count).at(estimate.price)
    with context.watching(started):
        state.update(settings, tuning_job=name, best=None)
        context.out.say("Tuning job [bold]{name}[/].", name=name)
        if not wait:
            context.out.say("Watch it with [bold]byoc watch {name}[/].", name=name)
            context.out.result({"tuning_job": name, "status": "InProgress", "cost": estimate.document()})
            return
        snapshot = watch_tuning(context, name)
    conclude_tuning(context, snapshot, estimate.price)


def _with_ranges(settings: Settings, ranges: list[str]) -> Settings:
    from dataclasses import replace

    combined: dict[str, Range] = dict(settings.tune.ranges)
    for item in ranges:
        key, equals, text = item.partition("=")
        if not equals:
            raise ByocError(f"--range {item} has no range.", "E.g. --range lr=1e-4:0.1:log.")
        combined[key.strip().replace("-", "_")] = parse_range(text.strip(), f"--range {key.strip()}")
    return replace(settings, tune=replace(settings.tune, ranges=combined))


def best(
    context: Context,
    tuning_job: Annotated[str | None, typer.Argument(help="Default: the last one that has a result.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it has ended.")] = False,
) -> None:
    """Show and remember the best hyperparameters of a tuning job, as SageMaker's API reports them.

    Examples:

        byoc best
        byoc best digits-tune-0412-093007-51 --json
    """
    from report.read import tuning
    from scripts import running

    if wait:
        name = last(context, tuning_job, "tuning_job", "tuning job", "tune")
        started = running.known_tuning(context.clients, name)
        with context.watching(started):
            snapshot = watch_tuning(context, name)
        conclude_tuning(context, snapshot, started.price)
        return
    snapshot = tuning.look(context.clients, with_result(context, tuning_job))
    if tuning_job and tuning_job != "last":
        state.update(context.settings, tuning_job=snapshot.name)
    context.out.show(_trials(context.out, snapshot, _reasons(context, snapshot, {})))
    _show_best(context, snapshot)


def with_result(context: Context, named: str | None) -> str:
    """The named tuning job, else the last one with a result; a warning if that is not the last one."""
    from report.read import tuning

    name = last(context, named, "tuning_job", "tuning job", "tune")
    if named and named != "last":
        return name
    chosen = tuning.with_result(context.clients, name, context.settings.project.name)
    if chosen != name:
        context.out.warn(f"{name} has no completed trial: {chosen} is the newest tuning job that has one.")
    return chosen


def watch_tuning(context: Context, name: str) -> TuningJob:
    """Show a live table of the trials in a terminal, else a line for each change."""
    from report.read import tuning

    out, snapshot = context.out, None
    reasons: dict[str, str] = {}
    try:
        if out.live:
            with out.drawing() as draw:
                for snapshot in tuning.follow(context.clients, name):
                    draw(_trials(out, snapshot, _reasons(context, snapshot, reasons)))
        else:
            seen: dict[str, tuple[str, str]] = {}
            for snapshot in tuning.follow(context.clients, name):
                for trial in snapshot.trials:
                    result = _objective(snapshot, trial.objective)
                    if seen.get(trial.name) != (trial.status, result):
                        seen[trial.name] = (trial.status, result)
                        values = ", ".join(f"{k} {short(v)}" for k, v in trial.hyperparameters.items())
                        out.raw(f"{trial.name}  {values}  {trial.status}  {result}".rstrip())
            if snapshot:
                out.show(_trials(out, snapshot, _reasons(context, snapshot, reasons)))
    except KeyboardInterrupt:
        end_watching(out, name)
    if snapshot is None:
        raise AssertionError
    return snapshot


def conclude_tuning(context: Context, snapshot: TuningJob, price: Price | None) -> None:
    name = snapshot.name
    cost = costing.after_tuning(context, (trial.name for trial in snapshot.trials), price)
    if snapshot.status == "Failed":
        raise ByocError(
            f"{name} failed: {snapshot.reason or 'no reason given'}",
            "`byoc jobs` lists its training jobs, `byoc logs JOB` shows the log of one.",
            code=FAILED,
            kind="JobFailed",
        )
    _show_best(context, snapshot, {"cost": cost})


def _show_best(context: Context, snapshot: TuningJob, more: dict[str, Any] | None = None) -> None:
    from report.read import findings, rungs, tuning
    from report.read.logs import read_end

    best_trial = tuning.best(context.clients, snapshot.name)
    state.update(context.settings, best=best_trial)
    values = ", ".join(f"{key} = {short(value)}" for key, value in best_trial["hyperparameters"].items())
    context.out.say(
        "Best of {n}: [bold green]{values}[/]  ({metric} {value}, {job})",
        n=len(snapshot.trials),
        values=values,
        metric=best_trial["metric"],
        value=_objective(snapshot, best_trial["value"]),
        job=best_trial["training_job"],
    )
    if sentence := _not_apart(context, snapshot):
        context.out.warn(sentence)
    epochs = rungs.read(context.clients, snapshot)
    if epochs:
        context.out.say("{sentence}", sentence=epochs.sentence)
    if inherited := snapshot.inherited:
        parent, trial = inherited
        context.out.warn(
            f"A trial of its parent {parent} is better ({_objective(snapshot, trial.objective)}): "
            f"`byoc best {parent}` takes that one."
        )
    judged = findings.of_lines(read_end(context.clients, best_trial["training_job"]))
    if sentence := findings.stop_sentence(judged):
        context.out.warn(f"The best trial is hopeless: {sentence} Try other ranges (--range).")
    if not best_trial["complete"]:
        context.out.warn(f"{snapshot.name} is still {snapshot.status}: there may be better ones to come.")
    context.out.say("Next: [bold]byoc train --best[/]")
    best_trial["stopped_by"] = judged.stopped_by if judged else ""
    trials = [trial.as_dict() for trial in snapshot.trials]
    best_trial["epochs"] = epochs and {"run": epochs.epochs, "whole": epochs.most * epochs.trials}
    best_trial["warm_start"] = {"kind": snapshot.warm_start, "parents": list(snapshot.parents)}
    context.out.result({**best_trial, "status": snapshot.status, "trials": trials, **(more or {})})


def _objective(job: TuningJob, value: float) -> str:
    """The objective's value as text; empty if there is none."""
    return "" if math.isnan(value) else job.value(value)


def _not_apart(context: Context, job: TuningJob) -> str:
    """A sentence if the validation pictures are too few to separate the best trial from others."""
    from report.read import tuning

    pictures = tuning.pictures(context.clients, job)
    alike = job.alike(pictures)
    if not alike or pictures is None:
        return ""
    second, others = alike[0], len(alike) - 1
    values = ", ".join(f"{key} = {short(value)}" for key, value in second.hyperparameters.items())
    more = f", nor from {plural(others, 'other')}" if others else ""
    return (
        f"{plural(pictures, 'validation picture')} cannot separate the best trial from the second "
        f"({job.value(second.objective)}; {values}){more}."
    )


def _reasons(context: Context, job: TuningJob, reasons: dict[str, str]) -> dict[str, str]:
    """Why trials were stopped or failed, by name. `known` collects them, so that each log is read once."""
    from report.read import findings
    from report.read.logs import read_end

    for trial in job.trials:
        if trial.reason:
            reasons[trial.name] = trial.reason
        elif trial.status == "Stopped" and trial.name not in reasons:
            judged = findings.of_lines(read_end(context.clients, trial.name))
            # Trials of a job that is stopped itself were stopped with it.
            by_sagemaker = job.stopper if job.status not in _STOPS else ""
            reasons[trial.name] = judged.stopped_by if judged and judged.stopped_by else by_sagemaker
    return reasons


def _trials(out: Output, snapshot: TuningJob, reasons: dict[str, str]) -> Any:
    names = sorted({key for trial in snapshot.trials for key in trial.hyperparameters})
    ended = sum(trial.status in {"Completed", "Failed", "Stopped"} for trial in snapshot.trials)
    title = f"{snapshot.name}: {snapshot.status}, {ended} of {plural(snapshot.total, 'trial')}"
    # Shortened for 80 columns: trials are compared by the validation's metric of that name.
    metric = snapshot.metric.removeprefix("validation:")
    table = out.table("#", *names, metric, "time", "status", title=title, right=("#", metric))
    for trial in snapshot.trials:
        won = trial.name == snapshot.winner
        reason = reasons.get(trial.name, "")
        latest = trial.progress.latest if trial.progress else trial.objective
        out.row(
            table,
            str(trial.number),
            *(short(trial.hyperparameters.get(key, "")) for key in names),
            _objective(snapshot, latest) + (" ★" if won else ""),
            _time(trial),
            _status(trial) + (f": {shorten(reason, 60, placeholder=' …')}" if reason else ""),
            style="bold green" if won else "red" if trial.status == "Failed" else "",
        )
    return table


def _time(trial: Trial) -> str:
    seconds = trial.progress.seconds if trial.progress else trial.seconds
    return "" if seconds is None else duration(seconds)


def _status(trial: Trial) -> str:
    """`epoch 3/8, 40 s left` of a running trial; from a minute on, whole minutes."""
    if trial.progress is None:
        return trial.status
    left = trial.progress.seconds_left
    rough = duration(60 * round(left / 60)) if left >= 60 else duration(left)
    return f"epoch {trial.progress.epoch}/{trial.progress.epochs}, {rough} left"
