"""local up, local down, local status, push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer

from contract.errors import UNREACHABLE, ByocError
from scripts.context import Context, command, last

if TYPE_CHECKING:
    from scripts.localstatus import Service

PANEL = "Look after"


def register(app: typer.Typer) -> None:
    command(app, "push", rich_help_panel=PANEL)(push)
    local = typer.Typer(
        no_args_is_help=True, help="SageMaker on this machine: start it, stop it, see whether it runs."
    )
    command(local, "up")(up)
    command(local, "down")(down)
    command(local, "status")(status)
    command(local, "interrupt")(interrupt)
    app.add_typer(local, name="local", rich_help_panel="Begin")


def up(
    context: Context,
    port: Annotated[
        int | None, typer.Option(min=1024, max=65535, help="Default: endpoint_url's, else 5757.")
    ] = None,
    runtime: Annotated[
        Literal["process", "docker"] | None,
        typer.Option(help="How jobs run. Default: as last time; the first time, process."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Process runtime: adds the programs of an image. Repeatable. Default: as last time.",
        ),
    ] = None,
    train_image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Image that judges the rules of other clients' jobs and measures this machine for them. "
            "Default: as last time; the first time, byoc-train.",
        ),
    ] = None,
    spot_interruptions: Annotated[
        float | None,
        typer.Option(
            metavar="PER_HOUR",
            min=0,
            max=3600,
            help="How often a spot job loses its machine, by chance, per hour of training. Default: as last "
            "time; the first time, never.",
        ),
    ] = None,
) -> None:
    """Start the local SageMaker in the background. Its data lies in .byoc/local beside byoc.toml.

    Without --runtime, --image, --train-image and --spot-interruptions it starts as last time.

    Examples:

        byoc local up
        byoc local up --port 6000
        byoc local up --runtime docker
        byoc local up --spot-interruptions 60
    """
    from scripts import localservice
    from scripts.settings import FILE

    configured = _configured_port(context)
    chosen = port or configured or localservice.DEFAULT_PORT
    setup = None
    if runtime or image or train_image or spot_interruptions is not None:
        setup = localservice.Setup(
            runtime or "process",
            tuple(map(_whole, image or [])),
            train_image or "",
            spot_interruptions or 0.0,
        )
    before = None if setup else localservice.last(context.local_home)
    as_before = f"as last time, with `{before}`" if before and before != localservice.Setup() else ""
    try:
        service, started = localservice.up(context.local_home, chosen, setup)
    except ByocError as error:
        if as_before and error.kind == "ServiceFailed":
            error.remedy += f" It was started {as_before}: `--runtime` changes that."
        raise
    context.out.say(
        "The local SageMaker {what} at [bold]{url}[/] (process {pid}, data in {home}).",
        what="runs" if started else "was running already",
        url=service.url,
        pid=service.pid,
        home=service.home,
    )
    if started and as_before:
        context.out.say(
            "It was started {how}. To change that: `byoc local down`, then `up` with `--runtime`.",
            how=as_before,
        )
    if not (context.config or Path(FILE)).exists():
        option = "" if chosen == localservice.DEFAULT_PORT else f" --endpoint-url {service.url}"
        context.out.raw(
            f"There is no byoc.toml here yet: `byoc init{option}` writes one. For this shell:", style="dim"
        )
    elif configured != chosen:
        context.out.warn("byoc.toml does not name this address. Set aws.endpoint_url, or for this shell:")
    else:
        context.out.raw("For the aws command line and other programs:", style="dim")
    context.out.raw(f"export AWS_ENDPOINT_URL={service.url} AWS_DEFAULT_REGION=us-east-1")
    context.out.raw("export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any")
    context.out.result({**service.as_dict(), "started": started})


def _whole(image: str) -> str:
    """NAME=DIR with an absolute path: the service has another working directory."""
    name, _, folder = image.partition("=")
    return f"{name}={Path(folder).absolute()}" if folder else image


def down(context: Context) -> None:
    """Stop the local SageMaker, with its jobs and endpoints, and wait until it is gone. Its data stays.

    Example:

        byoc local down
    """
    from scripts import localservice

    home = context.local_home
    out = context.out
    with out.progress("stopping, jobs save what they have"):
        done = localservice.down(home, _expected_port(context))
    if done.killed:
        out.say(
            "The local SageMaker did not end by itself and was killed. Its data stays in {home}.", home=home
        )
    elif done.service:
        out.say("The local SageMaker is stopped. Its data stays in {home}.", home=home)
    else:
        out.say("The local SageMaker of this folder was not running.")
    if done.removed:
        out.say("Removed what a killed service had left: {what}.", what=", ".join(done.removed))
    if done.problem:
        out.warn(f"Something may be left: {done.problem} Then run `byoc local down` again.")
    other = _other(context)
    if other and not done.service:
        _show_other(context, other)
    out.result(
        {
            "stopped": bool(done.service),
            "killed": done.killed,
            "removed": done.removed,
            "problem": done.problem,
            **_json(other),
        }
    )


def status(context: Context) -> None:
    """Show whether the local SageMaker runs; exit code 4 if it does not.

    Example:

        byoc local status --json
    """
    from scripts.localstatus import end, health
    from scripts.localstatus import status as status_of

    service = status_of(context.local_home, _expected_port(context))
    answers = bool(service and health(service.port))
    other = None if service else _other(context)
    context.out.result({"running": answers, **(service.as_dict() if service else {}), **_json(other)})
    if service and answers:
        context.out.say(
            "Running at [bold]{url}[/] (process {pid}, {runtime}).",
            url=service.url,
            pid=service.pid,
            runtime=service.runtime,
        )
        return
    if service:
        context.out.raw(f"Process {service.pid} is there but does not answer; `byoc local down` stops it.")
    else:
        context.out.raw(f"This folder's local SageMaker {end(context.local_home)}.")
    if other:
        _show_other(context, other)
    raise typer.Exit(UNREACHABLE)


def interrupt(
    context: Context,
    job: Annotated[str, typer.Argument(help="A training job or a trial; `last`: the last one.")] = "last",
    wait: Annotated[
        float | None,
        typer.Option(min=0, max=86400, help="Seconds until there is another machine. Default: 10."),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(min=0, max=86400, help="Seconds from SIGTERM to SIGKILL. Default: 120, as on AWS."),
    ] = None,
) -> None:
    """Take the machine of a spot job away; it waits for another, and goes on from its checkpoints.

    Only on this machine: AWS takes spot capacity away by itself. --grace 0 kills at once.

    Examples:

        byoc local interrupt
        byoc local interrupt digits-0412-093007-51 --wait 60
        byoc local interrupt --grace 0
    """
    from scripts import spot
    from scripts.aws import is_loopback
    from scripts.localstatus import check

    url = context.settings.aws.endpoint_url
    if not is_loopback(url):
        raise ByocError(
            "AWS interrupts spot jobs by itself, and at no one's request.",
            "Rehearse it on this machine: `byoc local up`, and --endpoint-url with its address.",
        )
    check(context.local_home, url, anyone=bool(context.flags.get("endpoint_url")))
    name = last(context, job, "training_job", "training job", "train")
    spot.interrupt(url, name, wait=wait, grace=grace)
    context.out.say("[bold]{name}[/] loses its machine; `byoc watch {name}` shows how it goes on.", name=name)
    context.out.result({"training_job": name, "interrupted": True})


def _other(context: Context) -> Service | None:
    """The service of another folder, if it answers at the port of this folder's."""
    from scripts.localstatus import health

    service = health(_expected_port(context))
    return service if service and Path(service.home).resolve() != context.local_home else None


