"""A process that has a folder as /opt/ml, as a container would: a private mount namespace (Linux).

    python -I -S optml.py FOLDER COMMAND [ARGUMENT …]

Replaces itself by COMMAND, looked up in PATH. Nothing outside COMMAND and what it starts sees the mount.
Without root, the kernel must let users make user namespaces (user_namespaces(7)); `works` tries it.
"""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = "/opt/ml"
NOT_STARTED = 127  # a shell's exit code for a command that it cannot find
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000  # CLONE_NEWUSER, CLONE_NEWNS
_BIND, _PRIVATE, _RECURSIVE = 0x1000, 0x40000, 0x4000  # MS_BIND, MS_PRIVATE, MS_REC


@functools.cache
def works() -> bool:
    """Whether this machine lets this user have a private /opt/ml."""
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "marker").touch()
        command = [sys.executable, "-I", "-S", __file__, folder, "/bin/sh", "-c", f"test -f {TARGET}/marker"]
        environment = {**os.environ, "TMPDIR": folder}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def enter(folder: str) -> None:
    """Gives this process a mount namespace of its own, with `folder` at /opt/ml. OSError if it may not."""
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_NEW_MOUNTS)
    except PermissionError:
        _unshare(_NEW_USER | _NEW_MOUNTS)
        # The same user and group inside: a process that is not root outside is not root inside either.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _mount("none", "/", _PRIVATE | _RECURSIVE)
    if not os.path.isdir(TARGET):  # noqa: PTH112
        _make_room()
    _mount(folder, TARGET, _BIND | _RECURSIVE)


def _make_room() -> None:
    """Replaces /opt by a copy whose entries are those of the real one, and beside them a folder `ml`."""
    parent = os.path.dirname(TARGET)  # noqa: PTH120
    copy = tempfile.mkdtemp()
    _mount("none", copy, 0, "tmpfs")
    for entry in os.scandir(parent):
        here = f"{copy}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), here)  # noqa: PTH115, PTH211
            continue
        if entry.is_dir():
            os.mkdir(here)  # noqa: PTH102
        else:
            os.close(os.open(here, os.O_CREAT | os.O_WRONLY))
        _mount(entry.path, here, _BIND | _RECURSIVE)
    os.mkdir(f"{copy}/ml")  # noqa: PTH102
    _mount(copy, parent, _BIND | _RECURSIVE)


def _unshare(flags: int) -> None:
    _call("unshare", flags)


def _mount(source: str, target: str, flags: int, kind: str = "none") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), flags, None, path=target)


def _call(name: str, *arguments: object, path: str | None = None) -> None:
    """A function of libc that answers 0. OSError for anything else."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)


def main() -> int:
    folder, command = sys.argv[1], sys.argv[2:]
    try:
        enter(folder)
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
    return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main())
