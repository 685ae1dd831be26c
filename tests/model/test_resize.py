import numpy as np
import pytest
from cykooz_resizer import CpuExtensions
from PIL import Image

from model import resize

CASES = [(328, 224), (224, 224), (100, 224), (180, 32), (60, 59), (1, 8)]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def compare(image: Image.Image, side: int, size: int, interpolation: str) -> tuple[int, float]:
    """The largest difference to Pillow's pixels, and the share that is more than one level away."""
    left, top = 20.4, 3.7
    box = (left, top, left + side, top + side)
    expected = image.resize((size, size), resize.INTERPOLATIONS[interpolation], box=box)
    found = resize.resize(image, (left, top, side), size, interpolation)
    apart = abs(found.astype(int) - np.asarray(expected))
    return int(apart.max()), float((apart > 1).mean())


@pytest.mark.parametrize(("side", "size"), CASES)
def test_it_is_what_pillow_does(side: int, size: int) -> None:
    assert compare(noise(side + 61, side + 7), side, size, "bilinear")[0] <= 1


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos"])
@pytest.mark.parametrize(("side", "size"), CASES[:4])
def test_filters_that_overshoot_are_pillows_but_for_rounding(
    side: int, size: int, interpolation: str
) -> None:
    """Between its two passes Pillow rounds and clips other numbers, which noise shows more than photos do."""
    soft = noise(20, 16).resize((side + 61, side + 7), Image.Resampling.BICUBIC)
    largest, share = compare(soft, side, size, interpolation)
    assert largest <= 3
    assert share < 0.02


def test_a_large_reduction_is_pillows() -> None:
    image = noise(1000, 800)
    expected = image.resize((32, 32), Image.Resampling.BILINEAR, box=(10, 10, 710, 710), reducing_gap=3.0)
    assert np.array_equal(resize.resize(image, (10, 10, 700), 32, "bilinear"), np.asarray(expected))


@pytest.mark.parametrize("interpolation", resize.INTERPOLATIONS)
def test_every_processor_gives_the_same_pixels(interpolation: str) -> None:
    image = noise(500, 375)
    resizer = resize._resizer()
    usual = resizer.cpu_extensions
    found = []
    for kind in (CpuExtensions.none, CpuExtensions.sse4_1, CpuExtensions.avx2):
        try:
            resizer.cpu_extensions = kind
        except ValueError:  # this machine has not got it
            continue
        found.append(resize.resize(image, (86.4, 23.4, 328.1), 224, interpolation))
    resizer.cpu_extensions = usual
    assert len(found) > 1
    assert all(np.array_equal(found[0], other) for other in found)
