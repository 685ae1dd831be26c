"""Log groups and streams as files: what is there, and pages of events, read from either end.

A stream is a file of lines `<epoch ms> <text>`, in the order of time, appended to while it is read
(`Config.log_file` says where). A line without its end is not read yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.names import ENDPOINT_LOGS
from local.config import Config

# AWS answers with a megabyte at most.
PAGE_BYTES = 1 << 20
BLOCK = 1 << 16
# Where groups are families of one group per resource rather than one group.
_FAMILIES = (ENDPOINT_LOGS,)
_SUFFIX = ".log"


@dataclass(frozen=True)
class Event:
    """One line. `start` and `end` are its bytes in the file; `time` is in epoch milliseconds."""

    time: int
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Stream:
    """One log stream."""

    name: str
    path: Path

    def size(self) -> int:
        return self.path.stat().st_size

    def forward(self, offset: int) -> Iterator[Event]:
        """Events from byte `offset` (the start of a line) on, as far as lines are complete."""
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield _event(line, offset)
                offset += len(line)

    def backward(self, offset: int) -> Iterator[Event]:
        """Events that end at byte `offset` or before, newest first."""
        with self.path.open("rb") as file:
            rest = b""
            while offset > 0:
                size = min(offset, BLOCK)
                offset -= size
                file.seek(offset)
                block = file.read(size) + rest
                # The block's first line may begin before it; what follows its last line end is incomplete.
                first = 0 if offset == 0 else block.find(b"\n") + 1
                rest = block[:first] if first or offset == 0 else block
                if offset and not first:
                    continue
                yield from _backward_lines(block[first:], offset + first)

    def seek(self, time: int) -> int:
        """The byte where the events of `time` (epoch milliseconds) and later begin."""
        if time <= 0:
            return 0
        low, high = 0, self.size()  # starts of lines, but for `high`
        with self.path.open("rb") as file:
            while low < high:
                middle = (low + high) // 2
                # The first line that begins at `middle` or after it.
                start = middle
                if middle > low:
                    file.seek(middle - 1)
                    start += len(file.readline()) - 1
                file.seek(start)
                line = file.readline()
                if line.endswith(b"\n") and _event(line, start).time < time:
                    low = start + len(line)
                else:
                    high = middle
        return low

    def end(self) -> int:
        """The byte after the last complete line."""
        newest = next(self.backward(self.size()), None)
        return newest.end if newest else 0

    def first_and_last(self) -> tuple[Event | None, Event | None]:
        return next(self.forward(0), None), next(self.backward(self.size()), None)


def groups(config: Config) -> list[str]:
    """Names of all log groups that have a stream, in order."""
    names = []
    families = config.logs_root / "aws" / "sagemaker"
    for folder in _folders(families):
        name = f"/aws/sagemaker/{folder.name}"
        if name in _FAMILIES:
            names += [f"{name}/{below.name}" for below in _folders(folder)]
        else:
            names.append(name)
    return sorted(names)


def streams(config: Config, group: str) -> list[Stream]:
    """All streams of a group, by name. ValueError for a name that is no group's."""
    folder = config.log_folder(group)
    return sorted(
        (
            Stream(path.relative_to(folder).as_posix().removesuffix(_SUFFIX), path)
            for path in folder.rglob(f"*{_SUFFIX}")
            if path.is_file()
        ),
        key=lambda stream: stream.name,
    )


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _backward_lines(block: bytes, start: int) -> Iterator[Event]:
    end = start + len(block)
    # By line feed only (a text may hold carriage returns); what follows the last one is incomplete.
    *lines, incomplete = block.split(b"\n")
    end -= len(incomplete)
    for line in reversed(lines):
        start = end - len(line) - 1
        yield _event(line + b"\n", start)
        end = start


def _event(line: bytes, start: int) -> Event:
    time, _, text = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
    return Event(int(time) if time.isdecimal() else 0, text, start, start + len(line))
