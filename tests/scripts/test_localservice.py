"""Starting and stopping, with a stand-in for `python -m local` that answers /health and sweeps."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.errors import BAD_INPUT, FAILED, UNREACHABLE, ByocError
from scripts import localservice, localstatus
from scripts.localservice import Setup, Stopped, Timing
from scripts.localstatus import Service, end, started
from scripts.state import write_json
from tests.scripts.conftest import STAND_IN, kill


def test_up_status_down(home: Path, port: int) -> None:
    assert localservice.status(home) is None
    service, started = localservice.up(home, port)
    assert started
    assert service.url == f"http://127.0.0.1:{port}"
    assert localservice.status(home) == service
    assert localservice.up(home, port) == (service, False)
    assert localservice.down(home) == Stopped(service)
    assert localservice.status(home) is None
    assert localservice.health(port) is None
    assert localservice.down(home) == Stopped()


def test_down_without_what_the_service_needs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel without [local] cannot tidy up; it says so only where something may be left."""
    monkeypatch.setitem(localservice._EXTRAS, "local", "not_installed_here")
    home.mkdir(parents=True, exist_ok=True)
    assert localservice.down(home) == Stopped()
    write_json(localstatus.note(home), {"pid": -1, "port": 1})
    assert "pip install 'byoc-sagemaker[local]'" in localservice.down(home).problem


def test_a_port_of_another_program(home: Path) -> None:
    message = r"in use by another program.*--port \d+"
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:  # as an SSH server does
            with other.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ByocError, match=message) as caught:
            localservice.up(home, other.getsockname()[1])
        thread.join()
    assert caught.value.code == BAD_INPUT
    assert localservice.status(home) is None


def test_a_port_of_another_project(home: Path, port: int, tmp_path: Path) -> None:
    localservice.up(home, port)
    with pytest.raises(ByocError, match=r"is the local SageMaker of .*it's home"):
        localservice.up(tmp_path / "other", port)


def test_a_service_that_does_not_start_leaves_its_words_and_nothing_else(home: Path, port: int) -> None:
    (home / "local.py").write_text("raise SystemExit('no disk')")
    with pytest.raises(ByocError, match="no disk"):
        localservice.up(home, port)
    assert localservice.status(home) is None


def test_an_interrupted_start_leaves_no_process(
    home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*arguments: object, **details: object) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **details))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGINT)  # at the worst moment
        return started[0]

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    with monkeypatch.context() as patch:
        patch.setattr(localservice.subprocess, "Popen", popen)
        with pytest.raises(KeyboardInterrupt):
            localservice.up(home, port)
    assert started[0].wait(5) is not None
    assert localservice.status(home) is None


def test_a_number_that_belongs_to_another_process_by_now(home: Path, port: int) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        localservice.write_json(home / "service.json", {"pid": other.pid, "port": port})
        assert localservice.down(home) == Stopped()
        assert other.poll() is None
    finally:
        other.communicate(b"\n")


def test_another_port_leaves_the_running_service_known(home: Path, port: int) -> None:
    service, _ = localservice.up(home, port)
    with pytest.raises(ByocError, match="runs already"):
        localservice.up(home, localservice.free_port())
    assert localservice.down(home).service == service


def test_a_stale_file_ends_no_foreign_process(home: Path, port: int) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (home / "service.json").write_text(f'{{"pid": {other.pid}, "port": {port}}}')
        assert localservice.down(home) == Stopped()
        assert other.poll() is None
        other.communicate()
    (home / "service.json").write_text(f'{{"pid": -1, "port": {port}}}')
    assert localservice.status(home) is None


def test_what_a_killed_service_left_is_removed(home: Path, port: int) -> None:
    localservice.up(home, port)
    kill()
    (home / "left").write_text("container one\nnetwork two")
    assert localservice.down(home) == Stopped(None, ("container one", "network two"))
    assert localservice.down(home) == Stopped()


