"""tune, best, train, report, jobs, logs, stop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scripts import state
from scripts.context import Context, command, last
from scripts.errors import FAILED, INTERRUPTED, NOT_FOUND, ByocError
from scripts.output import Output, duration, percent, short
from scripts.settings import Range, Settings, parse_range

if TYPE_CHECKING:
    from scripts.live import Found
    from scripts.tuning import Snapshot

PANEL = "Train"
_RULE_STYLE = {"NoIssuesFound": "green", "IssuesFound": "bold red", "Error": "red"}
# What AWS begins each finding with; the table's other columns say it already.
_CONDITION_MET = re.compile(
    r"^RuleEvaluationConditionMet: .*? resulted in the condition being met( \(\d+ findings\))?\. "
)
_STATUS_STYLE = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "InProgress": "cyan"}


def register(app: typer.Typer) -> None:
    command(app, "tune", rich_help_panel=PANEL)(tune)
    command(app, "best", rich_help_panel=PANEL)(best)
    command(app, "train", rich_help_panel=PANEL)(train)
    command(app, "report", rich_help_panel=PANEL)(report)
    command(app, "jobs", rich_help_panel="Look after")(jobs)
    command(app, "logs", rich_help_panel="Look after")(logs)
    command(app, "stop", rich_help_panel="Look after")(stop)


def tune(
    context: Context,
    jobs: Annotated[int | None, typer.Option(help="Training jobs in all.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Training jobs at a time.")] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option(
            "--range", metavar="NAME=RANGE", help="lr=1e-4:0.1:log or batch_size=16,32. Repeatable."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training job.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine of each training job.")] = None,
    name: Annotated[str, typer.Option(help="Name of the tuning job.")] = "",
    wait: Annotated[bool, typer.Option(help="Watch it until it has ended.")] = True,
) -> None:
    """Look for good hyperparameters with several training jobs; then show and remember the best.

    The ranges are in byoc.toml, in the section tune.ranges.

    Examples:

        byoc tune --jobs 8 --parallel 2
        byoc tune --range lr=1e-4:0.1:log --range batch_size=16,32,64
        byoc tune --no-wait
    """
    from scripts import account, requests

    asked = {item.split("=")[0].strip() for item in context.overrides if "." not in item.split("=")[0]}
    for key, value in (("jobs", jobs), ("parallel", parallel)):
        context.override(f"tune.{key}", value)
    context.override("train.instance_type", instance_type)
    context.override("tune.hyperparameters.epochs", epochs)
    settings = _with_ranges(context.settings, range_ or [])
    if both := sorted(asked & set(settings.tune.ranges)):
        raise ByocError(
            f"--set {both[0]} fixes what [tune.ranges] looks for.",
            f"Give --range {both[0]}=… instead, or take {both[0]} out of [tune.ranges].",
        )
    account.check_tuning(settings)
    place = account.place(settings, context.clients, data=True)
    name = name or account.unique_name(settings.project.name, "tune", longest=32)
    request = requests.tuning_job(settings, place, name)
    context.clients.sagemaker.create_hyper_parameter_tuning_job(**request)
    state.update(settings, tuning_job=name, best=None)
    context.out.say("Tuning job [bold]{name}[/].", name=name)
    if not wait:
        context.out.say("Watch it with [bold]byoc best --wait {name}[/].", name=name)
        context.out.result({"tuning_job": name, "status": "InProgress"})
        return
    _watch(context, name)


def _with_ranges(settings: Settings, ranges: list[str]) -> Settings:
    from dataclasses import replace

    found: dict[str, Range] = dict(settings.tune.ranges)
    for item in ranges:
        key, equals, text = item.partition("=")
        if not equals:
            raise ByocError(f"--range {item} has no range.", "E.g. --range lr=1e-4:0.1:log.")
        found[key.strip().replace("-", "_")] = parse_range(text.strip(), f"--range {key.strip()}")
    return replace(settings, tune=replace(settings.tune, ranges=found))


def best(
    context: Context,
    tuning_job: Annotated[str | None, typer.Argument(help="Default: the last one.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it has ended.")] = False,
) -> None:
    """Show and remember the best hyperparameters of a tuning job, as SageMaker's API tells them.

    Examples:

        byoc best
        byoc best digits-tune-0412-093007-51 --json
    """
    name = last(context, tuning_job, "tuning_job", "tuning job", "tune")
    if wait:
        _watch(context, name)
        return
    from scripts import tuning

    snapshot = tuning.look(context.clients, name)
    context.out.show(_trials(context.out, snapshot))
    _tell_best(context, snapshot)


def _watch(context: Context, name: str) -> None:
    """A live table of the trials where the output is a terminal, a line for each change where it is not."""
    from rich.live import Live

    from scripts import tuning

    out, snapshot = context.out, None
    try:
        if out.live:
            with Live(console=out.console, refresh_per_second=4) as live:
                for snapshot in tuning.follow(context.clients, name):
                    live.update(_trials(out, snapshot))
        else:
            seen: dict[str, tuple[str, float | None]] = {}
            for snapshot in tuning.follow(context.clients, name):
                for trial in snapshot.trials:
                    if seen.get(trial.name) != (trial.status, trial.objective):
                        seen[trial.name] = (trial.status, trial.objective)
                        values = ", ".join(f"{k} {short(v)}" for k, v in trial.hyperparameters.items())
                        result = (
                            "" if trial.objective is None else f"  {_objective(snapshot, trial.objective)}"
                        )
                        out.raw(f"{trial.name}  {values}  {trial.status}{result}")
            if snapshot:
                out.show(_trials(out, snapshot))
    except KeyboardInterrupt:
        _goes_on(out, name, f"byoc best --wait {name}")
    if snapshot is None:
        raise AssertionError
    if snapshot.status == "Failed":
        raise ByocError(
            f"{name} failed: {snapshot.reason or 'no reason given'}",
            "`byoc jobs` lists its training jobs, `byoc logs JOB` shows what one said.",
            code=FAILED,
            kind="JobFailed",
        )
    _tell_best(context, snapshot)


def _tell_best(context: Context, snapshot: Snapshot) -> None:
    from scripts import tuning

    found = tuning.best(context.clients, snapshot.name)
    state.update(context.settings, tuning_job=snapshot.name, best=found)
    values = ", ".join(f"{key} = {short(value)}" for key, value in found["hyperparameters"].items())
    context.out.say(
        "Best of {n}: [bold green]{values}[/]  ({metric} {value}, {job})",
        n=len(snapshot.trials),
        values=values,
        metric=found["metric"],
        value=_objective(snapshot, found["value"]),
        job=found["training_job"],
    )
    if not found["complete"]:
        context.out.warn(f"{snapshot.name} is still {snapshot.status}: there may be better ones to come.")
    context.out.say("Next: [bold]byoc train --best[/]")
    context.out.result({**found, "status": snapshot.status, "trials": snapshot.as_dict()["trials"]})


def _objective(snapshot: Snapshot, value: float) -> str:
    return short(value) if snapshot.metric.endswith("loss") else percent(value)


def _trials(out: Output, snapshot: Snapshot) -> Any:
    names = sorted({key for trial in snapshot.trials for key in trial.hyperparameters})
    ended = sum(trial.status in {"Completed", "Failed", "Stopped"} for trial in snapshot.trials)
    title = f"{snapshot.name}: {snapshot.status}, {ended} of {snapshot.total} trials"
    table = out.table(
        "#", *names, snapshot.metric, "time", "status", title=title, right=("#", snapshot.metric)
    )
    for number, trial in enumerate(snapshot.trials, 1):
        won = trial.name == snapshot.best
        table.add_row(
            str(number),
            *(short(trial.hyperparameters.get(key, "")) for key in names),
            "" if trial.objective is None else _objective(snapshot, trial.objective) + (" ★" if won else ""),
            "" if trial.seconds is None else duration(trial.seconds),
            trial.status if not trial.reason else f"{trial.status}: {trial.reason[:60]}",
            style="bold green" if won else "red" if trial.status == "Failed" else "",
        )
    return table


def train(
    context: Context,
    from_: Annotated[
        str, typer.Option("--from", metavar="TUNING_JOB", help="Take the best hyperparameters of that job.")
    ] = "",
    best: Annotated[bool, typer.Option("--best", help="Those of the last tuning job.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Machine, e.g. ml.g5.xlarge.")] = None,
    instance_count: Annotated[int | None, typer.Option(help="How many machines.")] = None,
    spot: Annotated[bool | None, typer.Option(help="Spare capacity.")] = None,
    name: Annotated[str, typer.Option(help="Name of the training job.")] = "",
    wait: Annotated[bool, typer.Option(help="Watch it until it has ended.")] = True,
    stop_on_interrupt: Annotated[
        bool, typer.Option("--stop-on-interrupt", help="Ctrl-C stops the job too, not only the watching.")
    ] = False,
    full_log: Annotated[bool, typer.Option("--full-log", help="Show every line, not only metrics.")] = False,
) -> None:
    """Train a classifier, with the debugger's hook and rules and the profiler on; show metrics as they come.

    Examples:

        byoc train --best                       with the best of the last `byoc tune`
        byoc train --set lr=0.003 --epochs 20   with what byoc.toml says, but these
        byoc train --instance-type ml.g5.xlarge --spot
    """
    from scripts import account, jobs, requests

    context.override("hyperparameters.epochs", epochs)
    context.override("train.instance_type", instance_type)
    context.override("train.instance_count", instance_count)
    context.override("train.spot", spot)
    settings = context.settings
    tuned: Mapping[str, str] = {}
    if from_ or best:
        tuned = _best_hyperparameters(context, from_)
    account.check_hyperparameters({**settings.hyperparameters, **tuned})
    place = account.place(settings, context.clients, data=True)
    name = name or account.unique_name(settings.project.name, "train")
    request = requests.training_job(settings, place, name, tuned)
    context.clients.sagemaker.create_training_job(**request)
    state.update(settings, training_job=name)
    context.out.say("Training job [bold]{name}[/].", name=name)
    if not wait:
        context.out.say("Follow it with [bold]byoc logs -f {name}[/].", name=name)
        context.out.result({"training_job": name, "status": "InProgress"})
        return
    try:
        _show(context, name, full_log=full_log)
    except KeyboardInterrupt:
        if stop_on_interrupt:
            jobs.stop(context.clients, name)
            context.out.raw(f"{name} is being stopped.", style="yellow")
            raise typer.Exit(INTERRUPTED) from None
        _goes_on(context.out, name, f"byoc logs -f {name}")
    job = jobs.describe(context.clients, name)
    path = _report_after(context, name)
    jobs.require_completed(job)
    _tell_trained(context, job, path)


def _best_hyperparameters(context: Context, tuning_job: str) -> dict[str, str]:
    from scripts import tuning

    found = tuning.best(context.clients, last(context, tuning_job, "tuning_job", "tuning job", "tune"))
    values: dict[str, str] = found["hyperparameters"]
    text = ", ".join(f"{key} = {short(value)}" for key, value in values.items())
    context.out.say("Best of {job}: {values}.", job=found["tuning_job"], values=text)
    return values


def _show(context: Context, name: str, *, full_log: bool) -> None:
    """Print what happens to the job: statuses, metrics, warnings of the trainer, findings, verdicts.

    In a terminal its curves grow below the lines.
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
                _tell_findings(out, watch.look(now=True))
                style = _RULE_STYLE.get(event.detail, "yellow")
                out.say("rule {rule}: [" + style + "]{verdict}[/]", rule=event.text, verdict=event.detail)
            elif event.kind == "look":
                _tell_findings(out, watch.look())
            elif values := parser.parse(event.text):
                out.raw("  " + describe(values))
                step = re.search(r"\bstep=(\d+)", event.text)
                curves.add(values, float(step[1]) if step else None)
            elif full_log or event.text.startswith(("warning: ", "error: ")):
                out.raw("  " + event.text, style="dim")
        _tell_findings(out, watch.look(now=True))


