"""Networks by name, with a head for the classes at hand, and the weights that they start from."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import safetensors
import safetensors.torch
import torch
import torchvision
from torch import nn

from contract.hyperparameters import ARCHITECTURES
from contract.networks import WEIGHT_SUFFIXES
from model import quick
from model.preprocess import Preprocessing

# They average over whatever is left of a picture. What is below needs 0.5 s to find out.
_ANY_SIZE: Final = ("resnet", "resnext", "wide_resnet")
_WITH_SIDE_OUTPUTS: Final = ("googlenet", "inception_v3")


class WeightsError(ValueError):
    """Weights that cannot be had or do not fit; the text names the file and the remedy."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What `load_weights` did. `source` is where from; `tensors` how many of the network's tensors it set."""

    source: str
    tensors: int
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        if not self.tensors:
            return "random weights: nothing pretrained was loaded"
        text = f"{self.tensors} tensors from {self.source}; new, random: {', '.join(self.new) or 'none'}"
        if self.unused:
            shown = ", ".join(self.unused[:4]) + (", ..." if len(self.unused) > 4 else "")
            text += f"; in the file but not used: {shown}"
        return text


def build(architecture: str, classes: int) -> nn.Module:
    """A randomly initialised network with `classes` outputs.

    The input is float32 [N, 3, H, W], the output logits [N, classes]. Parameters have torchvision's names.

    Raises:
        ValueError: for an unknown architecture or fewer than two classes.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is unknown; allowed: {', '.join(ARCHITECTURES)}")
    if classes < 2:
        raise ValueError(f"{classes} classes; a classifier needs at least 2")
    # These two have side outputs for training from scratch, and say nothing when asked for how to start.
    options = {"aux_logits": False, "init_weights": True} if architecture in _WITH_SIDE_OUTPUTS else {}
    module = torchvision.models.get_model(architecture, weights=None, num_classes=classes, **options)
    return cast(nn.Module, module)


def skeleton(architecture: str, classes: int) -> nn.Module:
    """The network of `build` without memory for its weights (on the meta device), where it allows that.

    RegNets compute their widths with tensors and are built for real.
    """
    try:
        with torch.device("meta"):
            return build(architecture, classes)
    except NotImplementedError:
        return build(architecture, classes)


def head_name(module: nn.Module) -> str:
    """Name of the layer whose shape depends on the classes: the last one with weights, e.g. "fc"."""
    layers: list[str] = [
        name for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)
    ]
    return layers[-1]


def preprocessing(architecture: str, image_size: int, *, pretrained: bool) -> Preprocessing:
    """What the network is shown: where it starts from weights, what these saw when they were made.

    Mean, deviation, interpolation and the margin around the crop are those of torchvision's weights for this
    architecture, also where the weights come from a file, which does not say. The size is the caller's.
    """
    usual = Preprocessing.for_size(image_size)
    if not pretrained:
        return usual
    seen = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    mean, std = tuple(map(float, seen.mean)), tuple(map(float, seen.std))
    if architecture in _WITH_SIDE_OUTPUTS:
        # Those weights expect -1 to 1. torchvision's network converts to that from the metadata's mean and
        # deviation, but only if it is built together with its weights (transform_input).
        mean = std = (0.5, 0.5, 0.5)
    resize = round(image_size * seen.resize_size[0] / seen.crop_size[0])
    return Preprocessing(
        image_size,
        resize if usual.resize > image_size else image_size,
        interpolation=seen.interpolation.value,
        mean=cast("tuple[float, float, float]", mean),
        std=cast("tuple[float, float, float]", std),
    )


def check_size(architecture: str, size: int) -> None:
    """See that the network takes pictures of size x size, without computing anything.

    Raises:
        WeightsError: with the reason; a vision transformer, for one, has a fixed size.
    """
    if architecture.startswith(_ANY_SIZE):
        return
    quick.import_shapes()
    try:
        skeleton(architecture, 2).to("meta").eval()(torch.empty(2, 3, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise WeightsError(
            f"arch={architecture} does not take pictures of image_size={size}: {_first_line(error)}"
        ) from error


def load_weights(module: nn.Module, architecture: str, weights: str) -> Loaded:
    """Set everything but the head.

    Args:
        weights: "none", "imagenet" (torchvision's own, downloaded once), or the path of a state dict
            (.safetensors, or .pt / .pth without arbitrary objects) or of a folder that holds exactly one.

    Raises:
        WeightsError: if they cannot be had, cannot be read safely, or do not fit the architecture.
    """
    if weights == "none":
        return Loaded("none", 0, tuple(module.state_dict()), ())
    if weights == "imagenet":
        state, source = _imagenet(architecture)
    else:
        path = find_weights(Path(weights))
        state, source = read_state_dict(path), str(path)
    return _fit(module, architecture, state, source)


def find_weights(path: Path) -> Path:
    """The one weights file that `path` is or holds."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"weights {str(path)!r}: no such file or folder; allowed too: none, imagenet")
    files = sorted(file for file in path.rglob("*") if file.suffix in WEIGHT_SUFFIXES and file.is_file())
    if len(files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "none"
        raise WeightsError(
            f"weights folder {path} must hold exactly one file that ends in {', '.join(WEIGHT_SUFFIXES)}; "
            f"found: {names}"
        )
    return files[0]


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name, without running any code that the file may carry."""
    try:
        if path.suffix == ".safetensors":
            return cast("dict[str, torch.Tensor]", safetensors.torch.load_file(path))
        raw: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise WeightsError(
            f"weights file {path} is damaged or no state dict: {_first_line(error)}"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights file {path} holds more than tensors, which could run code and is refused; "
            "save it with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "net_dict"):
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
    if not isinstance(raw, Mapping) or not any(isinstance(value, torch.Tensor) for value in raw.values()):
        raise WeightsError(f"weights file {path} holds no state dict (names with tensors)")
    return {
        str(name).removeprefix("module."): value
        for name, value in raw.items()
        if isinstance(value, torch.Tensor)
    }


def _imagenet(architecture: str) -> tuple[dict[str, torch.Tensor], str]:
    weights = torchvision.models.get_model_weights(architecture).DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True), f"torchvision {weights}"
    except (OSError, RuntimeError) as error:  # no network is an URLError, a wrong hash a RuntimeError
        raise WeightsError(
            f"weights=imagenet: {weights.url} could not be downloaded ({_first_line(error)}); "
            "give the file in the channel 'weights' (byoc: data.weights), or set weights=none"
        ) from error


def _fit(module: nn.Module, architecture: str, state: Mapping[str, torch.Tensor], source: str) -> Loaded:
    own = module.state_dict()
    head = head_name(module) + "."
    wanted = {name for name in own if not name.startswith(head) and not name.endswith("num_batches_tracked")}
    missing = sorted(wanted - set(state))
    wrong = sorted(name for name in wanted & set(state) if state[name].shape != own[name].shape)
    if missing or wrong:
        name = (missing or wrong)[0]
        what = (
            "is missing" if missing else f"has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        )
        raise WeightsError(
            f"weights from {source} do not fit {architecture}: {len(missing) + len(wrong)} of {len(wanted)} "
            f"tensors, e.g. {name!r} {what}; choose the architecture that they were made for"
        )
    used = {name: state[name] for name in own if name in state and not name.startswith(head)}
    module.load_state_dict(used, strict=False)
    return Loaded(
        source,
        len(used),
        tuple(name for name in own if name not in used and not name.endswith("num_batches_tracked")),
        tuple(name for name in state if name not in used),
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
