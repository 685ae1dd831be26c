"""transform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.errors import FAILED, ByocError
from contract.log import alert
from report.words import duration, plural
from scripts import state
from scripts.commands import costing
from scripts.commands.costing import PriceOption
from scripts.commands.serving import (
    PANEL,
    compare,
    score_document,
    show_answers,
    show_score,
    take_model,
    test_uri,
    trained_document,
)
from scripts.commands.watching import end_watching, exit_interrupted
from scripts.context import Context, command, last
from scripts.output import bar
from scripts.prices import Price

if TYPE_CHECKING:
    from scripts.predict import Answer, Score
    from scripts.transform import Watch
    from scripts.transforminput import Input

_SHOWN = 20  # answers, where the true classes are unknown


def register(app: typer.Typer) -> None:
    command(app, "transform", rich_help_panel=PANEL)(transform)


def transform(
    context: Context,
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            help="A folder, files, or one S3 address. Default: the test set in S3.", show_default=False
        ),
    ] = None,
    job: Annotated[str | None, typer.Option(help="A training job. Default: the last one.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .csv or .jsonl file. Default: predictions/JOB.csv."),
    ] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine, e.g. ml.g4dn.xlarge.")] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Requests at a time. Default: as many as the container wants.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the transform job.")] = "",
    price: PriceOption = None,
    attach: Annotated[
        str, typer.Option(metavar="TRANSFORM_JOB", help="Watch an earlier one; or `last`.")
    ] = "",
    wait: Annotated[bool, typer.Option(help="Watch it, and fetch the answers.")] = True,
    stop_on_interrupt: Annotated[
        bool, typer.Option("--stop-on-interrupt", help="Ctrl-C stops the job too, not only the watching.")
    ] = False,
    full_log: Annotated[bool, typer.Option("--full-log", help="Show every line of the job's log.")] = False,
) -> None:
    """Classify a whole folder with a batch transform job, without an endpoint; write the answers to a file.

    For folders named like classes it prints the accuracy; for the test set it compares with training's.

    Examples:

        byoc transform
        byoc transform photos --output photos.jsonl
        byoc transform s3://bucket/pictures/ --job digits-train-0412-093007-51
    """
    from scripts import running
    from scripts import transform as service

    context.override("transform.instance_type", instance_type)
    context.override("transform.parallel", parallel)
    form = _form(output)
    if output:
        _check_writable(output)
    out, job_input = context.out, None
    if attach:
        if pictures or job or name:
            raise ByocError("--attach names a job that exists: leave out pictures, --job and --name.")
        name = last(context, attach, "transform_job", "transform job", "transform")
        started = running.known_transform(context.clients, name, price)
    else:
        name, job_input, cost = _start(context, pictures or [], job, name, price)
        machine = context.settings.transform
        started = running.job(name, machine.instance_type, machine.instance_count, "BatchTransform").at(cost)
    watch = service.Watch(context.clients, name)
    with context.watching(started):
        if not attach:
            state.update(context.settings, transform_job=name)
        if not wait:
            out.say("Watch it with [bold]byoc watch {name}[/].", name=name)
            out.result({"transform_job": name, "status": "InProgress"})
            return
        job_input = watch_transform(
            context, watch, job_input, full_log=full_log, stop_on_interrupt=stop_on_interrupt
        )
    conclude_transform(context, watch, job_input, started.price, output, form)


def watch_transform(
    context: Context,
    watch: Watch,
    job_input: Input | None = None,
    *,
    full_log: bool = False,
    stop_on_interrupt: bool = False,
) -> Input:
    """Show a transform job until it has ended; return its input. Ctrl-C ends the command."""
    from scripts import kinds
    from scripts import transform as service

    out, name = context.out, watch.name
    try:
        return _watch(context, watch, job_input, full_log=full_log)
    except KeyboardInterrupt:
        if stop_on_interrupt:
            kinds.stop(context.clients, name)
            service.delete_model(context.clients, service.describe(context.clients, name))
            out.raw(f"{name} is being stopped.", style="yellow")
            exit_interrupted(out, name, "Stopping")
        end_watching(out, name)


def _start(
    context: Context, pictures: list[str], job: str | None, name: str, price: float | None
) -> tuple[str, Input, Price | None]:
    """Find the model and the pictures, and start the job; return its name, its input and its price."""
    from report.read import jobs
    from scripts import account, requests, serving
    from scripts import transform as service
    from scripts import transforminput as inputs

    inputs.check_there(pictures)
    settings, clients, out = context.settings, context.clients, context.out
    trained = last(context, job, "training_job", "training job", "train")
    described = jobs.describe(clients, trained)
    artifact = take_model(context, described)
    place = serving.place_for(
        settings,
        clients,
        account.place(settings, clients),
        settings.transform.instance_type,
        artifact,
        lambda text: out.raw(f"  {text}"),
    )
    name = name or account.unique_name(settings.project.name, "transform")
    addresses = [source for source in pictures if source.startswith("s3://")]
    if addresses and len(pictures) > 1:
        raise ByocError(
            f"{addresses[0]} is one of {len(pictures)} sources; a transform job reads one S3 address, or "
            "files and folders of this machine.",
            "Name that address alone, or start a job for each source.",
        )
    folder = requests.transform_uri(settings, place, inputs.sent_folder(name))
    if pictures and not addresses:
        job_input = inputs.gather(pictures, folder)
        inputs.check_sizes(settings, job_input)
        with out.progress("uploading") as progress:
            inputs.send(clients, settings, job_input, bar(progress), out.warn)
    else:
        job_input, others = inputs.find(clients, addresses[0] if addresses else test_uri(context))
        inputs.check_sizes(settings, job_input)
        if others:
            out.warn(f"Left out: {plural(len(others), 'object')} of another kind, e.g. {others[0]}")
        if not job_input.whole:
            job_input = inputs.write_manifest(clients, settings, job_input, folder)
    state.check(settings)
    cost = costing.before_transform(context, settings, price).price
    service.start(
        clients,
        settings,
        place,
        name,
        artifact,
        job_input,
        lambda text: out.raw(f"  {text}"),
    )
    out.say(
        "Transform job [bold]{name}[/]: {pictures}, model of {job}.",
        name=name,
        pictures=plural(len(job_input.items), "picture"),
        job=trained,
    )
    return name, job_input, cost


def _watch(context: Context, watch: Watch, job_input: Input | None, *, full_log: bool) -> Input:
    """Show the job's events until it has ended; return its input."""
    from scripts import transform as service
    from scripts import transforminput as inputs

    out, clients = context.out, context.clients
    job = service.describe(clients, watch.name)
    job_input = job_input or inputs.given_of(clients, job)
    with out.progress("transforming") as progress:
        advance = bar(progress)
        for event in watch.follow():
            if event.kind == "status":
                out.say("[cyan]{status}[/]", status=event.text)
            elif event.kind == "look":
                if out.live:
                    advance(len(service.outputs(clients, job)), len(job_input.items))
            elif full_log:
                out.raw("  " + event.text, style="dim")
            elif said := alert(event.text):
                out.warn(said[1])
    return job_input


