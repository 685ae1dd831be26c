"""What the wheel installs: all rooms of this house in one package, so that they meet no other `scripts`.

The rooms import each other by their own names, here as in the images; `find_rooms` says where they are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def find_rooms() -> None:
    """Let this process and those that it starts import the rooms.

    Raises:
        ImportError: another module is called like a room.
    """
    here = Path(__file__).resolve().parent
    rooms = here if (here / "scripts").is_dir() else here.parent  # a checkout has them beside this
    for name in ("contract", "report", "scripts"):
        taken = getattr(sys.modules.get(name), "__path__", None) or [rooms / name]
        if name in sys.modules and Path(next(iter(taken))).resolve() != rooms / name:
            raise ImportError(f"Another package is called {name}, as a part of byoc is: import byoc first.")
    if str(rooms) not in sys.path[:1]:
        sys.path.insert(0, str(rooms))
    # For the local SageMaker, which `byoc local up` starts in another folder.
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, [str(rooms), *before])))


def main() -> None:
    """The program `byoc`."""
    find_rooms()
    from scripts.cli import main as byoc

    byoc()
