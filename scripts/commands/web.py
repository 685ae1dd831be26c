"""web."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Annotated

import typer

from contract.errors import ByocError
from scripts.context import Context, command

PANEL = "Look after"


def register(app: typer.Typer) -> None:
    command(app, "web", rich_help_panel=PANEL)(web)


def web(
    context: Context,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on 127.0.0.1. Default: 8765, or the next free one."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Show jobs, curves, data and endpoints in the browser, live; start and stop them there.

    The page is for this machine's browser alone: it is served on 127.0.0.1, and
    its address has a token. It works on AWS as on the local SageMaker. Ctrl-C
    ends it; jobs and endpoints go on.

    Examples:

        byoc web
        byoc web --port 9000 --no-open
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ByocError(
            f"The page needs {' and '.join(missing)}, not installed here.",
            "Install them: pip install 'byoc-sagemaker[local]', or `make setup` in a checkout.",
            kind="NotInstalled",
        )
    from scripts.web.server import bind, serve
    from scripts.web.session import Session

    context.required = False
    _ = context.settings  # a wrong byoc.toml is reported here
    out = context.out
    session = Session(context.config, tuple(context.overrides), dict(context.flags))

    def ready(address: str) -> None:
        out.say("The page: [bold]{address}[/]", address=address)
        out.say("[dim]It is for this machine's browser. Ctrl-C ends it; jobs and endpoints go on.[/]")
        out.result({"address": address})
        if open_ and out.live:
            import webbrowser

            webbrowser.open(address)

    with bind(port) as listener, contextlib.suppress(KeyboardInterrupt):  # which is how it ends
        serve(session, listener, ready)
