"""The program `python -m local`: what it does without serving, and its exit codes."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def local(home: Path, *arguments: str, engine: str = "unix:///none.sock") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", "--home", str(home), *arguments],
        env={**os.environ, "DOCKER_HOST": engine},
        capture_output=True,
        text=True,
        check=False,
    )


def test_sweep_ends_what_jobs_of_this_home_left(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path / "jobs" / "one")}
    with subprocess.Popen(["sleep", "600"], env=environment) as left:
        done = local(link, "--sweep")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"process {left.pid} (sleep)\n", "")
    done = local(tmp_path, "--sweep")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_sweep_without_an_engine_is_a_problem_only_where_there_was_one(tmp_path: Path) -> None:
    done = local(tmp_path, "--sweep", "--runtime", "docker")
    assert done.returncode == 4
    assert done.stderr.startswith("local: No Docker engine answers")
    assert local(tmp_path, "--sweep", "--runtime", "process").returncode == 0


def test_sweep_leaves_a_service_that_runs_alone(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = local(tmp_path, "--sweep")
    assert done.returncode == 1
    assert "another local SageMaker uses" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--runtime", "dcoker"), 2, "invalid choice: 'dcoker'"),
        (("--image", "x=/nowhere"), 2, "must be NAME=DIR"),
        (("--runtime", "docker"), 4, "No Docker engine answers: start it"),
    ],
)
def test_exit_codes(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = local(tmp_path, "--port", str(port), *arguments)
    assert done.returncode == code
    assert said in done.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = local(tmp_path, "--port", str(other.getsockname()[1]))
    assert done.returncode == 1
    assert "use another --port" in done.stderr
