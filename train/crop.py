"""Random crops, mirrored or not, resized to what the network takes.

On the CPU one picture after the other, by Pillow in threads: that needs a third of the time of arithmetic on
tensors. A GPU is given the part that matters of each picture and resizes a batch of them at once, so that a
machine with few cores can feed it. Both do what `PIL.Image.resize` does with a box; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from model.preprocess import INTERPOLATIONS, Preprocessing
from train.cache import Pixels

# Share of the area that a crop keeps. ImageNet recipes go down to 0.08, which for a few hundred pictures
# trained for a few epochs costs more than it gains.
CROP_AREA: Final = (0.4, 1.0)
CROP_ASPECT: Final = (3 / 4, 4 / 3)
Box = tuple[float, float, float, float]
Boxes = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.float32]]
Sizes = np.ndarray[Any, np.dtype[np.int64]]


class Part(NamedTuple):
    """The pixels [h, w, 3] that a crop needs of its picture, and the box in them."""

    pixels: Pixels
    box: Box


def draw(sizes: Sizes, numbers: Numbers) -> Boxes:
    """A box for each picture: float64 [N, 4] with x, y, width and height in pixels.

    Args:
        sizes: height and width of the pictures, [N, 2].
        numbers: [N, 4], from 0 to 1: all randomness comes from here.
    """
    height, width = sizes.T.astype(np.float64)
    area, aspect, x, y = numbers.T.astype(np.float64)
    area = width * height * (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * area)
    aspect = np.exp(np.log(CROP_ASPECT[0]) + np.log(CROP_ASPECT[1] / CROP_ASPECT[0]) * aspect)
    crop_width = np.minimum(width, np.sqrt(area * aspect))
    crop_height = np.minimum(height, np.sqrt(area / aspect))
    return np.stack([x * (width - crop_width), y * (height - crop_height), crop_width, crop_height], axis=1)


def mirror(boxes: Boxes) -> Boxes:
    """The same boxes, mirrored: they begin at their right edge and have a negative width."""
    x, y, width, height = boxes.T
    return np.stack([x + width, y, -width, height], axis=1)


def crop(pixels: Pixels, box: Box, preprocessing: Preprocessing) -> Pixels:
    """The box of a picture [H, W, 3], resized to [S, S, 3]."""
    x, y, width, height = box
    left, right = sorted((x, x + width))
    image = Image.fromarray(pixels).resize(
        (preprocessing.input_size, preprocessing.input_size),
        INTERPOLATIONS[preprocessing.interpolation],
        box=(left, y, right, y + height),
    )
    resized = np.asarray(image, dtype=np.uint8)
    return resized[:, ::-1] if width < 0 else resized


def cut(pixels: Pixels, box: Box, preprocessing: Preprocessing) -> Part:
    """What `resize` needs of a picture [H, W, 3]: the box, and as much around it as the filter reaches."""
    x, y, width, height = box
    reach, side = _FILTERS[preprocessing.interpolation].reach, preprocessing.input_size
    left, right = _span(x, width, pixels.shape[1], side, reach)
    top, bottom = _span(y, height, pixels.shape[0], side, reach)
    return Part(pixels[top:bottom, left:right], (x - left, y - top, width, height))


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
    for number, (picture, box) in enumerate(parts):
        rows, columns = picture.shape[:2]
        pixels.numpy()[number, :rows, :columns] = picture
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
    short = torch.bmm(down, pixels.to(dtype).view(count, height, width * 3)).view(count, side, width, 3)
    # Between black and white at every step, as in Pillow, so that a sharp edge does not overshoot twice.
    resized = torch.einsum("nsw,nhwc->nhsc", along, short.clamp_(0, 255))
    rounded = resized.add_(0.5).clamp_(0, 255).to(torch.uint8, memory_format=torch.contiguous_format)
    return rounded.permute(0, 3, 1, 2)


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
