"""What live pages show: documents by key, read from AWS no more often than needed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from contract.errors import NOT_FOUND
from report.pages import live as pages
from report.read import jobs
from report.read.listing import KINDS, PAGE, of_kind
from report.read.live import LiveTraining
from report.read.values import mapping
from scripts import tags
from scripts.web.endpoint import described
from scripts.web.values import dump

if TYPE_CHECKING:
    from scripts.web.session import Session

log = logging.getLogger("byoc.web")

LISTED: Final = 2_000
"""Jobs of each kind that the list shows at most."""
_LIST_SECONDS: Final = 1.5
_WHOLE_LIST_SECONDS: Final = 45.0
_DRAW_SECONDS: Final = 0.8
"""Between two drawings of the same curves: each takes a tenth of a second of a slow core."""


class JobList:
    """All jobs and endpoints. The newest are asked for each time, all of them now and then."""

    ended = False

    def __init__(self, session: Session, pause: float = _LIST_SECONDS) -> None:
        """`pause`: seconds between two looks."""
        self._session, self._pause = session, pause
        self._lock = threading.Lock()
        self._documents: dict[str, str] = {}
        self._items: dict[str, dict[str, Any]] = {}
        self._ours: dict[str, bool] = {}
        self._looked = self._read_all = -1e9

    def look(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._looked < self._pause:
                return
            # The first page of each kind first: on AWS the others take seconds.
            whole = bool(self._items) and now - self._read_all > _WHOLE_LIST_SECONDS
            self._read(LISTED if whole else PAGE)
            self._looked = time.monotonic()
            if whole:
                self._read_all = self._looked

    def _read(self, limit: int) -> None:
        clients, project = self._session.clients, self._session.settings.project.name
        with ThreadPoolExecutor(max_workers=len(KINDS)) as pool:
            read = list(pool.map(lambda kind: of_kind(clients, kind, limit), KINDS))
        items: dict[str, dict[str, Any]] = {}
        for kind, listed in zip(KINDS, read, strict=True):
            if len(listed) == limit and limit < LISTED:  # older ones are as they were
                oldest = listed[-1]["at"]
                items |= {
                    key: item
                    for key, item in self._items.items()
                    if item["kind"] == kind and item["at"] < oldest
                }
            items |= {f"{kind}/{item['name']}": item for item in listed}
        self._items = items
        self._find_ours(project)
        rows = {
            key: dump(pages.row(item, project, ours=self._ours.get(item["arn"], False)))
            for key, item in items.items()
        }
        self._documents = rows

    def _find_ours(self, project: str) -> None:
        unknown = [item["arn"] for item in self._items.values() if item["arn"] not in self._ours]
        if unknown:
            # Of the newest only, as `byoc jobs` does: AWS may have to be asked for each.
            ours = tags.of_project(self._session.clients, project, unknown[:PAGE], log.warning)
            self._ours |= {arn: arn in ours for arn in unknown}

    def documents(self) -> Mapping[str, str]:
        return self._documents

    def lines(self, since: int) -> tuple[int, list[str]]:
        return 0, []


class Training:
    """A training job: its headline, its curves and its log."""

    def __init__(self, session: Session, name: str) -> None:
        self.live = LiveTraining(session.clients, name)
        self._session = session
        self._lock = threading.Lock()
        self._documents: dict[str, str] = {}
        self._version, self._drawn = -1, -1e9

    @property
    def ended(self) -> bool:
        return self.live.over and self._version == self.live.version

    def look(self) -> None:
        self.live.look()
        with self._lock:
            if self._version == self.live.version:
                if not self.live.ended:
                    self._head()
                return
            self._head()
            now = time.monotonic()
            if now - self._drawn < _DRAW_SECONDS and not self.live.over:
                return
            version = self.live.version
            figures = pages.training_figures(self.live)
            self._documents = {
                "job": self._documents["job"],
                "figures": dump([item.id for item in figures]),
                **{f"figure/{item.id}": dump(pages.figure_document(item)) for item in figures},
            }
            self._drawn, self._version = time.monotonic(), version

    def _head(self) -> None:
        machine, _ = pages.machines(mapping(self.live.job.get("ResourceConfig")))
        hourly = self._session.hourly(machine, "Training") if machine else None
        document = dump(pages.training_document(self.live, hourly))
        self._documents = {**self._documents, "job": document}

    def documents(self) -> Mapping[str, str]:
        return self._documents

    def lines(self, since: int) -> tuple[int, list[str]]:
        new = self.live.lines_since(since)
        return self.live.count, new


def details(session: Session, keys: list[str]) -> dict[str, Any]:
    """What a list does not have, by key (`kind/name`): machine, metric, and what each has cost so far."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(keys, pool.map(lambda key: _detail(session, key), keys), strict=True))


def _detail(session: Session, key: str) -> dict[str, Any] | None:
    kind, _, name = key.partition("/")
    readers = {"training": _training, "tuning": _tuning, "transform": _transform, "endpoint": _endpoint}
    reader = readers.get(kind)
    try:
        return reader(session, name) if reader else None
    except Exception as error:
        # Of one that is gone, or that these credentials may not describe, the others say theirs all the same.
        readable = session.readable(error)
        if readable.code == NOT_FOUND or readable.kind.startswith("AccessDenied"):
            return None
        raise


def _priced(
    session: Session, machine: str, count: int, seconds: float | None, kind: Any, **more: Any
) -> dict[str, Any]:
    hourly = session.hourly(machine, kind) if machine else None
    return {
        "machine": machine,
        "count": count,
        "seconds": seconds,
        "hourly": None if hourly is None else hourly * count,
        "cost": pages.cost(seconds, count, hourly),
        **more,
    }


def _training(session: Session, name: str) -> dict[str, Any] | None:
    job = jobs.find(session.clients, name)
    if job is None:
        return None
    machine, count = pages.machines(mapping(job.get("ResourceConfig")))
    metrics = jobs.metrics(job)
    accuracy = metrics.get("test:accuracy", metrics.get("validation:accuracy"))
    seconds = pages.training_seconds(job)
    spot = job.get("EnableManagedSpotTraining") is True
    return _priced(session, machine, count, seconds, "Training", accuracy=accuracy, spot=spot)


def _tuning(session: Session, name: str) -> dict[str, Any] | None:
    from report.read import tuning

    if tuning.find(session.clients, name) is None:
        return None
    job = tuning.look(session.clients, name)
    machine, count = pages.machines(mapping(job.definition.get("ResourceConfig")))
    now = datetime.now(UTC)
    seconds = sum(((trial.end or now) - trial.start).total_seconds() for trial in job.trials if trial.start)
    ended = sum(trial.end is not None for trial in job.trials)
    best = job.best
    return _priced(
        session, machine, count, seconds, "Training",
        trials=f"{ended}/{job.total}",
        accuracy=best.objective if best and "accuracy" in job.metric else None,
    )  # fmt: skip


def _transform(session: Session, name: str) -> dict[str, Any] | None:
    from report.words import seconds_between
    from scripts import transform

    job = transform.describe(session.clients, name)
    resources = mapping(job.get("TransformResources"))
    end = job.get("TransformEndTime") or datetime.now(UTC)
    seconds = seconds_between(job.get("TransformStartTime"), end)
    machine, count = pages.machines(resources)
    return _priced(session, machine, count, seconds, "BatchTransform")


def _endpoint(session: Session, name: str) -> dict[str, Any] | None:
    endpoint = described(session.clients, name)
    if endpoint is None:
        return None
    machine, count = endpoint.machine, endpoint.count
    return _priced(session, machine, count, endpoint.seconds, "Hosting")
