"""Pictures on this machine, checked before they are sent: what is refused here is what the trainer refuses.

Which kinds and sizes those are is in contract; a test runs this and model.images over the same files.
"""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from contract import headers, pictures
from contract.pictures import BadImage


def unreadable(
    paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> list[tuple[Path, str]]:
    """The pictures that the trainer cannot use, with the reason; and names that S3 cannot hold.

    Args:
        progress: called with (done, all).
    """
    from PIL import Image

    broken: list[tuple[Path, str]] = []
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(), _quiet_libraries(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # a warning about odd EXIF data does not make a picture unreadable
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = pictures.MAX_PIXELS  # also for what ICO and TIFF files hold inside
        try:
            for done, (path, reason) in enumerate(zip(paths, pool.map(_why_not, paths), strict=True), 1):
                if reason:
                    broken.append((path, reason))
                if progress:
                    progress(done, len(paths))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    return broken


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """libtiff writes what it thinks of a file to the process's standard error, past Python."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _why_not(path: Path) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if any(unicodedata.category(letter) == "Cc" for letter in str(path)):
        return "its name has a control character (tab, newline, …)"
    try:
        with path.open("rb") as file:
            data = file.read(pictures.MAX_BYTES + 1)
        _decode(data)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except BadImage as error:
        return " ".join(str(error).split())
    return ""


def _decode(data: bytes) -> None:
    """What model.images.decode does, as far as it can fail. Raises BadImage."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    pictures.check_bytes(len(data))
    try:
        samples = headers.look(data)
        # With a list of formats: for some others, Pillow starts a program to decode them.
        with Image.open(io.BytesIO(data), formats=pictures.FORMATS) as image:
            width, height = image.size
            pictures.check_pixels(width, height)
            if image.format == "TGA":
                headers.check_tga(data)
            if image.format in ("JPEG", "MPO"):
                headers.check_jpeg(data, width * height)
            headers.mend_planes(image, samples)
            image.load()
            if pictures.says_no_range(str(image.format), image.mode):
                values = np.asarray(image)
                pictures.white(float(values.min()), float(values.max()), floats=image.mode == "F")
            elif image.mode != "La" and not image.mode.startswith("I"):
                image.convert("RGBA" if "transparency" in image.info else "RGB")
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(headers.why_unknown(data)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(pictures.too_large("has too many pixels")) from error
    except Exception as error:  # a dozen decoders: struct.error, KeyError, zlib.error, ...
        raise BadImage(f"damaged picture: {str(error) or type(error).__name__}") from error