def test_what_a_killed_service_left_goes_before_the_next_one(home: Path, port: int) -> None:
    localservice.up(home, port, Setup("docker"))
    kill()
    (home / "left").write_text("container one")
    localservice.up(home, port)
    assert not (home / "left").exists()


def test_down_says_that_something_may_be_left_until_it_is_gone(home: Path, port: int) -> None:
    localservice.up(home, port)
    kill()
    (home / "left").write_text("container one")
    (home / "no engine").touch()
    for _ in range(2):
        assert localservice.down(home) == Stopped(None, (), "No Docker engine answers.")
        assert end(home) == "does not run"
    (home / "no engine").unlink()
    assert localservice.down(home) == Stopped(None, ("container one",))


def test_down_tells_what_was_removed_before_the_patience_ended(home: Path) -> None:
    (home / "local.py").write_text(
        "print('process 1', flush=True); import threading; threading.Event().wait()"
    )
    done = localservice.down(home, timing=Timing(sweep=1.0))
    assert done == Stopped(None, ("process 1",), "Removing it took longer than 1 s.")
    (home / "local.py").write_text("")


def test_of_two_at_once_one_starts_it_and_both_find_it(home: Path, port: int) -> None:
    # It takes its lock as the real one does, so that a second process would end at once.
    lock = "import fcntl; lock = open('lock', 'a'); fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    (home / "local.py").write_text(f"import sys\nif '--sweep' not in sys.argv:\n    {lock}{STAND_IN}")
    together = threading.Barrier(3)

    def up() -> tuple[Service, bool]:
        together.wait()
        return localservice.up(home, port)

    with ThreadPoolExecutor(3) as pool:
        done = [each.result() for each in [pool.submit(up) for _ in range(3)]]
    assert sorted(began for _, began in done) == [False, False, True]
    assert {service for service, _ in done} == {localservice.status(home)}
    assert started(home)["pid"] == done[0][0].pid


def test_one_that_still_starts_is_waited_for(home: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose `up` was killed."""
    (home / "local.py").write_text(STAND_IN.replace("server = ", "input(); server = "))
    with _noted(home, port) as process:
        assert process.stdin is not None
        asked = []

        def health(port: int) -> Service | None:
            if not asked:  # it goes on once it is known to be silent
                asked.append(port)
                process.stdin.write(b"\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                return None
            return localstatus.health(port)

        monkeypatch.setattr(localservice, "health", health)
        service, began = localservice.up(home, port)
        assert (service.pid, began) == (process.pid, False)


def test_one_that_hangs_is_told(home: Path, port: int) -> None:
    (home / "local.py").write_text(STAND_IN.replace("server = ", "input(); server = "))
    with _noted(home, port) as process:
        with pytest.raises(ByocError, match=rf"process {process.pid}\) is there, but hangs"):
            localservice.up(home, port, timing=Timing(start=0.1))
        assert started(home)["pid"] == process.pid


@contextmanager
def _noted(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A service whose note is written, and whose `up` is over."""
    command = [
        sys.executable,
        "-m",
        "local",
        "--port",
        str(port),
        "--home",
        str(home),
        "--runtime",
        "process",
    ]
    with subprocess.Popen(command, cwd=home, stdin=subprocess.PIPE) as process:
        localservice.write_json(localservice.note(home), {"pid": process.pid, "port": port})
        try:
            yield process
        finally:
            process.kill()


def test_one_that_was_started_by_hand_is_found_and_stopped(home: Path, port: int) -> None:
    command = [sys.executable, "-u", "-m", "local", "--port", str(port), "--home", str(home)]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE) as by_hand:
        assert by_hand.stdout is not None
        assert by_hand.stdout.readline() == b"ready\n"
        assert localservice.status(home) is None
        found = localservice.status(home, port)
        assert found is not None
        assert found.pid == by_hand.pid
        assert localservice.down(home, port).service == found
        assert by_hand.wait() == 0


