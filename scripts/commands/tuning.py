"""tune, best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scripts import state
from scripts.commands.watching import goes_on
from scripts.context import Context, command, last
from scripts.errors import FAILED, ByocError
from scripts.output import Output, count, duration, percent, short
from scripts.settings import Range, Settings, parse_range

if TYPE_CHECKING:
    from scripts.tuning import Snapshot

PANEL = "Train"


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
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training job.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine of each training job.")] = None,
    name: Annotated[str, typer.Option(help="Name of the tuning job.")] = "",
    wait: Annotated[bool, typer.Option(help="Watch it until it has ended.")] = True,
) -> None:
    """Look for good hyperparameters with several training jobs; then show and remember the best.

    The ranges are in byoc.toml, in the section tune.ranges.

    Examples:

        byoc tune --jobs 8 --parallel 2
        byoc tune --range lr=1e-4:0.1:log --range batch_size=16,32,64
        byoc tune --no-wait
    """
    from scripts import account, requests

    asked = {item.split("=")[0].strip() for item in context.overrides if "." not in item.split("=")[0]}
    for key, value in (("jobs", jobs), ("parallel", parallel)):
        context.override(f"tune.{key}", value)
    context.override("train.instance_type", instance_type)
    context.override("tune.hyperparameters.epochs", epochs)
    settings = _with_ranges(context.settings, range_ or [])
    if both := sorted(asked & set(settings.tune.ranges)):
        raise ByocError(
            f"--set {both[0]} fixes what [tune.ranges] looks for.",
            f"Give --range {both[0]}=… instead, or take {both[0]} out of [tune.ranges].",
        )
    account.check_tuning(settings)
    place = account.place(settings, context.clients, data=True)
    name = name or account.unique_name(settings.project.name, "tune", longest=32)
    request = requests.tuning_job(settings, place, name)
    state.check(settings)
    context.clients.sagemaker.create_hyper_parameter_tuning_job(**request)
    state.update(settings, tuning_job=name, best=None)
    context.out.say("Tuning job [bold]{name}[/].", name=name)
    if not wait:
        context.out.say("Watch it with [bold]byoc best --wait {name}[/].", name=name)
        context.out.result({"tuning_job": name, "status": "InProgress"})
        return
    _watch(context, name)


def _with_ranges(settings: Settings, ranges: list[str]) -> Settings:
    from dataclasses import replace

    found: dict[str, Range] = dict(settings.tune.ranges)
    for item in ranges:
        key, equals, text = item.partition("=")
        if not equals:
            raise ByocError(f"--range {item} has no range.", "E.g. --range lr=1e-4:0.1:log.")
        found[key.strip().replace("-", "_")] = parse_range(text.strip(), f"--range {key.strip()}")
    return replace(settings, tune=replace(settings.tune, ranges=found))


def best(
    context: Context,
    tuning_job: Annotated[str | None, typer.Argument(help="Default: the last one.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it has ended.")] = False,
) -> None:
    """Show and remember the best hyperparameters of a tuning job, as SageMaker's API tells them.

    Examples:

        byoc best
        byoc best digits-tune-0412-093007-51 --json
    """
    name = last(context, tuning_job, "tuning_job", "tuning job", "tune")
    if wait:
        _watch(context, name)
        return
    from scripts import tuning

    snapshot = tuning.look(context.clients, name)
    context.out.show(_trials(context.out, snapshot))
    _tell_best(context, snapshot)


def _watch(context: Context, name: str) -> None:
    """A live table of the trials where the output is a terminal, a line for each change where it is not."""
    from rich.live import Live

    from scripts import tuning

    out, snapshot = context.out, None
    try:
        if out.live:
            with Live(console=out.console, refresh_per_second=4) as live:
                for snapshot in tuning.follow(context.clients, name):
                    live.update(_trials(out, snapshot))
        else:
            seen: dict[str, tuple[str, float | None]] = {}
            for snapshot in tuning.follow(context.clients, name):
                for trial in snapshot.trials:
                    if seen.get(trial.name) != (trial.status, trial.objective):
                        seen[trial.name] = (trial.status, trial.objective)
                        values = ", ".join(f"{k} {short(v)}" for k, v in trial.hyperparameters.items())
                        result = (
                            "" if trial.objective is None else f"  {_objective(snapshot, trial.objective)}"
                        )
                        out.raw(f"{trial.name}  {values}  {trial.status}{result}")
            if snapshot:
                out.show(_trials(out, snapshot))
    except KeyboardInterrupt:
        goes_on(out, name, f"byoc best --wait {name}")
    if snapshot is None:
        raise AssertionError
    if snapshot.status == "Failed":
        raise ByocError(
            f"{name} failed: {snapshot.reason or 'no reason given'}",
            "`byoc jobs` lists its training jobs, `byoc logs JOB` shows what one said.",
            code=FAILED,
            kind="JobFailed",
        )
    _tell_best(context, snapshot)


def _tell_best(context: Context, snapshot: Snapshot) -> None:
    from scripts import tuning

    found = tuning.best(context.clients, snapshot.name)
    state.update(context.settings, tuning_job=snapshot.name, best=found)
    values = ", ".join(f"{key} = {short(value)}" for key, value in found["hyperparameters"].items())
    context.out.say(
        "Best of {n}: [bold green]{values}[/]  ({metric} {value}, {job})",
        n=len(snapshot.trials),
        values=values,
        metric=found["metric"],
        value=_objective(snapshot, found["value"]),
        job=found["training_job"],
    )
    if not found["complete"]:
        context.out.warn(f"{snapshot.name} is still {snapshot.status}: there may be better ones to come.")
    context.out.say("Next: [bold]byoc train --best[/]")
    context.out.result({**found, "status": snapshot.status, "trials": snapshot.as_dict()["trials"]})


def _objective(snapshot: Snapshot, value: float) -> str:
    return short(value) if snapshot.metric.endswith("loss") else percent(value)


def _trials(out: Output, snapshot: Snapshot) -> Any:
    names = sorted({key for trial in snapshot.trials for key in trial.hyperparameters})
    ended = sum(trial.status in {"Completed", "Failed", "Stopped"} for trial in snapshot.trials)
    title = f"{snapshot.name}: {snapshot.status}, {ended} of {count(snapshot.total, 'trial')}"
    table = out.table(
        "#", *names, snapshot.metric, "time", "status", title=title, right=("#", snapshot.metric)
    )
    for number, trial in enumerate(snapshot.trials, 1):
        won = trial.name == snapshot.best
        out.row(
            table,
            str(number),
            *(short(trial.hyperparameters.get(key, "")) for key in names),
            "" if trial.objective is None else _objective(snapshot, trial.objective) + (" ★" if won else ""),
            "" if trial.seconds is None else duration(trial.seconds),
            trial.status if not trial.reason else f"{trial.status}: {trial.reason[:60]}",
            style="bold green" if won else "red" if trial.status == "Failed" else "",
        )
    return table
