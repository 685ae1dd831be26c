"""What a notebook has beside the program's commands: rules and curves below a cell, pictures as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from contract.errors import NOT_FOUND, ByocError
from contract.findings import Outcome
from scripts.context import Context, last
from scripts.template import toml_value

if TYPE_CHECKING:
    from scripts.predict import Picture


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """As the flag --set writes them."""
    return [f"{key}={toml_value(value)}" for key, value in settings.items()]


def range_flag(value: Sequence[object]) -> str:
    """As the flag --range writes it: a tuple is a range, another sequence a list of values."""
    return (":" if isinstance(value, tuple) else ",").join(map(str, value))


def start_local(context: Context) -> None:
    """Start the local SageMaker where the settings name it; elsewhere only say so."""
    from scripts import localservice

    if (port := _local_port(context)) is None:
        return
    service, started = localservice.up(context.local_home, port)
    context.out.say(
        "The local SageMaker {what} at [bold]{url}[/].",
        what="runs" if started else "was running already",
        url=service.url,
    )
    context.out.result({**service.as_dict(), "started": started})


def stop_local(context: Context) -> None:
    """Stop the local SageMaker of this folder, if it runs; on AWS only say so."""
    from scripts import localservice

    if (port := _local_port(context)) is None:
        return
    done = localservice.down(context.local_home, port)
    context.out.say(
        "The local SageMaker {what}.",
        what="is stopped, its data stays" if done.service else "was not running",
    )
    if done.problem:
        context.out.warn(f"Something may be left: {done.problem} Then stop it again.")
    context.out.result({"stopped": bool(done.service), "problem": done.problem})


def _local_port(context: Context) -> int | None:
    """The port on this machine that the settings name; None, and a line, where they name another place."""
    from scripts import localservice
    from scripts.aws import is_loopback

    url = context.settings.aws.endpoint_url
    if url and is_loopback(url):
        return urlsplit(url).port or localservice.DEFAULT_PORT
    context.out.say("The settings name {where}, not this machine: nothing to do.", where=url or "AWS")
    return None


def findings(context: Context, job: str | None = None) -> None:
    """Show the rules' verdicts on a training job, and what to do about each."""
    from report.read.findings import outcomes
    from report.read.inputs import collect
    from scripts.commands.verdicts import show_verdicts

    name = last(context, job, "training_job", "training job", "train")
    judged = collect(context.clients, name).findings
    if judged is None:
        raise ByocError(
            f"No rule has judged {name} yet.",
            "Rules judge while a job trains, unless debugger.enabled is false; ask again when it has begun.",
            code=NOT_FOUND,
            kind="NoFindings",
        )
    show_verdicts(context.out, judged)
    for rule in judged.rules:
        if rule.outcome is not Outcome.ISSUES_FOUND:
            continue
        for remedy in dict.fromkeys(item.remedy for item in rule.findings if item.remedy):
            context.out.say("[green]→[/] {rule}: {remedy}", rule=rule.name, remedy=remedy)
    context.out.result(outcomes(judged))


def curves(context: Context, job: str | None = None) -> None:
    """Draw a training job's curves, or a tuning job's trials; say what can be seen in them."""
    from report.picture import training_curves, tuning_curves
    from scripts.commands.watching import is_tuning_job

    name = last(context, job, "training_job", "training job", "train")
    draw = tuning_curves if is_tuning_job(context, name) else training_curves
    if (picture := draw(context.clients, name)) is None:
        raise ByocError(
            f"{name} has no metrics yet.",
            "Draw them after its first epoch.",
            code=NOT_FOUND,
            kind="NoMetrics",
        )
    context.out.say("[bold]{name}[/]", name=name)
    context.out.raw(picture.caption)
    context.out.result({"picture": picture})


def predict(
    context: Context, pictures: Sequence[bytes | str | Path], top: int = 1, endpoint: str | None = None
) -> None:
    """Send pictures to the endpoint, bytes among them, in the order in which they are given."""
    from scripts import predict as service
    from scripts.commands.serving import ask, chosen_endpoint

    if not pictures:
        raise ByocError("Which pictures?", "Give bytes, files, folders or S3 addresses.")
    chosen: list[Picture] = []
    for number, picture in enumerate(pictures, 1):
        if isinstance(picture, bytes):
            chosen.append(service.Picture(f"picture {number}", "", _always(picture)))
        else:
            chosen += service.gather(context.clients, [str(picture)])
    ask(context, chosen_endpoint(context, endpoint), chosen, top=top)


def _always(content: bytes) -> Callable[[], bytes]:
    return lambda: content
