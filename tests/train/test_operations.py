"""Pillow, which computes one picture at a time, is the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from train import operations
from train.operations import GREY

STRENGTHS = [-1.0, -0.61, -0.32, 0.0, 0.12, 0.52, 0.93, 1.0]
Reference = Callable[[Image.Image, float], Image.Image]


def samples() -> list[Image.Image]:
    """Noise, a dark and a flat picture, and shapes whose edges a blur cannot hide."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:40, :40]
    shapes = np.stack([rows * 6, columns * 6, 255 * (rows + columns > 40)], axis=-1).astype(np.uint8)
    flat = np.full((40, 40, 3), (10, 200, 30), np.uint8)
    return [Image.fromarray(pixels) for pixels in (noise, noise // 5 + 20, flat, shapes)]


def run(operation: operations.Operation, images: list[Image.Image], strengths: list[float]) -> np.ndarray:  # type: ignore[type-arg]
    pixels = torch.stack([torch.from_numpy(np.array(image)) for image in images]).permute(0, 3, 1, 2)
    before = pixels.clone()
    done = operation(pixels, torch.tensor(strengths))
    assert torch.equal(pixels, before)
    assert done.dtype == torch.uint8
    return done.permute(0, 2, 3, 1).numpy().astype(int)


@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        (operations._identity, lambda image, strength: image),
        (operations._brightness, lambda image, s: ImageEnhance.Brightness(image).enhance(1 + 0.99 * s)),
        (operations._colour, lambda image, s: ImageEnhance.Color(image).enhance(1 + 0.99 * s)),
        (operations._contrast, lambda image, s: ImageEnhance.Contrast(image).enhance(1 + 0.99 * s)),
        (operations._sharpness, lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + 0.99 * s)),
        (operations._posterize, lambda image, s: ImageOps.posterize(image, 8 - round(6 * abs(s)))),
        (operations._solarize, lambda image, s: ImageOps.solarize(image, round(255 * (1 - abs(s))))),
        (operations._autocontrast, lambda image, s: ImageOps.autocontrast(image)),
        (operations._equalize, lambda image, s: ImageOps.equalize(image)),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_colours_are_pillows(operation: operations.Operation, reference: Reference) -> None:
    images = [image for image in samples() for _ in STRENGTHS]
    strengths = STRENGTHS * len(samples())
    wanted = [np.array(reference(*pair), dtype=int) for pair in zip(images, strengths, strict=True)]
    assert np.abs(run(operation, images, strengths) - np.stack(wanted)).max() <= 1


@pytest.mark.parametrize(
    ("operation", "matrix"),
    [
        (operations._shear_x, lambda s: (1, 0.99 * s, 0, 0, 1, 0)),
        (operations._shear_y, lambda s: (1, 0, 0, 0.99 * s, 1, 0)),
        (operations._translate_x, lambda s: (1, 0, 32 / 224 * s * 40, 0, 1, 0)),
        (operations._translate_y, lambda s: (1, 0, 0, 0, 1, 32 / 224 * s * 40)),
        (operations._rotate, None),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_shapes_are_pillows_but_for_their_edges(
    operation: operations.Operation, matrix: Callable[[float], tuple[float, ...]] | None
) -> None:
    def reference(image: Image.Image, strength: float) -> np.ndarray:  # type: ignore[type-arg]
        bilinear = Image.Resampling.BILINEAR
        if matrix is None:
            return np.array(image.rotate(135 * strength, bilinear), dtype=int)
        return np.array(
            image.transform(image.size, Image.Transform.AFFINE, matrix(strength), bilinear), dtype=int
        )

    shapes = samples()[-1]
    # Pillow's edges have stairs, ours are blended with the grey around them.
    inner = Image.new("L", shapes.size)
    inner.paste(255, (2, 2, 38, 38))
    done = run(operation, [shapes] * len(STRENGTHS), STRENGTHS)
    for found, strength in zip(done, STRENGTHS, strict=True):
        sure = reference(inner, strength) == 255
        assert sure.sum() > 300
        assert np.abs(found - reference(shapes, strength))[sure].max() <= 2


def test_what_a_rotation_leaves_empty_is_grey() -> None:
    turned = run(operations._rotate, [samples()[-1]], [45 / 135])
    assert (turned[0, [0, 0, -1, -1], [0, -1, 0, -1]] == GREY).all()
