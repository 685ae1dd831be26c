"""What S3 keeps beside the files: one SQLite database in the home folder."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SCHEMA = """
-- What was said about an object when it was written. It holds for the very file that has this inode, size and
-- time; a folder marker has inode 0.
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL,
    inode INTEGER NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (bucket, key, inode)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS markers ON objects (bucket, key) WHERE inode = 0;
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, region TEXT NOT NULL, created REAL NOT NULL, tags TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, initiated REAL NOT NULL,
    algorithm TEXT NOT NULL, type TEXT NOT NULL, note TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, checksums TEXT NOT NULL, modified REAL NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
-- Uploads that were completed a short while ago, and the ETag of the object that they made.
CREATE TABLE IF NOT EXISTS completed (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, ended REAL NOT NULL
) WITHOUT ROWID;
"""


class Database:
    """Statements from many threads, each a transaction of its own."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            # WAL with NORMAL survives a killed process; only a power cut can lose the last moments.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def run(self, statement: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """All rows that a statement finds."""
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._db.close()
