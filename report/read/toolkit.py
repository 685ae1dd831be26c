"""What SageMaker's training toolkit prints before it starts the script: some 150 lines that say little."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_HOST: Final = re.compile(r"(\[[\w-]{1,63}\] )?(.*)", re.DOTALL)
_SCRIPT: Final = "Invoking script with the following command:"
_SMALL_TALK: Final = re.compile(r"[\d :,-]+ sagemaker[\w.-]+ INFO |Returning the value itself$|\s*$")
# Two dumps, by their headings, and what their lines look like: JSON, then the environment's variables.
_DUMPS: Final = {
    "Training Env:": re.compile(r'Training Env:|[{}]+\s*$|( {4})+([]["{}\d-]|true|false|null)'),
    "Environment variables:": re.compile(r"Environment variables:|\w+="),
}
_DUMP_ENDS: Final = re.compile(r"\}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|Traceback ")
# Whatever it looks like: it may be why the job failed.
_TELLING: Final = re.compile(r"(?i:\b(error|warning):)|\w(Error|Exception)\b")


def split_host(line: str) -> tuple[str, str]:
    """The mark that `jobs.LogTail` puts before lines of several machines, or nothing; and the line."""
    host, text = _HOST.fullmatch(line).groups("")  # type: ignore[union-attr]
    return host, text


class Preamble:
    """Leaves these lines out of a job's log, and says how many they were. For each machine by itself."""

    def __init__(self) -> None:
        self._hidden = 0
        self._dumping: dict[str, re.Pattern[str]] = {}
        self._started: set[str] = set()

    def shorten(self, lines: Iterable[str]) -> Iterator[str]:
        """A whole log."""
        for line in lines:
            yield from self.take(line)
        yield from self.end()

    def take(self, line: str) -> list[str]:
        """What to show of the next line: nothing, or it, or a note and it."""
        host, text = split_host(line)
        if host in self._started:
            return [line]
        if text.startswith(_SCRIPT):
            self._started.add(host)
            return [*self.end(), line]
        for heading, lines in _DUMPS.items():
            if text.startswith(heading):
                self._dumping[host] = lines
        dump = self._dumping.get(host)
        if _DUMP_ENDS.match(text):
            self._dumping.pop(host, None)
        if (_SMALL_TALK.match(text) or (dump and dump.match(text))) and not _TELLING.search(text):
            self._hidden += 1
            return []
        return [line]

    def end(self) -> list[str]:
        """A note on what was left out since the last one."""
        hidden, self._hidden = self._hidden, 0
        if not hidden:
            return []
        return [f"({hidden} lines of SageMaker's toolkit are left out; `byoc logs --all` shows them.)"]
