from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.runtime.container import ContainerSpec, RuntimeProblem
from local.runtime.process import ProcessRuntime, image_name, remove_leftovers
from tests.docker.wait import until
from tests.local.runtime.collected import Output

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/fake:1.0"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[ProcessRuntime]:
    folder = tmp_path / "an image's folder"
    folder.mkdir()
    runtime = ProcessRuntime({"fake": folder}, tmp_path / "home")
    yield runtime
    runtime.close()


def launcher(tmp_path: Path, command: str, text: str) -> None:
    path = tmp_path / "an image's folder" / command
    path.write_text(text)
    path.chmod(0o755)


def spec(tmp_path: Path, **members: object) -> ContainerSpec:
    base = tmp_path / "base"
    base.mkdir(exist_ok=True)
    return ContainerSpec(**{"name": "job", "image": IMAGE, "command": "train", "base": base} | members)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_gone(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if not gone(pid)]}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "image",
    ["fake", "fake:1.0", "a/fake@sha256:00", "h:5000/a/fake:1@sha256:00", "h:5000/fake"],
)
def test_an_image_reference_is_known_by_its_last_component(image: str) -> None:
    assert image_name(image) == "fake"


def test_output_exit_code_and_environment(
    runtime: ProcessRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's own")
    launcher(
        tmp_path,
        "train",
        "#!/bin/sh\n"
        'echo "out $SAGEMAKER_BASE_DIR|$OMP_NUM_THREADS|$GREETING|$AWS_SECRET_ACCESS_KEY|$1"\n'
        "printf 'one\\rtwo\\r\\nerr\\n' >&2; printf 'no end'; exit 3\n",
    )
    lines = Output()
    container = runtime.start(
        spec(tmp_path, environment={"GREETING": "hello you"}, arguments=("--x",), cores=5), lines
    )
    assert container.wait(10) == 3
    assert lines.all == [f"out {tmp_path}/base|5|hello you||--x", "one", "two", "err", "no end"]


def test_an_image_has_the_same_programs_by_its_name_in_ecr(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", "#!/bin/sh\n")
    runtime.check("123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-fake@sha256:00", "train")
    with pytest.raises(RuntimeProblem, match="No image 'sagemaker-other'"):
        runtime.check("sagemaker-other", "train")


def test_a_missing_image_or_command_is_said(runtime: ProcessRuntime, tmp_path: Path) -> None:
    with pytest.raises(RuntimeProblem, match=r"No image 'other'.*known: fake.*--image other=FOLDER"):
        runtime.check("1.dkr/other:2", "train")
    with pytest.raises(RuntimeProblem, match="no command 'serve'"):
        runtime.check(IMAGE, "serve")


def test_a_launcher_without_an_interpreter_fails_with_a_line(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", "#!/no/such/interpreter\n")
    lines = Output()
    assert runtime.start(spec(tmp_path), lines).wait(10) == 127
    assert "cannot start" in lines.all[0]


def test_a_reader_that_fails_does_not_hide_the_end(
    runtime: ProcessRuntime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    launcher(tmp_path, "train", "#!/bin/sh\necho 1; echo 2; exit 5\n")

    def full_disk(line: str) -> None:
        raise OSError(28, "No space left on device")

    assert runtime.start(spec(tmp_path), full_disk).wait(10) == 5
    assert [record.message for record in caplog.records] == ["output of job is lost"]


def test_terminate_reaches_the_whole_group_and_the_exit_code_is_the_launchers(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    launcher(
        tmp_path,
        "train",
        f"""#!{sys.executable}
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # a handler may wait for a sleep to end
child = os.fork()
who = "child" if child == 0 else "parent"
print(who, "ready", flush=True)
signal.sigwait([signal.SIGTERM])
print(who, "stops", flush=True)
if child: os.waitpid(child, 0)
os._exit(0 if child == 0 else 7)
""",
    )
    lines = Output()
    container = runtime.start(spec(tmp_path), lines)
    lines.until("")
    lines.until("")
    container.terminate()
    assert container.wait(10) == 7
    assert sorted(lines.all[-2:]) == ["child stops", "parent stops"]


def test_terminate_right_after_start_ends_the_command(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", "#!/bin/sh\nexec sleep 600\n")
    for _ in range(20):
        container = runtime.start(spec(tmp_path), Output())
        container.terminate()
        assert container.wait(10) == 128 + signal.SIGTERM


DAEMON = f"""#!{sys.executable}
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
daemon = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("pids", os.getpid(), daemon.pid, os.environ["TMPDIR"], flush=True)
if "--end" not in sys.argv:
    while True: time.sleep(60)
"""


def test_kill_ends_what_ignores_signals_and_what_left_the_session(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    launcher(tmp_path, "train", DAEMON)
    lines = Output()
    container = runtime.start(spec(tmp_path), lines)
    _, launched, daemon, scratch = lines.until("pids").split()
    container.kill()
    assert container.wait(10) == 128 + signal.SIGKILL
    wait_gone(int(launched), int(daemon))
    assert not Path(scratch).exists()


def test_what_a_finished_command_left_behind_is_ended(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", DAEMON)
    lines = Output()
    container = runtime.start(spec(tmp_path, arguments=("--end",)), lines)
    _, _, daemon, _ = lines.until("pids").split()
    assert container.wait(10) == 0
    wait_gone(int(daemon))


def test_what_outlived_both_service_and_guard_is_killed(tmp_path: Path) -> None:
    def left(base: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "600"], env={**os.environ, "SAGEMAKER_BASE_DIR": str(base)})

    with left(tmp_path / "home" / "jobs" / "one") as mine, left(tmp_path / "home2" / "jobs" / "one") as other:
        assert remove_leftovers(tmp_path / "home") == [f"process {mine.pid} (sleep)"]
        assert mine.wait(10) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_nothing_is_left_when_the_guard_is_killed(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", DAEMON)
    lines = Output()
    container = runtime.start(spec(tmp_path), lines)
    _, launched, daemon, scratch = lines.until("pids").split()
    psutil.Process(container.pid).kill()
    assert container.wait(10) == 128 + signal.SIGKILL
    wait_gone(int(launched), int(daemon))
    until(lambda: not Path(scratch).exists(), 10)


def test_nothing_is_left_when_the_service_is_killed(tmp_path: Path, runtime: ProcessRuntime) -> None:
    launcher(tmp_path, "train", DAEMON)
    (tmp_path / "base").mkdir()
    program = f"""
import threading
from pathlib import Path
from local.runtime.container import ContainerSpec
from local.runtime.process import ProcessRuntime
runtime = ProcessRuntime({{"fake": Path({str(tmp_path / "an image's folder")!r})}}, Path({str(tmp_path)!r}))
base = Path({str(tmp_path / "base")!r})
runtime.start(ContainerSpec("job", "fake", "train", base), lambda line: print(line, flush=True))
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        _, launched, daemon, scratch = service.stdout.readline().split()
        service.send_signal(signal.SIGKILL)
        service.wait()
    wait_gone(int(launched), int(daemon))
    deadline = time.monotonic() + 5
    while Path(scratch).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_folder_is_left_by_a_service_that_is_killed_before_its_guard_runs(
    tmp_path: Path, runtime: ProcessRuntime
) -> None:
    launcher(tmp_path, "train", DAEMON)
    (tmp_path / "tmp").mkdir()
    program = f"""
import os, signal, subprocess
from pathlib import Path
from local.runtime.container import ContainerSpec
from local.runtime.process import ProcessRuntime
runtime = ProcessRuntime({{"fake": Path({str(tmp_path / "an image's folder")!r})}}, Path({str(tmp_path)!r}))
subprocess.Popen = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
runtime.start(ContainerSpec("job", "fake", "train", Path({str(tmp_path)!r})), print)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_listening_container_gets_a_free_port_of_its_own(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "serve", '#!/bin/sh\necho "port $SAGEMAKER_BIND_TO_PORT"\nread line\n')
    lines = Output()
    container = runtime.start(spec(tmp_path, command="serve", listen=True), lines)
    port = int(lines.until("port").split()[1])
    assert container.url == f"http://127.0.0.1:{port}"
    assert 1024 < port < 32767
    assert container.wait(10) is not None


def test_paths_of_the_contract_stay_in_the_private_folder(runtime: ProcessRuntime, tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert runtime.inside(base, "/opt/ml/output/tensors") == f"{base}/output/tensors"
    assert runtime.outside(base, "/tmp/tensors").is_relative_to(base)
    with pytest.raises(ValueError, match=r"without '\.\.'"):
        runtime.outside(base, "/opt/ml/../../etc")


def test_arguments_name_mounts_by_the_containers_path(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "rules", '#!/bin/sh\nfor argument in "$@"; do echo "$argument"; done\n')
    lines = Output()
    container = runtime.start(
        spec(
            tmp_path,
            command="rules",
            arguments=("--tensors", "/data/tensors/x", "/data/tensorsx"),
            mounts={"/data/tensors": tmp_path / "a b"},
        ),
        lines,
    )
    assert container.wait(10) == 0
    assert lines.all == ["--tensors", f"{tmp_path}/a b/x", "/data/tensorsx"]


def test_close_ends_everything_and_refuses_more(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", DAEMON)
    lines = Output()
    runtime.start(spec(tmp_path), lines)
    _, launched, daemon, _ = lines.until("pids").split()
    closing = threading.Thread(target=runtime.close)
    closing.start()
    closing.join(10)
    wait_gone(int(launched), int(daemon))
    with pytest.raises(RuntimeProblem, match="shutting down"):
        runtime.start(spec(tmp_path), lines)


def test_a_long_line_without_an_end_is_cut(runtime: ProcessRuntime, tmp_path: Path) -> None:
    launcher(tmp_path, "train", f"#!{sys.executable}\nprint('x' * 600_000, end='')\n")
    lines = Output()
    assert runtime.start(spec(tmp_path), lines).wait(10) == 0
    assert [len(line) for line in lines.all] == [262_144, 262_144, 75_712]


def test_a_container_that_is_refused_keeps_no_port(tmp_path: Path, runtime: ProcessRuntime) -> None:
    launcher(tmp_path, "serve", "#!/bin/sh\n")
    runtime.close()
    with pytest.raises(RuntimeProblem, match="shutting down"):
        runtime.start(spec(tmp_path, command="serve", listen=True), Output())
    assert not runtime._ports._taken
