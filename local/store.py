"""The service's memory: documents by kind and name in one SQLite file.

A document is exactly what Describe* answers (times as epoch seconds), plus private members whose
names start with an underscore and which never leave the service.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Document = dict[str, Any]

KINDS = ("training-job", "tuning-job", "model", "endpoint-config", "endpoint", "transform-job", "tags")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""


class Store:
    """Documents by (kind, name). Safe to use from many threads; one process at a time (the home's `lock`)."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file at `path`; ":memory:" keeps nothing."""
        self._lock = threading.RLock()
        if str(path) != ":memory:":
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # WAL with NORMAL survives a killed process; only a power cut can lose the last moments.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)

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
                "INSERT INTO documents SELECT ?1, ?2, ?3 WHERE NOT EXISTS"
                " (SELECT 1 FROM documents WHERE kind = ?1 AND lower(name) = lower(?2))",
                (_known(kind), name, body),
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

    def list(self, kind: str) -> list[Document]:
        """All documents of a kind, ordered by name."""
        with self._lock:
            rows = self._db.execute(
                "SELECT body FROM documents WHERE kind = ? ORDER BY name", (_known(kind),)
            ).fetchall()
        return [_load(row[0]) for row in rows]

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
    return json.dumps(doc, ensure_ascii=False, separators=(",", ":"))


def _load(body: str) -> Document:
    doc: Document = json.loads(body)
    return doc
