"""convert."""

from __future__ import annotations

from typing import Annotated

import typer

from contract.errors import ByocError
from report.read.artifacts import Unreadable
from scripts import state
from scripts.commands import costing
from scripts.commands.costing import PriceOption
from scripts.commands.serving import take_model
from scripts.commands.training import watch_training
from scripts.context import Context, command, last
from scripts.machines import has_gpu
from scripts.settings import Train


def register(app: typer.Typer) -> None:
    command(app, "convert", rich_help_panel="Serve")(convert)


def convert(
    context: Context,
    job: Annotated[str | None, typer.Argument(help="A training job. Default: the last one.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine, e.g. ml.m5.large.")] = None,
    price: PriceOption = None,
) -> None:
    """Add the graph to the model of an older trainer, so that the image for CPUs can serve it.

    A training job of a minute or two takes the model of the first one and adds
    model.onnx. The weights, and so the answers, stay what they are: 8-bit integers
    and bf16 need a new training. The training image must be as new as this program
    (`make build push`). A machine without a GPU is enough.

    Examples:

        byoc convert
        byoc convert flowers-train-0412-093007-51 --instance-type ml.m5.large
    """
    from report.read import jobs
    from scripts import account, costs, creation, requests, running, serving

    if not instance_type and has_gpu(context.settings.train.instance_type):
        instance_type = Train().instance_type
    context.override("train.instance_type", instance_type)
    settings, clients, out = context.settings, context.clients, context.out
    converted = last(context, job, "training_job", "training job", "train")
    artifact = take_model(context, jobs.describe(clients, converted))
    try:
        has_graph = serving.has_graph(clients, artifact)
    except Unreadable as error:
        raise ByocError(
            f"The model of {converted} cannot be converted: {error}.", "Name another job.", kind="NoModel"
        ) from None
    if has_graph:
        out.say("The model of {job} has its graph already.", job=converted)
        out.say("Next: [bold]byoc deploy {job}[/]", job=converted)
        out.result({"training_job": converted, "status": "Completed", "model": artifact})
        return
    place = account.place(settings, clients, disks=True)
    name = account.unique_name(settings.project.name, "convert")
    request = requests.conversion_job(settings, place, name, artifact)
    state.check(settings)
    estimate = costing.before_training(context, request, price)
    creation.create(
        place, lambda: clients.sagemaker.create_training_job(**request), lambda: jobs.find(clients, name)
    )
    started = running.job(name, settings.train.instance_type, 1).at(estimate.price)
    with context.watching(started):
        state.update(settings, training_job=name)
        out.say("Training job [bold]{name}[/] converts the model of {job}.", name=name, job=converted)
        watch_training(context, name)
    described = jobs.describe(clients, name)
    cost = costing.after(context, costs.bill_of_training(described, estimate.price))
    try:
        jobs.require_completed(clients, described)
    except ByocError:
        state.update(settings, training_job=converted)  # which the next command means
        raise
    artifact = jobs.artifact(clients, described)
    out.say("Model: {uri}", uri=artifact)
    out.say("Next: [bold]byoc deploy[/]")
    out.result({"training_job": name, "status": "Completed", "model": artifact, "cost": cost})
