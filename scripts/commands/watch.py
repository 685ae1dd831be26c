"""watch."""

from __future__ import annotations

from typing import Annotated

import typer

from contract.errors import NOT_FOUND, ByocError
from scripts.commands.costing import PriceOption
from scripts.commands.training import conclude_training, watch_training
from scripts.commands.transform import conclude_transform, watch_transform
from scripts.commands.tuning import conclude_tuning, watch_tuning
from scripts.commands.watching import PANEL, chosen_job
from scripts.context import Context, command


def register(app: typer.Typer) -> None:
    command(app, "watch", rich_help_panel=PANEL)(watch)


def watch(
    context: Context,
    job: Annotated[
        str | None, typer.Argument(help="Default: this folder's job that runs, or its newest.")
    ] = None,
    full_log: Annotated[bool, typer.Option("--full-log", help="Show every line, not only metrics.")] = False,
    price: PriceOption = None,
) -> None:
    """Watch a training, tuning or transform job until it has ended, then show its results.

    Example:

        byoc watch digits-tune-0412-093007-51
    """
    from report.read import jobs
    from scripts import endpoints, kinds, running, transform

    name, clients = chosen_job(context, job), context.clients
    try:
        kind = kinds.kind_of(clients, name).name
    except ByocError as error:
        if error.code == NOT_FOUND and endpoints.status_of(clients, name):
            raise ByocError(
                f"{name} is an endpoint, which runs until it is deleted.",
                f"`byoc logs -f {name}` follows its log.",
            ) from None
        raise
    context.out.say("{kind} [bold]{name}[/].", kind=kind.capitalize(), name=name)
    if kind == "training job":
        started = running.known_training(clients, name, price)
        with context.watching(started):
            judged = watch_training(context, name, full_log=full_log)
        conclude_training(context, jobs.describe(clients, name), judged, started.price)
    elif kind == "tuning job":
        if full_log:
            raise ByocError(
                f"--full-log: {name} is a tuning job, which has no log of its own.",
                "`byoc logs -f JOB` follows that of one of its training jobs.",
            )
        started = running.known_tuning(clients, name, price)
        with context.watching(started):
            snapshot = watch_tuning(context, name)
        conclude_tuning(context, snapshot, started.price)
    else:
        watched = transform.Watch(clients, name)
        started = running.known_transform(clients, name, price)
        with context.watching(started):
            job_input = watch_transform(context, watched, full_log=full_log)
        conclude_transform(context, watched, job_input, started.price)
