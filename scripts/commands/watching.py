"""report, logs, stop; and the display of a running job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from contract.errors import INTERRUPTED, NOT_FOUND, ByocError
from contract.findings import Findings, MachineLine, ProgressLine
from contract.log import RECIPE, alert
from contract.names import ENDPOINT_LOGS, TRAINING_LOGS, TRANSFORM_LOGS
from report.read.toolkit import Preamble, split_host
from scripts import state
from scripts.commands import listing
from scripts.commands.verdicts import FindingsLog, show_verdicts
from scripts.context import Context, command, last
from scripts.output import Output

if TYPE_CHECKING:
    from scripts.live import Curves

PANEL = "Look after"


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
    """Show the rules' verdicts; write one HTML file with curves, gradients, step times and utilisation.

    The file needs no network. Default: reports/JOB.html beside byoc.toml.

    Examples:

        byoc report
        byoc report JOB1 JOB2 -o compare.html
        byoc report digits-tune-0412-093007-51 --pdf
    """
    from report.make import report_for_job, report_for_tuning_job
    from report.read import findings

    names = [last(context, name, "training_job", "training job", "train") for name in job or ["last"]]
    path = output or report_path(context, names)
    verdicts: dict[str, dict[str, str]] = {}
    if len(names) == 1 and is_tuning_job(context, names[0]):
        tuned = report_for_tuning_job(context.clients, names[0], path)
        verdicts = {item.name: findings.outcomes(item.findings) for item in tuned.trials if item.findings}
    else:
        reported = report_for_job(context.clients, names, path, price=price)
        for item in reported:
            if len(reported) > 1:
                context.out.say("[bold]{name}[/]", name=item.job)
            show_verdicts(context.out, item.findings)
        verdicts = {item.job: findings.outcomes(item.findings) for item in reported}
    state.update(context.settings, report=str(path.resolve()), verdicts=verdicts)
    show_file(context.out, "Report", path)
    result: dict[str, Any] = {"report": str(path.resolve()), "jobs": names, "rules": verdicts}
    if pdf:
        from report.pdf import print_pdf

        printed = path.with_suffix(".pdf")
        print_pdf(path, printed)
        show_file(context.out, "Printed", printed)
        result["pdf"] = str(printed.resolve())
    context.out.result(result)


def report_path(context: Context, names: list[str]) -> Path:
    stem = "-and-".join(names)
    return context.settings.folder / "reports" / f"{stem[:200]}.html"


def show_file(out: Output, what: str, path: Path) -> None:
    size = f"{path.stat().st_size / 1e6:.1f}"
    out.say("{what}: [bold]{path}[/] ({size} MB)", what=what, path=path, size=size)


def is_tuning_job(context: Context, name: str) -> bool:
    """Whether no training job has this name, but a tuning job does."""
    from report.read import jobs, tuning

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
        bool, typer.Option("--all", help="Also the lines of SageMaker's toolkit before a training begins.")
    ] = False,
) -> None:
    """Print the log of a training job, a transform job or an endpoint, from CloudWatch Logs.

    Examples:

        byoc logs -f
        byoc logs my-endpoint
    """
    from report.read import findings
    from report.read import jobs as watched
    from report.read.aws import no_job
    from report.read.logs import LogTail
    from report.read.pace import Pace
    from scripts import endpoints, running, transform

    name = last(context, name, "training_job", "training job", "train")
    clients, out = context.clients, context.out
    try:
        watched.describe(clients, name)
    except ByocError:
        if endpoints.status_of(clients, name):
            tail = LogTail(clients, f"{ENDPOINT_LOGS}/{name}", "")
        elif transform.exists(clients, name):
            _logs_of_transform(context, name, follow=follow)
            return
        else:
            raise no_job("training job, no transform job and no endpoint", name) from None
        pace, lines = Pace(), list(tail.read())
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
        with context.watching(running.known_training(clients, name)):
            try:
                judged = show(context, name, full_log=True, preamble=None if all_ else Preamble())
            except KeyboardInterrupt:
                end_watching(out, name)
        job = watched.describe(clients, name)
        show_verdicts(out, judged or findings.of_description(job))
        watched.require_completed(clients, job)
        out.result({"name": name, "status": job["TrainingJobStatus"]})
        return
    lines = list(LogTail(clients, TRAINING_LOGS, f"{name}/").read())
    if all_:
        for line in lines:
            out.raw(line)
    else:
        shown = LogLines(out, None, Preamble(), full=True)
        for line in lines:
            shown.show(line)
        shown.end()
        show_verdicts(out, findings.of_lines(lines))
    out.result({"name": name, "lines": lines})


def _logs_of_transform(context: Context, name: str, *, follow: bool) -> None:
    from report.read.logs import LogTail
    from scripts import running, transform

    out = context.out
    if follow:
        with context.watching(running.known_transform(context.clients, name)):
            for event in transform.Watch(context.clients, name).follow():
                if event.kind == "line":
                    out.raw(event.text)
        job = transform.describe(context.clients, name)
        transform.require_completed(job)
        out.result({"name": name, "status": job["TransformJobStatus"]})
        return
    lines = list(LogTail(context.clients, TRANSFORM_LOGS, f"{name}/").read())
    for line in lines:
        out.raw(line)
    out.result({"name": name, "lines": lines})


def stop(
    context: Context,
    job: Annotated[str | None, typer.Argument(help="Default: this folder's job that runs.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has stopped.")] = True,
) -> None:
    """Stop a training, tuning or transform job; a training keeps its best model so far.

    The warm pool of a training job (train.keep_alive_minutes) ends too, after the job's own end as well.

    Example:

        byoc stop digits-train-0412-093007-51
    """
    from report.read import jobs as watched
    from report.read import tuning
    from report.read.listing import has_warm_pool
    from scripts import transform, warmpool
    from scripts.kinds import stop as stop_job

    name = chosen_job(context, job)
    kind = stop_job(context.clients, name)
    status = "Stopping"
    if wait and kind == "training job":
        for _ in watched.follow(context.clients, name):
            pass
        stopped = watched.describe(context.clients, name)
        status = stopped["TrainingJobStatus"]
        if has_warm_pool(stopped) and warmpool.end(context.clients, name):
            context.out.raw("Its warm pool is ended.")
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


def chosen_job(context: Context, job: str | None) -> str:
    """The named job, of any kind; else this folder's running job, or its last."""
    from scripts.kinds import choose

    named = job if job != "last" else None
    if not (name := named or choose(context.clients, state.read(context.settings))):
        raise ByocError(
            "Which job? None was named, and no command has started one here yet.", "`byoc jobs` lists all."
        )
    return name


