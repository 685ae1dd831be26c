"""Ctrl-C before a command has begun, and while one runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BYOC = Path(sys.executable).with_name("byoc")


def interrupted(folder: Path, module: str, handler: Any, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `byoc` when Ctrl-C comes as it imports `module`."""
    (folder / f"{module}.py").write_text("print('reading', flush=True); input(); raise SystemExit(7)")
    before = signal.signal(signal.SIGINT, handler)  # what is ignored stays so in the child
    try:
        process = subprocess.Popen(
            [BYOC, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "AWS_ENDPOINT_URL": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate("\n")
    return process.returncode, out, err


def test_before_a_command_it_ends_quietly(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "typer", signal.default_int_handler) == (130, "", "")


def test_within_a_command_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "byoc.toml").touch()
    found = interrupted(tmp_path, "boto3", signal.default_int_handler, "jobs")
    assert found == (130, "Interrupted.\n", "")


@pytest.mark.parametrize(("module", "arguments"), [("typer", ()), ("boto3", ("jobs",))])
def test_a_background_job_goes_on_ignoring_it(
    tmp_path: Path, module: str, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "byoc.toml").touch()
    assert interrupted(tmp_path, module, signal.SIG_IGN, *arguments)[0] == 7
