"""What every command gets: settings, clients and output, from the options that all commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from contract.errors import INTERRUPTED, ByocError
from scripts.errors import NOT_AWS, translate
from scripts.interrupt import interruptible
from scripts.output import Output
from scripts.settings import FILE, Settings, load

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.running import Running

_SHARED = "For every command"


@dataclass
class Context:
    """Read lazily, so that a command which needs no settings or no AWS never asks for them."""

    out: Output
    config: Path | None = None
    overrides: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    required: bool = True  # whether byoc.toml must be there
    left: Running | None = None  # what runs on though the command has failed

    def override(self, key: str, value: object) -> None:
        """A command's own flag for a setting; None means that it was not given. Call before `settings`."""
        if value is None:
            return
        text = str(value).lower() if isinstance(value, bool) else str(value)
        self.overrides.append(f"{key}={text}")

    @cached_property
    def settings(self) -> Settings:
        flags = [f"aws.{key}={value}" for key, value in self.flags.items() if value]
        settings = load(self.config, [*self.overrides, *flags], required=self.required)
        for sentence in settings.moved:
            self.out.warn(sentence)
        return settings

    @cached_property
    def clients(self) -> Clients:
        """ByocError where another folder's service answers at an address on this machine, or nothing."""
        from scripts.aws import connect, is_loopback
        from scripts.localstatus import check

        url = self.settings.aws.endpoint_url
        # An address in byoc.toml or in the environment may be a left-over; one that is typed is meant.
        own = is_loopback(url) and check(self.local_home, url, anyone=bool(self.flags.get("endpoint_url")))
        return connect(self.settings, own=own)

    @contextmanager
    def watching(self, running: Running) -> Iterator[None]:
        """Within the block a command waits for something that runs on if the waiting fails.

        A ByocError is what became of it, and an Exit has its own words.
        """
        try:
            yield
        except (ByocError, typer.Exit):
            raise
        except BaseException:
            self.left = running
            raise

    @property
    def folder(self) -> Path:
        """Where byoc.toml lies or would lie."""
        return self.config.parent if self.config else Path()

    @property
    def local_home(self) -> Path:
        """Home of this folder's local SageMaker."""
        from scripts.localstatus import home_of

        return home_of(self.folder)

    def translate(self, error: Exception) -> ByocError | None:
        """As in `scripts.errors`; and why the local SageMaker does not answer, if that is it."""
        readable = translate(error)
        if readable and readable.kind == NOT_AWS and (url := self.settings.aws.endpoint_url):
            return ByocError(
                f"{url} is answered by a web server, not by AWS.",
                readable.remedy,
                code=readable.code,
                kind=readable.kind,
            )
        if readable is None or readable.kind != "Unreachable" or "clients" not in self.__dict__:
            return readable
        from scripts.aws import is_loopback
        from scripts.localstatus import unreachable

        url = self.settings.aws.endpoint_url
        return unreachable(self.local_home, url) if is_loopback(url) else readable

    def explain(self, error: Exception) -> ByocError | None:
        """As `translate`, with what runs on though the command has failed."""
        readable = self.translate(error)
        if readable and self.left and not readable.details.get("ended"):  # with the service that ran it
            readable.remedy = f"{readable.remedy} {self.left.sentence()}".strip()
            readable.details["running"] = asdict(self.left)
        return readable

    def interrupted(self) -> ByocError:
        """What is to be said after Ctrl-C, with what runs on."""
        details = {"running": asdict(self.left)} if self.left else {}
        remedy = self.left.sentence() if self.left else ""
        return ByocError("Interrupted.", remedy, code=INTERRUPTED, kind="Interrupted", details=details)


def command(app: typer.Typer, name: str | None = None, **details: Any) -> Callable[..., Any]:
    """Register a function (context, …) as a command and add the options that all commands share."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, **details)(_with_shared_options(function))
        return function

    return register


def _with_shared_options(function: Callable[..., None]) -> Callable[..., None]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def run(**values: Any) -> None:
        out = Output(json=values.pop("json_"))
        context = Context(
            out,
            config=values.pop("config"),
            overrides=list(values.pop("set_") or []),
            flags={key: values.pop(key) for key in ("endpoint_url", "region", "profile")},
        )
        try:
            with interruptible():
                function(context, **values)
        except KeyboardInterrupt:
            _interrupted(context)
        except Exception as error:
            _fail(context, error)

    shared = inspect.signature(_shared_options, eval_str=True).parameters.values()
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in [*own, *shared]]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    del run.__dict__["__wrapped__"]  # or the signature of the wrapped function would be taken
    return run


def _interrupted(context: Context) -> NoReturn:
    out, left = context.out, context.left
    if out.json:
        out.error(context.interrupted())
    else:
        out.raw("Interrupted.", style="yellow")
        if left:
            out.warn(left.sentence())
    raise typer.Exit(INTERRUPTED) from None


def _fail(context: Context, error: Exception) -> NoReturn:
    readable = context.explain(error)
    if readable is None:
        if context.left:
            context.out.warn(context.left.sentence())
        raise error
    context.out.error(readable)
    raise typer.Exit(readable.code) from None


def _shared_options(
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="Override a setting (train.spot=true) or a hyperparameter (lr=0.001). Repeatable.",
            rich_help_panel=_SHARED,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help=f"Settings file instead of ./{FILE}.", rich_help_panel=_SHARED),
    ] = None,
    endpoint_url: Annotated[
        str, typer.Option(help="Where AWS, or the local SageMaker, answers.", rich_help_panel=_SHARED)
    ] = "",
    region: Annotated[str, typer.Option(help="AWS region.", rich_help_panel=_SHARED)] = "",
    profile: Annotated[str, typer.Option(help="AWS profile.", rich_help_panel=_SHARED)] = "",
    json_: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=_SHARED)
    ] = False,
) -> None:
    """Carries the declarations only."""


def last(context: Context, named: str | None, key: str, what: str, command_name: str) -> str:
    """The name that was given, else the one that the last command of its kind left behind."""
    from scripts import state

    if named and named != "last":
        return named
    remembered = state.read(context.settings).get(key)
    if not remembered:
        raise ByocError(
            f"Which {what}? None was named, and no command has made one here yet.",
            f"Name it, or make one with `byoc {command_name}`.",
        )
    return str(remembered)
