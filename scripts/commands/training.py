"""train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from contract.errors import ByocError
from contract.findings import Findings
from report.words import duration
from scripts import state
from scripts.commands import costing
from scripts.commands.costing import PriceOption
from scripts.commands.tuning import with_result
from scripts.commands.verdicts import show_verdicts
from scripts.commands.watching import end_watching, exit_interrupted, report_path, show, show_file
from scripts.context import Context, command, last
from scripts.output import short
from scripts.prices import Price
from scripts.ranges import Scalar

PANEL = "Train"


def register(app: typer.Typer) -> None:
    command(app, "train", rich_help_panel=PANEL)(train)


def train(
    context: Context,
    from_: Annotated[
        str, typer.Option("--from", metavar="TUNING_JOB", help="Take the best hyperparameters of that job.")
    ] = "",
    best: Annotated[
        bool, typer.Option("--best", help="Take those of the last tuning job with a result.")
    ] = False,
    resume: Annotated[
        str,
        typer.Option("--resume", metavar="JOB", help="Go on from the checkpoints of a job that ended early."),
    ] = "",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine, e.g. ml.g5.xlarge.")] = None,
    instance_count: Annotated[int | None, typer.Option(help="How many machines.")] = None,
    spot: Annotated[bool | None, typer.Option(help="Use spare capacity.")] = None,
    name: Annotated[str, typer.Option(help="Name of the training job.")] = "",
    price: PriceOption = None,
    wait: Annotated[bool, typer.Option(help="Watch it until it has ended.")] = True,
    stop_on_interrupt: Annotated[
        bool, typer.Option("--stop-on-interrupt", help="Ctrl-C stops the job too, not only the watching.")
    ] = False,
    full_log: Annotated[bool, typer.Option("--full-log", help="Show every line, not only metrics.")] = False,
) -> None:
    """Train a classifier while the debugger's rules watch; show metrics and findings as they come.

    Examples:

        byoc train --best                       the best of the last `byoc tune`
        byoc train --set lr=0.003 --epochs 20   byoc.toml's settings, but these
        byoc train --instance-type ml.g5.xlarge --spot
        byoc train --resume last                needs its checkpoints (train.checkpoints, or --spot)
    """
    from report.read import jobs
    from scripts import account, creation, requests, running

    context.override("hyperparameters.epochs", epochs)
    context.override("train.instance_type", instance_type)
    context.override("train.instance_count", instance_count)
    context.override("train.spot", spot)
    settings = context.settings
    tuned: Mapping[str, str] = {}
    checkpoints = ""
    if resume:
        if from_ or best or epochs is not None:
            raise ByocError(
                "--resume takes the job's hyperparameters: leave out --from, --best and --epochs."
            )
        resumed = jobs.resumed(
            context.clients, last(context, resume, "training_job", "training job", "train")
        )
        checkpoints = resumed.checkpoints
        _refuse_second(context, checkpoints)
        free = _free_settings(context)
        settings = replace(settings, hyperparameters={**resumed.hyperparameters, **free})
    elif from_ or best:
        tuned = _best_hyperparameters(context, from_)
    account.check_hyperparameters({**settings.hyperparameters, **tuned})
    account.check_isolation(settings, tuned)
    account.check_debugger(settings)
    place = account.place(settings, context.clients, data=True)
    name = name or account.unique_name(settings.project.name, "train")
    request = requests.training_job(settings, place, name, tuned, checkpoints)
    state.check(settings)
    sagemaker, machine = context.clients.sagemaker, settings.train
    estimate = costing.before_training(context, request, price)
    creation.create(
        place, lambda: sagemaker.create_training_job(**request), lambda: jobs.find(context.clients, name)
    )
    started = running.job(name, machine.instance_type, machine.instance_count).at(estimate.price)
    with context.watching(started):
        state.update(settings, training_job=name)
        if checkpoints:
            state.update(settings, resumed={"checkpoints": checkpoints, "training_job": name})
        context.out.say("Training job [bold]{name}[/].", name=name)
        if not wait:
            context.out.say("Follow it with [bold]byoc watch {name}[/].", name=name)
            context.out.result({"training_job": name, "status": "InProgress", "cost": estimate.document()})
            return
        judged = watch_training(context, name, full_log=full_log, stop_on_interrupt=stop_on_interrupt)
    conclude_training(context, jobs.describe(context.clients, name), judged, estimate.price)


def watch_training(
    context: Context, name: str, *, full_log: bool = False, stop_on_interrupt: bool = False
) -> Findings | None:
    """Show a training job until it ends; return the verdicts in its log. Ctrl-C ends the command."""
    from scripts import kinds

    try:
        return show(context, name, full_log=full_log)
    except KeyboardInterrupt:
        if stop_on_interrupt:
            kinds.stop(context.clients, name)
            context.out.raw(f"{name} is being stopped.", style="yellow")
            exit_interrupted(context.out, name, "Stopping")
        end_watching(context.out, name)


def conclude_training(
    context: Context, job: dict[str, Any], judged: Findings | None, price: Price | None
) -> None:
    """Show report and verdicts, then the result or the error; only the error if the job failed at once."""
    from report.read import findings, jobs
    from report.read.listing import has_warm_pool
    from scripts import costs, warmpool

    if has_warm_pool(job):
        context.out.warn(warmpool.sentence(context.clients, job))
    judged = judged or findings.of_description(job)
    bill = costs.bill_of_training(job, price)
    if job["TrainingJobStatus"] == "Failed" and not findings.have_evidence(judged):
        costing.after(context, bill)
        jobs.require_completed(context.clients, job)
    path, reported = _report_after(context, job["TrainingJobName"], price)
    judged = reported or judged
    show_verdicts(context.out, judged)
    cost = costing.after(context, bill)
    jobs.require_completed(context.clients, job)
    _show_trained(context, job, path, judged, cost)


def _free_settings(context: Context) -> Mapping[str, Scalar]:
    """Hyperparameters of the command line that a resumed job may change; an error for others."""
    from contract.hyperparameters import FREE

    keys = (override.partition("=")[0].strip() for override in context.overrides)
    names = [key.removeprefix("hyperparameters.") for key in keys]
    wanted = [name for name in names if "." not in name]
    if fixed := [name for name in wanted if name not in FREE]:
        raise ByocError(
            f"--resume takes the job's own {', '.join(fixed)}: with another, its checkpoints would not fit.",
            f"Leave it out; {', '.join(FREE)} may change.",
        )
    return {name: context.settings.hyperparameters[name] for name in wanted}


def _refuse_second(context: Context, checkpoints: str) -> None:
    """An error if a job is using these checkpoints: two would write into the same folder."""
    from report.read import jobs

    before = state.read(context.settings).get("resumed", {})
    if before.get("checkpoints") != checkpoints:
        return
    name = before["training_job"]
    if jobs.describe(context.clients, name)["TrainingJobStatus"] in jobs.UNDER_WAY:
        raise ByocError(f"{name} goes on from these checkpoints already.", f"`byoc watch {name}` follows it.")


def _best_hyperparameters(context: Context, tuning_job: str) -> dict[str, str]:
    from report.read import tuning

    best = tuning.best(context.clients, with_result(context, tuning_job))
    values: dict[str, str] = best["hyperparameters"]
    text = ", ".join(f"{key} = {short(value)}" for key, value in values.items())
    context.out.say("Best of {job}: {values}.", job=best["tuning_job"], values=text)
    if not best["complete"]:
        context.out.warn(f"{best['tuning_job']} still runs: there may be better ones to come.")
    return values


def _report_after(context: Context, name: str, price: Price | None) -> tuple[Path | None, Findings | None]:
    """Write the report of an ended job, failed or not; return its path and the findings in it.

    If this fails, it only warns.
    """
    from report.make import report_for_job

    path = report_path(context, [name])
    try:
        dollars = price.hourly if price else 0.0
        [reported] = report_for_job(context.clients, [name], path, price=dollars or None)
    except (ByocError, OSError) as error:
        context.out.warn(f"No report was made: {error}")
        return None, None
    show_file(context.out, "Report", path)
    return path, reported.findings


def _show_trained(
    context: Context,
    job: dict[str, Any],
    report_: Path | None,
    judged: Findings | None,
    cost: dict[str, Any] | None,
) -> None:
    from report import accuracy
    from report.read import findings, jobs

    out, values = context.out, jobs.metrics(job)
    # SageMaker keeps a metric's last value; the trainer logs those of the kept weights last.
    if "kept_epoch" in values:
        out.say("The weights of epoch {epoch} were kept.", epoch=f"{values['kept_epoch']:g}")
    for key in ("validation:accuracy", "test:accuracy"):
        if key in values:
            pictures = values.get(key.replace("accuracy", "pictures"))
            out.say(
                "{name}: [bold green]{value}[/]",
                name=key.replace(":", " "),
                value=accuracy.described(values[key], pictures),
            )
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"] if jobs.keeps_model(job) else None
    out.say("Model: {uri}", uri=artifact or "not kept, because save_model = false")
    if "TrainingTimeInSeconds" in job:
        out.say("Training took {time}.", time=duration(job["TrainingTimeInSeconds"]))
    if cost is None and job.get("EnableManagedSpotTraining") and "BillableTimeInSeconds" in job:
        out.say("It had a machine for {time} of these.", time=duration(job["BillableTimeInSeconds"]))
    if artifact:
        out.say("Next: [bold]byoc deploy[/]")
    out.result(
        {
            "training_job": job["TrainingJobName"],
            "report": str(report_.resolve()) if report_ else None,
            "status": job["TrainingJobStatus"],
            "model": artifact,
            "hyperparameters": job.get("HyperParameters", {}),
            "metrics": values,
            "rules": findings.outcomes(judged),
            "stopped_by": judged.stopped_by if judged else "",
            "cost": cost,
        }
    )
