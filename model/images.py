"""Untrusted bytes to an upright RGB picture.

One definition for training, evaluation and serving, so that the same bytes give the same pixels everywhere.
Decoding is Pillow's: torchvision's decoder crashes the process on some broken files.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from contract import headers, pictures
from contract.headers import Samples
from contract.pictures import FORMATS, MAX_PIXELS
from contract.pictures import BadImage as BadImage

Image.init()  # registers every format, so that FORMATS can be asked for by name

# Pillow warns above MAX_IMAGE_PIXELS and refuses only above twice that; here the limit is the limit, also for
# the pictures that ICO and TIFF files hold inside. Its other warnings concern metadata, which is not used.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# What a damaged file makes it log, thousands of lines sometimes, is up to whoever made the file.
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)

_BAND: Final = 128  # rows
# What makes a picture upright, by its EXIF orientation.
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def decode(data: bytes, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of an encoded picture as an upright RGB image.

    EXIF orientation is applied, transparency is laid over white, 16-bit and float grey is rescaled to 8 bits.

    Args:
        data: the encoded file.
        min_side: the fewest pixels that the shorter side must keep. A JPEG is then decoded at 1/2, 1/4 or 1/8
            scale where that leaves at least so many, which is several times faster for large photos.
        max_pixels: refuse larger pictures before decoding them.

    Raises:
        BadImage: with the reason.
    """
    pictures.check_bytes(len(data))
    try:
        samples = headers.look(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            pictures.check_pixels(width, height, max_pixels)
            if image.format == "TGA":
                headers.check_tga(data)
            if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with further views behind it
                headers.check_jpeg(data, width * height)
                if min_side is not None:
                    _reduce_scale(image, min_side)
            headers.mend_planes(image, samples)
            image.load()
            return _to_rgb(_upright(image), samples)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(headers.why_unknown(data)) from error
    except _BOMB as error:
        raise BadImage(pictures.too_large("has too many pixels", max_pixels)) from error
    except Exception as error:  # a dozen decoders: struct.error, KeyError, zlib.error, ...
        raise BadImage(f"damaged picture: {str(error) or type(error).__name__}") from error


def read(path: Path, min_side: int | None = None) -> Image.Image:
    """`decode` for a file; an unreadable file is a BadImage too."""
    try:
        with path.open("rb") as file:
            data = file.read(pictures.MAX_BYTES + 1)  # what is larger is refused
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error
    return decode(data, min_side)


def _reduce_scale(image: Image.Image, min_side: int) -> None:
    shorter = min(image.size)
    if shorter >= 2 * min_side:
        scale = shorter / min_side
        image.draft(None, (int(image.width / scale), int(image.height / scale)))


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata does not make a damaged picture
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, samples: Samples) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    convert = _conversion(image, samples)
    result = Image.new("RGB", image.size)
    for top, band in _bands(image):
        result.paste(convert(band), (0, top))
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows from the top: what lies between two modes takes many bytes for each pixel."""
    for top in range(0, image.height, _BAND):
        yield top, image.crop((0, top, image.width, min(top + _BAND, image.height)))


def _conversion(image: Image.Image, samples: Samples) -> Callable[[Image.Image], Image.Image]:
    """From a band of this picture to RGB."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _grey_to_8_bits(image, samples)
    if "transparency" in image.info:
        if samples.key_step > 1:
            image.info["transparency"] *= samples.key_step
        return _over_white
    if mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _over_white
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        return lambda band: cast(Image.Image, ImageCms.applyTransform(band, transform))
    if mode == "L" and samples.white not in (0, 255):
        table = [float(grey) for grey in _greys(256, samples.white)]
        return lambda band: band.point(table).convert("RGB")
    return lambda band: band.convert("RGB")


def _over_white(band: Image.Image) -> Image.Image:
    rgba = band.convert("LA").convert("RGBA") if band.mode == "La" else band.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _grey_to_8_bits(image: Image.Image, samples: Samples) -> Callable[[Image.Image], Image.Image]:
    """Grey of more than 8 bits. Pillow's own conversion clips it, which turns 16-bit scans white."""
    if image.mode.startswith("I;16"):
        table = _greys(65536, samples.white or 65535)
        if samples.white_is_zero:
            table = table[::-1]
        if "transparency" in image.info:
            table[image.info["transparency"]] = 255  # it lies over white
        return lambda band: Image.fromarray(table[np.asarray(band)]).convert("RGB")
    white = 65535.0
    if pictures.says_no_range(str(image.format), image.mode):
        white = pictures.white(*_extremes(image), floats=image.mode == "F")

    def convert(band: Image.Image) -> Image.Image:
        grey = np.rint(np.asarray(band, dtype=np.float64).clip(0, white) * (255 / white))
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")

    return convert


def _greys(count: int, white: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The 8-bit grey of each number below `count`."""
    greys: np.ndarray[Any, np.dtype[np.uint8]] = np.zeros(count, np.uint8)
    greys[:] = np.rint(np.minimum(np.arange(count) * (255 / white), 255))
    return greys


def _extremes(image: Image.Image) -> tuple[float, float]:
    bands = [np.asarray(band) for _, band in _bands(image)]
    return float(np.min([band.min() for band in bands])), float(np.max([band.max() for band in bands]))
