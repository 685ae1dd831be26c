"""Import torch and torchvision without torch's compiler, which nothing here uses: half of a start's CPU time.

`import_torchvision()` comes before anything else that imports torch, in the trainer and in the endpoint.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

# Rules for tensors without values, written in Python. The compiler needs them first of all.
_RULES: Final = "torch._meta_registrations"
_COMPILER: Final = "torch._dynamo"


class _NoCompiler(types.ModuleType):
    """Stands in for the compiler while nobody compiles; whoever asks for more than this gets the real one."""

    @staticmethod
    def disable(function: Any = None, *_: Any, **__: Any) -> Any:
        """Optimizers say that they are not to be compiled. Without a function it returns a decorator."""
        return function if function is not None else lambda decorated: decorated

    @staticmethod
    def graph_break() -> None:
        """Optimizers say where a compiled part would have to end."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # `inspect` looks at every module
            raise AttributeError(name)
        torch = sys.modules["torch"]
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER], torch._dynamo
            import_shapes()
            sys.meta_path.insert(0, _Loaded())
            importlib.import_module(_COMPILER)
        return getattr(sys.modules[_COMPILER], name)


class _Loaded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds parts of the compiler that came with it, while Python was about to import them.

    `import torch._dynamo.utils` asks the stand-in for its path, which imports the compiler with this part.
    Python would then import the part once more, and there would be two.
    """

    def find_spec(self, name: str, _path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(f"{_COMPILER}.") or name not in sys.modules or target is not None:
            return None
        state = sys.modules[name].__spec__
        return importlib.machinery.ModuleSpec(name, self, loader_state=state)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: types.ModuleType) -> None:
        """It has been executed; only its own spec is put back."""
        assert module.__spec__
        module.__spec__ = module.__spec__.loader_state


def import_torchvision() -> None:
    """Import both, quickly where they are not there yet."""
    if "torch" in sys.modules:
        return
    with _stand_in(types.ModuleType(_RULES)):
        torch = importlib.import_module("torch")
    vars(torch).pop("_meta_registrations", None)  # the stand-in
    compiler: Any = _NoCompiler(_COMPILER)
    sys.modules[_COMPILER] = vars(torch)["_dynamo"] = compiler
    # torchvision asks whether `roi_align` could be compiled.
    answers: Any = types.ModuleType(f"{_COMPILER}.utils")
    answers.is_compile_supported = lambda _device: False
    compiler.utils = answers
    with _stand_in(answers):
        importlib.import_module("torchvision")
    del compiler.utils


def import_shapes() -> None:
    """What some layers need to work with tensors on the "meta" device, which have a shape and no values."""
    importlib.import_module(_RULES)


@contextmanager
def _stand_in(module: types.ModuleType) -> Iterator[None]:
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


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
