"""report, logs, stop: commands that look at what was started; and how a job is shown."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from scripts import state
from scripts.commands import listing
from scripts.context import Context, command, last
from scripts.errors import INTERRUPTED, NOT_FOUND, ByocError
from scripts.output import Output
from scripts.toolkit import Preamble

if TYPE_CHECKING:
    from scripts.live import Found

PANEL = "Look after"
_RULE_STYLE = {"NoIssuesFound": "green", "IssuesFound": "bold red", "Error": "red", "DoesNotApply": "dim"}
# The report's words; the other verdicts are SageMaker's.
_COULD_NOT_JUDGE = "Could not judge"
_WORDS = {"CouldNotJudge": _COULD_NOT_JUDGE, "DoesNotApply": "Does not apply"}
# What AWS begins each finding with; the table's other columns say it already.
_CONDITION_MET = re.compile(
    r"^RuleEvaluationConditionMet: .*? resulted in the condition being met( \(\d+ findings\))?\. "
)


def register(app: typer.Typer) -> None:
    command(app, "report", rich_help_panel="Train")(report)
    command(app, "jobs", rich_help_panel=PANEL)(listing.jobs)
    command(app, "logs", rich_help_panel=PANEL)(logs)
    command(app, "stop", rich_help_panel=PANEL)(stop)


def report(
    context: Context,
    job: Annotated[
        list[str] | None,
        typer.Argument(help="A training job, several side by side, or a tuning job; or `last`."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The HTML file.")] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="A PDF beside it too; needs Chrome or Chromium.")
    ] = False,
    price: Annotated[
        float | None, typer.Option(help="Dollars for an hour of one machine: the report says what it cost.")
    ] = None,
) -> None:
    """The rules' verdicts, and one HTML file with curves, gradients, step times and utilisation.

    The file needs no network. Default: reports/JOB.html beside byoc.toml.

    Examples:

        byoc report
        byoc report JOB1 JOB2 -o compare.html
        byoc report digits-tune-0412-093007-51 --pdf
    """
    from scripts import jobs
    from scripts.report import report_for_job, report_for_tuning_job

    names = [last(context, name, "training_job", "training job", "train") for name in job or ["last"]]
    path = output or report_path(context, names)
    verdicts: dict[str, dict[str, str]] = {}
    if len(names) == 1 and _is_tuning_job(context, names[0]):
        report_for_tuning_job(context.clients, names[0], path)
    else:
        described = [jobs.describe(context.clients, name) for name in names]
        for item in described:
            if len(described) > 1:
                context.out.say("[bold]{name}[/]", name=item["TrainingJobName"])
            tell_verdicts(context.out, item)
        report_for_job(context.clients, names, path, price=price)
        verdicts = {item["TrainingJobName"]: jobs.verdicts(item) for item in described}
    state.update(context.settings, report=str(path.resolve()), verdicts=verdicts)
    tell_file(context.out, "Report", path)
    result: dict[str, Any] = {"report": str(path.resolve()), "jobs": names, "rules": verdicts}
    if pdf:
        from scripts.report.pdf import print_pdf

        printed = path.with_suffix(".pdf")
        print_pdf(path, printed)
        tell_file(context.out, "Printed", printed)
        result["pdf"] = str(printed.resolve())
    context.out.result(result)


def report_path(context: Context, names: list[str]) -> Path:
    stem = "-and-".join(names)
    return context.settings.folder / "reports" / f"{stem[:200]}.html"


def tell_file(out: Output, what: str, path: Path) -> None:
    size = f"{path.stat().st_size / 1e6:.1f}"
    out.say("{what}: [bold]{path}[/] ({size} MB)", what=what, path=path, size=size)


def _is_tuning_job(context: Context, name: str) -> bool:
    """Whether no training job has this name, but a tuning job does."""
    from scripts import jobs, tuning

    try:
        jobs.describe(context.clients, name)
    except ByocError as missing:
        if missing.code != NOT_FOUND:
            raise
    else:
        return False
    try:
        tuning.look(context.clients, name)
    except ByocError as missing:
        if missing.code != NOT_FOUND:
            raise
        return False
    return True


def logs(
    context: Context,
    name: Annotated[
        str | None,
        typer.Argument(help="A training or transform job, or an endpoint. Default: the last training job."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="Also what SageMaker's toolkit says before a training begins.")
    ] = False,
) -> None:
    """What a training job, a transform job or an endpoint wrote, from CloudWatch Logs.

    Examples:

        byoc logs -f
        byoc logs my-endpoint
    """
    from scripts import endpoints, transform
    from scripts import jobs as watched

    name = last(context, name, "training_job", "training job", "train")
    clients, out = context.clients, context.out
    try:
        watched.describe(clients, name)
    except ByocError as error:
        if endpoints.status_of(clients, name):
            tail = watched.LogTail(clients, f"{watched.ENDPOINT_LOGS}/{name}", "")
        elif transform.exists(clients, name):
            _logs_of_transform(context, name, follow=follow)
            return
        else:
            raise ByocError(
                f"There is no training job, no transform job and no endpoint {name}.",
                error.remedy,
                code=NOT_FOUND,
                kind="NoJob",
            ) from None
        pace, lines = watched.Pace(), list(tail.read())
        for line in lines:
            out.raw(line)
        while follow:
            pace.wait(news=bool(lines))
            lines = list(tail.read())
            for line in lines:
                out.raw(line)
        out.result({"name": name, "lines": lines})
        return
    if follow:
        try:
            show(context, name, full_log=True, preamble=None if all_ else Preamble())
        except KeyboardInterrupt:
            goes_on(out, name, f"byoc logs -f {name}")
        job = watched.describe(clients, name)
        watched.require_completed(job)
        out.result({"name": name, "status": job["TrainingJobStatus"]})
        return
    lines = list(watched.LogTail(clients, watched.TRAINING_LOGS, f"{name}/").read())
    for line in lines if all_ else Preamble().shorten(lines):
        out.raw(line)
    out.result({"name": name, "lines": lines})


def _logs_of_transform(context: Context, name: str, *, follow: bool) -> None:
    from scripts import jobs as watched
    from scripts import transform

    out = context.out
    if follow:
        for event in transform.Watch(context.clients, name).follow():
            if event.kind == "line":
                out.raw(event.text)
        job = transform.describe(context.clients, name)
        transform.require_completed(job)
        out.result({"name": name, "status": job["TransformJobStatus"]})
        return
    lines = list(watched.LogTail(context.clients, watched.TRANSFORM_LOGS, f"{name}/").read())
    for line in lines:
        out.raw(line)
    out.result({"name": name, "lines": lines})


def stop(
    context: Context,
    job: Annotated[str | None, typer.Argument(help="Default: the last training job.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has stopped.")] = True,
) -> None:
    """Stop a training, tuning or transform job; what a training has learned until then is kept.

    Example:

        byoc stop digits-train-0412-093007-51
    """
    from scripts import jobs as watched
    from scripts import transform, tuning

    name = last(context, job, "training_job", "training job", "train")
    kind = watched.stop(context.clients, name)
    status = "Stopping"
    if wait and kind == "training job":
        for _ in watched.follow(context.clients, name):
            pass
        status = watched.describe(context.clients, name)["TrainingJobStatus"]
    elif wait and kind == "tuning job":
        for snapshot in tuning.follow(context.clients, name):
            status = snapshot.status
    elif wait:
        for _ in transform.Watch(context.clients, name).follow():
            pass
        stopped = transform.describe(context.clients, name)
        transform.delete_model(context.clients, stopped)
        status = stopped["TransformJobStatus"]
    context.out.say("{kind} {name}: {status}.", kind=kind.capitalize(), name=name, status=status)
    context.out.result({"name": name, "kind": kind, "status": status})


def show(context: Context, name: str, *, full_log: bool, preamble: Preamble | None = None) -> None:
    """Print what happens to the job: statuses, metrics, warnings of the trainer, findings, verdicts.

    In a terminal its curves grow below the lines.

    Args:
        full_log: every line of its log, or all but what `preamble` leaves out.
    """
    from rich.live import Live

    from scripts import jobs, live
    from scripts.metrics import Parser, describe
    from train.interface import METRIC_DEFINITIONS

    out, parser = context.out, Parser(METRIC_DEFINITIONS)
    watch = live.Watch(context.clients, live.rules_folder(jobs.describe(context.clients, name)))
    curves = live.Curves(watch)
    with ExitStack() as stack:
        if out.live:
            stack.enter_context(Live(curves, console=out.console, refresh_per_second=2))
        for event in jobs.follow(context.clients, name, looks=True):
            if event.kind == "status":
                out.say("[cyan]{status}[/] [dim]{detail}[/]", status=event.text, detail=event.detail)
            elif event.kind == "rule":
                tell_findings(out, watch.look(now=True))
                style = _RULE_STYLE.get(event.detail, "yellow")
                verdict = _WORDS.get(event.detail, event.detail)
                out.say("rule {rule}: [" + style + "]{verdict}[/]", rule=event.text, verdict=verdict)
            elif event.kind == "look":
                tell_findings(out, watch.look())
            elif values := parser.parse(event.text):
                out.raw("  " + describe(values))
                step = re.search(r"\bstep=(\d+)", event.text)
                curves.add(values, float(step[1]) if step else None)
            elif full_log or event.text.startswith(("warning: ", "error: ")):
                for line in preamble.take(event.text) if preamble else [event.text]:
                    out.raw("  " + line, style="dim")
        for line in preamble.end() if preamble else ():
            out.raw("  " + line, style="dim")
        tell_findings(out, watch.look(now=True))


def tell_findings(out: Output, findings: list[Found]) -> None:
    for found in findings:
        style = "bold red" if found.severity == "high" else "yellow"
        out.say(
            "[" + style + "]! {rule}[/] [dim]{where}[/] {message}",
            rule=found.rule,
            where=found.where,
            message=found.message,
        )
        if found.remedy:
            out.say("  [green]→[/] {remedy}", remedy=found.remedy)


def tell_verdicts(out: Output, job: dict[str, Any]) -> None:
    """What the rules found, with the evidence; those that found nothing in one line each verdict."""
    from rich.text import Text

    from scripts import jobs

    quiet: dict[str, list[str]] = {}
    idle: dict[str, str] = {}
    table = out.table("rule", "verdict", "evidence")
    for rule in jobs.rules(job):
        name, status = rule["RuleConfigurationName"], jobs.verdict(rule)
        if status in {"IssuesFound", "Error", "CouldNotJudge"}:
            evidence = jobs.evidence(_CONDITION_MET.sub("", rule.get("StatusDetails", "")))
            text = _WORDS.get(status, status)
            out.row(table, name, Text(text, _RULE_STYLE.get(status, "yellow")), evidence)
        elif status == "DoesNotApply":
            idle[name] = rule["StatusDetails"]
        else:
            quiet.setdefault(status, []).append(name)
    if table.row_count:
        out.show(table)
    for status, names in quiet.items():
        style = _RULE_STYLE.get(status, "yellow")
        out.say("[" + style + "]{status}[/]: {names}", status=status, names=", ".join(names))
    if idle:
        text = jobs.not_applying(list(idle.values()))
        out.say("[dim]{count}[/]: {names}", count=text, names=", ".join(idle))


def goes_on(out: Output, name: str, watch: str) -> NoReturn:
    """After Ctrl-C: nothing was lost, and how to go on."""
    out.raw(f"\nNo longer watching; {name} goes on.", style="yellow")
    out.raw(f"Watch it again: {watch}\nStop it:        byoc stop {name}")
    out.result({"name": name, "status": "InProgress", "interrupted": True})
    raise typer.Exit(INTERRUPTED)