def show(context: Context, name: str, *, full_log: bool, preamble: Preamble | None = None) -> Findings | None:
    """Print a job's statuses, metrics, warnings and findings until it has ended.

    In a terminal its curves grow below the lines. Returns the rules' verdicts from its log.

    Args:
        full_log: print every line of the log, except lines that `preamble` leaves out.
    """
    from report.read import findings, jobs
    from scripts import live

    out, lines = context.out, []
    curves = live.Curves()
    shown = LogLines(context.out, curves, preamble, full=full_log)
    with out.drawing(curves) as draw:
        for event in jobs.follow(context.clients, name):
            if event.kind == "status":
                out.say("[cyan]{status}[/] [dim]{detail}[/]", status=event.text, detail=event.detail)
            elif event.kind == "rule":
                out.say("rule {rule}: {status}", rule=event.text, status=event.detail)
            else:
                lines.append(event.text)
                shown.show(event.text)
                draw(curves)
        shown.end()
        curves.end()
    return findings.of_lines(lines)


class LogLines:
    """Shows the lines of a training job's log: metrics and findings in words, progress as a picture."""

    def __init__(self, out: Output, curves: Curves | None, preamble: Preamble | None, *, full: bool) -> None:
        from contract.metrics import METRIC_DEFINITIONS
        from report.read.metrics import Parser

        self._out, self._curves, self._preamble, self._full = out, curves, preamble, full
        self._parser = Parser((item["Name"], item["Regex"]) for item in METRIC_DEFINITIONS)
        self._findings = FindingsLog(out)

    def show(self, text: str) -> None:
        from report.read.findings import line_of
        from report.read.metrics import step_of
        from scripts.metrics import describe

        line = line_of(text)
        if isinstance(line, ProgressLine):
            if self._curves:
                self._curves.advance(line)
        elif isinstance(line, MachineLine):
            pass  # for the page in the browser
        elif line is not None:
            self._findings.show(line)
        elif self._curves and (values := self._parser.parse(text)):
            self._out.raw("  " + describe(values))
            self._curves.add(values, step_of(text))
        elif self._full:
            self._print_lines(self._preamble.take(text) if self._preamble else [text])
        elif split_host(text)[1].startswith(RECIPE):
            self._out.raw(f"  {split_host(text)[1]}")
        elif said := alert(split_host(text)[1]):
            level, message = said
            if level == "warning":  # an error is the job's FailureReason, which the command ends with
                self._out.warn(message)

    def end(self) -> None:
        """After the last line: print the note on the lines that were left out."""
        self._print_lines(self._preamble.end() if self._preamble else [])

    def _print_lines(self, lines: list[str]) -> None:
        for line in lines:
            self._out.raw(f"  {line}" if self._curves else line, style="dim" if self._curves else "")


def end_watching(out: Output, name: str) -> NoReturn:
    """After Ctrl-C: print that the job goes on, and how to watch or stop it."""
    out.raw(f"\nNo longer watching; {name} goes on.", style="yellow")
    out.raw(f"Watch it again: byoc watch {name}\nStop it:        byoc stop {name}")
    exit_interrupted(out, name, "InProgress")


def exit_interrupted(out: Output, name: str, status: str) -> NoReturn:
    """End a command that was interrupted while it waited: the JSON document, and the exit code of Ctrl-C."""
    out.result({"name": name, "status": status, "interrupted": True})
    raise typer.Exit(INTERRUPTED) from None
