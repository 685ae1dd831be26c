"""Ctrl-C in the middle of the demo: nothing is left running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.slow


def processes_of(folder: Path) -> list[str]:
    """Command lines and environments that name the folder: the service, its jobs, their guards."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in text:
            found.append(text.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


@pytest.mark.parametrize("moment", [r"\$ byoc local up", r"\$ byoc upload", r"InProgress"])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "demo"
    demo = subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", "--folder", folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal does: the demo and its commands get the signal together
    )
    assert demo.stdout is not None
    with demo.stdout as output:
        for line in output:
            if re.search(moment, line):
                break
        os.killpg(demo.pid, signal.SIGINT)
        rest = output.read()
    assert demo.wait() == 130, rest
    assert "Traceback" not in rest
    assert not processes_of(folder)
