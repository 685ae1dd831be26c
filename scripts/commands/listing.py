"""jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scripts.context import Context
from scripts.output import Output, count

if TYPE_CHECKING:
    from rich.table import Table

    from scripts.aws import Clients

# Kind → method of boto3's client, where its answer has the items, and what begins their keys.
_KINDS = {
    "training": ("list_training_jobs", "TrainingJobSummaries", "TrainingJob"),
    "tuning": (
        "list_hyper_parameter_tuning_jobs",
        "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJob",
    ),
    "transform": ("list_transform_jobs", "TransformJobSummaries", "TransformJob"),
    "endpoint": ("list_endpoints", "Endpoints", "Endpoint"),
}
# Columns and the form of the time, ever narrower: a name that is broken over two lines cannot be copied.
_LAYOUTS = (
    (("kind", "name", "status", "created"), "%Y-%m-%d %H:%M:%S"),
    (("kind", "name", "status", "created"), "%m-%d %H:%M"),
    (("kind", "name", "status"), ""),
    (("name", "status"), ""),
    (("name",), ""),
)
_STATUS_STYLE = {"Completed": "green", "Failed": "red", "Stopped": "yellow", "InProgress": "cyan"}


def jobs(
    context: Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many jobs of each kind.")] = 20,
    all_: Annotated[bool, typer.Option("--all", help="Of all projects.")] = False,
) -> None:
    """List training jobs, tuning jobs, transform jobs and endpoints, newest first.

    Those of this project are all with its name in theirs, and those that byoc
    tagged for it under other names. Tags are looked at only of the account's
    newest: --limit of each kind of job, and 100 endpoints. Endpoints cost money:
    --limit does not cut them.

    Example:

        byoc jobs --json
    """
    from scripts import tags

    clients, out, project = context.clients, context.out, context.settings.project.name
    found, others = _newest(clients, limit, ""), 0
    if not all_:
        newest = {item["arn"]: item for item in found}
        ours = {item["arn"]: item for item in _newest(clients, limit, project)}
        tagged = tags.of_project(clients, project, newest.keys() - ours.keys(), out.warn)
        others = len(newest.keys() - ours.keys() - tagged)
        found = [*ours.values(), *(newest[arn] for arn in tagged)]
    found = list(_cut(sorted(found, key=lambda item: item["at"], reverse=True), limit))
    if found:
        out.show_first([_listed(out, found, *columns) for columns in _LAYOUTS])
    else:
        whose = "" if all_ else f" of {project}"
        out.raw(f"There are no jobs and no endpoints{whose}. `byoc train` starts one.")
    if others:
        out.raw(f"{count(others, 'other')}, not of {project}: `byoc jobs --all` lists them.")
    lists: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    for item in found:
        lists[item["kind"]].append({key: item[key] for key in ("name", "status", "at")})
    out.result({**lists, "others": others})


def _newest(clients: Clients, limit: int, within: str) -> list[dict[str, Any]]:
    """The newest `limit` of each kind, with `within` in their names; of endpoints, which cost money, 100."""
    found = []
    for kind, (method, answer, what) in _KINDS.items():
        most = 100 if kind == "endpoint" else limit
        page = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": most}
        given = {**page, "NameContains": within} if within else page
        for item in getattr(clients.sagemaker, method)(**given)[answer]:
            found.append(
                {
                    "kind": kind,
                    "name": item[f"{what}Name"],
                    "status": item[f"{what}Status"],
                    "at": item["CreationTime"],
                    "arn": item[f"{what}Arn"],
                }
            )
    return found


def _cut(items: Iterable[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
    """The first `limit` of each kind of job, and every endpoint."""
    seen: Counter[str] = Counter()
    for item in items:
        seen[item["kind"]] += 1
        if item["kind"] == "endpoint" or seen[item["kind"]] <= limit:
            yield item


def _listed(out: Output, items: list[dict[str, Any]], columns: Sequence[str], form: str) -> Table:
    from rich.text import Text

    table = out.table(*columns)
    for item in items:
        status = item["status"]
        cells = {
            "kind": item["kind"],
            "name": item["name"],
            "status": Text(status, _STATUS_STYLE.get(status, "green" if status == "InService" else "")),
            "created": f"{item['at'].astimezone():{form}}",
        }
        out.row(table, *(cells[column] for column in columns))
    return table
