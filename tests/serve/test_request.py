from __future__ import annotations

import base64
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import RequestError
from serve.request import ATTRIBUTES, Options, parse
from serve.settings import Limits

LIMITS = Limits(bytes=10_000, pixels=10_000, aspect=10, images=3, top_k=5)
PNG = b"\x89PNG not really"
B64 = base64.b64encode(PNG).decode()


def parsed(body: Any, content_type: str = "application/json", attributes: str = "") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(data, {"content-type": content_type, ATTRIBUTES: attributes}, LIMITS)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "IMAGE/PNG; q=1",
        "application/octet-stream",
        "application/x-image",
        "",
        "application/x-image-file",
    ],
)
def test_a_picture_is_taken_as_it_is(content_type: str) -> None:
    request = parsed(PNG, content_type)
    assert request.pictures == (PNG,)
    assert not request.many
    assert request.options == Options(top_k=5)


@pytest.mark.parametrize(
    ("document", "count", "many"),
    [
        ({"image": B64}, 1, False),
        ({"image": f"data:image/png;base64,{B64}"}, 1, False),
        ({"image": B64.rstrip("=").replace("+", "-").replace("/", "_")}, 1, False),
        ({"images": [B64]}, 1, True),
        ({"instances": [{"b64": B64}, {"image": B64}, B64]}, 3, True),
    ],
)
def test_json_forms(document: dict[str, Any], count: int, many: bool) -> None:
    request = parsed(document)
    assert request.pictures == (PNG,) * count
    assert request.many is many


def test_json_lines() -> None:
    line = json.dumps({"image": B64}).encode()
    request = parsed(line + b"\n\n" + line, "application/jsonlines")
    assert request.pictures == (PNG, PNG)
    assert request.many


def test_a_form_with_one_file() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        + PNG
        + b"\r\n--b--\r\n"
    )
    headers = {"content-type": "application/octet-stream", "x-form-type": 'multipart/form-data; boundary="b"'}
    assert parse(body, headers, LIMITS).pictures == (PNG,)


def test_arrays() -> None:
    array = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    request = parsed(npy(array), "application/x-npy")
    assert request.many
    np.testing.assert_array_equal(np.stack(request.pictures), array)
    assert not parsed(npy(array[0]), "application/x-npy").many


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("top_k=3", Options(3)),
        ("trace=abc; TOP_K = all , threshold=0.25", Options(None, 0.25)),
        ("free text", Options(5)),
    ],
)
def test_options_by_header(attributes: str, expected: Options) -> None:
    assert parsed(PNG, "image/png", attributes).options == expected


def test_options_in_json_win_over_the_header() -> None:
    assert parsed({"image": B64, "top_k": 2, "threshold": 0.5}, attributes="top_k=4").options == Options(
        2, 0.5
    )


