"""Start without torch's compiler, which nothing here uses: it would cost 1.5 s of CPU at every start.

Two small things would load all of `torch._dynamo`. Both are kept from it without changing what they do.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

_ASKED: Final = "torch._dynamo.utils"


def import_torchvision() -> None:
    """To be called before `model` is imported. Does nothing if either is there already.

    torchvision asks `torch._dynamo.utils` one question, whether `roi_align` could be compiled. While it is
    imported, a stand-in answers; later imports of the compiler get the real one.
    """
    if _ASKED in sys.modules or "torchvision" in sys.modules:
        return
    stand_in = types.ModuleType(_ASKED)
    stand_in.is_compile_supported = lambda _device: False  # type: ignore[attr-defined]
    sys.modules[_ASKED] = stand_in
    try:
        importlib.import_module("torchvision")
    except (ImportError, AttributeError):  # another torchvision, which asks more, gets the real thing
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    finally:
        del sys.modules[_ASKED]


def skip_initialisation() -> Any:
    """A context in which new layers are not initialised: the artifact's values are put in anyway.

    Torch computes random values for tensors on the "meta" device, where there are none, with code that
    imports the compiler.
    """
    from torch.overrides import TorchFunctionMode  # late: this module comes before torch

    class SkipInitialisation(TorchFunctionMode):
        def __torch_function__(
            self,
            func: Callable[..., Any],
            types: Iterable[type],
            args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
        ) -> Any:
            if getattr(func, "__name__", "") in ("normal_", "uniform_"):
                return args[0] if args else (kwargs or {})["tensor"]
            return func(*args, **(kwargs or {}))

    return SkipInitialisation()
