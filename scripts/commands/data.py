"""init, digits, upload."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.errors import INTERRUPTED, ByocError
from report.words import plural
from report.words import size as size_of
from scripts.context import Context, command
from scripts.output import bar
from scripts.settings import FILE, Settings

if TYPE_CHECKING:
    from scripts.dataset import Dataset

PANEL = "Begin"


def register(app: typer.Typer) -> None:
    command(app, "init", rich_help_panel=PANEL)(init)
    command(app, "digits", rich_help_panel=PANEL)(digits)
    command(app, "upload", rich_help_panel=PANEL)(upload)


def init(
    context: Context,
    name: Annotated[
        str, typer.Option(help="The project's name, which job names begin with. Default: the folder's.")
    ] = "",
    example: Annotated[
        Literal["digits", "none"], typer.Option(help="Fill in what suits the example data set.")
    ] = "none",
    aws: Annotated[bool, typer.Option("--aws", help="For AWS instead of this machine.")] = False,
    force: Annotated[bool, typer.Option("--force", help=f"Overwrite {FILE}.")] = False,
) -> None:
    """Write byoc.toml, in which every setting is explained.

    Examples:

        byoc init --name flowers          for your own pictures
        byoc init --example digits        for what `byoc digits` writes
    """
    from scripts import dataset, localservice, template

    file = context.config or Path(FILE)
    if file.exists() and not force:
        raise ByocError(f"{file} exists already.", "Overwrite it with --force.")
    chosen: dict[str, dict[str, Any]] = {
        section: dict(values) for section, values in (template.DIGITS if example == "digits" else {}).items()
    }
    if not aws:
        url = context.flags["endpoint_url"] or f"http://127.0.0.1:{localservice.DEFAULT_PORT}"
        chosen["aws"] = {"endpoint_url": url}
    elif context.flags["endpoint_url"]:
        raise ByocError(
            "--aws and --endpoint-url exclude each other: the URL is that of a local SageMaker.",
            "Leave one of them out.",
        )
    for key in ("region", "profile"):
        if context.flags[key]:
            chosen.setdefault("aws", {})[key] = context.flags[key]
    if name:
        chosen.setdefault("project", {})["name"] = name
    elif "project" not in chosen:
        chosen["project"] = {"name": template.project_name(file.resolve().parent.name)}
    likely = dataset.candidates(file.resolve().parent) if example == "none" else []
    if len(likely) == 1:
        chosen["data"] = {"folder": os.path.relpath(likely[0], file.resolve().parent)}
    template.write(file, template.render(chosen))
    context.out.say("Wrote [bold]{file}[/].", file=file)
    if likely and "data" in chosen:
        context.out.say("Pictures: [bold]{folder}[/] (data.folder).", folder=chosen["data"]["folder"])
    elif example == "none":
        several = (
            f"{plural(len(likely), 'folder')} with class folders" if likely else "No folder of class folders"
        )
        context.out.say("{several} found here: set data.folder, or `byoc upload FOLDER`.", several=several)
    if not aws:
        context.out.say("Next: [bold]byoc local up[/] starts SageMaker on this machine.")
    else:
        context.out.say("Next: [bold]byoc setup[/] prepares the AWS account, [bold]byoc doctor[/] checks it.")
    context.out.result({"file": str(file)})


def _folder_of_settings(settings: Settings) -> Path:
    """The folder that byoc.toml names; if it is missing, an error that proposes others."""
    from scripts import dataset

    named = settings.folder / settings.data.folder
    if named.is_dir():
        return named
    likely = dataset.candidates(settings.folder)
    names = " or ".join(f"`byoc upload {shlex.quote(str(path))}`" for path in likely[:3])
    raise ByocError(
        f"There is no folder {named}, which data.folder in {FILE} names.",
        f"{names or '`byoc upload FOLDER`'} sends another one; set data.folder to use it always. It has one "
        "sub-folder per class; `byoc digits digits` writes a small one to try.",
        kind="NoData",
    )


def digits(
    context: Context,
    folder: Annotated[Path, typer.Argument(help="Where the class folders go.")] = Path("digits"),
    size: Annotated[int, typer.Option(min=8, max=512, help="Width and height in pixels.")] = 32,
) -> None:
    """Write 1,797 handwritten digits as PNG files in class folders: a small, real data set to try.

    Example:

        byoc digits digits
    """
    from scripts import digits as data

    number = data.write(folder, size)
    context.out.say(
        "{number} pictures in 10 class folders in [bold]{folder}[/].", number=number, folder=folder
    )
    context.out.result({"folder": str(folder), "pictures": number})


def upload(
    context: Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Class folders, or train/ validation/ test/. Default: data.folder.")
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share for validation.")] = None,
    test: Annotated[float | None, typer.Option(help="Share for the final test.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split.")] = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable",
            help="Leave out broken pictures and files of other kinds instead of refusing.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing: check, count and advise.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write the advice into byoc.toml.")] = False,
) -> None:
    """Check a folder of pictures, split it, and send the files that S3 lacks.

    The split is stratified and seeded. A folder with train/, validation/ and test/ is taken as it is.
    At the end it lists settings that would suit these pictures better.

    Examples:

        byoc upload digits
        byoc upload photos --validation 0.2 --test 0.1 --seed 7
    """
    from scripts import account, dataset
    from scripts import upload as s3
    from scripts.policies.names import Names
    from scripts.setup.bucket import ensure
    from scripts.weights import check_weights

    out = context.out
    for key, value in (("validation", validation), ("test", test), ("seed", seed)):
        context.override(f"data.{key}", value)
    settings = context.settings
    weights = account.weights_file(settings)
    if weights:
        check_weights(weights, str(account.hyperparameter(settings, "arch")))
    root = folder or _folder_of_settings(settings)
    with out.progress("checking") as progress:
        data, broken = dataset.prepare(
            root,
            validation=settings.data.validation,
            test=settings.data.test,
            seed=settings.data.seed,
            skip_unreadable=skip_unreadable,
            progress=bar(progress),
        )
    if broken:
        out.warn(
            f"Left out: {plural(len(broken), 'unreadable picture')}, e.g. {broken[0][0]}: {broken[0][1]}"
        )
    if data.ignored:
        out.warn(f"Left out: {plural(len(data.ignored), 'file')} of another kind, e.g. {data.ignored[0]}")
    for path in (hidden := dataset.hidden_folders(root)):
        out.warn(f"Left out: the hidden folder {path}")
    out.show(_overview(context, data))
    document = {
        "folder": str(root),
        "classes": data.classes,
        "pictures": {channel: data.count(channel) for channel in data.channels},
        "unreadable": [{"file": str(path), "reason": reason} for path, reason in broken],
        "ignored": [str(path) for path in data.ignored],
        "hidden": [str(path) for path in hidden],
        **_advise(context, data, apply=apply),
    }
    if dry_run:
        out.result(document)
        return
    clients = context.clients
    bucket = account.bucket(settings, clients)
    if ensure(clients.s3, Names.of(settings, clients), out.warn):
        out.say("Created the bucket {bucket}.", bucket=bucket)
    if missing := account.missing_weights(settings, clients):
        out.warn(f"data.weights: there is nothing at {missing}. Put a state dict there before you train.")
    files, prefix = dict(data.files()), f"{settings.prefix}/data"
    if weights:
        files[f"weights/{weights.name}"] = weights
    try:
        with out.progress("uploading") as progress:
            done = s3.sync(clients.s3, bucket, prefix, files, bar(progress), settings.aws.kms_key)
    except KeyboardInterrupt:
        raise ByocError(
            "The upload was not finished: pictures of two splits may be mixed in S3.",
            "Run `byoc upload` again: it sends the rest. Until then `byoc` trains nothing.",
            code=INTERRUPTED,
            kind="UploadUnfinished",
        ) from None
    except Exception:
        out.warn("The upload was not finished: run `byoc upload` again before you train.")
        raise
    removed = f", {done.removed} of an older split removed" if done.removed else ""
    out.say(
        "{sent} sent ({size}), {unchanged} {were} there already{removed}.",
        sent=plural(done.sent, "file"),
        size=size_of(done.bytes),
        were="was" if done.unchanged == 1 else "were",
        unchanged=done.unchanged,
        removed=removed,
    )
    uri = f"s3://{bucket}/{prefix}/"
    out.say("[bold]{uri}[/] in {region}", uri=uri, region=clients.region)
    out.result({**document, "uri": uri, **vars(done)})


def _advise(context: Context, data: Dataset, *, apply: bool) -> dict[str, Any]:
    """Show duplicates, and settings that would suit the pictures; with `apply`, write these."""
    from scripts import advice

    out, facts = context.out, advice.look(data)
    if facts.twice:
        are = "is" if len(facts.twice) == 1 else "are"
        first = " and ".join(str(copy.path) for copy in facts.twice[0][:2])
        out.warn(f"{plural(len(facts.twice), 'picture')} {are} there more than once, e.g. {first}.")
        if facts.across:
            out.warn(
                f"{facts.across} of {len(facts.twice)} in more than one split: the model would be tested on "
                "pictures that it learned from. Keep one of each."
            )
        if facts.contradicting:
            one, other, *_ = {copy.label: copy.path for copy in facts.contradicting[0]}.values()
            out.warn(
                f"{len(facts.contradicting)} of {len(facts.twice)} in more than one class, e.g. {one} and "
                f"{other}: no model can be right about both. Keep the right one."
            )
    chosen = advice.advise(facts, context.settings)
    if chosen:
        out.say("These settings would suit the pictures better:")
        table = out.table("setting", "value", "why")
        for item in chosen:
            out.row(table, item.setting, str(item.value), item.reason)
        out.show(table)
        if apply:
            file = context.folder / FILE if context.config is None else context.config
            advice.apply(file, chosen)
            out.say("They are in {file} now.", file=file)
        else:
            out.say("`--apply` writes them into byoc.toml.")
    elif apply:
        out.say("The settings suit the pictures: nothing to apply.")
    return {
        "repeated": [[str(copy.path) for copy in group] for group in facts.twice],
        "advice": [vars(item) for item in chosen],
    }


def _overview(context: Context, data: Dataset) -> Any:
    table = context.out.table("class", *data.channels, right=tuple(data.channels))
    shown = data.classes[:20]
    for label in shown:
        context.out.row(
            table, label, *(str(len(classes.get(label, ()))) for classes in data.channels.values())
        )
    if len(data.classes) > len(shown):
        context.out.row(table, f"… {len(data.classes) - len(shown)} more")
    table.add_section()
    context.out.row(table, "all", *(str(data.count(channel)) for channel in data.channels), style="bold")
    return table
