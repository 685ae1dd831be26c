import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract import headers, pictures
from model import images
from model.images import BadImage
from tests.model.written import encoded


def photo(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_usual_formats_are_read(kind: str) -> None:
    image = images.decode(encoded(photo(), kind))
    assert image.mode == "RGB"
    assert image.size == (64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_exif_is_applied(orientation: int) -> None:
    upright = photo()
    turned = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }[orientation]  # fmt: skip
    stored = upright
    for operation in turned:
        stored = stored.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(images.decode(encoded(stored, exif=exif))), np.asarray(upright))


def test_transparency_is_laid_over_white() -> None:
    assert images.decode(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))).getpixel((0, 0)) == (255,) * 3
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([0, 0, 0] * 256)
    assert images.decode(encoded(palette, transparency=3)).getpixel((0, 0)) == (255,) * 3


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    found = np.asarray(images.decode(encoded(grey)))[0, :, 0]
    assert found.tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "LA", "P"])
def test_other_modes_become_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert images.decode(encoded(photo().convert(mode), kind)).mode == "RGB"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "not a picture in a known format"),
        (encoded(photo())[:200], "damaged picture"),
        (encoded(photo(640, 480), "JPEG")[:2000], "damaged picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
    ],
)
def test_what_is_no_picture_is_told(data: bytes, message: str) -> None:
    with pytest.raises(BadImage, match=message):
        images.decode(data)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadImage, match=r"pixels; the limit is 80,000,000"):
        images.decode(encoded(Image.new("1", (10_000, 9_000))))


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1000)
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2**42)
    with pytest.raises(BadImage, match="the file is larger than"):
        images.read(tmp_path / "large.png")


def test_damage_in_the_middle_of_a_jpeg_is_seen() -> None:
    data = bytearray(encoded(photo(640, 480), "JPEG", quality=90))
    data[len(data) // 2 : len(data) // 2 + 4] = b"\xff\x02\xff\x03"
    with pytest.raises(BadImage, match="JPEG marker"):
        images.decode(bytes(data))


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    images.decode(data[:-2] + last * 50 + data[-2:])
    monkeypatch.setattr(headers, "MAX_SCANNED", 40 * 64 * 48)
    with pytest.raises(BadImage, match="3,072 pixels has 41 scans"):
        images.decode(data[:-2] + last * 50 + data[-2:])


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    data = encoded(photo(), "JPEG")
    with pytest.raises(BadImage, match="segments"):
        images.decode(data[:-2] + b"\xff\xfe\x00\x02" * 20_000 + data[-2:])


def test_large_jpegs_are_decoded_at_reduced_scale_but_no_smaller_than_asked() -> None:
    data = encoded(photo(2000, 1200), "JPEG")
    assert images.decode(data, min_side=300).size == (500, 300)
    assert images.decode(data, min_side=700).size == (2000, 1200)
    assert images.decode(data).size == (2000, 1200)


def test_random_bytes_never_do_worse_than_bad_image() -> None:
    random = np.random.default_rng(0)
    sound = [encoded(photo(), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")]
    for number in range(300):
        data = bytearray(sound[number % len(sound)])
        for position in random.integers(0, len(data), 5):
            data[position] = int(random.integers(256))
        with contextlib.suppress(BadImage):
            assert images.decode(bytes(data)).mode == "RGB"
