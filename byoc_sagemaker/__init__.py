"""What the wheel installs: all rooms of this house in one package, so that they meet no other `scripts`.

The rooms import each other by their own names, here as in the images; `find_rooms` says where they are.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOMS = _HERE if (_HERE / "scripts").is_dir() else _HERE.parent  # a checkout has them beside this
_IMPORTED = ("contract", "report", "scripts")  # by the program, and so by notebooks


class _Finder:
    """Finds these rooms before anything else of their names; the user's own `train` or `model` stays."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_ROOMS)]) if name in _IMPORTED else None


def find_rooms() -> None:
    """Let this process import the program's rooms, and the local SageMaker, which it may start, all of them.

    Raises:
        ImportError: another module is called like a room.
    """
    for name in _IMPORTED:
        module = sys.modules.get(name)
        if module and str(_ROOMS / name) not in getattr(module, "__path__", ()):
            raise ImportError(
                f"Another module is called {name}, like a part of byoc: import byoc_sagemaker first."
            )
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, [str(_ROOMS), *before])))


def main() -> None:
    """The program `byoc`."""
    find_rooms()
    from scripts.cli import main as byoc

    byoc()
