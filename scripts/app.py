"""`byoc`: bring your own containers to SageMaker. All commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from scripts.commands import data, platform, serving, training, transform, tuning, watching

app = typer.Typer(
    name="byoc",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train, tune, debug, deploy and query an image classifier in your own containers,
on Amazon SageMaker or on a SageMaker that runs on this machine.

From pictures to answers:

    byoc init --example digits    write byoc.toml, the settings
    byoc local up                 start SageMaker on this machine
    byoc digits                   a small data set to try
    byoc upload                   check, split, send to S3
    byoc tune                     find good hyperparameters
    byoc train --best             train with them
    byoc report                   what debugger and profiler saw
    byoc deploy                   make an endpoint
    byoc predict PICTURE …        ask it
    byoc evaluate                 its accuracy on the test set
    byoc delete                   delete the endpoint""",
    epilog="Exit codes: 0 done, 1 something failed, 2 wrong input, 3 AWS refused, 4 nothing answers, "
    "5 not found, 130 interrupted.",
)
data.register(app)
tuning.register(app)
training.register(app)
watching.register(app)
serving.register(app)
transform.register(app)
platform.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"byoc {version('byoc')}")
        raise typer.Exit


@app.callback()
def _byoc(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="And exit.")
    ] = False,
) -> None:
    pass
