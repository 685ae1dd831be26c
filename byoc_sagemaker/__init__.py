"""What the wheel installs: all rooms of this house in one package, so that they meet no other `scripts`.

The rooms import each other by their own names, here as in the images. `main` says where these are found.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """The program `byoc`."""
    here = Path(__file__).resolve().parent
    rooms = str(here if (here / "scripts").is_dir() else here.parent)  # a checkout has them beside this
    sys.path.insert(0, rooms)
    # For the local SageMaker, which `byoc local up` starts in another folder.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [rooms, os.environ.get("PYTHONPATH")]))
    from scripts.cli import main as byoc

    byoc()
