"""Parent of one container's processes; ends them all when the job is over or the service is gone.

    python -I -S guard.py SCRATCH COMMAND [ARGUMENT …]

Runs COMMAND in a session of its own, inside SCRATCH (a folder that it makes, and removes at the end).
Standard input is the service's line to it: `T` sends SIGTERM to the command's process group, `K` kills
everything, and the end of the file means that the service died, which kills everything too. On Linux it is
the subreaper of all that COMMAND starts, so that daemons are found as well. Exits with the command's code
(128 + N for signal N).

Starts in milliseconds because it imports so little; keep it so.
"""

import contextlib
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_STARTED = 127


def prctl(option: int, argument: int) -> None:
    """Linux's prctl; nothing elsewhere."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def descendants() -> list[int]:
    """All living descendants of this process, by /proc; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    try:
        entries = [entry for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208
    except OSError:
        return []
    for entry in entries:
        # A process may end while we look.
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                fields = stat.read().rpartition(b")")[2].split()
            if fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(entry))
    descendants: list[int] = []
    frontier = [os.getpid()]
    while frontier:
        frontier = [child for parent in frontier for child in children.get(parent, [])]
        descendants.extend(frontier)
    return descendants


def send(group: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, number)


def kill_everything(group: int) -> None:
    """SIGKILL to the command's group and to every descendant, again until none is left."""
    deadline = time.monotonic() + 5
    while True:
        send(group, signal.SIGKILL)
        living = descendants()
        for pid in living:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not living or time.monotonic() > deadline:
            return
        time.sleep(0.005)


def run(command: list[str]) -> int:
    """Runs the command under guard and returns its exit code."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    guard = os.getpid()
    started, starting = os.pipe()
    pid = os.fork()
    if pid == 0:
        start(command, guard)
    # The pipe closes on exec: from then on there is a group that a signal reaches and that it ends.
    os.close(starting)
    os.read(started, 1)
    watched = [0, woken]
    while True:
        # The signal may have come before select: the wake-up pipe keeps its byte.
        ready = select.select(watched, [], [])[0]
        if 0 in ready:
            orders = os.read(0, 64)
            if not orders or b"K" in orders:
                kill_everything(pid)
                if not orders:
                    watched.remove(0)
            elif b"T" in orders:
                send(pid, signal.SIGTERM)
        if woken in ready:
            signals = os.read(woken, 64)
            if any(number != signal.SIGCHLD for number in signals):
                send(pid, signal.SIGTERM)
            code = reap(pid)
            if code is not None:
                kill_everything(pid)
                return code


def reap(command: int) -> int | None:
    """Collects every dead child; the command's exit code once it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == command:
                code = os.waitstatus_to_exitcode(status)
    return code if code is None or code >= 0 else 128 - code


def start(command: list[str], guard: int) -> None:
    """In the child: becomes the command. Does not return."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(NOT_STARTED)
        # Python ignores these, and what is ignored stays so across exec.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    os._exit(NOT_STARTED)


def main() -> int:
    scratch, command = sys.argv[1], sys.argv[2:]
    try:
        os.mkdir(scratch, 0o700)  # noqa: PTH102
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}: {scratch}\n".encode())
        return NOT_STARTED
    os.chdir(scratch)
    code = run(command)
    import shutil

    os.chdir("/")
    shutil.rmtree(scratch, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
