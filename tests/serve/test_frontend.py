from __future__ import annotations

import runpy
import shutil
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "serve" / "frontend"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("javac"), reason="there is no Java compiler")
def test_the_committed_jar_is_what_the_sources_give(tmp_path: Path) -> None:
    build = runpy.run_path(str(FOLDER / "build.py"))
    classes = build["compile_classes"](tmp_path / "classes")
    build["write_jar"](classes, tmp_path / "new.jar")
    with zipfile.ZipFile(FOLDER / "byoc-frontend.jar") as committed:
        assert {name: committed.read(name) for name in committed.namelist()} == classes
    assert (tmp_path / "new.jar").read_bytes() == (FOLDER / "byoc-frontend.jar").read_bytes()
