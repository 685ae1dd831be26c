"""Bytecode that an environment shares with another one of the same Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return package(tmp_path / "one")


def package(site: Path, text: str = "VALUE = 1\n", time: int = 1_700_000_000) -> Path:
    (site / "some").mkdir(parents=True)
    for name in ("__init__.py", "part.py"):
        (site / "some" / name).write_text(text)
        os.utime(site / "some" / name, (time, time))
    return site


def compile_in(site: Path, store: Path) -> str:
    command = [sys.executable, str(ROOT / "docker" / "bytecode.py"), str(site), str(store)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def bytecode(site: Path) -> list[Path]:
    return sorted(site.rglob("*.pyc"))


def test_a_second_environment_links_what_the_first_compiled(site: Path, tmp_path: Path) -> None:
    assert "0 files shared, 2 to compile" in compile_in(site, tmp_path / "store")
    second = package(tmp_path / "two")
    assert "2 files shared, 0 to compile" in compile_in(second, tmp_path / "store")
    for one, two in zip(bytecode(site), bytecode(second), strict=True):
        assert one.samefile(two)
    code = "import some.part; assert some.part.__cached__; print(some.part.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(second)}
    command = [sys.executable, "-v", "-c", code]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    assert f"code object from '{bytecode(second)[1]}'" in said


def test_bytecode_of_another_release_is_not_taken(site: Path, tmp_path: Path) -> None:
    compile_in(site, tmp_path / "store")
    newer = package(tmp_path / "two", text="VALUE = 2\n", time=1_700_000_001)
    assert "0 files shared, 2 to compile" in compile_in(newer, tmp_path / "store")
    assert "2 files shared" in compile_in(newer, tmp_path / "store")


def test_what_cannot_be_compiled_is_left(site: Path, tmp_path: Path) -> None:
    (site / "some" / "template.py").write_text("print {{ name }}\n")
    assert "3 to compile" in compile_in(site, tmp_path / "store")
    assert "2 files shared, 1 to compile" in compile_in(site, tmp_path / "store")


def test_a_store_that_cannot_be_written(site: Path, tmp_path: Path) -> None:
    (tmp_path / "store").touch()  # root could write into a read-only folder
    assert "0 files shared, 2 to compile" in compile_in(site, tmp_path / "store")
    assert len(bytecode(site)) == 2
