"""Picture files, also of kinds that Pillow cannot write: those byte by byte."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pack(rows: Array, bits: int, order: str = ">") -> bytes:
    """Integers [rows, values] of so many bits each, every row beginning at a byte; floats as they are."""
    if rows.dtype.kind == "f" or bits in (8, 16, 32, 64):
        return rows.astype(rows.dtype.newbyteorder(order)).tobytes()
    planes = (rows[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def png(values: Array, colour: int, bits: int, **chunks: bytes) -> bytes:
    """A PNG of values [H, W, channels]; `colour` is PNG's colour type, `chunks` lie before the pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    rows = values.reshape(height, -1).astype(np.uint16 if bits == 16 else np.uint8)
    lines = b"".join(b"\0" + pack(row[None], bits) for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        + b"".join(chunk(name.encode(), data) for name, data in chunks.items())
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def tiff(
    values: Array,
    photometric: int,
    bits: int | Sequence[int],
    *,
    order: str = "<",
    planar: bool = False,
    compression: int = 1,
    extra: Sequence[int] = (),
    sample_format: int | None = None,
    palette: Sequence[int] = (),
    tiled: bool = False,
    big: bool = False,
    more: Mapping[int, Sequence[int]] | None = None,
) -> bytes:
    """A TIFF of values [H, W, samples]; `compression` 8 deflates, others are only named."""
    height, width, samples = values.shape
    bits = [bits] * samples if isinstance(bits, int) else list(bits)
    if sample_format is None:
        sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    planes = [values[..., n : n + 1] for n in range(samples)] if planar else [values]
    if tiled:
        padded = [np.pad(plane, ((0, -height % 16), (0, -width % 16), (0, 0))) for plane in planes]
        pieces = [
            plane[y : y + 16, x : x + 16]
            for plane in padded
            for y in range(0, len(plane), 16)
            for x in range(0, plane.shape[1], 16)
        ]
    else:
        pieces = planes
    strips = [pack(piece.reshape(len(piece), -1), bits[0], order) for piece in pieces]
    if compression == 8:
        strips = [zlib.compress(strip) for strip in strips]
    short, long = (3, "H"), (4, "I")
    tags: dict[int, tuple[tuple[int, str], Sequence[int]]] = {
        256: (long, [width]),
        257: (long, [height]),
        258: (short, bits),
        259: (short, [compression]),
        262: (short, [photometric]),
        277: (short, [samples]),
        284: (short, [2 if planar else 1]),
        339: (short, [sample_format] * samples),
    }
    if extra:
        tags[338] = (short, extra)
    if palette:
        tags[320] = (short, palette)
    tags |= {tag: (short, entries) for tag, entries in (more or {}).items()}
    offsets, counts = (324, 325) if tiled else (273, 279)
    if tiled:
        tags[322], tags[323] = (short, [16]), (short, [16])
    else:
        tags[278] = (long, [height])
    tags[offsets], tags[counts] = (long, [0] * len(strips)), (long, [len(strip) for strip in strips])
    return _lay_out(tags, strips, offsets, order, big)


def _lay_out(tags: dict[int, Any], strips: list[bytes], offsets: int, order: str, big: bool) -> bytes:
    entry, field, head = ("HHQ", 8, 16) if big else ("HHI", 4, 8)
    count, number = ("Q", "Q") if big else ("H", "I")
    place = head + struct.calcsize(order + count) + len(tags) * (20 if big else 12) + field
    position = place + sum(
        len(values) * (2 if kind[1] == "H" else 4)
        for kind, values in tags.values()
        if len(values) * (2 if kind[1] == "H" else 4) > field
    )
    starts = []
    for strip in strips:
        starts.append(position)
        position += len(strip)
    tags[offsets] = (tags[offsets][0], starts)
    entries, beyond = b"", b""
    for tag, ((code, letter), values) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(data) > field:
            data, beyond = struct.pack(order + number, place + len(beyond)), beyond + data
        entries += struct.pack(order + entry, tag, code, len(values)) + data.ljust(field, b"\0")
    mark = b"II" if order == "<" else b"MM"
    header = (
        mark + struct.pack(order + "HHHQ", 43, 8, 0, head)
        if big
        else mark + struct.pack(order + "HI", 42, head)
    )
    return header + struct.pack(order + count, len(tags)) + entries + bytes(field) + beyond + b"".join(strips)


def jpeg2000(values: Array, bits: int, *, signed: bool = False, raw: bool = False) -> bytes:
    """A lossless JPEG 2000 file of values [H, W, channels] of so many bits; `raw`: the codestream alone.

    Pillow writes 8 bits, or 16 of grey. The coded numbers are differences from the middle of the range, so
    another depth in the header moves them there: all of a depth below, and 256 about the middle above.
    """
    channels = values.shape[2]
    wide = channels == 1 and bits > 8
    middle = 0 if signed else 1 << (bits - 1)
    stored = values.astype(np.int64) - middle + (32768 if wide else 128)
    if not 0 <= stored.min() <= stored.max() <= (65535 if wide else 255):
        raise ValueError("these values cannot be written")
    image = Image.fromarray(np.squeeze(stored.astype(np.uint16 if wide else np.uint8)))
    stream = io.BytesIO()
    image.save(stream, "JPEG2000", irreversible=False, mct=0, no_jp2=raw)
    data = bytearray(stream.getvalue())
    depth = bits - 1 | (0x80 if signed else 0)
    siz = data.index(b"\xff\x51")
    for channel in range(channels):
        data[siz + 40 + 3 * channel] = depth
    if not raw:
        data[data.index(b"ihdr") + 14] = depth
    return bytes(data)


def jpeg2000_with(values: Array, *, space: int = 16, channels: Sequence[Sequence[int]]) -> bytes:
    """A JP2 file of 8 bits whose boxes name a colour space, and (type, colour) of each of four channels."""
    data = bytearray(jpeg2000(values, 8))
    colour, definition = data.index(b"colr"), data.index(b"cdef")
    data[colour + 7 : colour + 11] = space.to_bytes(4, "big")
    entries = b"".join(struct.pack(">HHH", number, *entry) for number, entry in enumerate(channels))
    data[definition + 6 : definition + 6 + len(entries)] = entries
    return bytes(data)


def tga(values: Array, alpha: int) -> bytes:
    """A TGA in colour of bytes [H, W, bytes a pixel], which says that `alpha` bits of a pixel are alpha."""
    height, width, size = values.shape
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 8 * size, 0x20 | alpha)
    return head + values.astype(np.uint8).tobytes()