def _json(other: Service | None) -> dict[str, object]:
    return {"other": other.as_dict()} if other else {}


def _show_other(context: Context, other: Service) -> None:
    from scripts.localstatus import how_to_stop

    context.out.say(
        "The local SageMaker of [bold]{home}[/] answers at {url} (process {pid}); to stop it: {how}.",
        url=other.url,
        home=other.home,
        pid=other.pid,
        how=how_to_stop(other),
    )


def push(
    context: Context,
    tag: Annotated[
        str | None, typer.Option(help="Tag of the local images. Default: latest, pushed as their version.")
    ] = None,
    registry: Annotated[
        str, typer.Option(metavar="HOST[:PORT][/PATH]", help="A registry other than this account's ECR.")
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Also push the serving image that the settings do not need.")
    ] = False,
) -> None:
    """Push the images to ECR, where later commands use them by digest, or to another registry.

    These are the training image and the serving image for the machines that
    deploy.instance_type and transform.instance_type name: one for CPUs, one for GPUs.

    Examples:

        make build && byoc push
        byoc push --registry 127.0.0.1:5000
    """
    from scripts import push as pushing
    from scripts import serving, state
    from scripts.aws import is_loopback
    from scripts.pushmeter import shown
    from scripts.registry import AnyRegistry, Ecr

    context.required = False
    settings = context.settings
    if not registry and is_loopback(settings.aws.endpoint_url):
        raise ByocError(
            "There is nothing to push: the local SageMaker takes images from this machine's Docker engine.",
            "For AWS, leave aws.endpoint_url empty; for another registry, name it with --registry.",
        )
    named = AnyRegistry.named(registry) if registry else None
    engine = pushing.connect()
    wanted = pushing.IMAGES if every else serving.needed(settings)
    images = {which: pushing.find(engine, pushing.IMAGES[which], tag) for which in wanted}
    out, stored = context.out, {}
    target = named or Ecr(context.clients.registry, context.clients.ecr, settings, out.warn)
    if not named:
        for which, (image, _) in images.items():
            pushing.check_platform(image, pushing.IMAGES[which])
    for which, (image, version) in images.items():
        name = target.repository(pushing.image_name(getattr(settings.images, which), pushing.IMAGES[which]))
        if target.prepare(name):
            out.say("Created the repository [bold]{name}[/].", name=name)
        size = f"{image.attrs['Size'] / 1e9:.1f} GB"
        out.say(
            "Pushing {name}:{tag} ({size}) to {host}", name=name, tag=version, size=size, host=target.host
        )
        with shown(out, f"{name}:{version}") as report:

            def retrying(reason: str, seconds: float) -> None:
                out.warn(f"{reason.strip(' .')}; trying again in {seconds:.0f} s.")

            done = pushing.push(engine, image, target, name, version, report, retrying)
            # Before `latest` moves: it must never name an image that SageMaker refuses.
            arrived = target.stored(name, done.uri.rpartition("@")[2])
            if arrived and (error := pushing.unfit(arrived, done.uri, serves=which != "train")):
                raise error
            try:
                pushing.push(engine, image, target, name, "latest", report, retrying)
            except ByocError as error:
                if error.kind != "TagExists":  # the repository was created with immutable tags
                    raise
        out.say(
            "{name}:{tag} {what}",
            name=name,
            tag=version,
            what=f"pushed: {done.sent} of {done.layers} layers were new" if done.sent else "is there already",
        )
        out.raw(f"  {done.uri}")
        stored[which] = done.uri
    if named:  # not stored: AWS cannot pull from there
        out.say("To use them, set these addresses under [images] in byoc.toml.")
    else:  # all or none: training and serving need the same version
        state.update(settings, images=stored)
    out.result({"images": stored})


def _configured_port(context: Context) -> int | None:
    """The port of the endpoint that the settings name, if it is on this machine."""
    from scripts.aws import is_loopback

    try:
        url = context.settings.aws.endpoint_url
    except ByocError as error:
        if error.kind != "NoSettings":
            raise
        url = context.flags["endpoint_url"]
    return urlsplit(url).port if url and is_loopback(url) else None


def _expected_port(context: Context) -> int:
    """The port of this folder's service; with wrong settings the default, so that `down` still works."""
    from scripts.localservice import DEFAULT_PORT

    try:
        return _configured_port(context) or DEFAULT_PORT
    except ByocError:
        return DEFAULT_PORT
