"""Whole-repository rules: which room may import which, and how large a room may grow."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("contract", "model", "debugger", "train", "serve", "scripts", "report", "local")
ALLOWED = {
    "contract": set(),
    "model": {"contract"},
    "debugger": {"contract"},
    "train": {"contract", "debugger", "model"},
    "serve": {"contract", "model"},
    "scripts": {"contract", "report"},
    "report": {"contract"},
    "local": {"contract"},
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
        ("model", "from train import loop"),
        ("serve", "def f():\n    from train import loop"),
        ("debugger", "from train.loop import Trainer"),
        ("contract", "from model import artifact"),
        ("report", "from scripts.output import percent"),
        ("report", "def f():\n    from train import loop"),
    ],
)
def test_the_import_check_sees_forbidden_imports(room: str, source: str) -> None:
    assert forbidden_imports(room, ROOT / room / "sub" / "some.py", source)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("scripts", "from contract import hyperparameters"),
        ("train", "from model import artifact"),
        ("scripts", "from contract.rules import RULES"),
        ("scripts", "from report.read import jobs"),
        ("report", "from contract.findings import Findings"),
        ("local", "from .store import Store"),
    ],
)
def test_the_import_check_lets_allowed_imports_pass(room: str, source: str) -> None:
    assert not forbidden_imports(room, ROOT / room / "some.py", source)


def test_what_every_side_reads_imports_the_standard_library_alone() -> None:
    """It is read on the user's machine, where no torch needs to be, and in the serving image."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in python_files("contract")]
    imports = "; ".join(f"import {name.removesuffix('.__init__')}" for name in modules)
    code = (
        f"import sys; before = set(sys.modules); {imports}; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    names = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(names) <= {"contract"}


def imports_between(files: dict[str, str]) -> dict[str, set[str]]:
    """Which module of a room imports which others of it, by their source: packages' own modules included."""
    modules = {name.removesuffix(".__init__"): name for name in files}
    edges: dict[str, set[str]] = {}
    for name, source in files.items():
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        edges[name] = set()
        for imported in imported_names(path, source):
            parts = imported.split(".")
            loaded = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
            edges[name] |= {modules[module] for module in loaded if module in modules} - {name}
    return edges


def in_circles(edges: dict[str, set[str]]) -> set[str]:
    """The modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen, waiting = set[str](), list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += edges[name]
        return seen

    return {name for name in edges if name in reached(name)}


@pytest.mark.parametrize("room", ROOMS)
def test_no_files_of_a_room_import_each_other_in_a_circle(room: str) -> None:
    """Imports for type checking count: who reads one file of a circle has to read all of them."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for path in python_files(room)
    }
    assert sorted(in_circles(imports_between(files))) == []


def test_the_check_sees_circles() -> None:
    files = {
        "room.__init__": "from room.a import A",
        "room.a": "from room import b",
        "room.b": "def f():\n    import room.c",
        "room.c": "if TYPE_CHECKING:\n    from .b import B",
        "room.d": "from room.c import C",
    }
    assert in_circles(imports_between(files)) == {"room.__init__", "room.a", "room.b", "room.c"}
    files |= {"room.__init__": "", "room.c": "import os"}
    assert not in_circles(imports_between(files))


def test_no_room_grows_too_large() -> None:
    large = {
        str(path.relative_to(ROOT)): lines
        for room in ROOMS
        for path in python_files(room)
        if (lines := path.read_text().count("\n")) > MAX_LINES
    }
    assert not large, f"over {MAX_LINES} lines: {large}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_files_that_the_map_of_the_house_names_are_there(page: str) -> None:
    named = re.findall(r"`([\w.]+/[\w./]*)(?::\w+)?`", (ROOT / page).read_text())
    assert len(named) > 5
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing, f"{page} names what is not there: {missing}"
