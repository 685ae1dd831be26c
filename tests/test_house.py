"""Whole-repository rules: which room may import which, and how large a room may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("model", "train", "serve", "scripts", "local")
ALLOWED = {
    "model": set(),
    "train": {"model"},
    "serve": {"model"},
    # What a job is told, so that a wrong setting is found before the job is paid for.
    "scripts": {"train.interface", "train.rules.registry", "train.rules.rule"},
    "local": set(),
}
MAX_LINES = 600


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported_names(path: Path, source: str) -> set[str]:
    """Every dotted name that the module imports, relative imports resolved, string imports included."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            names |= {".".join([*base, alias.name]) for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in {"import_module", "__import__"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(str(node.args[0].value))
    return names


def forbidden_imports(room: str, path: Path, source: str) -> list[str]:
    found = []
    for name in sorted(imported_names(path, source)):
        other = name.split(".")[0]
        if other not in ROOMS or other == room:
            continue
        if not any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[room]):
            found.append(name)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_house_allows(room: str) -> None:
    crooked = {
        str(path.relative_to(ROOT)): names
        for path in python_files(room)
        if (names := forbidden_imports(room, path, path.read_text()))
    }
    assert not crooked, f"{room}/ may import {ALLOWED[room] or 'no other room'}: {crooked}"


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("scripts", "import train.loop"),
        ("scripts", "from train import train"),
        ("scripts", "from local.store import Store"),
        ("local", "import importlib; importlib.import_module('scripts.aws')"),
        ("model", "from train import interface"),
        ("serve", "def f():\n    from train import interface"),
    ],
)
def test_the_import_check_sees_forbidden_imports(room: str, source: str) -> None:
    assert forbidden_imports(room, ROOT / room / "sub" / "some.py", source)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("scripts", "from train.interface import parse"),
        ("scripts", "from train import interface"),
        ("train", "from model import artifact"),
        ("local", "from .store import Store"),
    ],
)
def test_the_import_check_lets_allowed_imports_pass(room: str, source: str) -> None:
    assert not forbidden_imports(room, ROOT / room / "some.py", source)


@pytest.mark.parametrize(
    ("module", "allowed"), [("train.interface", set()), ("train.rules.registry", {"numpy"})]
)
def test_what_scripts_reads_of_the_trainer_imports_nothing_heavy(module: str, allowed: set[str]) -> None:
    """It is read on the user's machine, where no torch needs to be."""
    code = (
        f"import sys; before = set(sys.modules); import {module}; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    names = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(names) <= {"train", *allowed}


def test_no_room_grows_too_large() -> None:
    large = {
        str(path.relative_to(ROOT)): lines
        for room in ROOMS
        for path in python_files(room)
        if (lines := path.read_text().count("\n")) > MAX_LINES
    }
    assert not large, f"over {MAX_LINES} lines: {large}"
