from __future__ import annotations

import pytest

from local.runtime.lines import Lines


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([b"one\ntw", b"o\n"], ["one", "two"]),
        ([b"a\r", b"\nb\r", b"c\n"], ["a", "b", "c"]),
        ([b"10%\r20%\r\nend"], ["10%", "20%", "end"]),
        ([b"a\n\nb\n"], ["a", "", "b"]),
        ([b"\xff", "ü".encode()[:1], "ü".encode()[1:] + b"\n"], ["�ü"]),
        ([b""], []),
    ],
)
def test_lines_are_cut(blocks: list[bytes], expected: list[str]) -> None:
    found: list[str] = []
    lines = Lines(found.append, "job")
    for block in blocks:
        lines.feed(block)
    lines.end()
    assert found == expected


def test_a_line_without_end_is_handed_over_in_pieces() -> None:
    found: list[str] = []
    lines = Lines(found.append, "job")
    lines.feed(b"x" * 600_000)
    assert [len(line) for line in found] == [262_144, 262_144]
    lines.end()
    assert sum(map(len, found)) == 600_000


def test_a_reader_that_fails_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(line: str) -> None:
        raise OSError(28, "No space left on device")

    lines = Lines(fail, "job")
    lines.feed(b"a\nb\nc\n")
    assert [record.message for record in caplog.records] == ["output of job is lost"]
