"""deploy, predict, evaluate, delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import FAILED, ByocError
from report.accuracy import interval
from report.words import percent, plural
from scripts import state
from scripts.commands import costing
from scripts.commands.cleanup import delete_all
from scripts.commands.costing import PriceOption
from scripts.commands.watching import exit_interrupted
from scripts.context import Context, command, last
from scripts.errors import translate
from scripts.output import Output, bar, printable

if TYPE_CHECKING:
    from scripts.costs import Estimate
    from scripts.predict import Answer, Picture, Score
    from scripts.requests import Place
    from scripts.trained import Trained

PANEL = "Serve"


def register(app: typer.Typer) -> None:
    command(app, "deploy", rich_help_panel=PANEL)(deploy)
    command(app, "predict", rich_help_panel=PANEL)(predict)
    command(app, "evaluate", rich_help_panel=PANEL)(evaluate)
    command(app, "delete", rich_help_panel=PANEL)(delete)


def deploy(
    context: Context,
    job: Annotated[str | None, typer.Argument(help="A training job. Default: the last one.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Name of the endpoint.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine, e.g. ml.g5.xlarge.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Replace the model of a running endpoint, without a gap.")
    ] = False,
    price: PriceOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until it answers.")] = True,
) -> None:
    """Create an endpoint for a trained model: model, endpoint configuration, endpoint.

    If one of them fails, the others are deleted again.

    With --update (SageMaker's UpdateEndpoint; update_endpoint in its Python SDK)
    the model replaces the one of a running endpoint. The old model answers until
    the new one does, and is then deleted. If the new one does not start, the old
    one stays.

    Examples:

        byoc deploy
        byoc deploy --update
        byoc deploy digits-train-0412-093007-51 --endpoint digits-test
    """
    from report.read import jobs
    from scripts import account, endpoints, running, serving

    context.override("deploy.endpoint", endpoint)
    context.override("deploy.instance_type", instance_type)
    settings, clients, out = context.settings, context.clients, context.out
    name = last(context, job, "training_job", "training job", "train")
    described = jobs.describe(clients, name)
    artifact = take_model(context, described)

    def say(text: str) -> None:
        out.raw(f"  {text}")

    out.say("Deploying [bold]{job}[/].", job=name)
    state.check(settings)
    place = serving.place_for(
        settings, clients, account.place(settings, clients), settings.deploy.instance_type, artifact, say
    )
    estimate = costing.before_endpoint(context, settings, price)
    if update:
        _update(context, place, name, artifact, estimate, wait=wait)
        return
    made = endpoints.deploy(clients, settings, place, artifact, say)
    machine = settings.deploy
    started = running.endpoint(made, machine.instance_type, machine.instance_count).at(estimate.price)
    cost = estimate.document()
    with context.watching(started):
        state.deployed(settings, made)
        if not wait:
            out.result({"endpoint": made, "status": "Creating", "training_job": name, "cost": cost})
            return
        try:
            endpoints.wait(clients, made, say)
        except KeyboardInterrupt:
            out.raw(
                f"\nNo longer watching; {made} is still being created, and will cost money.", style="yellow"
            )
            out.raw(f"Look:    byoc jobs\nDelete:  byoc delete {made}")
            exit_interrupted(out, made, "Creating")
        except ByocError:
            state.update(settings, endpoint=None)
            raise
    _show_deployed(out, made, name, cost)


def _update(
    context: Context, place: Place, job: str, artifact: str, estimate: Estimate, *, wait: bool
) -> None:
    from scripts import endpoints, running

    settings, clients, out = context.settings, context.clients, context.out

    def say(text: str) -> None:
        out.raw(f"  {text}")

    begun = endpoints.update(clients, settings, place, artifact, say)
    machine, cost = settings.deploy, estimate.document()
    started = running.endpoint(begun.endpoint, machine.instance_type, machine.instance_count)
    started.at(estimate.price)
    with context.watching(started):
        state.deployed(settings, begun.endpoint)
        if not wait:
            out.result({"endpoint": begun.endpoint, "status": "Updating", "training_job": job, "cost": cost})
            return
        try:
            endpoints.wait_for_update(clients, begun, say)
        except KeyboardInterrupt:
            out.raw(f"\nNo longer watching; the update of {begun.endpoint} goes on.", style="yellow")
            out.raw("Look: byoc jobs\nThe old model is deleted with the next update, or with the endpoint.")
            exit_interrupted(out, begun.endpoint, "Updating")
    _show_deployed(out, begun.endpoint, job, cost)


def _show_deployed(out: Output, endpoint: str, job: str, cost: dict[str, Any] | None) -> None:
    out.say("Endpoint [bold green]{name}[/] answers.", name=endpoint)
    out.say("Next: [bold]byoc predict PICTURE …[/] and [bold]byoc evaluate[/]")
    out.result({"endpoint": endpoint, "status": "InService", "training_job": job, "cost": cost})


def predict(
    context: Context,
    pictures: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or S3 addresses.", show_default=False)
    ] = None,
    held_out: Annotated[
        int, typer.Option(metavar="N", min=0, help="Take N pictures of the test set in S3.")
    ] = 0,
    endpoint: Annotated[str | None, typer.Option(help="Default: the last one.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Requests at a time.")] = 8,
) -> None:
    """Send pictures to the endpoint; show class, probability, and the truth where the folder's name says it.

    Examples:

        byoc predict photo.jpg --top 3
        byoc predict digits/7/*.png
        byoc predict --held-out 10
    """
    from scripts import predict as service

    if bool(pictures) == bool(held_out):
        raise ByocError(
            "Which pictures?", "Name files, or take some of the test set: byoc predict --held-out 10."
        )
    name = chosen_endpoint(context, endpoint)
    chosen = service.gather(context.clients, pictures or [test_uri(context)])
    if held_out:
        chosen = service.sample(chosen, held_out)
    ask(context, name, chosen, top=top, parallel=parallel)


def ask(
    context: Context, endpoint: str, pictures: Sequence[Picture], *, top: int = 1, parallel: int = 8
) -> None:
    """Send pictures to an endpoint, show its answers; an error if it refused any."""
    from scripts import predict as service

    with context.out.progress("asking") as progress:
        answers = service.classify(
            context.clients, endpoint, pictures, top=max(top, 5), parallel=parallel, progress=bar(progress)
        )
    classes = service.classes(context.clients, endpoint, pictures, answers)
    answers = service.with_plausible_truth(answers, classes)
    show_answers(context, answers, top)
    context.out.result({"endpoint": endpoint, "answers": [answer.as_dict() for answer in answers]})
    if refused := [answer for answer in answers if answer.error]:
        if not context.out.json:
            raise ByocError(
                f"Refused: {len(refused)} of {plural(len(answers), 'picture')}.",
                "The table above says why.",
                kind="PicturesRefused",
            )
        raise typer.Exit(2)


def evaluate(
    context: Context,
    source: Annotated[
        str | None,
        typer.Argument(help="Folder or S3 address with class folders. Default: the test set in S3."),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Default: the last one.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Requests at a time.")] = 8,
) -> None:
    """Measure the endpoint's accuracy on labelled pictures; for the test set, compare it with training's.

    Examples:

        byoc evaluate
        byoc evaluate data/more-digits
    """
    from scripts import dataset, trained
    from scripts import predict as service

    out, name = context.out, chosen_endpoint(context, endpoint)
    pictures = service.gather(context.clients, [source or test_uri(context)])
    for path in dataset.hidden_folders(Path(source)) if source else ():  # none in S3
        out.warn(f"Left out: the hidden folder {path}")
    with out.progress("asking") as progress:
        answers = service.classify(context.clients, name, pictures, parallel=parallel, progress=bar(progress))
    classes = service.classes(context.clients, name, pictures, answers)
    answers = service.with_classes(answers, classes)
    score = service.score(answers, classes)
    show_score(context, score, answers)
    computed = None if source else trained.of_endpoint(context.clients, name, test_uri(context))
    document = {"endpoint": name, **score_document(score), **trained_document(computed)}
    state.update(context.settings, evaluation=document)
    out.result(document)
    compare(context, score, computed, "the endpoint")


def show_score(context: Context, score: Score, answers: Sequence[Answer]) -> None:
    """Show the right answers of each class, and the first mistakes."""
    out = context.out
    table = out.table("class", "right", "of", "accuracy", right=("right", "of", "accuracy"))
    for label, (right, total) in score.per_class.items():
        out.row(table, label, str(right), str(total), percent(right / total, 2))
    table.add_section()
    out.row(table, "all", str(score.right), str(score.pictures), percent(score.accuracy, 2), style="bold")
    out.show(table)
    if score.pictures:
        low, high = interval(score.accuracy, score.pictures)
        out.raw(f"95 % interval of the accuracy: {100 * low:.1f} to {100 * high:.1f} %.")
    if score.refused:
        out.warn(
            f"Refused: {plural(score.refused, 'picture')}, e.g. {next(a for a in answers if a.error).source}"
        )
    wrong = [answer for answer in answers if not answer.right and not answer.error]
    if wrong:
        out.say("Mistakes:" if len(wrong) <= 10 else "The first 10 of {n} mistakes:", n=len(wrong))
        show_answers(context, wrong[:10], 1)


def score_document(score: Score) -> dict[str, Any]:
    return {
        "accuracy": score.accuracy,
        "pictures": score.pictures,
        "right": score.right,
        "refused": score.refused,
        "per_class": {label: {"right": r, "all": n} for label, (r, n) in score.per_class.items()},
    }


def trained_document(trained: Trained | str | None) -> dict[str, Any]:
    computed = trained if trained and not isinstance(trained, str) else None
    return {
        "test_accuracy_of_training": computed.accuracy if computed else None,
        "test_set_changed": not computed.same_pictures if computed else None,
    }


_CLOSE_CALLS = 0.02  # of the answers may be others in a lower precision, by which training accepts one


def compare(context: Context, score: Score, trained: Trained | str | None, who: str) -> None:
    """Compare with training's accuracy on the same pictures, if it is known; an error if they differ.

    `trained` is None for pictures that are not the test set, and a reason where training's is unknown.
    """
    out = context.out
    if trained is None:
        return
    if isinstance(trained, str):
        out.raw(f"{trained}: there is nothing to compare this with.")
        return
    if not trained.same_pictures:
        out.warn(
            f"Training computed {percent(trained.accuracy, 2)}, perhaps on other pictures: "
            "the test set in S3 was changed since then. Train again to compare."
        )
        return
    if abs(trained.accuracy - score.accuracy) * score.pictures < 0.5:
        out.say(
            "Training computed the same: test accuracy [bold green]{v}[/].", v=percent(trained.accuracy, 2)
        )
        return
    others = round(abs(trained.accuracy - score.accuracy) * score.pictures)
    if score.precision not in ("", "fp32") and others <= max(1, _CLOSE_CALLS * score.pictures):
        out.say(
            "Training computed {v} in fp32; {who}, in {precision}, decides {n} of {all} otherwise.",
            v=percent(trained.accuracy, 2), precision=score.precision, who=who, n=others, all=score.pictures,
        )  # fmt: skip
        return
    if out.json:
        raise typer.Exit(FAILED)
    raise ByocError(
        f"On the same pictures training computed {percent(trained.accuracy, 2)}, "
        f"{who} {percent(score.accuracy, 2)}.",
        "Is it the model of that training, and the serving image of the same version?",
        code=FAILED,
        kind="Mismatch",
    )


def delete(
    context: Context,
    endpoint: Annotated[
        str | None,
        typer.Argument(help="Default: deploy.endpoint, else the project's only one, if it is this folder's."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Delete everything of the project in AWS, after a question.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask.")] = False,
    records: Annotated[
        bool, typer.Option("--records", help="With --all: delete the records of ended jobs, too.")
    ] = False,
) -> None:
    """Delete the endpoint, its configuration and its model. Jobs, data and results stay.

    A missing endpoint is not an error. Without a name it deletes the one that the
    settings name (deploy.endpoint), else the project's only one, if this folder
    deployed it last; any other has to be named. If byoc did not create the
    endpoint, its configuration and models stay: other endpoints may use them.

    --all deletes everything of the project in this account and region: running
    jobs, endpoints, configurations, models, warm pools, logs, its folder in S3
    with all versions, and the images if no other project may need them. It shows
    the list and asks; then it asks AWS again and shows what is left. What was
    interrupted or failed goes on with the next run.

    Examples:

        byoc delete
        byoc delete digits-test
        byoc delete --all
    """
    from scripts import endpoints

    if all_:
        if endpoint:
            raise ByocError(f"--all deletes more than {endpoint}.", "Give the name or --all.")
        delete_all(context, yes=yes, records=records)
        return
    if yes or records:
        raise ByocError(
            "--yes and --records go with --all.",
            "Leave them out to delete an endpoint; add --all to delete everything of the project.",
        )
    endpoint = endpoint or context.settings.deploy.endpoint or None
    name, left = (endpoint, None) if endpoint else _only_endpoint(context)
    deleted = endpoints.delete(context.clients, name, lambda text: context.out.raw(f"  {text}"))
    if not deleted:
        context.out.say("Nothing to delete: there is no endpoint {name}.", name=name)
    if state.read(context.settings).get("endpoint") == name:
        state.update(context.settings, endpoint=None)
    if endpoint:
        left = _left(context)
    for other, status in (left or {}).items():
        context.out.warn(
            f"{other} of this project is {status}, and costs money until you delete it: byoc delete {other}"
        )
    context.out.result({"endpoint": name, "deleted": deleted, "left": left})


def _left(context: Context) -> dict[str, str] | None:
    """Name → status of the project's endpoints; None, and a warning, if AWS does not list them."""
    from botocore.exceptions import ClientError

    from scripts import tags

    try:
        return tags.endpoints_of_project(context.clients, context.settings.project.name, context.out.warn)
    except ClientError as error:
        context.out.warn(f"Whether this project has other endpoints is unknown: {translate(error)}")
        return None


def _only_endpoint(context: Context) -> tuple[str, dict[str, str] | None]:
    """The project's only endpoint, if it is this folder's, and the others: {}, or None if they are unknown.

    If there is none, it is this folder's name for it: a model or a configuration may be left.
    """
    from botocore.exceptions import ClientError

    from scripts import tags

    project = context.settings.project.name
    own = str(state.read(context.settings).get("endpoint") or context.settings.endpoint_name)
    try:
        ours = tags.endpoints_of_project(context.clients, project, context.out.warn)
    except ClientError as error:
        if not tags.is_forbidden(error):
            raise
        context.out.warn(
            f"AWS does not allow {error.operation_name}: {own} is assumed to be the only endpoint."
        )
        return own, None
    if len(ours) > 1:
        listed = ", ".join(f"{name} ({status})" for name, status in sorted(ours.items()))
        raise ByocError(
            f"Which endpoint? {project} has {len(ours)}: {listed}.",
            f"Name it: byoc delete {min(ours)}. Each costs money until it is deleted.",
            kind="SeveralEndpoints",
        )
    for name, status in ours.items():
        if name not in (own, context.settings.endpoint_name):
            raise ByocError(
                f"The only endpoint of {project} is {name} ({status}): this folder did not deploy it last, "
                "and does not name it in its settings.",
                f"To delete it, name it: byoc delete {name}. It costs money until it is deleted.",
                kind="EndpointOfAnotherFolder",
            )
        return name, {}
    return own, {}


def chosen_endpoint(context: Context, named: str | None) -> str:
    """The named endpoint, else deploy.endpoint, else the one that the last command created."""
    made, setting = state.read(context.settings).get("endpoint"), context.settings.deploy.endpoint
    if not named and setting and made and made != setting:
        context.out.warn(
            f"deploy.endpoint names {setting}, and the last `byoc deploy` created {made}: {setting} is used. "
            f"For the other one: --endpoint {made}"
        )
    elif not named and made and made != context.settings.endpoint_name:
        context.out.say("Endpoint [bold]{name}[/], the last one that this folder deployed.", name=made)
    return named or setting or str(made or context.settings.endpoint_name)


def take_model(context: Context, job: dict[str, Any]) -> str:
    """S3 address of a training job's model; a warning where the job was stopped early."""
    from report.read import jobs

    artifact = jobs.artifact(context.clients, job)
    if job["TrainingJobStatus"] == "Stopped":
        epoch = jobs.kept_epoch(job)
        context.out.warn(f"{job['TrainingJobName']} was stopped; its model has the weights of epoch {epoch}.")
    return artifact


def test_uri(context: Context) -> str:
    """The S3 address where `byoc upload` puts the test set."""
    from scripts import account

    return f"s3://{account.bucket(context.settings, context.clients)}/{context.settings.prefix}/data/test/"


def show_answers(context: Context, answers: Sequence[Answer], top: int) -> None:
    from rich.text import Text

    out = context.out
    reason = ("reason",) if any(answer.error for answer in answers) else ()
    table = out.table("picture", "class", "probability", "truth", *reason, right=("probability",))
    for answer in answers:
        if answer.error:
            out.row(table, answer.source, Text("refused", "red"), "", "", answer.error)
            continue
        truth = Text(printable(answer.truth) or "–")
        if answer.truth:
            truth.append(*((" ✓", "green") if answer.right else (" ✗", "red")))
        for number, (label, probability) in enumerate(answer.top[:top]):
            first = number == 0
            out.row(
                table,
                answer.source if first else "",
                label,
                percent(probability, 2),
                truth if first else "",
            )
    out.show(table)