def jpeg_of_12_bits() -> bytes:
    """A JPEG whose header says 12 bits; no decoder gets further than that here."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


# 16 x 16 pixels of 20, 120, 200 as AVIFs of more than 8 bits, written by imagecodecs 2026.3.6 (libavif).
_AVIF_10: Final = (
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAA"
    "AAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAIwAAAChpaW5mAAAAAAABAAAAGmluZmUC"
    "AAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAEAAAABAAAAAQcGl4aQAAAAADCgoKAAAA"
    "DGF2MUOBIEAAAAAAE2NvbHJuY2x4AAIAAgAAgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAK21kYXQSAAoIOAz/+cCAgCQy"
    "FRAAAAAUub6TmgMF/Tcn5dC6qRQJkA=="
)
_AVIF_12: Final = (
    "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAAA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ8AAAAlAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAA"
    "AQAAYXYwMUNvbG9yAAAAAGppcHJwAAAAS2lwY28AAAAUaXNwZQAAAAAAAAAQAAAAEAAAABBwaXhpAAAAAAMMDAwAAAAMYXYx"
    "Q4FAYAAAAAATY29scm5jbHgAAgACAACAAAAAF2lwbWEAAAAAAAAAAQABBAECgwQAAAAtbWRhdBIACglYDP/40CAgCIAyFhAA"
    "AAAUubigDhNESi9egIVutTAbwXM="
)


def avif(bits: int) -> bytes:
    """One colour with 10 or 12 bits, which Pillow cannot write."""
    return base64.b64decode(_AVIF_10 if bits == 10 else _AVIF_12)


def heic() -> bytes:
    """What a phone's HEIC file begins with."""
    brands = b"heic" + bytes(4) + b"mif1" + b"heic"
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(64)
