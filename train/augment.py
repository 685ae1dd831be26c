"""Random changes to a training picture, drawn from a generator that belongs to (seed, epoch, picture).

So a picture is changed in the same way whichever thread, process or restarted job gets to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from model.preprocess import INTERPOLATIONS, Preprocessing

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Share of the area that a crop keeps. ImageNet recipes go down to 0.08, which for a few hundred pictures
# trained for a few epochs costs more than it gains.
CROP_AREA: Final = (0.4, 1.0)
CROP_ASPECT: Final = (3 / 4, 4 / 3)
GREY: Final = (124, 116, 104)  # ImageNet's mean, for corners that a rotation leaves empty


def augment(
    image: Image.Image, kind: str, preprocessing: Preprocessing, random: np.random.Generator
) -> Pixels:
    """An array [input_size, input_size, 3] of bytes.

    Args:
        image: RGB, of any size.
        kind: "none" (exactly what evaluation sees), "crop", "flip" or "trivial"; see train.interface.
        preprocessing: for the size and interpolation.
        random: all randomness comes from here.
    """
    if kind == "none":
        return preprocessing.to_uint8(image)
    image = _random_crop(image, preprocessing, random)
    if kind in ("flip", "trivial") and random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == "trivial":
        image = _trivial(image, random)
    return np.asarray(image, dtype=np.uint8)


def _random_crop(
    image: Image.Image, preprocessing: Preprocessing, random: np.random.Generator
) -> Image.Image:
    width, height = image.size
    area = width * height * random.uniform(*CROP_AREA)
    aspect = math.exp(random.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
    crop_width = min(width, math.sqrt(area * aspect))
    crop_height = min(height, math.sqrt(area / aspect))
    left, top = random.uniform(0, width - crop_width), random.uniform(0, height - crop_height)
    size = (preprocessing.input_size, preprocessing.input_size)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize(size, INTERPOLATIONS[preprocessing.interpolation], box=box)


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=GREY
    )


# TrivialAugment (Mueller and Hutter, 2021), wide space: one operation; strength 0 to 1, sign 1 or -1.
_OPERATIONS: Final[tuple[Callable[[Image.Image, float, int], Image.Image], ...]] = (
    lambda image, strength, sign: image,
    lambda image, strength, sign: _affine(image, (1, sign * 0.99 * strength, 0, 0, 1, 0)),
    lambda image, strength, sign: _affine(image, (1, 0, 0, sign * 0.99 * strength, 1, 0)),
    lambda image, strength, sign: _affine(image, (1, 0, sign * 32 / 224 * strength * image.width, 0, 1, 0)),
    lambda image, strength, sign: _affine(image, (1, 0, 0, 0, 1, sign * 32 / 224 * strength * image.height)),
    lambda image, strength, sign: image.rotate(
        sign * 135 * strength, Image.Resampling.BILINEAR, fillcolor=GREY
    ),
    lambda image, strength, sign: ImageEnhance.Brightness(image).enhance(1 + sign * 0.99 * strength),
    lambda image, strength, sign: ImageEnhance.Color(image).enhance(1 + sign * 0.99 * strength),
    lambda image, strength, sign: ImageEnhance.Contrast(image).enhance(1 + sign * 0.99 * strength),
    lambda image, strength, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.99 * strength),
    lambda image, strength, sign: ImageOps.posterize(image, 8 - round(6 * strength)),
    lambda image, strength, sign: ImageOps.solarize(image, round(255 * (1 - strength))),
    lambda image, strength, sign: ImageOps.autocontrast(image),
    lambda image, strength, sign: ImageOps.equalize(image),
)


def _trivial(image: Image.Image, random: np.random.Generator) -> Image.Image:
    operation = _OPERATIONS[random.integers(len(_OPERATIONS))]
    return operation(image, float(random.random()), 1 if random.random() < 0.5 else -1)
