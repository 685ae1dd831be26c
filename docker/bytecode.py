"""Compile an environment's bytecode, sharing it with other environments as uv shares the rest: by hard links.

    python bytecode.py SITE_PACKAGES STORE

Compiling some 17,000 files takes a core a minute. What an earlier environment of the same Python left in
STORE is linked into this one, the rest is compiled and goes to STORE. Bytecode names the time and the size of
its source, so that of another release is seen to be stale.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor


def main(site: str, store: str) -> int:
    wanted = list(sources(site))
    missing = [name for name in wanted if not take(f"{site}/{name}", f"{store}/{compiled(name)}")]
    print(f"Bytecode: {len(wanted) - len(missing)} files shared, {len(missing)} to compile", flush=True)
    if missing:
        with ProcessPoolExecutor() as pool:
            done = list(pool.map(compile_one, [f"{site}/{name}" for name in missing], chunksize=64))
        # Templates and test data for other Pythons cannot be compiled, nor could they be imported.
        try:
            for name in (compiled(name) for name, ok in zip(missing, done, strict=True) if ok):
                put(f"{site}/{name}", f"{store}/{name}")
        except OSError as error:  # this environment is complete all the same
            print(f"Other environments cannot share this bytecode: {error}", file=sys.stderr)
    return 0


def sources(folder: str) -> Iterator[str]:
    """Relative paths."""
    for path, _, files in os.walk(folder):
        inside = os.path.relpath(path, folder)
        yield from (os.path.normpath(f"{inside}/{name}") for name in files if name.endswith(".py"))


def compiled(source: str) -> str:
    return importlib.util.cache_from_source(source)


def take(source: str, stored: str) -> bool:
    """Whether the source has bytecode now, its own or the stored."""
    target = compiled(source)
    if fresh(target, source):
        return True
    if not fresh(stored, source):
        return False
    put(stored, target)
    return True


def fresh(bytecode: str, source: str) -> bool:
    """As Python's import decides it: by the magic number, and the source's time and size."""
    try:
        with open(bytecode, "rb", buffering=0) as file:
            head = file.read(16)
        stat = os.stat(source)
    except OSError:
        return False
    written = (0, int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
    return head == importlib.util.MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in written)


def compile_one(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(compileall.compile_file(source, quiet=2))


def put(file: str, place: str) -> None:
    """In one step: another set-up may be reading the store, or writing to it."""
    try:
        os.link(file, place)
        return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(place), exist_ok=True)
    except OSError:  # there is one, of another release; or the store lies on another file system
        pass
    aside = f"{place}.{os.getpid()}"
    try:
        os.link(file, aside)
    except OSError:
        try:
            shutil.copyfile(file, aside)
        except OSError:  # the disk is full
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside)
            raise
    os.replace(aside, place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
