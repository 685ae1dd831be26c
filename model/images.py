"""Untrusted bytes to an upright RGB picture.

One definition for training, evaluation and serving, so that the same bytes give the same pixels everywhere.
Decoding is Pillow's: torchvision's decoder crashes the process on some broken files.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path
from typing import Final, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

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
                _check_jpeg(data)
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


def _check_jpeg(data: bytes) -> None:
    """Refuse a JPEG with a marker that cannot stand where it stands.

    libjpeg only warns of such damage and fills up with grey, and Pillow swallows the warning, so a classifier
    would answer with confidence about half a picture. Damage that happens to make no marker stays undetected.
    """
    position, in_scan = 2, False
    while match := _JPEG_MARKER.search(data, position):
        marker, position = data[match.start() + 1], match.end()
        if marker == 0xD9:
            return
        if in_scan and marker not in _JPEG_ALLOWED:
            raise BadImage(f"damaged picture: JPEG marker FF{marker:02X} inside the image data")
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == 0xDA:
            in_scan = True
        elif in_scan and data[position : position + 1] not in (b"\xff", b""):
            raise BadImage(f"damaged picture: JPEG segment FF{marker:02X} of a wrong length")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata does not make a damaged picture
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image.copy()  # detaches from the file object
    if mode.startswith("I") or mode == "F":
        return _grey_to_8_bits(image).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    return image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits. Pillow's own conversion clips it, which turns 16-bit scans white.

    A 16-bit mode is scaled by its full range. The 32-bit and float modes do not say their range: values
    that fit 8 or 16 bits (or 0 to 1) are taken as such, anything else is stretched between its extremes.
    """
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    if image.mode.startswith("I;16"):
        grey /= 257
    elif low < 0 or high > 65535:
        grey = (grey - low) * (255 / (high - low)) if high > low else np.zeros_like(grey)
    elif high > 255:
        grey /= 257
    elif image.mode == "F" and high <= 1:
        grey *= 255
    return Image.fromarray(np.rint(grey).astype(np.uint8))
