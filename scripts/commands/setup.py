"""setup."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.errors import ByocError
from scripts.context import Context, command

if TYPE_CHECKING:
    from scripts.output import Output
    from scripts.setup.plan import Step

PANEL = "Begin"
Printed = Literal["cloudformation", "user-policy", "role-policy", "setup-policy"]


def register(app: typer.Typer) -> None:
    command(app, "setup", rich_help_panel=PANEL)(setup)


def setup(
    context: Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take back what was made here, and list what stays.")
    ] = False,
    print_: Annotated[
        Printed | None,
        typer.Option(
            "--print",
            help="Change nothing: print a CloudFormation template (without asking AWS), or a policy for "
            "who uses byoc, for the role of the jobs, or for who runs this command.",
        ),
    ] = None,
) -> None:
    """Prepare an AWS account: a bucket, a repository for each image, a role for the jobs.

    It shows what is missing or different and asks. Run again, it changes only
    what differs by then. What others have made is used and left as it is.

    Examples:

        byoc setup
        byoc setup --print cloudformation > byoc.json
        byoc setup --remove
    """
    if print_:
        if remove or yes:
            raise ByocError(
                f"--print {print_} changes nothing: it goes with neither --remove nor --yes.",
                "Leave these out.",
            )
        _print(context, print_)
        return
    from scripts.policies.names import Names
    from scripts.setup import account, removal

    out = context.out
    names = Names.of(context.settings, context.clients)
    out.say(
        "Account [bold]{account}[/], {region}, project {project}",
        account=names.account, region=names.region, project=context.settings.project.name,
    )  # fmt: skip
    look = removal.planned if remove else account.planned
    steps = list(look(names, context.clients))
    _show(out, steps, remove=remove)
    todo = [step for step in steps if step.calls]
    wanted = bool(todo) and (yes or _agreed(context, remove=remove))
    if wanted:
        _carry_out(context, todo)
        if remove:  # what AWS says is left, not what should be
            steps = list(look(names, context.clients))
            _show_left(out, steps)
        else:
            out.say("Next: [bold]byoc doctor[/]")
    elif not todo:
        out.say("Nothing to remove." if remove else "Nothing to do: all is as byoc.toml wants it.")
    out.result({"account": names.account, "region": names.region, "applied": wanted, "steps": _plain(steps)})


def _print(context: Context, what: Printed) -> None:
    from scripts.policies.grants import document
    from scripts.policies.jobs import jobs
    from scripts.policies.names import Names
    from scripts.policies.user import administrator, user
    from scripts.setup.template import template

    context.out.to_stderr = True
    if what == "cloudformation":
        text: dict[str, Any] = template(context.settings)
    else:
        grants = {"user-policy": user, "role-policy": jobs, "setup-policy": administrator}[what]
        text = document(grants(Names.of(context.settings, context.clients)))
    sys.stdout.write(json.dumps(text, indent=2) + "\n")


def _agreed(context: Context, *, remove: bool) -> bool:
    if context.out.json:  # a program reads the plan
        return False
    if not has_terminal():
        raise ByocError("Nothing was changed: there is no terminal to ask on.", "`--yes` goes ahead without.")
    return context.out.agreed("Remove this?" if remove else "Do this?")


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _carry_out(context: Context, steps: Sequence[Step]) -> None:
    from scripts.setup.plan import send

    for step in steps:
        send(context.clients, step, context.out.warn)
        context.out.say("[green]✓[/] {what}", what=step.what)


def _show(out: Output, steps: Iterable[Step], *, remove: bool) -> None:
    heads = {
        "missing": "[green]+[/] {what}: is missing",
        "differs": "[yellow]-[/] {what}" if remove else "[yellow]~[/] {what}: differs",
        "ready": "[green]✓[/] {what}: ready",
        "foreign": "[dim]–[/] {what}: stays" if remove else "[dim]–[/] {what}: left as it is",
    }
    for step in steps:
        out.say(heads[step.state], what=step.what)
        for call in step.calls:
            out.say("    {says}", says=call.says)
        for note in step.notes:
            out.say("    [dim]{note}[/]", note=note)


def _show_left(out: Output, steps: Sequence[Step]) -> None:
    if not steps:
        out.say("Nothing that setup made is left in this account and region.")
        return
    out.say("Left:")
    _show(out, steps, remove=True)


def _plain(steps: Iterable[Step]) -> list[dict[str, Any]]:
    return [
        {
            "what": step.what,
            "state": step.state,
            "changes": [call.says for call in step.calls],
            "notes": list(step.notes),
        }
        for step in steps
    ]
