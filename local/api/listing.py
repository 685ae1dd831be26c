"""List*: filters, order and pages, the same for every kind of resource."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.errors import ValidationException
from local.store import Document

DEFAULT_PAGE = 10  # AWS's, where a request has no MaxResults


@dataclass(frozen=True)
class Columns:
    """Which members of a document a List* operation filters and sorts by."""

    name: str
    status: str = ""
    created: str = "CreationTime"
    modified: str = "LastModifiedTime"


@dataclass(frozen=True)
class Page:
    items: Sequence[Document]
    next_token: str | None

    def answer(self, member: str, summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The operation's output: `summaries` of the items under `member`, and the token if there is more."""
        return {member: list(summaries), "NextToken": self.next_token}


def page(
    docs: Iterable[Document],
    request: Mapping[str, Any],
    columns: Columns,
    *,
    sort_by: str = "CreationTime",
    order: str = "Ascending",
) -> Page:
    """The page of `docs` that a List* request asks for. `sort_by` and `order`: the operation's defaults."""
    sort_by = request.get("SortBy", sort_by)
    descending = request.get("SortOrder", order) == "Descending"
    keys = {
        "Name": columns.name,
        "CreationTime": columns.created,
        "Status": columns.status,
    }

    def key(doc: Document) -> tuple[Any, str]:
        # The name makes the order total, so that a token names one place in it.
        return _value(doc, sort_by, keys), doc[columns.name]

    found = [doc for doc in docs if _wanted(doc, request, columns)]
    if sort_by == "FinalObjectiveMetricValue":
        found = [doc for doc in found if "_FinalObjectiveMetric" in doc]
    found.sort(key=key, reverse=descending)
    if request.get("NextToken"):
        last = _read_token(request["NextToken"], text=sort_by in ("Name", "Status"))
        found = [doc for doc in found if (key(doc) < last if descending else key(doc) > last)]
    size = request.get("MaxResults", DEFAULT_PAGE)
    more = len(found) > size
    return Page(found[:size], _write_token(key(found[size - 1])) if more else None)


def _value(doc: Document, sort_by: str, keys: Mapping[str, str]) -> Any:
    if sort_by == "FinalObjectiveMetricValue":
        return doc["_FinalObjectiveMetric"]["Value"]
    return doc[keys[sort_by]]


def _wanted(doc: Document, request: Mapping[str, Any], columns: Columns) -> bool:
    if "NameContains" in request and request["NameContains"].lower() not in doc[columns.name].lower():
        return False
    if "StatusEquals" in request and doc[columns.status] != request["StatusEquals"]:
        return False
    for prefix, member in (("CreationTime", columns.created), ("LastModifiedTime", columns.modified)):
        time = doc.get(member, doc[columns.created])
        if time <= request.get(f"{prefix}After", float("-inf")):
            return False
        if time >= request.get(f"{prefix}Before", float("inf")):
            return False
    return True


def _write_token(place: tuple[Any, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _read_token(token: str, *, text: bool) -> tuple[Any, str]:
    """The place that a token names; `text`: whether the order is that of texts."""
    try:
        value, name = json.loads(base64.urlsafe_b64decode(token.encode()))
        if not isinstance(value, str if text else int | float) or not isinstance(name, str):
            raise ValueError(token)
    except (ValueError, TypeError, binascii.Error):
        raise ValidationException(
            "Invalid NextToken: pass the one of the answer before, with the same filters and order."
        ) from None
    return value, name
