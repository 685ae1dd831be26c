"""Build byoc-frontend.jar from src/: `python serve/frontend/build.py` (needs javac 11 or newer).

The jar is committed, so that nobody needs a Java compiler to serve. Same sources and same javac, same bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import mms

FOLDER = Path(__file__).parent
JAR = FOLDER / "byoc-frontend.jar"
RELEASE = "11"


def compile_classes(target: Path) -> dict[str, bytes]:
    """Class files by their path in the jar."""
    libraries = Path(mms.__file__).parent / "frontend" / "model-server.jar"
    sources = sorted(str(path) for path in (FOLDER / "src").rglob("*.java"))
    command = [
        "javac",
        "--release",
        RELEASE,
        "-g:source,lines",
        "-proc:none",
        "-Xlint:all,-options,-classfile",
    ]
    subprocess.run([*command, "-Werror", "-cp", str(libraries), "-d", str(target), *sources], check=True)
    return {
        path.relative_to(target).as_posix(): path.read_bytes() for path in sorted(target.rglob("*.class"))
    }


def write_jar(classes: dict[str, bytes], path: Path) -> None:
    aside = path.with_suffix(".new")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as jar:
        for name, data in classes.items():
            jar.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    aside.replace(path)  # a server that runs keeps the file that it has opened


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        write_jar(compile_classes(Path(folder)), JAR)
    print(f"wrote {JAR}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
