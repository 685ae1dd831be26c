"""Every kind of picture: its pixels are right, or it is refused in words; docs/pictures.md says which."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from model import images
from model.images import BadImage
from tests.model import kinds, written

PAGE = Path(__file__).parents[2] / "docs" / "pictures.md"
BEGIN, END = "<!-- written by tests/model/test_kinds.py -->\n", "<!-- end -->\n"
ALL = kinds.every()
DETAILS = ("big-endian", "BigTIFF", "deflate", "not compressed")


def test_no_pixel_is_wrong_and_what_is_refused_says_why() -> None:
    wrong = []
    for kind in ALL:
        try:
            found = np.asarray(images.decode(kind.data)).astype(int)
        except BadImage as error:
            if kind.pixels is not None or "damaged" in str(error):
                wrong.append(f"{kind.name}: {error}")
            continue
        if kind.pixels is None:
            wrong.append(f"{kind.name}: was not refused")
        elif found.shape != kind.pixels.shape:
            wrong.append(f"{kind.name}: shape {found.shape}")
        elif (off := int(abs(found - kind.pixels).max())) > kind.tolerance:
            wrong.append(f"{kind.name}: {off} levels off")
    assert not wrong, "\n".join(wrong)


def test_names_are_unique() -> None:
    names = [kind.name for kind in ALL]
    assert len(names) == len(set(names))


def table() -> str:
    found: dict[tuple[str, str], dict[str, list[kinds.Kind]]] = defaultdict(lambda: defaultdict(list))
    for kind in ALL:
        found[kind.format, kind.stored][kind.depth].append(kind)
    lines = ["| format | stored as | read, bits a channel | refused |\n", "|---|---|---|---|\n"]
    for (format_, stored), depths in found.items():
        read = [depth for depth, some in depths.items() if any(kind.pixels is not None for kind in some)]
        refused = []
        for depth, some in depths.items():
            layouts = [set(kind.detail.split(", ")) for kind in some if kind.pixels is None]
            if layouts:
                common = [part for part in DETAILS if all(part in layout for layout in layouts)]
                refused.append(f"{depth} ({', '.join(common)})" if depth in read else depth)
        lines.append(f"| {format_} | {stored} | {', '.join(read)} | {', '.join(refused)} |\n")
    return "".join(lines)


def test_the_table_in_the_docs_is_this_one() -> None:
    """Delete what is between the two marks, and the test writes it anew."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    if not inside:
        PAGE.write_text(before + BEGIN + table() + END + after)
        pytest.fail("the table is written; look at it")
    assert inside == table()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("HEIC", "HEIC; convert it, on a Mac with `sips"),
        ("PostScript", "PostScript; save it as JPEG, PNG or TIFF"),
        ("camera raw", "begins with a preview"),
        ("JPEG colour 12", "a JPEG of 12 bits a channel"),
        ("TIFF grey, signed, below 0 8", "8-bit signed numbers"),
        ("TIFF grey, floats, 0 to 5 float 32", "run from 0 to 5, which does not show"),
        ("TIFF grey, floats, with NaN float 32", "not finite"),
        ("TIFF grey 14", "14-bit unsigned numbers"),
        ("TIFF colour, floats float 16", "16-bit float numbers, 3 a pixel"),
        ("JPEG 2000 colour 16", "8 bits a channel, not 16"),
        ("TIFF Lab, channels apart", "PhotometricInterpretation 8, its channels apart"),
        ("TGA colour, with bits that may be alpha 32", "32 bits a colour and 0 of them for alpha"),
    ],
)
def test_a_refusal_names_the_kind_and_what_to_do(kind: str, words: str) -> None:
    data = next(one.data for one in ALL if one.name.startswith(kind) and one.pixels is None)
    with pytest.raises(BadImage, match=words):
        images.decode(data)


@pytest.mark.parametrize("text", [b'{"url": "https://example.com/a.jpg"}', b' ["a"]'])
def test_json_in_place_of_a_picture_is_named(text: bytes) -> None:
    with pytest.raises(BadImage, match="this is JSON"):
        images.decode(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"https://example.com/a.jpg", "this is an address; send the bytes"),
        (b"photos/cat.jpg", r"this is text; send a picture's bytes, not its name .*fileb://"),
        (b"<!DOCTYPE html><html>", "this is a web page; download the picture again"),
        (b"<?xml version='1.0'?><svg>", "this is XML or SVG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS; run `git lfs pull`"),
        (b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(12), "this is a PAM"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "this is a PFM in colour"),
    ],
)
def test_what_lies_under_a_pictures_name_is_named(data: bytes, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        images.decode(data)


@pytest.mark.parametrize("prefix", [b"", b"data:image/png;base64,", b"\n", b"b'", b'"'])
def test_base64_in_place_of_a_picture_is_named(prefix: bytes) -> None:
    import base64

    text = prefix + base64.b64encode(written.png(kinds.numbers(1, 255), 0, 8))
    with pytest.raises(BadImage, match="this is base64 text"):
        images.decode(text)


@pytest.mark.parametrize(("compression", "bits"), [(50001, 8), (34887, 8), (7, 12)])
def test_a_tiff_that_is_packed_otherwise_is_refused_in_words(compression: int, bits: int) -> None:
    data = written.tiff(kinds.numbers(1, 255).astype("u2"), 1, bits, compression=compression)
    with pytest.raises(BadImage, match=f"{bits}-bit .* Compression {compression} is not read"):
        images.decode(data)
