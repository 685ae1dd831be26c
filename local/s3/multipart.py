"""Multipart uploads: parts in files of their own until they become one object."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.jobs.files import place
from local.s3 import checksums
from local.s3.database import Database
from local.s3.errors import S3Error, invalid_argument, invalid_request, malformed_xml, no_such_upload
from local.s3.files import Incoming
from local.s3.incoming import Received, check_checksum
from local.s3.notes import Note

SMALLEST_PART = 5 << 20  # bytes, of all parts but the last
MOST_PARTS = 10_000
_REMEMBERED = 24 * 3600.0  # seconds in which a client whose answer was lost may complete an upload again


@dataclass(frozen=True)
class Upload:
    """`algorithm`: of the parts' checksums, empty for none; `type`: COMPOSITE or FULL_OBJECT."""

    id: str
    bucket: str
    key: str
    initiated: float
    algorithm: str
    type: str
    note: Note


@dataclass(frozen=True)
class Part:
    number: int
    file: str
    size: int
    etag: str  # without quotes
    checksums: Mapping[str, str]
    modified: float


class Uploads:
    """All uploads that are neither completed nor aborted; they outlive the service."""

    def __init__(self, folder: Path, database: Database) -> None:
        """Creates the folder, and removes what a service that was killed has left in it beside the parts."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._run = database.run
        listed = {file for (file,) in self._run("SELECT file FROM parts")}
        for entry in os.scandir(folder):
            if entry.name not in listed:
                Path(entry.path).unlink()

    def create(self, bucket: str, key: str, algorithm: str, kind: str, note: Note) -> Upload:
        """S3Error for an algorithm that has no checksum of that kind."""
        if algorithm:
            checksums.new(algorithm)
        kind = kind or ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
        has_it = algorithm in checksums.CRCS if kind == "FULL_OBJECT" else algorithm != "CRC64NVME"
        if algorithm and not has_it:
            raise invalid_request(
                f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
            )
        # In the order in which they were begun.
        name = f"{time.time_ns():016x}{uuid.uuid4().hex}"
        upload = Upload(name, bucket, key, time.time(), algorithm, kind, note)
        self._run(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?)",
            upload.id, bucket, key, upload.initiated, algorithm, kind, note.dump(),
        )  # fmt: skip
        return upload

    def get(self, bucket: str, key: str, upload: str) -> Upload:
        """S3Error if there is no such upload of that key."""
        rows = self._run("SELECT * FROM uploads WHERE (id, bucket, key) = (?, ?, ?)", upload, bucket, key)
        if not rows:
            raise no_such_upload(upload)
        return _upload(rows[0])

    def all(self, bucket: str) -> list[Upload]:
        """By key, those of a key by time."""
        rows = self._run("SELECT * FROM uploads WHERE bucket = ? ORDER BY key, id", bucket)
        return [_upload(row) for row in rows]

    def parts(self, upload: Upload) -> list[Part]:
        """By number."""
        rows = self._run("SELECT * FROM parts WHERE upload = ? ORDER BY number", upload.id)
        return [
            Part(number, file, size, etag, json.loads(text), modified)
            for _, number, file, size, etag, text, modified in rows
        ]

    def put_part(self, upload: Upload, number: int, incoming: Incoming, received: Received) -> Part:
        """A part that is complete, in place of one with the same number. S3Error if the upload has ended."""
        part = Part(number, incoming.path.name, received.size, received.md5, received.checksums, time.time())
        place(incoming.path, self._folder / part.file)
        replaced = self._run("SELECT file FROM parts WHERE (upload, number) = (?, ?)", upload.id, number)
        self._run(
            "INSERT OR REPLACE INTO parts SELECT ?, ?, ?, ?, ?, ?, ? WHERE EXISTS"
            " (SELECT 1 FROM uploads WHERE id = ?)",
            upload.id, number, part.file, part.size, part.etag, json.dumps(part.checksums), part.modified,
            upload.id,
        )  # fmt: skip
        kept = self._run("SELECT file FROM parts WHERE (upload, number) = (?, ?)", upload.id, number)
        self._remove_files(file for (file,) in [*replaced, (part.file,)] if (file,) not in kept)
        if not kept:
            raise no_such_upload(upload.id)
        return part

    def path(self, part: Part) -> Path:
        return self._folder / part.file

    def complete(self, upload: Upload, etag: str) -> None:
        """Ends it, and remembers the object that it made."""
        now = time.time()
        self._run("DELETE FROM completed WHERE ended < ?", now - _REMEMBERED)
        self._run(
            "INSERT OR REPLACE INTO completed VALUES (?, ?, ?, ?, ?)",
            upload.id, upload.bucket, upload.key, etag, now,
        )  # fmt: skip
        self.end(upload)

    def etag_of_completed(self, bucket: str, key: str, name: str) -> str | None:
        """Of the object that the upload `name` made; None if it was not completed, or long ago."""
        rows = self._run("SELECT etag FROM completed WHERE (id, bucket, key) = (?, ?, ?)", name, bucket, key)
        return rows[0][0] if rows else None

    def end(self, upload: Upload) -> None:
        """Completed or aborted: its parts are removed."""
        files = [part.file for part in self.parts(upload)]
        self._run("DELETE FROM uploads WHERE id = ?", upload.id)
        files += [part.file for part in self.parts(upload)]
        self._run("DELETE FROM parts WHERE upload = ?", upload.id)
        self._remove_files(files)

    def end_all(self, bucket: str) -> None:
        for upload in self.all(bucket):
            self.end(upload)

    def _remove_files(self, files: Iterable[str]) -> None:
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / file).unlink()


def _upload(row: Sequence[Any]) -> Upload:
    name, bucket, key, initiated, algorithm, kind, note = row
    return Upload(name, bucket, key, initiated, algorithm, kind, Note.load(note))


def check_number(number: int) -> None:
    """S3Error for a number that no part can have."""
    if not 1 <= number <= MOST_PARTS:
        raise invalid_argument(
            f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=number,
        )


def chosen(parts: Sequence[Part], wanted: Sequence[Mapping[str, Any]], upload: Upload) -> list[Part]:
    """The parts that CompleteMultipartUpload lists. S3Error for a missing or different one."""
    if not wanted:
        raise malformed_xml("it lists no parts")
    there = {part.number: part for part in parts}
    numbers = [each.get("PartNumber", 0) for each in wanted]
    if sorted(set(numbers)) != numbers:
        raise S3Error(
            400,
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        )
    chosen_parts = []
    for number, each in zip(numbers, wanted, strict=True):
        part = there.get(number)
        checksums_sent = {
            name: each[f"Checksum{name}"] for name in checksums.ALGORITHMS if f"Checksum{name}" in each
        }
        if (
            part is None
            or each.get("ETag", "").strip('"') != part.etag
            or any(part.checksums.get(name, value) != value for name, value in checksums_sent.items())
        ):
            raise S3Error(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, "
                "or the specified entity tag may not match the part's entity tag.",
                UploadId=upload.id,
                PartNumber=number,
            )
        chosen_parts.append(part)
    for part in chosen_parts[:-1]:
        if part.size < SMALLEST_PART:
            raise S3Error(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                ProposedSize=part.size,
                MinSizeAllowed=SMALLEST_PART,
                PartNumber=part.number,
                ETag=part.etag,
            )
    return chosen_parts


def completed(upload: Upload, parts: Sequence[Part], headers: Mapping[str, str]) -> Note:
    """The note of the object that the parts make. S3Error if its checksum is not that of `headers`."""
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    etag = f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"
    values: dict[str, str] = {}
    if upload.algorithm:
        own = [part.checksums[upload.algorithm] for part in parts]
        if upload.type == "FULL_OBJECT":
            sizes = [part.size for part in parts]
            values = {upload.algorithm: checksums.full(upload.algorithm, list(zip(own, sizes, strict=True)))}
        else:
            values = {upload.algorithm: checksums.composite(upload.algorithm, own)}
    for name, given in checksums.of_headers(headers).items():
        if name not in values:
            raise invalid_request(
                f"The upload has no checksum algorithm {name}: name it in CreateMultipartUpload."
            )
        # The number of parts may be left away.
        check_checksum(name, given.partition("-")[0], values[name].partition("-")[0])
    described = [{"Size": part.size, **part.checksums} for part in parts]
    return Note(etag, upload.note.members, upload.note.tags, values, upload.type, described)
