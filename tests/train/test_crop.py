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


def draw(height: int, width: int, count: int) -> crop.Boxes:
    numbers = np.random.default_rng(1).random((count, 4), dtype=np.float32)
    return crop.draw(np.tile([height, width], (count, 1)), numbers)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 300), (50, 60), (256, 171)])
def test_a_crop_lies_in_its_picture_and_keeps_its_share_of_it(height: int, width: int) -> None:
    boxes = draw(height, width, 200)
    x, y, box_width, box_height = boxes.T
    assert ((x >= 0) & (x + box_width <= width + 1e-9)).all()
    assert ((y >= 0) & (y + box_height <= height + 1e-9)).all()
    assert (box_width * box_height <= width * height * crop.CROP_AREA[1] + 1e-9).all()
    mirrored = crop.mirror(boxes)
    assert np.allclose(mirrored[:, 0] + mirrored[:, 2], x)
    assert (mirrored[:, 2] < 0).all()


def test_a_crop_shows_nothing_that_is_not_in_the_picture() -> None:
    pixels = np.full((60, 50, 3), (10, 200, 30), np.uint8)
    for box in draw(60, 50, 10).tolist():
        assert (crop.crop(pixels, box, Preprocessing.for_size(32)) == (10, 200, 30)).all()


def test_a_mirrored_crop_is_the_mirror_of_the_crop() -> None:
    pixels, size = picture(40, 50), Preprocessing.for_size(32)
    boxes = draw(40, 50, 1)
    (box,), (mirrored,) = boxes.tolist(), crop.mirror(boxes).tolist()
    assert np.array_equal(crop.crop(pixels, mirrored, size), crop.crop(pixels, box, size)[:, ::-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_batch_is_resized_as_pillow_resizes_each_picture(interpolation: str, dtype: torch.dtype) -> None:
    size = Preprocessing(32, 36, interpolation=interpolation)
    pictures = [picture(*shape) for shape in ((1, 1), (36, 72), (90, 36), (20, 300), (200, 150), (5, 9))] * 5
    numbers = np.random.default_rng(2).random((len(pictures), 4), dtype=np.float32)
    drawn = crop.draw(np.array([one.shape[:2] for one in pictures]), numbers)
    drawn[::2] = crop.mirror(drawn[::2])
    boxes = drawn.tolist()
    each = np.stack([crop.crop(one, box, size) for one, box in zip(pictures, boxes, strict=True)])
    parts = [crop.cut(one, box, size) for one, box in zip(pictures, boxes, strict=True)]
    pixels, where = crop.stack(parts)
    batch = crop.resize(pixels, where, size, dtype)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    difference = np.abs(batch.permute(0, 2, 3, 1).numpy().astype(int) - each)
    assert difference.max() <= 2
    assert difference.mean() < 0.25


def test_only_the_part_that_a_crop_needs_is_sent() -> None:
    part = crop.cut(picture(256, 400), (100.5, 20.0, 150.0, 200.0), Preprocessing.for_size(100))
    assert part.pixels.shape[0] <= 200 + 2 * 4
    assert part.pixels.shape[1] <= 150 + 2 * 4


def test_a_batch_may_be_empty() -> None:
    assert crop.resize(*crop.stack([]), Preprocessing.for_size(32)).shape == (0, 3, 32, 32)
