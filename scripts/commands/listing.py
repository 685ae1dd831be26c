"""jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from report.read.listing import KINDS
from report.read.listing import newest as _newest
from report.words import duration, percent, plural
from scripts.context import Context
from scripts.output import Output, short

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from scripts.aws import Clients

# Columns and time format, from wide to narrow: a name that is broken over two lines cannot be copied.
_LAYOUTS = (
    (("kind", "name", "status", "created"), "%Y-%m-%d %H:%M:%S"),
    (("kind", "name", "status", "created"), "%m-%d %H:%M"),
    (("kind", "name", "status"), ""),
    (("name", "status"), ""),
    (("name",), ""),
)
_LEADER_COLUMNS = (
    ("name", "validation", "test", "epochs", "time", "arch", "lr", "batch_size", "status"),
    ("name", "validation", "test", "epochs", "status"),
    ("name", "validation", "status"),
    ("name",),
)
_STATUS_STYLE = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "InProgress": "cyan"}


def jobs(
    context: Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many jobs of each kind.")] = 20,
    all_: Annotated[bool, typer.Option("--all", help="Those of all projects.")] = False,
    metrics: Annotated[
        bool,
        typer.Option("--metrics", help="Training jobs only, the most accurate first."),
    ] = False,
    costs: Annotated[
        bool, typer.Option("--costs", help="Add up what the listed jobs were billed for.")
    ] = False,
) -> None:
    """List training jobs, tuning jobs, transform jobs and endpoints, newest first.

    A job belongs to this project if its name is the project's or begins with it
    and a hyphen, or if byoc tagged it for the project. Only the tags of the account's newest are read:
    --limit of each kind of job, and 100 endpoints. --limit does not shorten the
    list of endpoints, because they cost money: the last line says how much by the
    hour and the month. The trials of a tuning job are training jobs of the list.

    Example:

        byoc jobs --json
        byoc jobs --metrics
        byoc jobs --costs --limit 100
    """
    from scripts import spending, tags

    clients, out, project = context.clients, context.out, context.settings.project.name
    listed, others, at_least = _newest(clients, limit, ""), 0, ""
    if not all_:
        newest = {item["arn"]: item for item in listed}
        ours = {
            item["arn"]: item
            for item in _newest(clients, limit, project)
            if f"{item['name']}-".startswith(f"{project}-")  # `digits2-train-…` is another project's
        }
        tagged = tags.of_project(clients, project, newest.keys() - ours.keys(), out.warn)
        others = len(newest.keys() - ours.keys() - tagged)
        # Only the newest of each kind were read.
        most = max(Counter(item["kind"] for item in newest.values()).values(), default=0)
        at_least = "At least " if most >= limit else ""
        listed = [*ours.values(), *(newest[arn] for arn in tagged)]
    listed = list(_cut(sorted(listed, key=lambda item: item["at"], reverse=True), limit))
    if metrics:
        listed = _ranked(clients, [item for item in listed if item["kind"] == "training"])
    if listed and metrics:
        out.show_first([_leaders(out, listed, *columns) for columns in _LEADER_COLUMNS])
    elif listed:
        out.show_first([_listed(out, listed, *columns) for columns in _LAYOUTS])
    else:
        whose = "" if all_ else f" of {project}"
        what = "training jobs" if metrics else "jobs and no endpoints"
        out.raw(f"There are no {what}{whose}. `byoc train` starts one.")
    if others:
        out.raw(f"{at_least}{plural(others, 'other')}, not of {project}: `byoc jobs --all` lists them.")
    spent = spending.of(clients, listed, ended=costs)
    for sentence in spent.sentences():
        out.raw(sentence)
    lists: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for item in listed:
        lists[item["kind"]].append(
            {key: item[key] for key in ("name", "status", "at", "metrics") if key in item}
        )
    out.result({**lists, "others": others, "cost": spent.document()})


def _cut(items: Iterable[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
    """The first `limit` of each kind of job, and every endpoint."""
    seen: Counter[str] = Counter()
    for item in items:
        seen[item["kind"]] += 1
        if item["kind"] == "endpoint" or seen[item["kind"]] <= limit:
            yield item


def _listed(out: Output, items: list[dict[str, Any]], columns: Sequence[str], form: str) -> Table:
    table = out.table(*columns)
    for item in items:
        cells = {
            "kind": item["kind"],
            "name": item["name"],
            "status": _status(item["status"]),
            "created": f"{item['at'].astimezone():{form}}",
        }
        out.row(table, *(cells[column] for column in columns))
    return table


def _status(status: str) -> Text:
    from rich.text import Text

    return Text(status, _STATUS_STYLE.get(status, "green" if status == "InService" else ""))


def _ranked(clients: Clients, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The training jobs with their metrics and hyperparameters, the most accurate first; no conversions."""
    from contract.hyperparameters import HYPERPARAMETERS, is_reserved
    from report.read import jobs
    from scripts.trained import converted_from

    ours = {one.name: str(one.default) for one in HYPERPARAMETERS}
    trained = []
    for item in items:
        job = jobs.describe(clients, item["name"])
        if not converted_from(job):
            metrics, seconds = jobs.metrics(job), job.get("TrainingTimeInSeconds")
            chosen = job.get("HyperParameters", {})
            if all(
                name in ours or is_reserved(name) for name in chosen
            ):  # a job of this trainer; what it was not given is the default
                chosen = {**ours, **chosen}
            trained.append({**item, "metrics": metrics, "hyperparameters": chosen, "seconds": seconds})
    return sorted(trained, key=lambda item: item["metrics"].get("validation:accuracy", -1.0), reverse=True)


def _leaders(out: Output, items: list[dict[str, Any]], *columns: str) -> Table:
    table = out.table(*columns, right=("validation", "test", "epochs"))
    for item in items:
        metrics, chosen = item["metrics"], item["hyperparameters"]
        cells = {
            "name": item["name"],
            "validation": percent(metrics.get("validation:accuracy"), 2),
            "test": percent(metrics.get("test:accuracy"), 2),
            "epochs": f"{metrics['epoch']:g}" if "epoch" in metrics else "",
            "time": "" if item["seconds"] is None else duration(item["seconds"]),
            "status": _status(item["status"]),
            **{key: short(chosen.get(key, "")) for key in ("arch", "lr", "batch_size")},
        }
        out.row(table, *(cells[column] for column in columns))
    return table
