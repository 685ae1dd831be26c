"""Batch transform's data: objects split into records, records put together for requests, answers joined.

Nothing here sends anything or knows of S3.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from local.jobs.jsonpath import PathError, compile_path

MB = 1 << 20
CSV = "text/csv"
_JSON = ("application/json", "application/jsonlines")


class RecordProblem(Exception):
    """An object that cannot be transformed; the text says why."""


@dataclass(frozen=True)
class Record:
    """What the object holds, and what of it is sent."""

    original: bytes
    sent: bytes


def media_type(header: str) -> str:
    """A Content-Type or Accept without its parameters."""
    return header.partition(";")[0].strip().lower()


class Processing:
    """A job's DataProcessing: filters, and the join of inputs with answers."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        """`job`: a CreateTransformJob request or a document. ValueError for what cannot be done."""
        processing = job.get("DataProcessing", {})
        before, after = processing.get("InputFilter", "$") or "$", processing.get("OutputFilter", "$") or "$"
        self._join = processing.get("JoinSource", "None") == "Input"
        self.active = self._join or before.strip() != "$" or after.strip() != "$"
        self._csv = False
        if not self.active:
            return
        source, target = job["TransformInput"], job["TransformOutput"]
        content, accept = media_type(source.get("ContentType", "")), media_type(target.get("Accept", ""))
        allowed = (CSV, *_JSON)
        for member, value in (("TransformInput.ContentType", content), ("TransformOutput.Accept", accept)):
            if value not in allowed:
                raise ValueError(
                    f"DataProcessing is for CSV and JSON: {member} is {value!r} and must be one of "
                    f"{', '.join(allowed)}."
                )
        if (content == CSV) != (accept == CSV):
            raise ValueError(f"DataProcessing needs one format: {content} goes in and {accept} comes out.")
        self._csv = content == CSV
        self._lines = source.get("SplitType", "None") == "Line"
        if self._csv and not (self._lines and target.get("AssembleWith", "None") == "Line"):
            raise ValueError(
                "DataProcessing of text/csv needs TransformInput.SplitType Line and "
                "TransformOutput.AssembleWith Line."
            )
        try:
            self._before, self._after = compile_path(before), compile_path(after)
        except PathError as error:
            raise ValueError(f"DataProcessing: the JSONPath {error}") from None
        self._whole = before.strip() == "$"

    def record(self, original: bytes) -> Record:
        """A record with what the InputFilter leaves of it. RecordProblem."""
        if not self.active or self._whole:
            return Record(original, original)
        return Record(original, self._write(self._select(self._before, self._read(original, "input"))))

    def answers(self, records: Sequence[Record], body: bytes) -> list[bytes]:
        """The output's records from what the model has answered to `records`. RecordProblem."""
        if not self.active:
            return [body]
        parts = [body]
        if self._lines:
            parts = [line for line in body.split(b"\n") if line.strip()]
            if self._join and len(parts) != len(records):
                raise RecordProblem(
                    f"the model answered {len(records)} records with {len(parts)} lines, which cannot "
                    "be joined; BatchStrategy SingleRecord sends one record a request"
                )
        results = [self._read(part, "answer") for part in parts]
        if self._join:
            results = [
                self._joined(self._read(record.original, "input"), result)
                for record, result in zip(records, results, strict=True)
            ]
        return [self._write(self._select(self._after, result)) for result in results]

    def _joined(self, record: Any, answer: Any) -> Any:
        if self._csv:
            return [*record, *answer]
        if isinstance(record, dict):
            return {**record, "SageMakerOutput": answer}
        return {"SageMakerInput": record, "SageMakerOutput": answer}

    def _read(self, text: bytes, what: str) -> Any:
        try:
            if not self._csv:
                return json.loads(text)
            [row] = csv.reader([text.decode().rstrip("\r")], strict=True)
        except (ValueError, RecursionError, csv.Error) as error:
            kind = "CSV row" if self._csv else "JSON"
            raise RecordProblem(f"the {what} is no {kind}: {error}") from None
        return row

    def _write(self, value: Any) -> bytes:
        if not self._csv:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(value if isinstance(value, list) else [value])
        return row.getvalue().encode()

    def _select(self, path: Any, value: Any) -> Any:
        try:
            return path(value)
        except PathError as error:
            raise RecordProblem(str(error)) from None


def split(file: BinaryIO, limit: int | None) -> Iterator[bytes]:
    """The lines of a file, without their line feeds. RecordProblem for one above `limit` bytes."""
    while line := file.readline(-1 if limit is None else limit + 2):
        line = line.removesuffix(b"\n")
        check_size(len(line), limit)
        yield line


def whole(file: BinaryIO, limit: int | None) -> bytes:
    """All of a file. RecordProblem if it is above `limit` bytes."""
    content = file.read(-1 if limit is None else limit + 1)
    check_size(len(content), limit)
    return content


def check_size(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise RecordProblem(f"a record is larger than MaxPayloadInMB, which is {limit // MB}")


def batches(records: Iterable[Record], limit: int | None, *, several: bool) -> Iterator[list[Record]]:
    """The records of each request: one, or as many as `limit` bytes hold with a line feed between them."""
    batch: list[Record] = []
    size = 0
    for record in records:
        more = len(record.sent) + 1
        if batch and (not several or (limit is not None and size + more - 1 > limit)):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += more
    if batch:
        yield batch


def payload(batch: Sequence[Record]) -> bytes:
    return b"\n".join(record.sent for record in batch)
