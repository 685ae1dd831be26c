from __future__ import annotations

import numpy as np
import pytest
import torch

from model.preprocess import Preprocessing
from train import crop

RANDOM = np.random.default_rng(0)


def picture(height: int, width: int) -> crop.Pixels:
    # Not as far as black and white, where the order of the two directions would show.
    return RANDOM.integers(64, 192, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 300), (50, 60), (256, 171)])
def test_a_crop_lies_in_its_picture_and_keeps_its_share_of_it(height: int, width: int) -> None:
    for seed in range(200):
        box = crop.draw(height, width, np.random.default_rng(seed))
        assert 0 <= box.x <= box.x + box.width <= width + 1e-9
        assert 0 <= box.y <= box.y + box.height <= height + 1e-9
        assert box.width * box.height <= width * height * crop.CROP_AREA[1]
        assert box.mirrored.x + box.mirrored.width == pytest.approx(box.x)


def test_a_crop_shows_nothing_that_is_not_in_the_picture() -> None:
    pixels = np.full((60, 50, 3), (10, 200, 30), np.uint8)
    for seed in range(10):
        box = crop.draw(60, 50, np.random.default_rng(seed))
        assert (crop.crop(pixels, box, Preprocessing.for_size(32)) == (10, 200, 30)).all()


def test_a_mirrored_crop_is_the_mirror_of_the_crop() -> None:
    pixels, size = picture(40, 50), Preprocessing.for_size(32)
    box = crop.draw(40, 50, np.random.default_rng(1))
    assert np.array_equal(crop.crop(pixels, box.mirrored, size), crop.crop(pixels, box, size)[:, ::-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_batch_is_resized_as_pillow_resizes_each_picture(interpolation: str, dtype: torch.dtype) -> None:
    size = Preprocessing(32, 36, interpolation=interpolation)
    pictures = [picture(*shape) for shape in ((1, 1), (36, 72), (90, 36), (20, 300), (200, 150), (5, 9))] * 5
    boxes = [crop.draw(*one.shape[:2], np.random.default_rng(n)) for n, one in enumerate(pictures)]
    boxes = [box.mirrored if number % 2 else box for number, box in enumerate(boxes)]
    each = np.stack([crop.crop(one, box, size) for one, box in zip(pictures, boxes, strict=True)])
    parts = [crop.cut(one, box, size) for one, box in zip(pictures, boxes, strict=True)]
    pixels, where = crop.stack(parts)
    batch = crop.resize(pixels, where, size, dtype)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    difference = np.abs(batch.permute(0, 2, 3, 1).numpy().astype(int) - each)
    assert difference.max() <= 2
    assert difference.mean() < 0.15


def test_only_the_part_that_a_crop_needs_is_sent() -> None:
    part = crop.cut(picture(256, 400), crop.Box(100.5, 20.0, 150.0, 200.0), Preprocessing.for_size(100))
    assert part.pixels.shape[0] <= 200 + 2 * 4
    assert part.pixels.shape[1] <= 150 + 2 * 4


def test_a_batch_may_be_empty() -> None:
    assert crop.resize(*crop.stack([]), Preprocessing.for_size(32)).shape == (0, 3, 32, 32)
