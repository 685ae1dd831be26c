"""Random crops, mirrored or not, resized to what the network takes.

On the CPU one picture after the other, by Pillow in threads: that needs a third of the time of arithmetic on
tensors. A GPU is given the part that matters of each picture and resizes a batch of them at once, so that a
machine with few cores can feed it. Both do what `PIL.Image.resize` does with a box; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from model.preprocess import INTERPOLATIONS, Preprocessing
from train.cache import Pixels

# Share of the area that a crop keeps. ImageNet recipes go down to 0.08, which for a few hundred pictures
# trained for a few epochs costs more than it gains.
CROP_AREA: Final = (0.4, 1.0)
CROP_ASPECT: Final = (3 / 4, 4 / 3)


class Box(NamedTuple):
    """A part of a picture, in pixels. A mirrored one begins at its right edge and has a negative width."""

    x: float
    y: float
    width: float
    height: float

    @property
    def mirrored(self) -> Box:
        return Box(self.x + self.width, self.y, -self.width, self.height)


class Part(NamedTuple):
    """The pixels [h, w, 3] that a crop needs of its picture, and the box in them."""

    pixels: Pixels
    box: Box


def draw(height: int, width: int, random: np.random.Generator) -> Box:
    """A box in a picture of that size."""
    area = width * height * random.uniform(*CROP_AREA)
    aspect = math.exp(random.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
    crop_width = min(width, math.sqrt(area * aspect))
    crop_height = min(height, math.sqrt(area / aspect))
    x, y = random.uniform(0, width - crop_width), random.uniform(0, height - crop_height)
    return Box(x, y, crop_width, crop_height)


def crop(pixels: Pixels, box: Box, preprocessing: Preprocessing) -> Pixels:
    """The box of a picture [H, W, 3], resized to [S, S, 3]."""
    left, right = sorted((box.x, box.x + box.width))
    image = Image.fromarray(pixels).resize(
        (preprocessing.input_size, preprocessing.input_size),
        INTERPOLATIONS[preprocessing.interpolation],
        box=(left, box.y, right, box.y + box.height),
    )
    resized = np.asarray(image, dtype=np.uint8)
    return resized[:, ::-1] if box.width < 0 else resized


def cut(pixels: Pixels, box: Box, preprocessing: Preprocessing) -> Part:
    """What `resize` needs of a picture [H, W, 3]: the box, and as much around it as the filter reaches."""
    reach, side = _FILTERS[preprocessing.interpolation].reach, preprocessing.input_size
    left, right = _span(box.x, box.width, pixels.shape[1], side, reach)
    top, bottom = _span(box.y, box.height, pixels.shape[0], side, reach)
    return Part(pixels[top:bottom, left:right], box._replace(x=box.x - left, y=box.y - top))


def _span(start: float, length: float, size: int, side: int, reach: float) -> tuple[int, int]:
    low, high = sorted((start, start + length))
    around = reach * max(1.0, (high - low) / side) + 1
    return max(0, math.floor(low - around)), min(size, math.ceil(high + around))


def stack(parts: Sequence[Part], *, pin: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts of any sizes as what `resize` takes: bytes [N, H, W, 3] of the largest, and float32 [N, 6].

    The latter are box and size of each: x, y, width, height, columns, rows.
    """
    height = max((part.pixels.shape[0] for part in parts), default=1)
    width = max((part.pixels.shape[1] for part in parts), default=1)
    pixels = torch.empty(len(parts), height, width, 3, dtype=torch.uint8, pin_memory=pin)
    boxes = torch.empty(len(parts), 6, pin_memory=pin)
    for number, (found, box) in enumerate(parts):
        rows, columns = found.shape[:2]
        pixels.numpy()[number, :rows, :columns] = found
        boxes.numpy()[number] = (*box, columns, rows)
    return pixels, boxes


def resize(
    pixels: torch.Tensor,
    boxes: torch.Tensor,
    preprocessing: Preprocessing,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The boxes of a batch of pictures, resized at once: two matrix products a picture, on its device.

    Args:
        pixels, boxes: as `stack` has them; what lies beyond a picture's own rows and columns counts nothing.
        dtype: of the products. float16, which GPUs are quick with, holds bytes and their eighths exactly.

    Returns:
        Bytes [N, 3, S, S] in channels-last memory. They differ by 2 at most from those of `crop`; by more at
        an edge from black to white, where the wider filters overshoot and Pillow may begin with the columns.
    """
    (count, height, width, _), side = pixels.shape, preprocessing.input_size
    kernel = _FILTERS[preprocessing.interpolation]
    x, y, box_width, box_height, columns, rows = boxes.unbind(1)
    down = _weights(y, box_height, rows, height, side, kernel).to(dtype)
    along = _weights(x, box_width, columns, width, side, kernel).to(dtype)
    # Bytes in between, as in Pillow, so that a sharp edge does not overshoot twice.
    narrow = _to_bytes(torch.einsum("nsw,nhwc->nhsc", along, pixels.to(dtype)))
    resized = _to_bytes(torch.bmm(down, narrow.reshape(count, height, side * 3)))
    return resized.to(torch.uint8).view(count, side, side, 3).permute(0, 3, 1, 2)


def _to_bytes(values: torch.Tensor) -> torch.Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)


def _weights(
    start: torch.Tensor, length: torch.Tensor, size: torch.Tensor, padded: int, side: int, kernel: _Filter
) -> torch.Tensor:
    """How much each of `padded` pixels counts for each of the resized ones: float32 [N, side, padded]."""
    numbers = torch.arange(max(side, padded), dtype=torch.float32, device=start.device) + 0.5
    step = (length / side)[:, None]
    centre = start[:, None] + numbers[:side] * step
    distance = numbers[:padded] - centre[..., None]
    weights = kernel.weight(distance / step.abs().clamp_min(1.0)[..., None])
    weights *= numbers[:padded] < size[:, None, None]
    return weights / weights.sum(-1, keepdim=True)


class _Filter(NamedTuple):
    reach: float
    weight: Callable[[torch.Tensor], torch.Tensor]


def _bilinear(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance.abs()).clamp_min_(0.0)


def _bicubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys' filter with a = -0.5 (1981)."""
    x = distance.abs().clamp_max_(2.0)
    return torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)


def _lanczos(distance: torch.Tensor) -> torch.Tensor:
    return torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)


_FILTERS: Final = {
    "bilinear": _Filter(1.0, _bilinear),
    "bicubic": _Filter(2.0, _bicubic),
    "lanczos": _Filter(3.0, _lanczos),
}
