"""A private /opt/ml, in real namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.runtime import optml

needs_it = pytest.mark.skipif(not optml.works(), reason="no private /opt/ml on this machine")

SYSTEM = Path("/usr/bin/python3")  # another user may not reach ours


def run(folder: Path, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", optml.__file__, str(folder), *command],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def may_have_one() -> bool:
    """Whether util-linux's unshare may do what optml does: then a broken optml must not skip all tests."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    mount = ["mount", "-t", "tmpfs", "none", "/opt"]
    command = ["unshare", *user, "--mount", "--propagation", "private", *mount]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not may_have_one(), reason="no private mounts on this machine")
def test_it_works_wherever_unshare_does() -> None:
    assert optml.works()


def test_it_does_not_work_where_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "optml.py"
    broken.write_text(
        Path(optml.__file__).read_text().replace('_call("unshare", flags)', "raise OSError(1, 'no')")
    )
    monkeypatch.setattr(optml, "__file__", str(broken))
    assert not optml.works.__wrapped__()


@needs_it
def test_a_command_sees_its_folder_at_opt_ml_and_nobody_else_does(tmp_path: Path) -> None:
    before = {path.name for path in Path("/opt").glob("*")}
    script = "echo $0 > /opt/ml/written; ls /opt; id -u; exit 7"
    done = run(tmp_path, "sh", "-c", script, "hello", env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 7, done.stderr
    *entries, user = done.stdout.split()
    assert set(entries) == before | {"ml"}
    assert user == str(os.getuid())
    assert (tmp_path / "written").read_text() == "hello\n"
    assert {path.name for path in Path("/opt").glob("*")} == before


@needs_it
def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path, "nosuch")
    assert done.returncode == optml.NOT_STARTED
    assert done.stderr.startswith("cannot start nosuch: ")


@needs_it
@pytest.mark.skipif(os.getuid() != 0 or not SYSTEM.exists(), reason="only root can stand in for another user")
def test_a_user_who_is_not_root_has_one_too_and_becomes_nobody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    source = Path(optml.__file__).read_text()
    command = [SYSTEM, "-I", "-S", "-c", source, str(tmp_path), "sh", "-c", "id -u > /opt/ml/user"]
    done = subprocess.run(
        command, user=4242, group=4242, extra_groups=[], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "user").read_text() == "4242\n"
