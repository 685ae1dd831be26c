"""Ctrl-C in the middle of the demo: no process, container or network is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.runtime.container import RuntimeProblem
from local.runtime.docker import LABEL
from local.runtime.dockerhost import connect
from tests.docker.wait import until

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


def interrupt(folder: Path, moment: str, *arguments: str, ready: Callable[[], object] = lambda: True) -> None:
    """Start the demo, and press Ctrl-C when it has written what `moment` matches and `ready` is true."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "scripts.demo", "--folder", folder, *arguments],
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
        until(ready, 60)
        os.killpg(demo.pid, signal.SIGINT)
        rest = output.read()
    assert demo.wait() == 130, rest
    assert "Traceback" not in rest
    assert not processes_of(folder)


@pytest.mark.parametrize("moment", [r"\$ byoc local up", r"\$ byoc upload", r"InProgress"])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, moment: str) -> None:
    interrupt(tmp_path / "demo", moment)


@pytest.mark.docker
def test_an_interrupted_demo_leaves_no_container(tmp_path: Path) -> None:
    try:
        engine = connect()
    except RuntimeProblem as problem:
        pytest.skip(str(problem))
    with contextlib.closing(engine):
        if not engine.images.list("byoc-train"):
            pytest.skip("there is no byoc-train: `make build`")
        mine = {"label": f"{LABEL}={tmp_path / 'demo' / '.byoc' / 'local'}"}

        def training() -> bool:
            return bool(engine.containers.list(filters=mine))

        interrupt(tmp_path / "demo", "InProgress", "--runtime", "docker", ready=training)
        assert engine.containers.list(all=True, filters=mine) == []
        assert engine.networks.list(filters=mine) == []
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {os.getuid()}
