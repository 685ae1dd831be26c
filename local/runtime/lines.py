"""Lines of a container's output, cut from the blocks in which it comes."""

from __future__ import annotations

import logging
import re

from local.runtime.container import LineReader

log = logging.getLogger("local.runtime")

_LIMIT = 256 * 1024  # bytes; CloudWatch's largest event
# A carriage return ends a line too: progress bars write nothing else.
_ENDINGS = re.compile(rb"\r\n|\n|\r(?!\n)")


class Lines:
    """Hands each line of one stream to `on_line` as soon as it is there. `name` is for the log."""

    def __init__(self, on_line: LineReader, name: str) -> None:
        self._on_line = on_line
        self._name = name
        self._rest = b""
        self._told = False
        self._returned = False

    def feed(self, block: bytes) -> None:
        if self._returned and block.startswith(b"\n"):
            block = block[1:]  # the second half of an ending whose first has ended the line already
        self._returned = block.endswith(b"\r")
        *lines, self._rest = _ENDINGS.split(self._rest + block)
        while len(self._rest) > _LIMIT:
            lines.append(self._rest[:_LIMIT])
            self._rest = self._rest[_LIMIT:]
        for line in lines:
            self._hand_over(line)

    def end(self) -> None:
        """Hands over what has no line ending."""
        if self._rest:
            self._hand_over(self._rest)
            self._rest = b""

    def _hand_over(self, line: bytes) -> None:
        try:
            self._on_line(line.decode("utf-8", "replace"))
        except Exception:
            # A full disk must not keep the command from writing, nor its end from being seen.
            if not self._told:
                self._told = True
                log.exception("output of %s is lost", self._name)
