"""doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from contract.errors import FAILED, ByocError
from scripts.context import Context, command

PANEL = "Look after"
_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]", "skipped": "[dim]–[/]"}


def register(app: typer.Typer) -> None:
    command(app, "doctor", rich_help_panel=PANEL)(doctor)


def doctor(
    context: Context,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check only what needs no network: this machine and byoc.toml.")
    ] = False,
    create_role: Annotated[bool, typer.Option("--create-role", hidden=True)] = False,
) -> None:
    """Check this machine, byoc.toml and the AWS account; name a remedy for each problem. Changes nothing.

    Examples:

        byoc doctor
        byoc doctor --offline
        byoc doctor --json
    """
    if create_role:
        raise ByocError(
            "`byoc doctor` changes nothing any more: --create-role is gone.",
            "`byoc setup` makes the role, with the bucket and the repositories.",
            kind="GoneOption",
        )
    from scripts.doctor.examine import examine

    out, findings = context.out, []
    for finding in examine(context, offline=offline):
        findings.append(finding)
        out.say(
            _MARKS[finding.severity] + " {check}: {message}", check=finding.check, message=finding.message
        )
        if finding.remedy:
            out.say("    [green]→[/] {remedy}", remedy=finding.remedy)
    counted = {severity: sum(each.severity == severity for each in findings) for severity in _MARKS}
    out.result({"checks": [vars(finding) for finding in findings], **counted})
    if counted["error"]:
        raise typer.Exit(FAILED)
