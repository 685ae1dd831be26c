"""What is known of an object beside its bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from local.s3.database import Database

_LARGEST = (1 << 63) - 1  # integer of SQLite


class Stamp(NamedTuple):
    """What makes a file the one that a note was written for."""

    inode: int
    size: int
    modified: int  # nanoseconds

    @staticmethod
    def of(status: os.stat_result) -> Stamp:
        return Stamp(status.st_ino & _LARGEST, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Note:
    """`members`: GetObject's that the writer gave (ContentType, …); `parts`: of a multipart upload."""

    etag: str = ""  # empty: that of the file's stamp
    members: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)  # by algorithm
    checksum_type: str = "FULL_OBJECT"
    parts: Sequence[Mapping[str, Any]] = ()  # size and checksums of each

    def dump(self) -> str:
        return json.dumps({name: value for name, value in vars(self).items() if value})

    @staticmethod
    def load(text: str) -> Note:
        return Note(**json.loads(text))


@dataclass(frozen=True)
class Found:
    """An object as it lies on the disk, and what is known of it."""

    key: str
    stamp: Stamp
    note: Note

    @property
    def size(self) -> int:
        return self.stamp.size

    @property
    def modified(self) -> int:
        """Epoch seconds, as HTTP has them."""
        return self.stamp.modified // 1_000_000_000

    @property
    def etag(self) -> str:
        """In quotes. For a file that no client uploaded: a hash of its stamp, with `-1`, being not an MD5."""
        return f'"{self.note.etag or file_etag(self.stamp)}"'


def file_etag(stamp: Stamp) -> str:
    text = "-".join(map(str, stamp)).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + "-1"


class Notes:
    """The notes of all objects. None of them says anything of a file that was written later."""

    def __init__(self, database: Database) -> None:
        self._run = database.run

    def get(self, bucket: str, key: str, stamp: Stamp) -> Note | None:
        """That of the very file; None if there is none."""
        rows = self._run(
            "SELECT note FROM objects WHERE (bucket, key, inode, size, modified) = (?, ?, ?, ?, ?)",
            bucket, key, *stamp,
        )  # fmt: skip
        return Note.load(rows[0][0]) if rows else None

    def put(self, bucket: str, key: str, stamp: Stamp, note: Note) -> None:
        """Beside that of the file which is there now; `settle` follows once the new one has its place."""
        self._run(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", bucket, key, *stamp, note.dump()
        )

    def settle(self, bucket: str, key: str, stamp: Stamp) -> None:
        """Only the note of this file is needed any more."""
        self._run("DELETE FROM objects WHERE bucket = ? AND key = ? AND inode <> ?", bucket, key, stamp.inode)

    def remove(self, bucket: str, key: str) -> None:
        self._run("DELETE FROM objects WHERE bucket = ? AND key = ?", bucket, key)

    def remove_bucket(self, bucket: str) -> None:
        self._run("DELETE FROM objects WHERE bucket = ?", bucket)

    def of_page(self, bucket: str, stamps: Mapping[str, Stamp]) -> dict[str, Note]:
        """The notes of many files, by key; none for those that have none."""
        rows = self._run(
            "SELECT key, inode, size, modified, note FROM objects"
            " WHERE bucket = ? AND key IN (SELECT value FROM json_each(?))",
            bucket, json.dumps(list(stamps)),
        )  # fmt: skip
        return {key: Note.load(note) for key, *stamp, note in rows if stamps[key] == tuple(stamp)}

    # --- markers: keys that end in a slash ------------------------------------------------------------

    def markers(self, bucket: str) -> dict[str, Stamp]:
        rows = self._run(
            "SELECT key, inode, size, modified FROM objects WHERE bucket = ? AND inode = 0", bucket
        )
        return {key: Stamp(*stamp) for key, *stamp in rows}

    def marker(self, bucket: str, key: str) -> Stamp | None:
        rows = self._run(
            "SELECT inode, size, modified FROM objects WHERE bucket = ? AND key = ? AND inode = 0",
            bucket,
            key,
        )
        return Stamp(*rows[0]) if rows else None

    def marked(self, bucket: str, keys: Iterable[str]) -> set[str]:
        """Those of `keys` that are markers'."""
        rows = self._run(
            "SELECT key FROM objects WHERE bucket = ? AND inode = 0"
            " AND key IN (SELECT value FROM json_each(?))",
            bucket, json.dumps(list(keys)),
        )  # fmt: skip
        return {key for (key,) in rows}