@pytest.mark.parametrize(
    ("body", "content_type", "code", "says"),
    [
        (b"", "image/png", 400, "empty"),
        (b"x" * 10_001, "image/png", 413, "10000"),
        (b"a,b", "text/csv", 415, "application/json"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "application/json"),
        (b"{", "application/json", 400, "not valid JSON"),
        (b"[" * 5000, "application/json", 400, "not valid JSON"),
        ([1], "application/json", 400, "not an object"),
        ({}, "application/json", 400, "exactly one"),
        ({"image": B64, "images": [B64]}, "application/json", 400, "exactly one"),
        ({"image": 5}, "application/json", 400, "image must be a string"),
        ({"image": ""}, "application/json", 400, "empty"),
        ({"image": "%%%"}, "application/json", 400, "base64"),
        ({"image": "é"}, "application/json", 400, "base64"),
        ({"image": "data:,x"}, "application/json", 400, "data URI"),
        ({"images": []}, "application/json", 400, "at least one"),
        ({"images": [B64] * 4}, "application/json", 413, "limit is 3"),
        ({"images": [B64, {"x": 1}]}, "application/json", 400, "images[1]"),
        ({"image": B64, "topk": 1}, "application/json", 400, "topk"),
        ({"image": B64, "top_k": 0}, "application/json", 400, "top_k"),
        ({"image": B64, "top_k": True}, "application/json", 400, "top_k"),
        ({"image": B64, "threshold": "nan"}, "application/json", 400, "threshold"),
        (b"\n", "application/jsonlines", 400, "no lines"),
        (b"not numpy", "application/x-npy", 400, "NumPy"),
        (npy(np.zeros((4, 4, 3), np.float32)), "application/x-npy", 400, "float32"),
        (npy(np.zeros((4, 4), np.uint8)), "application/x-npy", 400, "[4, 4]"),
        (npy(np.array([{}], dtype=object)), "application/x-npy", 400, "object"),
        (npy(np.zeros((4, 4, 3), np.uint8))[:-1], "application/x-npy", 400, "does not fit"),
        (npy(np.zeros((5, 2, 2, 3), np.uint8)), "application/x-npy", 413, "5 pictures"),
        (npy(np.zeros((1, 100, 3), np.uint8)), "application/x-npy", 413, "10 to 1"),
        (b"x", "multipart/form-data", 400, "boundary"),
        (b"x", "multipart/form-data; boundary=b", 400, "0 files"),
    ],
)  # fmt: skip
def test_mistakes(body: Any, content_type: str, code: int, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        parsed(body, content_type)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_an_array_that_claims_to_be_huge_is_refused_without_making_it() -> None:
    small = npy(np.zeros((4, 4, 3), np.uint8))
    huge = small.replace(b"(4, 4, 3), }" + b" " * 12, b"(99999999, 99999999, 3), }"[:24].ljust(24))
    with pytest.raises(RequestError):
        parsed(huge, "application/x-npy")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (0x1" + b"f" * 9000 + b", 1, 2, 4, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -4, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': " + b"(" * 400 + b")" * 400 + b", }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': " + b"-" * 9000 + b"1, }",
        b"{'descr': [('" + b"a" * 9000 + b"', '|u1')], 'fortran_order': False, 'shape': (4, 4, 3), }",
    ],
)
def test_a_hostile_array_header_is_refused_in_few_words(header: bytes) -> None:
    body = b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n" + bytes(48)
    with pytest.raises(RequestError) as caught:
        parse(body, {"content-type": "application/x-npy"}, dataclasses.replace(LIMITS, bytes=20_000))
    assert caught.value.code == 400
    assert len(str(caught.value)) < 400


def outcome(body: bytes, content_type: str, attributes: str) -> tuple[int, int]:
    """Status and number of pictures."""
    try:
        return 200, len(parse(body, {"content-type": content_type, ATTRIBUTES: attributes}, LIMITS).pictures)
    except RequestError as error:
        return error.code, 0


TYPES = st.sampled_from(
    [
        "image/png",
        "application/json",
        "application/jsonlines",
        "application/x-npy",
        "multipart/form-data; boundary=b",
        "x/y",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just(B64),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["image", "images", "instances", "b64", "top_k", "threshold"]) | st.text(), inner
        )
    ),
    max_leaves=8,
)


@given(
    st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()), TYPES, st.text(max_size=60)
)
def test_any_body_is_parsed_or_refused(body: bytes, content_type: str, attributes: str) -> None:
    code, count = outcome(body, content_type, attributes)
    assert code in (400, 413, 415) or (code == 200 and 1 <= count <= LIMITS.images)


@given(st.binary(max_size=150), st.integers(0, 127))
def test_damaged_array_headers_are_refused(junk: bytes, at: int) -> None:
    data = bytearray(npy(np.zeros((4, 4, 3), np.uint8)))
    data[at : at + len(junk)] = junk
    assert outcome(bytes(data), "application/x-npy", "")[0] in (200, 400, 413)
