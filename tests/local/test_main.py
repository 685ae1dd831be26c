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


def test_sweep_spares_whoever_asks_for_it(tmp_path: Path) -> None:
    """In a shell with the environment of a job, say."""
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path / "jobs" / "one")}
    script = 'sleep 600 & echo $!; "$@"; kill -0 $$'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "local", "--home", str(tmp_path), "--sweep"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    left, said = done.stdout.splitlines()
    assert (done.returncode, said) == (0, f"process {left} (sleep)")


def test_sweep_asks_for_an_engine_only_where_containers_may_be_left(tmp_path: Path) -> None:
    assert local(tmp_path, "--sweep").returncode == 0
    (tmp_path / "docker.id").write_text("1")
    with subprocess.Popen(
        ["sleep", "600"], env={**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path / "jobs" / "one")}
    ) as left:
        done = local(tmp_path, "--sweep")
    assert done.returncode == 4
    assert done.stdout == f"process {left.pid} (sleep)\n"
    assert done.stderr.startswith("local: No Docker engine answers")


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
        (("--spot-interruptions", "-1"), 2, "'-1' must be a number from 0 to 3600"),
        (("--spot-interruptions", "often"), 2, "'often' must be a number"),
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


@pytest.mark.parametrize(
    ("arguments", "image"), [((), "byoc-train"), (("--train-image", "team/mine:2"), "team/mine:2")]
)
def test_the_image_that_judges(tmp_path: Path, arguments: tuple[str, ...], image: str) -> None:
    program = (
        "import sys, local.__main__ as program; "
        "program._serve = lambda config, listener: print(config.train_image); sys.exit(program.main())"
    )
    command = [sys.executable, "-c", program, "--home", str(tmp_path), "--port", "0", *arguments]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{image}\n"
