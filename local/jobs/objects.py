"""A transform job's input objects on their way to their outputs.

The objects are read in order and cut into requests; whoever sends these may do so many at a time; the answers
are taken in the same order. An object's output appears in the bucket once it is whole; an object with a bad
record has none, and the others go on.
"""

from __future__ import annotations

import gzip
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from local.jobs.channels import Downloader
from local.jobs.files import open_below, place
from local.jobs.invocations import InvocationProblem, Limits, Stopped
from local.jobs.records import Processing, Record, RecordProblem, batches, split, whole
from local.jobs.services import Services

_NAMED = 10  # failed objects that a reason names at most

Submit = Callable[[list[Record]], Future[bytes]]


@dataclass
class _Object:
    """`key` is the object's key below the prefix, `aside` its output before it is whole."""

    uri: str
    key: str
    path: Path
    aside: Path
    output: BinaryIO | None = None
    problem: str = ""
    kind: str = "ClientError"


@dataclass(frozen=True)
class _Step:
    """A request that was sent, or (without `answer`) the end of its object."""

    item: _Object
    batch: list[Record]
    answer: Future[bytes] | None


class Objects:
    """All objects of one job (`doc`), and what has become of them.

    `aside`: a folder on the bucket's disk. `cancelled`: ends the work with Stopped. `say`: for the data log.
    """

    def __init__(
        self,
        services: Services,
        doc: dict[str, Any],
        aside: Path,
        cancelled: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._config = services.config
        self._tick = services.timing.tick
        self._doc = doc
        self._aside = aside
        self._cancelled = cancelled
        self._say = say
        self._processing = Processing(doc)
        self._found: list[_Object] = []
        self._failed: list[_Object] = []
        self._written: list[Path] = []

    def find(self, role: str) -> None:
        """Lists the input. DataProblem if there is none; `role` is named in it."""
        source = self._doc["TransformInput"]["DataSource"]["S3DataSource"]
        objects = Downloader(self._config, role, self._cancelled.is_set).objects(source)
        self._aside.mkdir(parents=True)
        self._found = [
            _Object(f"s3://{path.relative_to(self._config.s3_root)}", key, path, self._aside / str(number))
            for number, (key, path) in enumerate(objects)
        ]

    def discard(self) -> None:
        """Takes the outputs away again."""
        for path in self._written:
            path.unlink(missing_ok=True)

    def send(self, limits: Limits, submit: Submit) -> None:
        """Sends all records, and takes the answers in the same order. `submit` sends one request."""
        try:
            self._send(limits, submit)
        finally:
            for item in self._found:
                if item.output is not None:
                    item.output.close()

    def _send(self, limits: Limits, submit: Submit) -> None:
        window: deque[_Step] = deque()
        ahead = 2 * limits.parallel  # requests that are sent or ready to be, so that no thread is idle
        for item in self._found:
            try:
                for batch in self._batches(item, limits):
                    window.append(_Step(item, batch, submit(batch)))
                    self._take(window, ahead)
                    if item.problem:
                        break
            except RecordProblem as problem:
                item.problem = item.problem or str(problem)
            except (OSError, EOFError, zlib.error) as error:
                item.problem = item.problem or f"it cannot be read ({error})"
            window.append(_Step(item, [], None))
            self._take(window, ahead)
        self._take(window, 0)

    def _batches(self, item: _Object, limits: Limits) -> Iterator[list[Record]]:
        source = self._doc["TransformInput"]
        with os.fdopen(open_below(item.path.parent, item.path), "rb") as raw:
            file: BinaryIO = raw
            if source.get("CompressionType") == "Gzip":
                file = gzip.open(raw)  # type: ignore[assignment]  # noqa: SIM115
            if source.get("SplitType") == "Line":
                parts = split(file, limits.bytes)
            else:
                parts = iter([whole(file, limits.bytes)])
            records = (self._processing.record(part) for part in parts)
            yield from batches(records, limits.bytes, several=limits.several)

    def _take(self, window: deque[_Step], ahead: int) -> None:
        """Takes answers until no more than `ahead` requests are open, and those that are there already."""
        while window:
            first = window[0].answer
            if (
                first is not None
                and not first.done()
                and sum(step.answer is not None for step in window) <= ahead
            ):
                break
            step = window.popleft()
            if step.answer is None:
                self._finish(step.item)
            elif step.item.problem:
                step.answer.cancel()
            else:
                self._write(step.item, step.batch, self._wait(step))

    def _wait(self, step: _Step) -> bytes | None:
        """The answer; None if there is none, which is the object's problem then. Stopped."""
        assert step.answer is not None
        while not step.answer.done():
            if self._cancelled.is_set():
                raise Stopped
            wait([step.answer], timeout=self._tick)
        try:
            return step.answer.result()
        except InvocationProblem as problem:
            step.item.problem, step.item.kind = str(problem), problem.kind
            return None

    def _write(self, item: _Object, batch: list[Record], answer: bytes | None) -> None:
        if answer is None:
            return
        ending = b"\n" if self._doc["TransformOutput"].get("AssembleWith") == "Line" else b""
        try:
            if item.output is None:
                item.output = item.aside.open("wb")
            for part in self._processing.answers(batch, answer):
                item.output.write(part if ending and part.endswith(ending) else part + ending)
        except RecordProblem as problem:
            item.problem = str(problem)
        except OSError as error:
            item.problem = f"its output cannot be written ({error.strerror})"

    def _finish(self, item: _Object) -> None:
        """Gives the output its name in the bucket; one with a problem has none."""
        target = f"{self._doc['TransformOutput']['S3OutputPath'].rstrip('/')}/{item.key}.out"
        try:
            if item.output is None:
                item.aside.touch()
            else:
                item.output.close()
            if not item.problem:
                path = self._config.output_path(target)
                place(item.aside, path)
                self._written.append(path)
        except (OSError, ValueError) as error:
            text = (error.strerror if isinstance(error, OSError) else None) or error
            item.problem = f"its output {target} cannot be written ({text})"
        item.aside.unlink(missing_ok=True)
        if item.problem:
            self._failed.append(item)
            for line in (f"{item.kind}:", item.problem):
                self._say(f"{item.uri.removeprefix('s3://')}: {line}")

    def reason(self) -> str:
        """Why the job is Failed; empty if it is not."""
        if not self._failed:
            return ""
        first, *others = self._failed
        named = ", ".join(item.uri for item in others[: _NAMED - 1])
        if len(others) >= _NAMED:
            named += ", …"
        return (
            f"{first.kind}: {len(self._failed)} of {len(self._found)} input objects could not be transformed "
            f"and have no output. {first.uri}: {first.problem}. "
            f"{f'The others: {named}. ' if named else ''}See job logs for more information."
        )
