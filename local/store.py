"""The service's memory: documents by kind and name in one SQLite file.

A document is exactly what Describe* answers (times as epoch seconds), plus private members whose
names start with an underscore and which never leave the service.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]

KINDS = ("training-job", "tuning-job", "model", "endpoint-config", "endpoint", "transform-job", "tags")

_TABLE = """
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""

# What lists are filtered and sorted by. `parent` is the tuning job of a training job.
FIELDS = {
    "name": "name",
    "created": "json_extract(body, '$.CreationTime')",
    "modified": "coalesce(json_extract(body, '$.LastModifiedTime'), json_extract(body, '$.CreationTime'))",
    "status": "coalesce(json_extract(body, '$.TrainingJobStatus'),"
    " json_extract(body, '$.HyperParameterTuningJobStatus'),"
    " json_extract(body, '$.TransformJobStatus'), json_extract(body, '$.EndpointStatus'))",
    "objective": "json_extract(body, '$._FinalObjectiveMetric.Value')",
    "parent": "json_extract(body, '$.TuningJobArn')",
    "warm_pool": "json_extract(body, '$.WarmPoolStatus.Status')",
}

# A page of a list is read from one of these, and not from all documents.
_INDEXES = {
    "by_lower_name": "lower(name)",
    "by_created": f"{FIELDS['created']}, name",
    "by_status": f"{FIELDS['status']}, {FIELDS['created']}, name",
    "by_parent": f"{FIELDS['parent']}, name",
}

# How a field is compared with a value.
_TESTS = {
    "contains": "instr(lower({field}), lower(?))",
    "equals": "{field} = ?",
    "after": "{field} > ?",
    "before": "{field} < ?",
}


@dataclass(frozen=True)
class Condition:
    """`field` (of FIELDS) `test` (contains, equals, after, before) `value`."""

    field: str
    test: str
    value: Any

    @property
    def sql(self) -> str:
        return _TESTS[self.test].format(field=FIELDS[self.field])


class Store:
    """Documents by (kind, name). Safe to use from many threads; one process at a time (the home's `lock`)."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file at `path`; ":memory:" keeps nothing."""
        self._lock = threading.RLock()
        if str(path) != ":memory:":
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            # WAL with NORMAL survives a killed process; only a power cut can lose the last moments.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_TABLE)
            for name, fields in _INDEXES.items():
                self._db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON documents (kind, {fields})")
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def put(self, kind: str, name: str, doc: Document) -> None:
        """Writes `doc`, whether or not there was one."""
        body = _dump(doc)
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (_known(kind), name, body))

    def insert(self, kind: str, name: str, doc: Document) -> bool:
        """Writes `doc` unless the name is taken; says whether it did.

        SageMaker compares names without regard to case, and ARNs are in lower case.
        """
        body = _dump(doc)
        with self._lock:
            done = self._db.execute(
                "INSERT INTO documents SELECT :kind, :name, :body WHERE NOT EXISTS"
                " (SELECT 1 FROM documents WHERE kind = :kind AND lower(name) = lower(:name))",
                {"kind": _known(kind), "name": name, "body": body},
            )
            return done.rowcount == 1

    def get(self, kind: str, name: str) -> Document | None:
        with self._lock:
            row = self._db.execute(
                "SELECT body FROM documents WHERE kind = ? AND name = ?", (_known(kind), name)
            ).fetchone()
        return None if row is None else _load(row[0])

    def update(self, kind: str, name: str, **changes: Any) -> Document:
        """Sets top-level members and LastModifiedTime; the new document. KeyError if there is none."""
        return self.mutate(kind, name, lambda doc: doc.update(changes))

    def mutate(self, kind: str, name: str, change: Callable[[Document], Document | None]) -> Document:
        """Reads, changes and writes as one step, and stamps LastModifiedTime; the new document.

        `change` alters the document in place (None) or returns another. It runs under the store's lock:
        keep it short. If it raises, nothing is written. KeyError if there is no such document.
        """
        with self._lock:
            doc = self.get(kind, name)
            if doc is None:
                raise KeyError(f"no {kind} {name!r}")
            changed = change(doc)
            if changed is not None:
                doc = changed
            doc["LastModifiedTime"] = time.time()
            self._db.execute(
                "UPDATE documents SET body = ? WHERE kind = ? AND name = ?", (_dump(doc), kind, name)
            )
            return doc

    def each(self, kind: str) -> Iterator[Document]:
        """All documents of a kind, ordered by name, one after the other: there may be thousands."""
        for name in self.names(kind):
            doc = self.get(kind, name)
            if doc is not None:  # deleted meanwhile
                yield doc

    def page(
        self,
        kind: str,
        conditions: Sequence[Condition] = (),
        *,
        sort: str = "name",
        descending: bool = False,
        after: tuple[Any, str] | None = None,
        limit: int,
    ) -> Sequence[tuple[Document, Any, str]]:
        """At most `limit` documents that meet all conditions, each with its value of `sort` and its name.

        They are ordered by `sort` (of FIELDS), then by name; those without a value are left out. `after`:
        value and name of the document that the page begins behind.
        """
        field = FIELDS[sort]
        tests = ["kind = ?", f"{field} IS NOT NULL", *(condition.sql for condition in conditions)]
        values = [_known(kind), *(condition.value for condition in conditions)]
        if after is not None:
            tests.append(f"({field}, name) {'<' if descending else '>'} (?, ?)")
            values += after
        direction = "DESC" if descending else "ASC"
        with self._lock:
            rows = self._db.execute(
                f"SELECT body, {field}, name FROM documents WHERE {' AND '.join(tests)}"  # noqa: S608
                f" ORDER BY {field} {direction}, name {direction} LIMIT ?",
                (*values, limit),
            ).fetchall()
        return [(_load(body), value, name) for body, value, name in rows]

    def names(self, kind: str) -> Sequence[str]:
        """Names of all documents of a kind, ordered."""
        with self._lock:
            rows = self._db.execute(
                "SELECT name FROM documents WHERE kind = ? ORDER BY name", (_known(kind),)
            ).fetchall()
        return [row[0] for row in rows]

    def delete(self, kind: str, name: str) -> bool:
        """Removes the document; says whether there was one."""
        with self._lock:
            done = self._db.execute("DELETE FROM documents WHERE kind = ? AND name = ?", (_known(kind), name))
            return done.rowcount == 1


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; the store knows {', '.join(KINDS)}")
    return kind


def _dump(doc: Document) -> str:
    # NaN is no JSON for SQLite, whose indexes read the documents.
    return json.dumps(doc, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _load(body: str) -> Document:
    doc: Document = json.loads(body)
    return doc
