"""train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts import state
from scripts.commands.watching import goes_on, report_path, show, tell_file, tell_verdicts
from scripts.context import Context, command, last
from scripts.errors import INTERRUPTED, ByocError
from scripts.output import duration, percent, short
from scripts.settings import Scalar

PANEL = "Train"


def register(app: typer.Typer) -> None:
    command(app, "train", rich_help_panel=PANEL)(train)


def train(
    context: Context,
    from_: Annotated[
        str, typer.Option("--from", metavar="TUNING_JOB", help="Take the best hyperparameters of that job.")
    ] = "",
    best: Annotated[bool, typer.Option("--best", help="Those of the last tuning job.")] = False,
    resume: Annotated[
        str,
        typer.Option("--resume", metavar="JOB", help="Go on from the checkpoints of a job that ended early."),
    ] = "",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine, e.g. ml.g5.xlarge.")] = None,
    instance_count: Annotated[int | None, typer.Option(help="How many machines.")] = None,
    spot: Annotated[bool | None, typer.Option(help="Spare capacity.")] = None,
    name: Annotated[str, typer.Option(help="Name of the training job.")] = "",
    wait: Annotated[bool, typer.Option(help="Watch it until it has ended.")] = True,
    stop_on_interrupt: Annotated[
        bool, typer.Option("--stop-on-interrupt", help="Ctrl-C stops the job too, not only the watching.")
    ] = False,
    full_log: Annotated[bool, typer.Option("--full-log", help="Show every line, not only metrics.")] = False,
) -> None:
    """Train a classifier, with the debugger's hook and rules and the profiler on; show metrics as they come.

    Examples:

        byoc train --best                       with the best of the last `byoc tune`
        byoc train --set lr=0.003 --epochs 20   with what byoc.toml says, but these
        byoc train --instance-type ml.g5.xlarge --spot
        byoc train --resume last                where it kept checkpoints (train.checkpoints, or --spot)
    """
    from scripts import account, jobs, requests

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
        found = jobs.resumed(context.clients, last(context, resume, "training_job", "training job", "train"))
        checkpoints = found.checkpoints
        _refuse_second(context, checkpoints)
        free = _free_settings(context)
        settings = replace(settings, hyperparameters={**found.hyperparameters, **free})
    elif from_ or best:
        tuned = _best_hyperparameters(context, from_)
    account.check_hyperparameters({**settings.hyperparameters, **tuned})
    account.check_rules(settings)
    place = account.place(settings, context.clients, data=True)
    name = name or account.unique_name(settings.project.name, "train")
    request = requests.training_job(settings, place, name, tuned, checkpoints)
    rules = None
    if settings.debugger.evaluator == "processing" and (
        settings.debugger.enabled or settings.profiler.enabled
    ):
        rules = requests.rules_job(settings, place, name)
    state.check(settings)
    context.clients.sagemaker.create_training_job(**request)
    state.update(settings, training_job=name)
    if checkpoints:
        state.update(settings, resumed={"checkpoints": checkpoints, "training_job": name})
    if rules:
        context.clients.sagemaker.create_processing_job(**rules)
    context.out.say("Training job [bold]{name}[/].", name=name)
    if not wait:
        context.out.say("Follow it with [bold]byoc logs -f {name}[/].", name=name)
        context.out.result({"training_job": name, "status": "InProgress"})
        return
    try:
        show(context, name, full_log=full_log)
    except KeyboardInterrupt:
        if stop_on_interrupt:
            jobs.stop(context.clients, name)
            context.out.raw(f"{name} is being stopped.", style="yellow")
            raise typer.Exit(INTERRUPTED) from None
        goes_on(context.out, name, f"byoc logs -f {name}")
    job = jobs.describe(context.clients, name)
    path = _report_after(context, name)
    jobs.require_completed(job)
    _tell_trained(context, job, path)


def _free_settings(context: Context) -> Mapping[str, Scalar]:
    """Hyperparameters of the command line that a resumed job may have otherwise; an error for others."""
    from train.interface import FREE

    keys = (override.partition("=")[0].strip() for override in context.overrides)
    names = [key.removeprefix("hyperparameters.") for key in keys]
    given = [name for name in names if "." not in name]
    if fixed := [name for name in given if name not in FREE]:
        raise ByocError(
            f"--resume takes the job's own {', '.join(fixed)}: with another, its checkpoints would not fit.",
            f"Leave it out; {', '.join(FREE)} may change.",
        )
    return {name: context.settings.hyperparameters[name] for name in given}


def _refuse_second(context: Context, checkpoints: str) -> None:
    """Two jobs would write into the same folder of checkpoints."""
    from scripts import jobs

    before = state.read(context.settings).get("resumed", {})
    if before.get("checkpoints") != checkpoints:
        return
    name = before["training_job"]
    if jobs.describe(context.clients, name)["TrainingJobStatus"] in ("InProgress", "Stopping"):
        raise ByocError(
            f"{name} goes on from these checkpoints already.", f"`byoc logs -f {name}` follows it."
        )


def _best_hyperparameters(context: Context, tuning_job: str) -> dict[str, str]:
    from scripts import tuning

    found = tuning.best(context.clients, last(context, tuning_job, "tuning_job", "tuning job", "tune"))
    values: dict[str, str] = found["hyperparameters"]
    text = ", ".join(f"{key} = {short(value)}" for key, value in values.items())
    context.out.say("Best of {job}: {values}.", job=found["tuning_job"], values=text)
    return values


def _report_after(context: Context, name: str) -> Path | None:
    """The report of a job that has ended, whatever its end; a report that cannot be made is no failure."""
    from scripts.report import report_for_job

    path = report_path(context, [name])
    try:
        report_for_job(context.clients, [name], path)
    except (ByocError, OSError) as error:
        context.out.warn(f"No report was made: {error}")
        return None
    tell_file(context.out, "Report", path)
    return path


def _tell_trained(context: Context, job: dict[str, Any], report_: Path | None) -> None:
    from scripts import jobs

    out, values = context.out, jobs.metrics(job)
    # SageMaker keeps a metric's last value, and the trainer ends with those of the weights that it kept.
    kept = (
        f" with the weights that were kept, of epoch {values['kept_epoch']:g}"
        if "kept_epoch" in values
        else ""
    )
    for key in ("validation:accuracy", "test:accuracy"):
        if key in values:
            out.say(
                "{name}: [bold green]{value}[/]{kept}",
                name=key.replace(":", " "),
                value=percent(values[key]),
                kept=kept,
            )
    tell_verdicts(out, job)
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    out.say("Model: {uri}", uri=artifact)
    if "TrainingTimeInSeconds" in job:
        out.say("Training took {time}.", time=duration(job["TrainingTimeInSeconds"]))
    out.say("Next: [bold]byoc deploy[/]")
    out.result(
        {
            "training_job": job["TrainingJobName"],
            "report": str(report_.resolve()) if report_ else None,
            "status": job["TrainingJobStatus"],
            "model": artifact,
            "hyperparameters": job.get("HyperParameters", {}),
            "metrics": values,
            "rules": jobs.verdicts(job),
        }
    )
