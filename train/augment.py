"""Random changes to a training picture, drawn from a generator that belongs to (seed, epoch, picture).

So a picture is changed in the same way whichever thread, process or restarted job gets to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import nn

from model.preprocess import INTERPOLATIONS, Preprocessing
from train.cache import Pixels

# Share of the area that a crop keeps. ImageNet recipes go down to 0.08, which for a few hundred pictures
# trained for a few epochs costs more than it gains.
CROP_AREA: Final = (0.4, 1.0)
CROP_ASPECT: Final = (3 / 4, 4 / 3)
# RandAugment (Cubuk et al., 2020): two operations of strength 9 of 30, as its paper has it for ResNet-50.
RAND_OPERATIONS: Final = 2
RAND_STRENGTH: Final = 0.3
GREY: Final = (124, 116, 104)  # ImageNet's mean, for corners that a rotation leaves empty


def augment(
    image: Image.Image, kind: str, preprocessing: Preprocessing, random: np.random.Generator
) -> Pixels:
    """An array [input_size, input_size, 3] of bytes.

    Args:
        image: RGB, of any size.
        kind: "none" (exactly what evaluation sees), "crop", "flip", "trivial" or "rand"; see train.interface.
        preprocessing: for the size and interpolation.
        random: all randomness comes from here.
    """
    if kind == "none":
        return preprocessing.to_uint8(image)
    image = _random_crop(image, preprocessing, random)
    if kind in ("flip", "trivial", "rand") and random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == "trivial":
        image = _change(image, float(random.random()), random)
    if kind == "rand":
        for _ in range(RAND_OPERATIONS):
            image = _change(image, RAND_STRENGTH, random)
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


def _change(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    operation = _OPERATIONS[random.integers(len(_OPERATIONS))]
    return operation(image, strength, 1 if random.random() < 0.5 else -1)


def mix(
    inputs: torch.Tensor, labels: torch.Tensor, classes: int, alpha: float, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup (Zhang et al., 2018): each picture blended with another one of the batch, and so its label.

    Args:
        inputs: float32 [N, ...]; labels: int64 [N].
        alpha: of the Beta distribution of the share; small values mostly leave pictures alone.

    Returns:
        The blends, and the targets float32 [N, classes].
    """
    share = float(random.beta(alpha, alpha))
    share = max(share, 1 - share)  # the first picture stays the stronger: its label is what accuracy counts
    partner = torch.from_numpy(random.permutation(len(labels))).to(labels.device)
    targets = nn.functional.one_hot(labels, classes).to(torch.float32)
    return inputs.lerp(inputs[partner], 1 - share), targets.lerp(targets[partner], 1 - share)


def erase(inputs: torch.Tensor, probability: float, random: np.random.Generator) -> torch.Tensor:
    """Random erasing (Zhong et al., 2020): a rectangle of some pictures becomes the mean colour, in place."""
    height, width = inputs.shape[-2:]
    for number in np.flatnonzero(random.random(len(inputs)) < probability):
        area = height * width * random.uniform(0.02, 1 / 3)
        aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
        rows = min(height, max(1, round(math.sqrt(area * aspect))))
        columns = min(width, max(1, round(math.sqrt(area / aspect))))
        top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
        inputs[number, :, top : top + rows, left : left + columns] = 0
    return inputs