def test_one_that_was_started_by_hand_and_does_not_end_is_killed(home: Path, port: int) -> None:
    deaf = STAND_IN.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
    (home / "local.py").write_text(deaf)
    command = [sys.executable, "-u", "-m", "local", "--port", str(port), "--home", str(home)]
    # In this process's group, as a child of a script is.
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE) as by_hand:
        assert by_hand.stdout is not None
        assert by_hand.stdout.readline() == b"ready\n"
        try:
            localservice.down(home, port, timing=Timing(stop=0.1))
            assert by_hand.wait(10) == -signal.SIGKILL
        finally:
            by_hand.kill()


def test_one_that_is_suspended_ends_by_itself(home: Path, port: int) -> None:
    service, _ = localservice.up(home, port)
    os.kill(service.pid, signal.SIGSTOP)
    done = localservice.down(home)
    assert done.service is not None
    assert (done.service.pid, done.killed) == (service.pid, False)
    assert localservice._STARTED[-1].wait(5) == 0


def test_one_that_hangs_is_killed_soon_and_what_it_left_removed(home: Path, port: int) -> None:
    hanging = STAND_IN.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN").replace(
        "self.send_response", "pathlib.Path('hang').exists() and __import__('threading').Event().wait(); "
        "self.send_response",
    )  # fmt: skip
    (home / "local.py").write_text(hanging)
    localservice.up(home, port)
    (home / "hang").touch()
    (home / "left").write_text("container one")
    done = localservice.down(home, timing=Timing(hang=0.2))
    assert (done.removed, done.killed) == (("container one",), True)
    assert localservice._STARTED[-1].wait(5) == -signal.SIGKILL
    assert end(home) == "does not run"


def test_it_comes_up_as_last_time_unless_told_otherwise(home: Path, port: int, tmp_path: Path) -> None:
    assert localservice.last(home) is None
    images = (f"one={tmp_path}", f"two={tmp_path}")
    for setup in (Setup("docker"), Setup(images=images), Setup("docker", train_image="team:2")):
        localservice.up(home, port, setup)
        localservice.down(home)
        service, _ = localservice.up(home, port)
        assert service.runtime == setup.runtime
        assert localservice.last(home) == setup
        kill()
        assert localservice.up(home, port)[0].runtime == setup.runtime
        localservice.down(home)
    (home / "up.json").write_text('{"runtime": "docker", "images": []}')  # from before train_image
    assert localservice.last(home) == Setup("docker")
    (home / "up.json").write_text("[")
    assert localservice.last(home) is None


def test_one_that_did_not_come_up_is_not_taken_as_last_time(home: Path, port: int) -> None:
    (home / "local.py").write_text("raise SystemExit('no engine')")
    with pytest.raises(ByocError, match="no engine"):
        localservice.up(home, port, Setup("docker"))
    assert localservice.last(home) is None


def test_one_that_runs_does_not_change_what_jobs_run_in(home: Path, port: int, tmp_path: Path) -> None:
    setup = Setup(images=(f"one={tmp_path}",))
    service, _ = localservice.up(home, port, setup)
    for other in (Setup(), Setup("docker")):
        with pytest.raises(
            ByocError, match=r"runs already, with `--runtime process --image one=.*local down"
        ):
            localservice.up(home, port, other)
    for same in (None, setup):
        assert localservice.up(home, port, same) == (service, False)


@pytest.mark.parametrize(("ended", "code"), [(1, FAILED), (2, BAD_INPUT), (4, UNREACHABLE)])
def test_exit_codes_of_the_service_become_ours(home: Path, port: int, ended: int, code: int) -> None:
    (home / "service.log").write_text("of an earlier one\n")
    (home / "local.py").write_text(f"import sys; print('a reason', file=sys.stderr); sys.exit({ended})")
    with pytest.raises(ByocError, match="a reason") as caught:
        localservice.up(home, port)
    assert caught.value.code == code
    assert "earlier" not in str(caught.value)


def test_a_home_that_cannot_be_written(home: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(localservice, "write_json", read_only)
    with pytest.raises(ByocError, match=r"cannot write to .*Read-only file system.*use another") as caught:
        localservice.up(home, port)
    assert caught.value.code == FAILED
    assert localservice.health(port) is None
