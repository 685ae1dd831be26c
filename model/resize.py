"""A square part of an RGB picture to the network's size, with antialiasing.

Done by cykooz_resizer (Rust, SIMD), which needs a quarter of Pillow's time for the same filters. It is handed
bytes, not Pillow's memory, and its result is the same with every kind of processor (a test compares them).
"""

from __future__ import annotations

import math
import threading
from typing import Any, Final

import numpy as np
from cykooz_resizer import CropBox, FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

INTERPOLATIONS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# The same filters by the other's names, and how many pixels they reach to each side at full size.
_FILTERS: Final = {
    "bilinear": (FilterType.bilinear, 1),
    "bicubic": (FilterType.catmull_rom, 2),
    "lanczos": (FilterType.lanczos3, 3),
}
_GAP: Final = 3.0
_local = threading.local()  # a Resizer keeps buffers, and is one thread's


def resize(
    image: Image.Image, square: tuple[float, float, float], size: int, interpolation: str
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bytes [size, size, 3] of a square part of an RGB picture.

    Args:
        square: left, top and side, in pixels.
        interpolation: one of INTERPOLATIONS.
    """
    left, top, side = square
    if side == size and left == int(left) and top == int(top):
        return np.asarray(image.crop((int(left), int(top), int(left) + size, int(top) + size)))
    if side >= 2 * _GAP * size:  # Pillow averages whole pixels first, so that only _GAP is left to the filter
        box, filter_ = (left, top, left + side, top + side), INTERPOLATIONS[interpolation]
        return np.asarray(image.resize((size, size), filter_, box=box, reducing_gap=_GAP), dtype=np.uint8)
    filter_type, reach = _FILTERS[interpolation]
    margin = math.ceil(reach * max(1.0, side / size)) + 1
    x, y = max(0, math.floor(left) - margin), max(0, math.floor(top) - margin)
    right = min(image.width, math.ceil(left + side) + margin)
    bottom = min(image.height, math.ceil(top + side) + margin)
    part = image.crop((x, y, right, bottom))
    source = ImageData(part.width, part.height, PixelType.U8x4, part.tobytes("raw", "RGBX"))
    target = ImageData(size, size, PixelType.U8x4)
    options = ResizeOptions(
        resize_alg=ResizeAlg.convolution(filter_type),
        crop_box=CropBox(left - x, top - y, side, side),
        use_alpha=False,
    )
    _resizer().resize(source, target, options)
    # Pillow drops every fourth byte six times as fast as NumPy.
    return np.asarray(Image.frombytes("RGB", (size, size), target.get_buffer(), "raw", "RGBX"))


def _resizer() -> Any:
    if not hasattr(_local, "resizer"):
        _local.resizer = Resizer()
    return _local.resizer
