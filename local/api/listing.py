"""List*: filters, order and pages, the same for every kind of resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local import pagetokens
from local.errors import ValidationException
from local.store import Condition, Document, Store

DEFAULT_PAGE = 10  # AWS's, where a request has no MaxResults


# SortBy, as the store calls it.
_FIELDS = {
    "Name": "name",
    "CreationTime": "created",
    "Status": "status",
    "FinalObjectiveMetricValue": "objective",
}
# Members of a request that filter.
_FILTERS = {
    "NameContains": ("name", "contains"),
    "StatusEquals": ("status", "equals"),
    "WarmPoolStatusEquals": ("warm_pool", "equals"),
    "CreationTimeAfter": ("created", "after"),
    "CreationTimeBefore": ("created", "before"),
    "LastModifiedTimeAfter": ("modified", "after"),
    "LastModifiedTimeBefore": ("modified", "before"),
}


@dataclass(frozen=True)
class Page:
    items: Sequence[Document]
    next_token: str | None

    def answer(self, member: str, summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The operation's output: `summaries` of the items under `member`, and the token if there is more."""
        return {member: list(summaries), "NextToken": self.next_token}


def page(
    store: Store,
    kind: str,
    request: Mapping[str, Any],
    *,
    sort_by: str = "CreationTime",
    order: str = "Ascending",
    only: Sequence[Condition] = (),
) -> Page:
    """The page of a kind's documents that a List* request asks for.

    `sort_by` and `order`: the operation's defaults. `only`: what else the documents must meet.
    """
    sort = _FIELDS[request.get("SortBy", sort_by)]
    filters = [Condition(*how, request[member]) for member, how in _FILTERS.items() if member in request]
    size = request.get("MaxResults", DEFAULT_PAGE)
    token = request.get("NextToken")
    rows = store.page(
        kind,
        [*only, *filters],
        sort=sort,
        descending=request.get("SortOrder", order) == "Descending",
        # The name makes the order total, so that a token names one place in it.
        after=_read_token(token, text=sort in ("name", "status")) if token else None,
        limit=size + 1,
    )
    token = pagetokens.write(rows[size - 1][1:]) if len(rows) > size else None
    return Page([doc for doc, _, _ in rows[:size]], token)


def _read_token(token: str, *, text: bool) -> tuple[Any, str]:
    """The place that a token names; `text`: whether the order is that of texts."""
    try:
        value, name = pagetokens.parse(token)
        if not isinstance(value, str if text else int | float) or not isinstance(name, str):
            raise ValueError(token)
        # SQLite takes no larger integers, and no text that is not Unicode.
        place = (value if text else float(value), name)
        "".join(map(str, place)).encode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ValidationException(
            "Invalid NextToken: pass the one of the answer before, with the same filters and order."
        ) from None
    return place
