"""Which picture files are read, within which limits, and which kinds are refused in which words.

The trainer, the endpoint and `byoc upload` decide by this and by contract.headers, so that a picture which
one of them takes is never refused by another. docs/pictures.md is the table that follows from it.
"""

from __future__ import annotations

import math
from typing import Final

# Formats by Pillow's names. All decode inside the process; EPS, for one, would start Ghostscript.
FORMATS: Final = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "DIB", "PPM", "JPEG2000", "ICO", "TGA", "PCX",
)  # fmt: skip
# Above every camera sold for money (61 megapixels) and phone in its usual mode; 240 MB once decoded.
MAX_PIXELS: Final = 80_000_000
MAX_BYTES: Final = 500_000_000  # 80 megapixels of 16 bits a channel, not compressed
# A decoder goes over the whole picture for each scan of a progressive JPEG, be it a hundred bytes long.
MAX_SCANNED: Final = 20 * MAX_PIXELS
MAX_SEGMENTS: Final = 10_000

# Endings under which `byoc` looks for pictures in a folder.
ENDINGS: Final = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif",
        ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".ico", ".tga", ".pcx",
    )
)  # fmt: skip
# Endings of what lies beside pictures in a data set. The trainer opens files with any other: content decides.
OTHER_ENDINGS: Final = frozenset(
    (
        ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".yaml", ".yml", ".ini", ".db",
        ".log", ".pdf", ".zip", ".tar", ".gz", ".tgz", ".py",
    )
)  # fmt: skip

_CONVERT: Final = "save it as JPEG, PNG or TIFF"
_FETCH: Final = "download the picture again, by its own address"
_DEVELOP: Final = f"develop it and {_CONVERT}"
HEIC_REMEDY: Final = (
    "convert it, on a Mac with `sips -s format jpeg *.heic --out .`, on Linux with libheif's `heif-convert`; "
    "iPhones store JPEGs with Settings > Camera > Formats > Most Compatible"
)
# What files that are not read begin with: (offset, bytes, name, remedy).
REFUSED: Final[tuple[tuple[int, bytes, str, str], ...]] = (
    (4, b"ftyphei", "HEIC", HEIC_REMEDY),
    (4, b"ftyphev", "HEIC", HEIC_REMEDY),
    (4, b"ftypcrx ", "a camera's raw file (CR3)", _DEVELOP),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)", _DEVELOP),
    (0, b"IIU\0", "a camera's raw file (RW2)", _DEVELOP),
    (0, b"IIRO", "a camera's raw file (ORF)", _DEVELOP),
    (128, b"DICM", "DICOM", f"apply its window and {_CONVERT}"),
    (0, b"%!PS", "PostScript", _CONVERT),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript", _CONVERT),
    (0, b"%PDF", "PDF", _CONVERT),
    (0, b"8BPS", "Photoshop's PSD", _CONVERT),
    (0, b"v/1\x01", "OpenEXR", _CONVERT),
    (0, b"SIMPLE  =", "FITS", _CONVERT),
    (0, b"\xff\xd8\xff\xf7", "JPEG-LS", _CONVERT),
    (0, b"\xff\x0a", "JPEG XL", _CONVERT),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", _CONVERT),
    (0, b"II\xbc", "JPEG XR", _CONVERT),
    (0, b"<svg", "SVG", _CONVERT),
    (0, b"<?xml", "XML or SVG", _CONVERT),
    (0, b"<!DOCTYPE", "a web page", _FETCH),
    (0, b"<!doctype", "a web page", _FETCH),
    (0, b"<html", "a web page", _FETCH),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "run `git lfs pull`"),
    (0, b"P7\n", "a PAM", _CONVERT),
    (0, b"PF\n", "a PFM in colour", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", "send it as application/x-npy, or save it as PNG"),
    (0, b"PK\x03\x04", "a ZIP file", "unpack it"),
)

# Values of kinds that do not say their range (32 bits and floats): what they are taken to run to.
_WHITES: Final = (1.0, 255.0, 65535.0)
_MARGIN: Final = 0.1  # of the range, for what filters overshoot; it is clipped
_LEAST: Final = 1 / 16  # of the range that the lightest pixel reaches, or another range is as likely


class BadImage(ValueError):
    """Bytes that are no usable picture; the text says why, in words for the person who sent them."""


def says_no_range(kind: str, mode: str) -> bool:
    """Whether a picture's format (`kind`) leaves open what is white: then `white` decides by its values.

    16-bit grey PPMs are 32-bit pictures to Pillow, scaled to 16 bits by their own header.
    """
    return mode == "F" or (mode == "I" and kind != "PPM")


def white(low: float, high: float, *, floats: bool) -> float:
    """The value that is white in a picture whose format does not say it: 1 (floats only), 255 or 65,535.

    Args:
        low, high: the least and the greatest value of the picture; NaN if one of its values is.

    Raises:
        BadImage: they fit none, or more than one.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadImage("some of its values are not finite (NaN or infinity): replace them")
    for value in _WHITES if floats else _WHITES[1:]:
        margin = _MARGIN * value if floats else 0.0
        if -margin <= low and high <= value + margin:
            if value == 1 or high <= 0 or high >= _LEAST * value:
                return value
            break
    ranges = "0 to 1, 0 to 255 or 0 to 65535" if floats else "0 to 255 or 0 to 65535"
    raise BadImage(
        f"its values run from {low:.6g} to {high:.6g}, which does not show what is black and white (known: "
        f"{ranges}, nearly filled): scale them and save it with 8 or 16 bits"
    )


def check_bytes(size: int) -> None:
    """Raise BadImage for an empty file, or one that is too large to be read."""
    if not size:
        raise BadImage("the file is empty")
    if size > MAX_BYTES:
        raise BadImage(f"the file is larger than {MAX_BYTES // 1_000_000} MB")


def check_pixels(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise BadImage for what should not be decoded."""
    if width * height > max_pixels:
        raise BadImage(too_large(f"has {width} x {height} pixels", max_pixels))
    if width * height == 0:
        raise BadImage(f"the picture is empty ({width} x {height} pixels)")


def too_large(what: str, max_pixels: int = MAX_PIXELS) -> str:
    return f"the picture {what}; the limit is {max_pixels:,} (make it smaller)"
