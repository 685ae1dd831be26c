"""Small files of every kind of picture, with the pixels that each should give, or that it should be refused.

The pixels are computed here from the numbers that are written, by nothing of Pillow or of ours.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.model import written
from tests.model.written import Array

HEIGHT, WIDTH = 18, 21  # more than a tile of 16
TOLERANCE = 3  # levels: 16 bits are cut to 8 by Pillow before alpha or black are applied


class Kind(NamedTuple):
    """`format` and `stored` name it; `pixels` [H, W, 3] are what white paper would show, None: refused."""

    format: str
    stored: str
    depth: str
    data: bytes
    pixels: Array | None
    detail: str = ""
    tolerance: int = TOLERANCE

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.format, self.stored, self.depth, self.detail)))


def every() -> list[Kind]:
    return [*_png(), *_tiff(), *_jpeg2000(), *_by_pillow(), *_strange()]


def numbers(channels: int, top: int, seed: int = 0) -> Array:
    """Random [H, W, channels] from 0 to `top`, both of which occur in every channel."""
    found = np.random.default_rng(seed).integers(0, top + 1, (HEIGHT, WIDTH, channels), dtype=np.int64)
    found[0, 0], found[0, 1] = 0, top
    return found


def seen(colours: Array, top: float, alpha: Array | None = None) -> Array:
    """8-bit RGB of numbers from 0 to `top`, over white where `alpha` [H, W, 1] is less than 1."""
    light = np.repeat(colours, 3, 2) / top if colours.shape[2] == 1 else colours / top
    if alpha is not None:
        light = light * alpha + (1 - alpha)
    return np.asarray(np.rint(light.clip(0, 1) * 255).astype(np.uint8))


def _png() -> Iterator[Kind]:
    for bits in (1, 2, 4, 8, 16):
        top = 2**bits - 1
        grey = numbers(1, top)
        yield Kind("PNG", "grey", str(bits), written.png(grey, 0, bits), seen(grey, top))
        for key in sorted({1, top // 2, top}):
            data = written.png(grey, 0, bits, tRNS=key.to_bytes(2, "big"))
            pixels = seen(grey, top, (grey != key).astype(float))
            yield Kind("PNG", "grey, a transparent grey", str(bits), data, pixels, f"key {key}")
        if bits < 16:
            palette = np.random.default_rng(1).integers(0, 256, (top + 1, 3), dtype=np.uint8)
            alpha = np.random.default_rng(2).integers(0, 256, top + 1, dtype=np.uint8)
            chunks = {"PLTE": palette.tobytes()}
            pixels = palette[grey[..., 0]]
            yield Kind("PNG", "palette", str(bits), written.png(grey, 3, bits, **chunks), pixels)
            data = written.png(grey, 3, bits, **chunks, tRNS=alpha.tobytes())
            yield Kind("PNG", "palette with alpha", str(bits), data, seen(pixels, 255, alpha[grey] / 255))
        if bits >= 8:
            colours, both, all_four = numbers(3, top), numbers(2, top), numbers(4, top)
            yield Kind("PNG", "colour", str(bits), written.png(colours, 2, bits), seen(colours, top))
            data = written.png(colours, 2, bits, tRNS=colours[2, 3].astype(">u2").tobytes())
            shown = seen(colours, top, (colours != colours[2, 3]).any(-1, keepdims=True).astype(float))
            yield Kind("PNG", "colour, a transparent colour", str(bits), data, None if bits == 16 else shown)
            shown = seen(both[..., :1], top, both[..., 1:] / top)
            yield Kind("PNG", "grey with alpha", str(bits), written.png(both, 4, bits), shown)
            shown = seen(all_four[..., :3], top, all_four[..., 3:] / top)
            yield Kind("PNG", "colour with alpha", str(bits), written.png(all_four, 6, bits), shown)


def _tiff() -> Iterator[Kind]:
    layouts = itertools.product("<>", (1, 8), (False, True), (False, True), (False, True))
    for order, compression, tiled, big, planar in layouts:
        if big and (tiled or planar):
            continue
        options: dict[str, Any] = {
            "order": order, "compression": compression, "tiled": tiled, "big": big, "planar": planar,
        }  # fmt: skip
        detail = "little-endian" if order == "<" else "big-endian"
        detail += ", deflate" if compression == 8 else ", not compressed"
        detail += ", tiles" if tiled else ""
        detail += ", BigTIFF" if big else ""
        compressed = compression != 1
        if big and order == ">":
            grey = numbers(1, 255)
            yield Kind("TIFF", "grey", "8", written.tiff(_as(grey, 8), 1, 8, **options), None, detail)
        elif planar:
            yield from _tiff_planes(options, detail, compressed)
        else:
            yield from _tiff_grey(options, detail, order == "<", compressed)
            yield from _tiff_colours(options, detail)


def _as(values: Array, bits: int, kind: str = "u") -> Array:
    return values.astype(f"{kind}{max(1, bits // 8) if bits in (8, 16, 32, 64) else 2}")


def _tiff_grey(options: dict[str, Any], detail: str, little: bool, compressed: bool) -> Iterator[Kind]:
    for bits in (1, 2, 4, 8, 10, 12, 14, 16, 32):
        top = 2**bits - 1
        grey = numbers(1, top)
        data = [written.tiff(_as(grey, bits), photometric, bits, **options) for photometric in (0, 1)]
        right = bits in (1, 2, 4, 8, 16) or (bits == 12 and little)
        yield Kind("TIFF", "grey", str(bits), data[1], seen(grey, top) if right else None, detail)
        right = bits in (1, 2, 4, 8) or (bits == 16 and little)
        shown = seen(top - grey, top) if right else None
        yield Kind("TIFF", "grey, white is zero", str(bits), data[0], shown, detail)
        if bits <= 8:
            palette = np.random.default_rng(1).integers(0, 65536, (3, top + 1))
            entries = palette.reshape(-1).tolist()
            file = written.tiff(_as(grey, 8), 3, bits, palette=entries, **options)
            yield Kind("TIFF", "palette", str(bits), file, seen(palette.T[grey[..., 0]], 65535), detail)
    signed = {bits: numbers(1, 127) - 64 for bits in (8, 16, 32)}
    for bits, values in signed.items():
        data_signed = written.tiff(_as(values, bits, "i"), 1, bits, **options)
        yield Kind("TIFF", "grey, signed, below 0", str(bits), data_signed, None, detail)
    for bits, top in ((32, 255), (32, 65535)):
        values = numbers(1, top)
        for kind, right in (("u", little), ("i", little or not compressed)):
            file = written.tiff(_as(values, bits, kind), 1, bits, **options)
            stored = f"grey, {'un' * (kind == 'u')}signed, up to {top}"
            yield Kind("TIFF", stored, "32", file, seen(values, top) if right else None, detail)
    for bits in (16, 32, 64):
        light = numbers(1, 1000) / 1000
        for stored, values, shown in (
            ("grey, floats, 0 to 1", light, seen(light, 1)),
            ("grey, floats, -0.02 to 1.01", light * 1.03 - 0.02, seen(light * 1.03 - 0.02, 1)),
            ("grey, floats, 0 to 255", light * 255, seen(light * 255, 255)),
            ("grey, floats, 0 to 65535", light * 65535, seen(light * 65535, 65535)),
            ("grey, floats, 0 to 5", light * 5, None),
            ("grey, floats, -3 to 3", light * 6 - 3, None),
            ("grey, floats, 0 to 4095", light * 4095, None),
            ("grey, floats, with NaN", np.where(light > 0.9, np.nan, light), None),
        ):
            if bits == 16 and values.max() > 65504:  # more than such a number can hold
                continue
            file = written.tiff(_as(values, bits, "f"), 1, bits, **options)
            right = bits == 32 and (little or not compressed)
            yield Kind("TIFF", stored, f"float {bits}", file, shown if right else None, detail)
        file = written.tiff(_as(np.repeat(light, 3, 2), bits, "f"), 2, bits, **options)
        yield Kind("TIFF", "colour, floats", f"float {bits}", file, None, detail)


def _tiff_colours(options: dict[str, Any], detail: str) -> Iterator[Kind]:
    for bits in (8, 16):
        top = 2**bits - 1
        for stored, photometric, channels in (("grey", 1, 1), ("colour", 2, 3)):
            if channels == 3:
                colours = numbers(3, top)
                file = written.tiff(_as(colours, bits), photometric, bits, **options)
                yield Kind("TIFF", stored, str(bits), file, seen(colours, top), detail)
            both = numbers(channels + 1, top)
            colours, alpha = both[..., :channels], both[..., channels:] / top
            right = bits == 8 or channels == 3
            file = written.tiff(_as(both, bits), photometric, bits, extra=[2], **options)
            shown = seen(colours, top, alpha) if right else None
            yield Kind("TIFF", f"{stored} with alpha", str(bits), file, shown, detail)
            if channels == 3:  # without a word about the fourth: alpha, as for every other program
                file = written.tiff(_as(both, bits), photometric, bits, **options)
                yield Kind("TIFF", "colour with a fourth channel", str(bits), file, shown, detail)
            both[..., :channels] = np.minimum(colours, both[..., channels:])
            file = written.tiff(_as(both, bits), photometric, bits, extra=[1], **options)
            shown = seen(both[..., :channels] + top - both[..., channels:], top) if right else None
            yield Kind("TIFF", f"{stored} with premultiplied alpha", str(bits), file, shown, detail)
        inks = numbers(4, top)
        file = written.tiff(_as(inks, bits), 5, bits, **options)
        shown = seen((top - inks[..., :3]) * (top - inks[..., 3:]) / top, top)
        yield Kind("TIFF", "CMYK", str(bits), file, shown, detail)
        file = written.tiff(_as(inks, bits), 5, bits, more={332: [2]}, **options)
        yield Kind("TIFF", "other inks than CMYK", str(bits), file, None, detail)
    yield from _tiff_lab(options, detail)


def _tiff_lab(options: dict[str, Any], detail: str) -> Iterator[Kind]:
    """One colour and its sRGB, by the formulas of CIE and of IEC 61966."""
    lab = np.full((HEIGHT, WIDTH, 3), [round(0.5 * 255), 20, 256 - 30])
    shown = None if options["planar"] else np.full(lab.shape, [133, 108, 170], np.uint8)
    stored = "Lab, channels apart" if options["planar"] else "Lab"
    yield Kind("TIFF", stored, "8", written.tiff(_as(lab, 8), 8, 8, **options), shown, detail)


def _tiff_planes(options: dict[str, Any], detail: str, compressed: bool) -> Iterator[Kind]:
    yield from _tiff_lab(options, detail)
    for bits in (8, 16):
        top = 2**bits - 1
        colours, both, all_four = numbers(3, top), numbers(2, top), numbers(4, top)
        file = written.tiff(_as(colours, bits), 2, bits, **options)
        yield Kind("TIFF", "colour, channels apart", str(bits), file, seen(colours, top), detail)
        file = written.tiff(_as(all_four, bits), 2, bits, extra=[2], **options)
        shown = seen(all_four[..., :3], top, all_four[..., 3:] / top) if compressed else None
        yield Kind("TIFF", "colour with alpha, channels apart", str(bits), file, shown, detail)
        file = written.tiff(_as(both, bits), 1, bits, extra=[2], **options)
        yield Kind("TIFF", "grey with alpha, channels apart", str(bits), file, None, detail)


def _jpeg2000() -> Iterator[Kind]:
    for raw, bits in itertools.product((False, True), range(1, 17)):
        top = 2**bits - 1
        detail = "codestream" if raw else "JP2"
        grey = numbers(1, top)
        shown = seen(grey, top) if bits != 9 else None
        yield Kind("JPEG 2000", "grey", str(bits), written.jpeg2000(grey, bits, raw=raw), shown, detail)
        for stored, channels in (("grey with alpha", 2), ("colour", 3), ("colour with alpha", 4)):
            values = numbers(channels, min(top, 255)) + max(0, 2 ** (bits - 1) - 128)
            alpha = values[..., -1:] / top if channels != 3 else None
            colours = values if alpha is None else values[..., :-1]
            shown = seen(colours, top, alpha) if bits == 8 else None
            yield Kind("JPEG 2000", stored, str(bits), written.jpeg2000(values, bits, raw=raw), shown, detail)
        if bits == 8 and not raw:
            usual = [(0, 1), (0, 2), (0, 3), (1, 0)]
            for stored, space, entries in (
                ("premultiplied alpha", 16, [*usual[:3], (2, 0)]),
                ("a fourth channel without a meaning", 16, [*usual[:3], (65535, 65535)]),
                ("blue, green, red, alpha", 16, [*usual[2::-1], (1, 0)]),
                ("Lab", 14, usual),
            ):
                data = written.jpeg2000_with(values, space=space, channels=entries)
                yield Kind("JPEG 2000", stored, "8", data, None)
            data = written.jpeg2000_with(values, channels=usual)
            yield Kind("JPEG 2000", "colour with alpha", "8", data, shown, "JP2 by its boxes")
        if bits in (8, 16):
            data = written.jpeg2000(numbers(1, 255) - 128, bits, raw=raw, signed=True)
            yield Kind("JPEG 2000", "grey, signed", str(bits), data, None, detail)


def _by_pillow() -> Iterator[Kind]:
    """What Pillow writes itself."""

    def save(values: Array, kind: str, mode: str = "", **options: Any) -> bytes:
        image = Image.fromarray(np.squeeze(values).astype(np.uint8), *([mode] if mode == "CMYK" else []))
        stream = io.BytesIO()
        (image.convert(mode) if mode and mode != "CMYK" else image).save(stream, kind, **options)
        return stream.getvalue()

    flat = np.full((HEIGHT, WIDTH, 1), 1)  # lossy formats keep one colour
    grey, colours, all_four = numbers(1, 255), numbers(3, 255), numbers(4, 255)
    over = seen(all_four[..., :3], 255, all_four[..., 3:] / 255)
    black = np.where(grey < 128, 0, 255)
    yield Kind("JPEG", "grey", "8", save(flat * 90, "JPEG"), seen(flat * 90, 255))
    teal, inks = flat * [20, 120, 200], flat * [20, 120, 200, 40]
    yield Kind("JPEG", "colour", "8", save(teal, "JPEG", quality=95), seen(teal, 255))
    yield Kind("JPEG", "colour, progressive", "8", save(teal, "JPEG", progressive=True), seen(teal, 255))
    shown = seen((255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255, 255)
    yield Kind("JPEG", "CMYK", "8", save(inks, "JPEG", "CMYK", quality=95), shown)
    yield Kind("JPEG", "colour", "12", written.jpeg_of_12_bits(), None)
    yield Kind("WebP", "colour", "8", save(colours, "WEBP", lossless=True), seen(colours, 255))
    data = save(all_four, "WEBP", lossless=True, exact=True)
    yield Kind("WebP", "colour with alpha", "8", data, over)
    data = save(colours, "AVIF", quality=100, subsampling="4:4:4")
    yield Kind("AVIF", "colour", "8", data, seen(colours, 255), "", 12)
    for bits in (10, 12):
        yield Kind("AVIF", "colour", str(bits), written.avif(bits), seen(teal[:16, :16], 255))
    data = save(flat * [20, 120, 200, 128], "AVIF", quality=100, subsampling="4:4:4")
    yield Kind("AVIF", "colour with alpha", "8", data, seen(teal, 255, flat * 128 / 255), "", 12)
    yield Kind("GIF", "palette", "8", save(grey, "GIF"), seen(grey, 255))
    data = save(grey, "GIF", transparency=7)
    yield Kind("GIF", "palette, a transparent colour", "8", data, seen(grey, 255, (grey != 7).astype(float)))
    for format_, kind in (("BMP", "BMP"), ("BMP", "DIB"), ("TGA", "TGA"), ("PCX", "PCX")):
        detail = kind if kind == "DIB" else ""
        yield Kind(format_, "grey", "8", save(grey, kind), seen(grey, 255), detail)
        yield Kind(format_, "colour", "8", save(colours, kind), seen(colours, 255), detail)
    yield Kind("BMP", "grey", "1", save(black, "BMP", "1"), seen(black, 255))
    yield Kind("TGA", "colour with alpha", "8", save(all_four, "TGA"), over)
    both = numbers(2, 255)
    data = save(both, "TGA", "LA")
    yield Kind("TGA", "grey with alpha", "8", data, seen(both[..., :1], 255, both[..., 1:] / 255))
    for bits, alpha in ((32, 0), (16, 0), (16, 1)):
        data = written.tga(all_four[..., : bits // 8], alpha)
        yield Kind("TGA", "colour, with bits that may be alpha", f"{bits} a pixel", data, None, f"{alpha}")
    square = all_four[:16, :16]
    data = save(square, "ICO", sizes=[(16, 16)])
    yield Kind("ICO", "colour with alpha", "8", data, seen(square[..., :3], 255, square[..., 3:] / 255))
    yield from _netpbm()


def _netpbm() -> Iterator[Kind]:
    size = b" %d %d " % (WIDTH, HEIGHT)
    bits = numbers(1, 1)
    rows = bits.reshape(HEIGHT, -1).astype(np.uint8)
    yield Kind(
        "PPM", "black and white", "1", b"P4" + size + np.packbits(rows, 1).tobytes(), seen(1 - bits, 1)
    )
    for top in (255, 1000, 65535):
        depth = str(top.bit_length())
        for stored, number, channels in (("grey", b"P5", 1), ("colour", b"P6", 3)):
            values = numbers(channels, top)
            body = values.astype(">u2" if top > 255 else "u1").tobytes()
            data = number + size + b"%d\n" % top + body
            yield Kind("PPM", stored, depth, data, seen(values, top))
    dark = numbers(1, 200)
    data = b"P5" + size + b"65535\n" + dark.astype(">u2").tobytes()
    yield Kind("PPM", "grey", "16", data, seen(dark, 65535), "dark")
    light = numbers(1, 1000) / 1000
    data = b"Pf\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + light[::-1].astype("<f4").tobytes()
    yield Kind("PPM", "grey, floats, 0 to 1 (PFM)", "float 32", data, seen(light, 1))


def _strange() -> Iterator[Kind]:
    make: dict[str, Callable[[], bytes]] = {
        "HEIC": written.heic,
        "PostScript (EPS)": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "PDF": lambda: b"%PDF-1.7\n" + bytes(99),
        "DICOM": lambda: bytes(128) + b"DICM" + bytes(99),
        "PSD": lambda: b"8BPS\0\1" + bytes(99),
        "JPEG-LS": lambda: b"\xff\xd8\xff\xf7\0\x0b\x08" + bytes(99),
        "JPEG XL": lambda: b"\xff\x0a" + bytes(99),
        "OpenEXR": lambda: b"v/1\x01" + bytes(99),
        "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "camera raw": lambda: written.tiff(_as(numbers(3, 255), 8), 2, 8, more={50706: [1, 4, 0, 0]}),
    }
    for name, data in make.items():
        yield Kind(name, "", "any", data(), None)
