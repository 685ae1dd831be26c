"""From an RGB picture to what the network sees: one definition, stored with the model.

Evaluation in training, the endpoint and batch transform all call this, so that their answers agree.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from PIL import Image

from model import images, resize
from model.resize import INTERPOLATIONS as INTERPOLATIONS

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
MAX_SIDE: Final = 4096
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Numbers = np.ndarray[Any, np.dtype[np.float32]]
_MIN_STD: Final = 1e-6


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, scale to [0, 1], normalise.

    Attributes:
        input_size: side of the square that the network sees, in pixels.
        resize: length of the picture's shorter side before cropping, in pixels; at least input_size.
        crop: "center", the only one.
        interpolation: one of INTERPOLATIONS, always with antialiasing.
        mean, std: of each channel (red, green, blue), for values in [0, 1].
    """

    input_size: int = 224
    resize: int = 256
    crop: str = "center"
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("input_size", "resize"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 to {MAX_SIDE}")
        if self.resize < self.input_size:
            raise ValueError(f"resize is {self.resize}, less than input_size {self.input_size}")
        if self.crop != "center":
            raise ValueError(f"crop is {self.crop!r}; allowed: center")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation is {self.interpolation!r}; allowed: {', '.join(INTERPOLATIONS)}")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) != 3 or not all(isinstance(v, float) and math.isfinite(v) for v in value):
                raise ValueError(f"{name} is {value!r}; it must be three numbers")
        if not all(value > _MIN_STD for value in self.std):
            raise ValueError(f"std is {self.std!r}; it must be above {_MIN_STD}")

    @classmethod
    def for_size(cls, image_size: int) -> Self:
        """The usual margin of 256 to 224 around the crop; none for small pictures, where it would cut."""
        return cls(image_size, round(image_size * 256 / 224) if image_size >= 96 else image_size)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises ValueError naming what is missing, unknown or out of range."""
        names = {field.name for field in dataclasses.fields(cls)}
        if missing := sorted(names - set(raw)):
            raise ValueError(f"{', '.join(missing)} missing")
        if unknown := sorted(set(raw) - names):
            raise ValueError(f"{', '.join(unknown)} unknown")
        try:
            triples = {name: tuple(float(value) for value in raw[name]) for name in ("mean", "std")}
        except TypeError as error:
            raise ValueError("mean and std must be three numbers each") from error
        return cls(**{**raw, **triples})

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def min_side(self) -> int:
        """Pixels that decoding must keep of the shorter side: twice the target, so that the reduced scale of
        a JPEG leaves little trace."""
        return 2 * self.resize

    def decode(self, data: bytes) -> Image.Image:
        """`images.decode` at the scale that this needs. Raises images.BadImage."""
        return images.decode(data, self.min_side)

    def to_uint8(self, image: Image.Image) -> Bytes:
        """Resized and cropped, as an array [input_size, input_size, 3] of bytes.

        Resizes only the part that the crop keeps: the same result as resizing first, but a picture of
        4 x 10,000 pixels never becomes one of a hundred million.
        """
        width, height = image.size
        side = min(width, height) * self.input_size / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        return resize.resize(image, (left, top, side), self.input_size, self.interpolation)

    def normalise_array(
        self, pixels: np.ndarray[Any, np.dtype[np.uint8]]
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Bytes [..., H, W, 3] to what the network takes, float32 of the same shape."""
        # A row at a time, its channels side by side: seven times as fast as three numbers at a time.
        scale, shift = self._scale_and_shift()
        width = pixels.shape[-2]
        rows = pixels.reshape(*pixels.shape[:-2], 3 * width).astype(np.float32)
        rows *= np.tile(scale, width)
        rows -= np.tile(shift, width)
        return rows.reshape(pixels.shape)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """The same for a tensor of bytes [..., 3, H, W], which keeps its layout and device."""
        import torch

        scale, shift = (torch.from_numpy(part).to(pixels.device) for part in self._scale_and_shift())
        channels_last = pixels.movedim(-3, -1)
        if not channels_last.is_contiguous():
            return pixels.to(torch.float32) * scale.view(3, 1, 1) - shift.view(3, 1, 1)
        width = pixels.shape[-1]
        rows = channels_last.flatten(-2).to(torch.float32) * scale.repeat(width) - shift.repeat(width)
        return rows.view(channels_last.shape).movedim(-1, -3)

    def to_input(self, pixels: Bytes) -> Numbers:
        """The same for bytes [..., H, W, 3], as the network takes it: float32 [..., 3, H, W], contiguous."""
        # The bytes change places first: they are a quarter of the numbers.
        scale, shift = self._scale_and_shift()
        planes = np.ascontiguousarray(np.moveaxis(pixels, -1, -3)).astype(np.float32)
        planes *= scale.reshape(3, 1, 1)
        planes -= shift.reshape(3, 1, 1)
        return planes

    def _scale_and_shift(self) -> Numbers:
        mean, std = np.array(self.mean), np.array(self.std)
        return np.array([1 / (255 * std), mean / std], dtype=np.float32)

    def load(self, data: bytes) -> Numbers:
        """Encoded bytes to float32 [3, input_size, input_size]. Raises images.BadImage."""
        return self(self.decode(data))

    def __call__(self, image: Image.Image) -> Numbers:
        """An RGB picture of any size to float32 [3, input_size, input_size]."""
        return self.to_input(self.to_uint8(image))