def _tell_findings(out: Output, findings: list[Found]) -> None:
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


def _report_after(context: Context, name: str) -> Path | None:
    """The report of a job that has ended, whatever its end; a report that cannot be made is no failure."""
    from scripts.report import report_for_job

    path = _report_path(context, [name])
    try:
        report_for_job(context.clients, [name], path)
    except (ByocError, OSError) as error:
        context.out.warn(f"No report was made: {error}")
        return None
    _tell_file(context.out, "Report", path)
    return path


def _tell_trained(context: Context, job: dict[str, Any], report_: Path | None) -> None:
    from scripts import jobs

    out, values = context.out, jobs.metrics(job)
    for key in ("validation:accuracy", "test:accuracy"):
        if key in values:
            out.say("{name}: [bold green]{value}[/]", name=key.replace(":", " "), value=percent(values[key]))
    _verdicts(out, job)
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    out.say("Model: {uri}", uri=artifact)
    if "TrainingTimeInSeconds" in job:
        out.say("Training took {time}.", time=duration(job["TrainingTimeInSeconds"]))
    out.say("Next: [bold]byoc deploy[/]")
    out.result(
        {
            "training_job": job["TrainingJobName"],
            "report": str(report_.resolve()) if report_ else None,
            "status": job["TrainingJobStatus"],
            "model": artifact,
            "hyperparameters": job.get("HyperParameters", {}),
            "metrics": values,
            "rules": {
                rule["RuleConfigurationName"]: rule["RuleEvaluationStatus"] for rule in jobs.rules(job)
            },
        }
    )


