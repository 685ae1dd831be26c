"""The operations of TrivialAugment and RandAugment, on batches of pictures.

Each takes bytes [N, 3, S, S] and strengths float32 [N] from -1 to 1, on one device, and gives new bytes of
that shape. Colours are computed as Pillow's ImageOps and ImageEnhance do; tests hold them against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import nn

Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
GREY: Final = (124, 116, 104)  # ImageNet's mean, for corners that a rotation leaves empty


def _identity(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return pixels


def _shear_x(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _affine(pixels, b=0.99 * strengths)


def _shear_y(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _affine(pixels, d=0.99 * strengths)


def _translate_x(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _affine(pixels, c=32 / 224 * strengths)


def _translate_y(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _affine(pixels, f=32 / 224 * strengths)


def _rotate(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    angle = math.radians(135) * strengths
    cos, sin = angle.cos(), angle.sin()
    middle = (1 - cos) / 2
    return _affine(pixels, a=cos, b=-sin, c=middle + sin / 2, d=sin, e=cos, f=middle - sin / 2)


def _affine(
    pixels: torch.Tensor,
    a: torch.Tensor | float = 1.0,
    b: torch.Tensor | float = 0.0,
    c: torch.Tensor | float = 0.0,
    d: torch.Tensor | float = 0.0,
    e: torch.Tensor | float = 1.0,
    f: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """The point (x, y) becomes what is at (ax + by + c, dx + ey + f), in units of the picture's side."""
    theta = torch.empty(len(pixels), 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 1, 0], theta[:, 1, 1] = a, b, d, e
    # PyTorch measures from the middle, from -1 to 1.
    theta[:, 0, 2], theta[:, 1, 2] = a + b + 2 * c - 1, d + e + 2 * f - 1
    fill = torch.tensor(GREY, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    grid = nn.functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    moved = nn.functional.grid_sample(pixels - fill, grid, padding_mode="zeros", align_corners=False)
    return _to_bytes(moved + (fill + 0.5))


def _brightness(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _blend(torch.zeros((), device=pixels.device), pixels, strengths)


def _colour(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _blend(_luma(pixels), pixels, strengths)


def _contrast(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    return _blend((_luma(pixels).mean((-3, -2, -1), keepdim=True) + 0.5).floor(), pixels, strengths)


def _sharpness(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    values = pixels.to(torch.float32)
    smooth = values.clone()
    inner = values[..., 1:-1, 1:-1]
    around = nn.functional.avg_pool2d(values, 3, stride=1) * 9
    smooth[..., 1:-1, 1:-1] = ((around + 4 * inner) / 13 + 0.5).floor()
    return _blend(smooth, pixels, strengths)


def _blend(duller: torch.Tensor, pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """Away from `duller` by a positive strength, towards it by a negative one."""
    factor = (1 + 0.99 * strengths).view(-1, 1, 1, 1)
    return _to_bytes(duller + factor * (pixels - duller))


def _luma(pixels: torch.Tensor) -> torch.Tensor:
    """Grey by ITU-R 601, float32 [N, 1, S, S]."""
    red, green, blue = pixels.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.float32).unsqueeze(1)


def _to_bytes(values: torch.Tensor) -> torch.Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


def _posterize(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    gone = (6 * strengths.abs()).round().to(torch.int32)
    return pixels & (255 - (2**gone - 1)).to(torch.uint8).view(-1, 1, 1, 1)


def _solarize(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    threshold = (255 * (1 - strengths.abs())).round().view(-1, 1, 1, 1)
    return torch.where(pixels < threshold, pixels, 255 - pixels)


def _autocontrast(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    low, high = (edge.to(torch.float32) for edge in torch.aminmax(pixels.flatten(2), dim=2, keepdim=True))
    scale = torch.where(high > low, 255 / (high - low), 1.0)
    low = torch.where(high > low, low, 0.0)
    return _to_bytes((pixels.flatten(2) - low) * scale).view(pixels.shape)


def _equalize(pixels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    values = pixels.flatten(2).to(torch.int64)
    counts = values.new_zeros(*values.shape[:2], 256).scatter_add_(2, values, torch.ones_like(values))
    brightest = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - brightest) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp_min(1)).clamp_(0, 255)
    return torch.where(step > 0, table.gather(2, values), values).to(torch.uint8).view(pixels.shape)


# The wide space of TrivialAugment (Mueller and Hutter, 2021), which draws one of them for a picture.
OPERATIONS: Final[tuple[Operation, ...]] = (
    _identity,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
    _brightness,
    _colour,
    _contrast,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)