def conclude_transform(
    context: Context,
    watch: Watch,
    job_input: Input,
    price: Price | None,
    output: Path | None = None,
    form: Literal["csv", "jsonl"] = "csv",
) -> None:
    """Fetch the answers, write and show them; an error unless the job completed."""
    from scripts import costs, predict, trained
    from scripts import transform as service

    out, clients, name = context.out, context.clients, watch.name
    job = service.describe(clients, name)
    source = job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    tested = source == test_uri(context)
    computed = trained.of_model(clients, job["ModelName"], source) if tested else None
    service.delete_model(clients, job)
    with out.progress("fetching") as progress:
        answers = service.collect(clients, job, job_input.items, watch.problems, bar(progress))
    classes = predict.named(answers)
    answers = predict.with_classes(answers, classes)
    plausible = predict.with_plausible_truth(answers, classes)
    labelled = any(answer.truth and not answer.error for answer in plausible)
    if not labelled:  # the folders are not named like classes
        answers = plausible
    answered = [answer for answer in answers if not answer.error]
    path = output or context.settings.folder / "predictions" / f"{name}.csv"
    if answered:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(service.table(answers, form), encoding="utf-8")
    document: dict[str, Any] = {
        "transform_job": name,
        "status": job["TransformJobStatus"],
        "pictures": len(answers),
        "answered": len(answered),
        "seconds": _seconds(job),
        "output": job["TransformOutput"]["S3OutputPath"],
        "predictions": str(path.resolve()) if answered else None,
        "failure": job.get("FailureReason") if job["TransformJobStatus"] == "Failed" else None,
    }
    score = predict.score(answers, classes) if labelled else None
    if score:
        document |= {**score_document(score), **trained_document(computed)}
    if answered:
        _show(context, answers, score)
        out.say("Predictions: [bold]{path}[/]", path=path)
    if (seconds := document["seconds"]) is not None:
        out.say("The job took {time}.", time=duration(seconds))
    document["cost"] = costing.after(context, costs.bill_of_transform(job, price))
    if job["TransformJobStatus"] != "Completed" and out.json:
        out.result(document)
        raise typer.Exit(FAILED)
    service.require_completed(job)
    out.result(document)
    if score:
        compare(context, score, computed, "the transform job")


def _show(context: Context, answers: list[Answer], score: Score | None) -> None:
    if score:
        show_score(context, score, answers)
        return
    shown = [answer for answer in answers if not answer.error][:_SHOWN]
    shown += [answer for answer in answers if answer.error][:_SHOWN]
    show_answers(context, shown, 1)
    if len(answers) > len(shown):
        context.out.raw(f"… and {len(answers) - len(shown)} more.")


def _seconds(job: dict[str, Any]) -> float | None:
    begin, end = job.get("TransformStartTime"), job.get("TransformEndTime")
    return round((end - begin).total_seconds(), 1) if begin and end else None


def _check_writable(path: Path) -> None:
    """An error before the job costs money: its answers would be lost."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("ab"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        taken = isinstance(error, FileExistsError)
        raise ByocError(
            f"{path} cannot be written: {f'{path.parent} is not a folder' if taken else error.strerror}.",
            "Name another file with --output.",
        ) from None


def _form(output: Path | None) -> Literal["csv", "jsonl"]:
    suffix = output.suffix.lower() if output else ".csv"
    if suffix == ".csv":
        return "csv"
    if suffix in {".jsonl", ".jsonlines"}:
        return "jsonl"
    raise ByocError(
        f"{output} is neither .csv nor .jsonl.",
        "Name a file with one of these endings, which decide the format.",
    )
