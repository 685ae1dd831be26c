"""Untrusted bytes to an upright RGB picture.

One definition for training, evaluation and serving, so that the same bytes give the same pixels everywhere.
Decoding is Pillow's: torchvision's decoder crashes the process on some broken files.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

# Formats that decode inside the process; leaves out those that start another program (EPS).
FORMATS: Final = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "DIB", "PPM", "JPEG2000", "ICO", "TGA", "PCX",
)  # fmt: skip

# Above every camera sold for money (61 megapixels) and phone in its usual mode; 240 MB once decoded.
MAX_PIXELS: Final = 80_000_000

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
_MAX_SEGMENTS: Final = 10_000
_MAX_SCANNED: Final = 20 * MAX_PIXELS
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# What may follow image data inside a JPEG file: tables, scans, comments, application data, the end.
_JPEG_ALLOWED = frozenset({0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})


class BadImage(ValueError):
    """Bytes that are no usable picture; the text says why, in words for the person who sent them."""


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
    if not data:
        raise BadImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadImage(_too_large(f"has {width} x {height} pixels", max_pixels))
            if width * height == 0:
                raise BadImage(f"the picture is empty ({width} x {height} pixels)")
            if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with further views behind it
                _check_jpeg(data, width * height)
                if min_side is not None:
                    _reduce_scale(image, min_side)
            image.load()
            return _to_rgb(_upright(image))
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"not a picture in a known format ({', '.join(FORMATS[:7])}, ...)") from error
    except _BOMB as error:
        raise BadImage(_too_large("has too many pixels", max_pixels)) from error
    except Exception as error:  # a dozen decoders: struct.error, KeyError, zlib.error, ...
        raise BadImage(f"damaged picture: {str(error) or type(error).__name__}") from error


def read(path: Path, min_side: int | None = None) -> Image.Image:
    """`decode` for a file; an unreadable file is a BadImage too."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error
    return decode(data, min_side)


def _too_large(what: str, max_pixels: int) -> str:
    return f"the picture {what}; the limit is {max_pixels:,} (make it smaller)"


def _reduce_scale(image: Image.Image, min_side: int) -> None:
    shorter = min(image.size)
    if shorter >= 2 * min_side:
        scale = shorter / min_side
        image.draft(None, (int(image.width / scale), int(image.height / scale)))


def _check_jpeg(data: bytes, pixels: int) -> None:
    """Refuse a JPEG with a marker where none can stand, or with more scans than any program writes.

    libjpeg only warns of such damage and fills up with grey, and Pillow swallows the warning, so a classifier
    would answer with confidence about half a picture. Damage that happens to make no marker stays undetected.
    Each scan of a progressive JPEG, be it a hundred bytes long, goes over the whole picture.
    """
    position, in_scan, scans, segments = 2, False, 0, 0
    while match := _JPEG_MARKER.search(data, position):
        marker, position = data[match.start() + 1], match.end()
        if marker == 0xD9:
            return
        if in_scan and marker not in _JPEG_ALLOWED:
            raise BadImage(f"damaged picture: JPEG marker FF{marker:02X} inside the image data")
        position += int.from_bytes(data[position : position + 2], "big")
        segments += 1
        if segments > _MAX_SEGMENTS:
            raise BadImage(f"the JPEG has more than {_MAX_SEGMENTS} segments; save it anew")
        if marker == 0xDA:
            in_scan = True
            scans += 1
            if scans * pixels > _MAX_SCANNED:
                raise BadImage(f"the JPEG of {pixels:,} pixels has {scans} scans or more; save it anew")
        elif in_scan and data[position : position + 1] not in (b"\xff", b""):
            raise BadImage(f"damaged picture: JPEG segment FF{marker:02X} of a wrong length")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata does not make a damaged picture
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy() if isinstance(image, ImageFile.ImageFile) else image  # detached from the file
    convert = _conversion(image)
    result = Image.new("RGB", image.size)
    for top, band in _bands(image):
        result.paste(convert(band), (0, top))
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows from the top: what lies between two modes takes many bytes for each pixel."""
    for top in range(0, image.height, _BAND):
        yield top, image.crop((0, top, image.width, min(top + _BAND, image.height)))


def _conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """From a band of this picture to RGB."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _grey_to_8_bits(image)
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _over_white
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        return lambda band: cast(Image.Image, ImageCms.applyTransform(band, transform))
    return lambda band: band.convert("RGB")


def _over_white(band: Image.Image) -> Image.Image:
    rgba = band.convert("LA").convert("RGBA") if band.mode == "La" else band.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Grey of more than 8 bits. Pillow's own conversion clips it, which turns 16-bit scans white.

    A 16-bit mode is scaled by its full range. The 32-bit and float modes do not say their range: values
    that fit 8 or 16 bits (or 0 to 1) are taken as such, anything else is stretched between its extremes.
    """
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16"):
        low, high = _extremes(image)
    shift, scale = 0.0, 1.0
    if low < 0 or high > 65535:
        shift, scale = low, 255 / (high - low) if high > low else 0.0
    elif high > 255:
        scale = 1 / 257
    elif image.mode == "F" and high <= 1:
        scale = 255.0

    def convert(band: Image.Image) -> Image.Image:
        grey = np.rint((_numbers(band) - shift) * scale)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")

    return convert


def _extremes(image: Image.Image) -> tuple[float, float]:
    extremes = [(numbers.min(), numbers.max()) for numbers in (_numbers(band) for _, band in _bands(image))]
    return float(min(low for low, _ in extremes)), float(max(high for _, high in extremes))


def _numbers(band: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.nan_to_num(np.asarray(band, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