def _verdicts(out: Output, job: dict[str, Any]) -> None:
    """What the rules found, with the evidence; those that found nothing in one line each verdict."""
    from scripts import jobs

    quiet: dict[str, list[str]] = {}
    table = out.table("rule", "verdict", "evidence")
    for rule in jobs.rules(job):
        name, status = rule["RuleConfigurationName"], rule["RuleEvaluationStatus"]
        if status in {"IssuesFound", "Error"}:
            evidence = _CONDITION_MET.sub("", rule.get("StatusDetails", ""))
            table.add_row(name, f"[{_RULE_STYLE.get(status, 'yellow')}]{status}[/]", evidence)
        else:
            quiet.setdefault(status, []).append(name)
    if table.row_count:
        out.show(table)
    for status, names in quiet.items():
        style = _RULE_STYLE.get(status, "yellow")
        out.say("[" + style + "]{status}[/]: {names}", status=status, names=", ".join(names))


def report(
    context: Context,
    job: Annotated[
        list[str] | None, typer.Argument(help="A training job, several side by side, or a tuning job.")
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

    names = job or [last(context, None, "training_job", "training job", "train")]
    path = output or _report_path(context, names)
    verdicts: dict[str, dict[str, str]] = {}
    if len(names) == 1 and _is_tuning_job(context, names[0]):
        report_for_tuning_job(context.clients, names[0], path)
    else:
        described = [jobs.describe(context.clients, name) for name in names]
        for item in described:
            if len(described) > 1:
                context.out.say("[bold]{name}[/]", name=item["TrainingJobName"])
            _verdicts(context.out, item)
        report_for_job(context.clients, names, path, price=price)
        verdicts = {
            item["TrainingJobName"]: {
                rule["RuleConfigurationName"]: rule["RuleEvaluationStatus"] for rule in jobs.rules(item)
            }
            for item in described
        }
    state.update(context.settings, report=str(path.resolve()), verdicts=verdicts)
    _tell_file(context.out, "Report", path)
    result: dict[str, Any] = {"report": str(path.resolve()), "jobs": names, "rules": verdicts}
    if pdf:
        from scripts.report.pdf import print_pdf

        printed = path.with_suffix(".pdf")
        print_pdf(path, printed)
        _tell_file(context.out, "Printed", printed)
        result["pdf"] = str(printed.resolve())
    context.out.result(result)


def _report_path(context: Context, names: list[str]) -> Path:
    stem = "-and-".join(names)
    return context.settings.folder / "reports" / f"{stem[:200]}.html"


def _tell_file(out: Output, what: str, path: Path) -> None:
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


def jobs(
    context: Context,
    limit: Annotated[int, typer.Option(help="How many of each kind.")] = 20,
    all_: Annotated[bool, typer.Option("--all", help="Of all projects.")] = False,
) -> None:
    """List training jobs, tuning jobs and endpoints, newest first.

    Example:

        byoc jobs --json
    """
    sagemaker, out = context.clients.sagemaker, context.out
    page: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": limit}
    if not all_:
        page["NameContains"] = context.settings.project.name
    lists: dict[str, list[dict[str, Any]]] = {
        "training": [
            {"name": item["TrainingJobName"], "status": item["TrainingJobStatus"], "at": item["CreationTime"]}
            for item in sagemaker.list_training_jobs(**page)["TrainingJobSummaries"]
        ],
        "tuning": [
            {
                "name": item["HyperParameterTuningJobName"],
                "status": item["HyperParameterTuningJobStatus"],
                "at": item["CreationTime"],
            }
            for item in sagemaker.list_hyper_parameter_tuning_jobs(**page)["HyperParameterTuningJobSummaries"]
        ],
        "endpoint": [
            {"name": item["EndpointName"], "status": item["EndpointStatus"], "at": item["CreationTime"]}
            for item in sagemaker.list_endpoints(**page)["Endpoints"]
        ],
    }
    table = out.table("kind", "name", "status", "created")
    for kind, items in lists.items():
        for item in items:
            status = item["status"]
            style = _STATUS_STYLE.get(status, "green" if status == "InService" else "")
            shown = f"[{style}]{status}[/]" if style else status
            table.add_row(kind, item["name"], shown, f"{item['at'].astimezone():%Y-%m-%d %H:%M:%S}")
    if table.row_count:
        out.show(table)
    else:
        out.raw("No jobs and no endpoints yet. `byoc train` starts one.")
    out.result(lists)


def logs(
    context: Context,
    name: Annotated[
        str | None, typer.Argument(help="A training job or an endpoint. Default: the last job.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
) -> None:
    """What a training job or an endpoint wrote, from CloudWatch Logs.

    Examples:

        byoc logs -f
        byoc logs my-endpoint
    """
    from scripts import endpoints
    from scripts import jobs as watched

    name = last(context, name, "training_job", "training job", "train")
    clients, out = context.clients, context.out
    try:
        watched.describe(clients, name)
    except ByocError as error:
        if not endpoints.status_of(clients, name):
            raise ByocError(
                f"There is no training job and no endpoint {name}.",
                error.remedy,
                code=NOT_FOUND,
                kind="NoJob",
            ) from None
        tail = watched.LogTail(clients, f"{watched.ENDPOINT_LOGS}/{name}", "")
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
            _show(context, name, full_log=True)
        except KeyboardInterrupt:
            _goes_on(out, name, f"byoc logs -f {name}")
        watched.require_completed(watched.describe(clients, name))
        return
    lines = list(watched.LogTail(clients, watched.TRAINING_LOGS, f"{name}/").read())
    for line in lines:
        out.raw(line)
    out.result({"name": name, "lines": lines})


def stop(
    context: Context,
    job: Annotated[str | None, typer.Argument(help="Default: the last training job.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has stopped.")] = True,
) -> None:
    """Stop a training or tuning job; what it has learned until then is kept.

    Example:

        byoc stop digits-train-0412-093007-51
    """
    from scripts import jobs as watched
    from scripts import tuning

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
    context.out.say("{kind} {name}: {status}.", kind=kind.capitalize(), name=name, status=status)
    context.out.result({"name": name, "kind": kind, "status": status})


def _goes_on(out: Output, name: str, watch: str) -> None:
    """After Ctrl-C: nothing was lost, and how to go on."""
    out.raw(f"\nNo longer watching; {name} goes on.", style="yellow")
    out.raw(f"Watch it again: {watch}\nStop it:        byoc stop {name}")
    out.result({"name": name, "status": "InProgress", "interrupted": True})
    raise typer.Exit(INTERRUPTED)
