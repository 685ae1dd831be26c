"""A file of weights looked at before it is sent, without torch and without running code that it may hold."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.errors import ByocError
from contract.networks import NETWORKS, WEIGHT_SUFFIXES, Network

_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit, and ours for the pickle in a zip archive
# What torch.load(weights_only=True) takes beside OrderedDict and names of torch; protocol 2 says __builtin__.
_HARMLESS = {
    ("_codecs", "encode"),
    ("collections", "Counter"),
    *((module, name) for module in ("__builtin__", "builtins") for name in ("bytearray", "complex", "set")),
}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net_dict")
Shapes = dict[str, tuple[int, ...]]
"""Shape of each tensor, by name."""


def check_weights(path: Path, arch: str) -> None:
    """See that the trainer will take the weights for the network `arch`, as far as that can be seen here.

    Raises:
        ByocError: the file is damaged, could run code, or holds the weights of another network.
    """
    if path.suffix not in WEIGHT_SUFFIXES:
        raise ByocError(
            f"data.weights: the trainer reads no file with the ending of {path}.",
            f"Give it one of {', '.join(WEIGHT_SUFFIXES)}.",
            kind="BadWeights",
        )
    try:
        shapes = read_shapes(path)
    except UnsafeName as error:
        raise ByocError(
            f"data.weights: {path} holds {error}, which could run code, and the trainer refuses it.",
            "Save it with torch.save(model.state_dict(), …) or as .safetensors.",
            kind="BadWeights",
        ) from None
    except Exception as error:  # damaged bytes raise whatever zipfile, zlib, pickle and json have
        raise ByocError(
            f"data.weights: {path} is damaged or no state dict ({error or type(error).__name__}).",
            "Save it with torch.save(model.state_dict(), …) or as .safetensors.",
            kind="BadWeights",
        ) from None
    if shapes is None or fits(shapes, NETWORKS[arch]):
        return
    others = [name for name, network in NETWORKS.items() if fits(shapes, network)]
    if others:  # else it may be a known network with something beside it: the trainer knows all names
        raise ByocError(
            f"data.weights: {path} holds weights of {' or '.join(others)}, and the network is {arch}.",
            f"Set hyperparameters.arch = {json.dumps(others[0])}, or name weights of {arch}.",
            kind="OtherNetwork",
        )


def read_shapes(path: Path) -> Shapes | None:
    """What a state dict holds; None for torch's oldest format, which only torch reads.

    Raises:
        UnsafeName: the file names a class or function that no state dict needs.
        Exception: the file is damaged; zipfile, zlib, pickle and json each raise errors of their own.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(2) != b"\x80\x02":
                raise ValueError("it is neither a zip archive nor a pickle")
        return None
    with zipfile.ZipFile(path) as archive:
        [member] = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if archive.getinfo(member).file_size > _LONGEST_HEADER:
            raise ValueError(f"its {member} has more than {_LONGEST_HEADER:,} bytes")
        with archive.open(member) as file:
            content: Any = _Reader(file).load()
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    shapes = {
        str(name).removeprefix("module."): value.shape
        for name, value in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(value, _Tensor)
    }
    if not shapes:
        raise ValueError("it holds no names with tensors")
    return shapes


def fits(shapes: Mapping[str, tuple[int, ...]], network: Network) -> bool:
    """Whether these are exactly the network's tensors, with any head or none."""
    return fingerprint(shapes, network.head) == (network.tensors, network.checksum)


def fingerprint(shapes: Mapping[str, tuple[int, ...]], head: str) -> tuple[int, int]:
    """How many tensors there are without the head's and counters, and the CRC-32 of names and shapes."""
    lines = sorted(
        f"{name} {','.join(map(str, shape))}"
        for name, shape in shapes.items()
        if not name.startswith(f"{head}.") and not name.endswith("num_batches_tracked")
    )
    return len(lines), zlib.crc32("\n".join(lines).encode())


def _safetensors(path: Path) -> Shapes:
    size = path.stat().st_size
    with path.open("rb") as file:
        [length] = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if length > min(size - 8, _LONGEST_HEADER):
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    if max((entry["data_offsets"][1] for entry in header.values()), default=-1) != size - 8 - length:
        raise ValueError("it is cut off, or something follows the tensors")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


class UnsafeName(Exception):
    """A pickle names a class or function that could run code."""


class _Tensor:
    __slots__ = ("shape",)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __setstate__(self, state: Any) -> None:
        """Attributes that a file gives to a tensor do not matter here."""


class _Dict(dict[str, Any]):
    """A state dict, which carries attributes."""


class _Other:
    """Stands for anything of torch's that is no tensor. It does nothing, whatever it is called with."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Reader(pickle.Unpickler):
    """Reads a pickle and makes nothing of what it names but containers, and shapes in place of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, *rest: _Tensor(tuple(size))
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        if module == "torch" or module.startswith("torch.") or (module, name) in _HARMLESS:
            return _Other  # the trainer's torch looks at these more closely
        raise UnsafeName(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return None
