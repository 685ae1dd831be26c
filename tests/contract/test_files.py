"""A reader never sees half a file."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.files import write_atomically

WRITES = """
import json, sys
from pathlib import Path
from contract.files import write_atomically
path, number = Path(sys.argv[1]), 0
while True:
    write_atomically(path, json.dumps([number] * 200_000))
    number += 1
    print(number, flush=True)
"""


def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    path, moments = tmp_path / "file.json", random.Random(0)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(path)],
            cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()  # it writes now, all the time
        try:
            process.wait(timeout=moments.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.stdout.close()
        assert process.wait(timeout=60) == -signal.SIGKILL
        content = json.loads(path.read_text())
        assert content == [content[0]] * 200_000


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old", durable=True)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new", durable=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_write_the_same_path_without_disturbing_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write_atomically(path, f"{number}"), range(1_200)))
    assert path.read_text().isdecimal()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_file_is_flushed_and_then_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    flushed: list[tuple[bool, bool]] = []

    def fsync(descriptor: int) -> None:
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "file", b"content", durable=durable)
    assert flushed == ([(False, False), (True, True)] if durable else [])
