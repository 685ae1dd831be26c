"""`byoc`: bring your own containers to SageMaker. Puts all commands together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from contract.errors import BAD_INPUT, ByocError
from scripts.commands import (
    convert,
    data,
    doctor,
    platform,
    serving,
    setup,
    training,
    transform,
    tuning,
    watch,
    watching,
    web,
)
from scripts.output import Output


class _Commands(TyperGroup):
    """With --json, a wrong command line is reported on stdout like every other error."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if not ctx.meta["json"]:
                raise
            remedy = f"`{(getattr(error, 'ctx', None) or ctx).command_path} --help` shows what there is."
            Output(json=True).error(ByocError(error.format_message(), remedy, kind="UsageError"))
            raise typer.Exit(BAD_INPUT) from None


app = typer.Typer(
    name="byoc",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train, tune, debug, deploy and query an image classifier in your own containers,
on Amazon SageMaker or on a SageMaker that runs on this machine.

From pictures to answers:

    byoc init --example digits    write byoc.toml, the settings
    byoc local up                 start SageMaker on this machine
    byoc digits                   write a small data set to try
    byoc upload                   check, split, send to S3
    byoc tune                     find good hyperparameters
    byoc train --best             train with them
    byoc report                   see what debugger and profiler found
    byoc deploy                   create an endpoint
    byoc predict PICTURE …        send it a picture
    byoc evaluate                 measure its accuracy on the test set
    byoc delete                   delete the endpoint""",
    epilog="Exit codes: 0 done, 1 something failed, 2 wrong input, 3 AWS refused, 4 nothing answers, "
    "5 not found, 130 interrupted.",
)
data.register(app)
setup.register(app)
tuning.register(app)
training.register(app)
watch.register(app)
watching.register(app)
web.register(app)
serving.register(app)
convert.register(app)
transform.register(app)
doctor.register(app)
platform.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"byoc {version('byoc-sagemaker')}")
        raise typer.Exit


@app.callback()
def _byoc(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
