"""What a picture's header says of its numbers, where Pillow decodes them otherwise; and what is refused.

Pillow 13 opens many files that it then decodes wrongly: findings/ shows how. Whatever `look` lets pass was
compared with pixels computed by hand (tests/model/test_kinds.py); the rest is refused in words.
"""

from __future__ import annotations

import binascii
import contextlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from contract.pictures import FORMATS, MAX_SCANNED, MAX_SEGMENTS, REFUSED, BadImage

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# What may follow image data inside a JPEG file: tables, scans, comments, application data, the end.
_JPEG_ALLOWED = frozenset({0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+")
_TEXT: Final = re.compile(rb"[\t\r\n -~]+")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_BEGINNINGS: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II\x2a\0", b"MM\0\x2a")
_JPEG2000_SPACES: Final = (12, 16, 17, 18)  # CMYK, sRGB, grey, sYCC
_UNKNOWN: Final = "not a picture in a known format"
_RESAVE: Final = "save it with 8 bits a channel, or as PNG"


@dataclass(frozen=True)
class Samples:
    """What Pillow does not do itself to the numbers of a picture.

    Attributes:
        white: the grey, as Pillow gives it, that is white; 0: the greatest of its mode.
        white_is_zero: the greys are still to be turned round.
        key_step: what the transparent grey of a PNG (tRNS) must be multiplied with.
        planes: byte order ("L" or "B") of 16-bit channels that are stored one after the other, which Pillow
            would read byte by byte; "" for none.
    """

    white: int = 0
    white_is_zero: bool = False
    key_step: int = 1
    planes: str = ""


def look(data: bytes) -> Samples:
    """Read the header. Raises BadImage for kinds that are not read; damage is left to the decoder."""
    if data.startswith(b"\xff\xd8\xff"):
        return Samples()  # see check_jpeg
    if data[:4] in _TIFF_ORDERS:
        return _tiff(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")):
        return _jpeg2000(data)
    return Samples()


def mend_planes(image: Any, samples: Samples) -> None:
    """Make Pillow read 16-bit channels that lie one after the other as such; it would read them bytewise.

    Args:
        image: Pillow's, opened and not loaded.
    """
    if samples.planes:
        image.tile = [
            tile._replace(args=(f"{tile.args[0]};16{samples.planes}", *tile.args[1:])) for tile in image.tile
        ]


def check_tga(data: bytes) -> None:
    """Refuse TGAs that do not say, or not as Pillow reads it, whether their last bits are alpha.

    Pillow takes 8 of 32 bits for alpha whatever the header says, and a bit of 16 that is set for transparent.
    """
    palette, kind, depth, alpha = data[7] * data[1], data[2] & 7, data[16], data[17] & 15
    if palette in (16, 32) or (depth in (16, 32) and (alpha != 8 or (kind, depth) == (2, 16))):
        raise BadImage(
            f"a TGA with {palette or depth} bits a colour and {alpha} of them for alpha is not read: save it "
            "with 24 bits, or 32 with 8 for alpha, or as PNG"
        )


def why_unknown(data: bytes) -> str:
    """What to say of bytes in none of the known formats."""
    for offset, begin, name, remedy in REFUSED:
        if data.startswith(begin, offset):
            return f"{_UNKNOWN}: this is {name}; {remedy}"
    if data[4:8] == b"ftyp" and b"heic" in data[12:64]:  # after "mif1" and the like
        return why_unknown(b"\0\0\0\x20ftypheic")
    if data.startswith(b"\xff\xd8\xff"):
        with contextlib.suppress(IndexError):
            check_jpeg(data, 0)  # raises for what is not of 8 bits, before Pillow's own refusal
        return "damaged picture: no JPEG header"
    if data[:4] in _TIFF_ORDERS:
        return f"a TIFF of a kind that is not read; {_RESAVE}"
    if data[:100].lstrip()[:1] in (b"{", b"["):
        return f"{_UNKNOWN}: this is JSON; send the picture's bytes, or the JSON as application/json"
    if data.startswith(b"data:") or _is_base64(data[:256]):
        return f'{_UNKNOWN}: this is base64 text; decode it, or send {{"image": "..."}} as application/json'
    if data.lower().startswith((b"http:", b"https:", b"s3:")) and len(data) < 10_000:
        return f"{_UNKNOWN}: this is an address; send the bytes that lie there"
    if _TEXT.fullmatch(data[:256]):
        return (
            f"{_UNKNOWN}: this is text; send a picture's bytes, not its name (AWS's CLI: --body fileb://FILE)"
        )
    return f"{_UNKNOWN} ({', '.join(FORMATS[:7])}, ...)"


def begins_a_picture(data: bytes) -> bool:
    return data.startswith(_BEGINNINGS) or data[4:8] in (b"ftyp", b"jP  ")


def _is_base64(begin: bytes) -> bool:
    # Python shows bytes as b'...'; JSON puts quotes around a string.
    begin = begin.removeprefix(b"b").lstrip(b"'\"")
    text = bytes(begin.split(b"=")[0].translate(_URL_SAFE, b" \r\n\t"))
    if len(text) < 16 or not _BASE64.fullmatch(text):
        return False
    head = binascii.a2b_base64(text[: len(text) // 4 * 4])
    return begins_a_picture(head)


def check_jpeg(data: bytes, pixels: int) -> None:
    """Refuse a JPEG with a marker where none can stand, or with more scans than any program writes.

    Also one of more than 8 bits, which Pillow refuses without saying why.

    libjpeg only warns of such damage and fills up with grey, and Pillow swallows the warning, so a classifier
    would answer with confidence about half a picture. Damage that happens to make no marker stays undetected.
    """
    position, in_scan, scans, segments = 2, False, 0, 0
    while match := _JPEG_MARKER.search(data, position):
        marker, position = data[match.start() + 1], match.end()
        if marker == 0xD9:
            return
        if marker in _JPEG_FRAMES and data[position + 2 : position + 3] not in (b"\x08", b""):
            raise BadImage(f"a JPEG of {data[position + 2]} bits a channel is not read; {_RESAVE}")
        if in_scan and marker not in _JPEG_ALLOWED:
            raise BadImage(f"damaged picture: JPEG marker FF{marker:02X} inside the image data")
        position += int.from_bytes(data[position : position + 2], "big")
        segments += 1
        if segments > MAX_SEGMENTS:
            raise BadImage(f"the JPEG has more than {MAX_SEGMENTS} segments; save it anew")
        if marker == 0xDA:
            in_scan = True
            scans += 1
            if scans * pixels > MAX_SCANNED:
                raise BadImage(f"the JPEG of {pixels:,} pixels has {scans} scans or more; save it anew")
        elif in_scan and data[position : position + 1] not in (b"\xff", b""):
            raise BadImage(f"damaged picture: JPEG segment FF{marker:02X} of a wrong length")


def _png(data: bytes) -> Samples:
    if len(data) < 26:
        return Samples()
    bits, colour = data[24], data[25]
    if bits == 16 and colour == 2 and _has_chunk(data, b"tRNS"):
        raise BadImage(
            "a PNG with 16 bits a channel and a transparent colour is not read: save it with an alpha channel"
        )
    return Samples(key_step={2: 85, 4: 17}.get(bits, 1) if colour == 0 else 1)


def _has_chunk(data: bytes, wanted: bytes) -> bool:
    """Whether a chunk lies before the pixels."""
    position = 8
    while len(head := data[position : position + 8]) == 8 and head[4:] != b"IDAT":
        if head[4:] == wanted:
            return True
        position += 12 + int.from_bytes(head[:4], "big")
    return False


def _jpeg2000(data: bytes) -> Samples:
    start = data.find(b"\xff\x4f\xff\x51")
    siz = data[start + 4 : start + 4 + 38] if start >= 0 else b""
    if len(siz) < 38:
        return Samples()
    count = int.from_bytes(siz[36:38], "big")
    depths = set(data[start + 42 : start + 42 + 3 * count : 3])
    if b"pclr" in data[:start]:
        raise BadImage("a JPEG 2000 with a palette is not read: save it as RGB, or as PNG")
    if not _is_usual_colour(data[:start], count):
        raise BadImage(
            "a JPEG 2000 in another colour space than grey, sRGB, sYCC or CMYK, with premultiplied alpha, or "
            f"with its channels in another order is not read; {_RESAVE}"
        )
    if len(depths) != 1:
        raise BadImage(f"a JPEG 2000 with channels of different depths is not read; {_RESAVE}")
    depth = depths.pop()
    bits = (depth & 0x7F) + 1
    if depth & 0x80:
        raise BadImage(f"a JPEG 2000 with signed numbers is not read: shift them to 0 and more; {_RESAVE}")
    if bits != 8 and count > 1:
        raise BadImage(
            f"a JPEG 2000 in colour or with alpha is read with 8 bits a channel, not {bits}; {_RESAVE}"
        )
    if bits == 9 or bits > 16:
        raise BadImage(f"a JPEG 2000 with {bits} bits is not read (grey: 1 to 8, 10 to 16); {_RESAVE}")
    top = 8 if bits <= 8 else 16  # where Pillow puts the highest bit
    return Samples(((1 << bits) - 1) << (top - bits) if count == 1 else 0)


def _is_usual_colour(boxes: bytes, count: int) -> bool:
    """Whether Pillow gets `count` channels right, by the boxes colr and cdef before the pixels."""
    colour = boxes.find(b"colr")
    if colour >= 0 and boxes[colour + 4] == 1:  # a number, not a profile
        space = int.from_bytes(boxes[colour + 7 : colour + 11], "big")
        if space not in _JPEG2000_SPACES:
            return False
    definition = boxes.find(b"cdef")
    if definition < 0:
        return True
    entries = int.from_bytes(boxes[definition + 4 : definition + 6], "big")
    for entry in range(min(entries, count)):  # a channel, its type, and which colour it is, from 1
        channel, kind, number = struct.unpack_from(">HHH", boxes, definition + 6 + 6 * entry)
        is_colour, is_alpha = (kind, number) == (0, channel + 1), (kind, channel) == (1, count - 1)
        if not (is_colour or is_alpha):
            return False
    return True


# The usual beginnings, and two that Pillow reads though they are wrong; with the order of bytes.
_TIFF_ORDERS: Final = {
    b"II\x2a\0": "<", b"MM\0\x2a": ">", b"II\x2b\0": "<", b"MM\0\x2b": ">",
    b"MM\x2a\0": ">", b"II\0\x2a": "<",
}  # fmt: skip
_SIZES: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}
_GREY: Final = frozenset((0, 1))
_COLOURS: Final = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # channels by PhotometricInterpretation
_NUMBERS: Final = {1: "unsigned", 2: "signed", 3: "float"}
_RAW_PIXELS: Final = 1  # Compression: none
_JPEG_INSIDE: Final = frozenset((6, 7))
# None, fax, LZW, JPEG, deflate, PackBits, LZMA, Zstandard. Pillow's libtiff decodes these.
_COMPRESSIONS: Final = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000))
_MAX_TAGS: Final = 1000


def _tiff(data: bytes) -> Samples:
    order = _TIFF_ORDERS[data[:4]]
    tags = _tiff_tags(data, order)
    if order == ">" and data[3] == 0x2B:
        raise BadImage("a big-endian BigTIFF is not read: save it as TIFF or little-endian BigTIFF")
    if 50706 in tags or tags.get(254, (0,))[0] & 1 or data[8:11] == b"CR\x02":
        # What comes first in such a file is a preview, sometimes of another picture's size and look.
        raise BadImage(
            "the TIFF begins with a preview (a camera's raw file?): develop it and save it as TIFF or PNG"
        )
    photometric = tags.get(262, (None,))[0]
    if photometric is None:
        raise BadImage(
            "the TIFF does not say whether 0 is black or white (PhotometricInterpretation); save it anew"
        )
    compression, planar = tags.get(259, (1,))[0], tags.get(284, (1,))[0] == 2
    colours = _COLOURS.get(photometric)
    if colours is None:
        raise BadImage(f"a TIFF with PhotometricInterpretation {photometric} is not read: save it as RGB")
    if photometric == 5 and tags.get(332, (1,))[0] != 1:
        raise BadImage("a TIFF of other inks than CMYK (InkSet) is not read: save it as RGB")
    numbers = set(tags.get(339, (1,)))
    depths = tags.get(258, (1,))
    bits, raw = max(depths), compression == _RAW_PIXELS
    kind = _NUMBERS.get(max(numbers), "other") if len(numbers) == 1 else "mixed"
    samples = max(len(depths), tags.get(277, (1,))[0])
    what = f"a TIFF of {bits}-bit {kind} numbers, {samples} a pixel, PhotometricInterpretation {photometric}"
    if planar and samples > 1:
        what += ", its channels apart"
    elif planar and bits > 8:
        what += ", PlanarConfiguration 2"
    if compression != _RAW_PIXELS:
        what += f", Compression {compression}"
    if compression not in _COMPRESSIONS or (compression in _JPEG_INSIDE and bits != 8):
        raise BadImage(f"{what} is not read: save it without compression, or as PNG")
    if len(set(depths)) > 1 or not _is_read(kind, bits, photometric, samples - colours, order, planar, raw):
        raise BadImage(f"{what}, {'big' if order == '>' else 'little'}-endian is not read; {_RESAVE}")
    if photometric == 6 and raw and tags.get(530, (2, 2)) != (1, 1):
        raise BadImage("a TIFF of YCbCr with reduced colours and no compression is not read: save it as RGB")
    return Samples(
        white=4095 if bits == 12 else 0,
        white_is_zero=photometric == 0 and bits == 16,
        planes="" if not (planar and raw and bits == 16) else "B" if order == ">" else "L",
    )


def _is_read(kind: str, bits: int, photometric: int, extra: int, order: str, planar: bool, raw: bool) -> bool:
    """Whether Pillow's pixels are right; found by comparing them for every combination."""
    grey, little = photometric in _GREY, order == "<"
    apart = planar and extra + _COLOURS[photometric] > 1
    if apart and (_COLOURS[photometric] == 1 or photometric == 8 or (raw and (extra or photometric == 6))):
        return False
    if kind == "unsigned" and bits == 8:
        return True
    if kind == "unsigned" and bits == 16 and not grey:
        return photometric == 2 or (photometric == 5 and not (apart and raw))
    if extra or apart or (planar and bits > 8):
        return False
    if kind == "unsigned":
        if bits in (1, 2, 4):
            return grey or photometric == 3
        if bits == 12:
            return photometric == 1 and little
        if bits == 16:
            return photometric == 1 or (photometric == 0 and little)
    if bits != 32 or photometric != 1:
        return False
    if kind == "unsigned":
        return little
    return kind in ("signed", "float") and (little or raw)


def _tiff_tags(data: bytes, order: str) -> dict[int, Sequence[int]]:
    """Whole numbers of the first page, by tag; damaged ones are left out."""
    big = data[2:4] in (b"\x2b\0", b"\0\x2b")
    first, count_at, entry, field = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    tags: dict[int, Sequence[int]] = {}
    try:
        (place,) = struct.unpack_from(order + first, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + count_at, data, place)
        place += struct.calcsize(count_at)
        for number in range(min(count, _MAX_TAGS)):
            at = place + number * entry
            tag, kind, length = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
            if kind not in _SIZES or not 0 < length <= 16:
                continue  # a list of strips, for one
            layout = f"{order}{length}{_SIZES[kind]}"
            where = at + entry - field
            if struct.calcsize(layout) > field:
                (where,) = struct.unpack_from(order + first, data, where)
            tags[tag] = struct.unpack_from(layout, data, where)
    except struct.error:
        pass  # Pillow says what is damaged
    return tags
