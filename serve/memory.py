"""Whether a model fits into the memory that is left, and giving back what is free."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from typing import Final

from contract import container

# While a model is read there are its file, its tensors and their compiled copy; then some work space.
_COPIES: Final = 3
_RESERVE: Final = 64 * 1024**2


def give_back() -> None:
    """Return what is free to the system: dead cycles of objects, and what the C library keeps for later."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def require(folder: Path) -> None:
    """Raise MemoryError if the model in this folder would not fit."""
    left = container.available_memory()
    try:
        needed = _COPIES * sum(file.stat().st_size for file in folder.glob("*.safetensors")) + _RESERVE
    except OSError:
        return  # whoever reads it will say so
    if left is not None and needed > left:
        raise MemoryError(f"loading this model takes {needed >> 20} MB, and {left >> 20} MB are left")
