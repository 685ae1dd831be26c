"""From the body and headers of a request to pictures and options. No torch here, and no decoding yet."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import orjson

from contract.headers import begins_a_picture
from serve import s3
from serve.errors import RequestError
from serve.settings import Limits

Array = np.ndarray[Any, np.dtype[np.uint8]]

IMAGE_TYPES: Final = ("application/octet-stream", "application/x-image", "application/x-image-file")
LINES: Final = ("application/jsonlines", "application/x-ndjson", "application/x-jsonlines")
ACCEPTED: Final = (
    "a picture as image/jpeg, image/png, ... or application/octet-stream; application/json; "
    "application/jsonlines; application/x-npy; multipart/form-data"
)
JSON_HELP: Final = (
    'send {"image": "<base64>"}, {"images": ["<base64>", ...]} or {"instances": [{"b64": "..."}]}'
)
Picture = bytes | Array | s3.Object
ATTRIBUTES: Final = "x-amzn-sagemaker-custom-attributes"


@dataclasses.dataclass(frozen=True)
class Options:
    """`top_k`: how many classes to name, None for all. `threshold`: leave out those less probable.

    `explain`: add a picture of where the network looked.
    """

    top_k: int | None
    threshold: float = 0.0
    explain: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
    """`pictures`: encoded files, arrays [H, W, 3], or where in S3 files lie.

    `many`: the caller sent a list, and gets one.
    """

    pictures: tuple[Picture, ...]
    many: bool
    options: Options


def parse(body: bytes, headers: Mapping[str, str], limits: Limits) -> Request:
    """Take a request apart.

    Args:
        headers: with lower-case names: content-type, accept, x-amzn-sagemaker-custom-attributes.

    Raises:
        RequestError: with status 400, 413 or 415.
    """
    if len(body) > limits.bytes:
        raise RequestError(413, f"the request has {len(body)} bytes; the limit is {limits.bytes}")
    options = _attributes(headers.get(ATTRIBUTES, ""), Options(limits.top_k))
    # The front end hands forms on under another name, so that multi-model-server leaves them alone.
    full_type = headers.get("x-form-type") or headers.get("content-type", "")
    media_type = full_type.partition(";")[0].strip().lower()
    if limits.batch and media_type in LINES and not body.strip():
        return Request((), True, options)
    if not body:
        raise RequestError(400, f"the request is empty; send {ACCEPTED}")
    many = False
    pictures: list[Picture]
    if not media_type or media_type in IMAGE_TYPES or media_type.startswith("image/"):
        pictures = [body]
    elif media_type == "application/json":
        pictures, many, options = _json(body, options, limits)
    elif media_type in LINES:
        pictures, many = [], True
        for line in body.splitlines():
            if line.strip():
                found, _, options = _json(line, options, limits)
                pictures += found
                _check_count(len(pictures), limits)
        if not pictures:
            raise RequestError(400, f"there are no lines; on each line {JSON_HELP}")
    elif media_type == "application/x-npy":
        pictures, many = _npy(body, limits)
    elif media_type == "multipart/form-data":
        pictures = [_multipart(body, full_type)]
    else:
        raise RequestError(415, f"this Content-Type is not supported; send {ACCEPTED}")
    return Request(tuple(pictures), many, options)


def _json(body: bytes, options: Options, limits: Limits) -> tuple[list[Picture], bool, Options]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if begins_a_picture(body):
            raise RequestError(400, "the body is a picture and not JSON: send it as image/jpeg") from error
        raise RequestError(400, f"the body is not valid JSON ({error}); {JSON_HELP}") from error
    if not isinstance(document, dict):
        raise RequestError(400, f"the JSON is not an object; {JSON_HELP}")
    members = [name for name in ("image", "images", "instances") if name in document]
    if not members and {"url", "image_url", "uri"} & set(document):
        raise RequestError(
            400, f"this endpoint fetches nothing from the web: fetch the picture yourself and {JSON_HELP}"
        )
    if len(members) != 1:
        raise RequestError(400, f"give exactly one of image, images and instances; {JSON_HELP}")
    unknown = sorted(set(document) - {*members, *OPTIONS})
    if unknown:
        shown = ", ".join(name[:40] for name in unknown[:3])
        raise RequestError(400, f"unknown field {shown}; allowed beside {members[0]}: {', '.join(OPTIONS)}")
    for name in OPTIONS:
        if name in document:
            options = dataclasses.replace(options, **{name: OPTIONS[name](document[name])})
    field, value = members[0], document[members[0]]
    if field == "image":
        return [_picture(value, "image", limits)], False, options
    if not isinstance(value, list) or not value:
        raise RequestError(400, f"{field} must be a list of at least one picture; {JSON_HELP}")
    _check_count(len(value), limits)
    pictures: list[Picture] = []
    for index, item in enumerate(value):
        if isinstance(item, dict):
            item = item.get("b64", item.get("image"))
        pictures.append(_picture(item, f"{field}[{index}]", limits))
    return pictures, True, options


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.images:
        raise RequestError(413, f"there are {count} pictures; the limit is {limits.images} in a request")


def _picture(value: Any, where: str, limits: Limits) -> bytes | s3.Object:
    if isinstance(value, str) and value.startswith("s3://"):
        return s3.find(value, where, limits)
    return _base64(value, where)


def _base64(value: Any, where: str) -> bytes:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        raise RequestError(400, f"{where} is a web address, and this endpoint fetches nothing; {JSON_HELP}")
    if not isinstance(value, str):
        raise RequestError(400, f"{where} must be a string, the picture in base64; {JSON_HELP}")
    if value.startswith("data:"):
        head, comma, value = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise RequestError(400, f"{where} is a data URI, but not like data:image/png;base64,...")
    text = "".join(value.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"{where} is not valid base64; encode the file's bytes") from error
    if not data:
        raise RequestError(400, f"{where} is empty")
    return data


def _npy(body: bytes, limits: Limits) -> tuple[list[Picture], bool]:
    """Bytes [H, W, 3] or [N, H, W, 3] in NumPy's format. Never unpickles."""
    expected = "send numpy.save's bytes of a uint8 array [height, width, 3] or [n, height, width, 3]"
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    except Exception as error:  # the header is parsed as a Python literal, which can fail in many ways
        raise RequestError(400, f"the body is not in NumPy's format; {expected}") from error
    if not all(0 <= side <= len(body) for side in shape):  # one of ten thousand digits cannot even be printed
        raise RequestError(400, f"the array's shape does not fit its {len(body)} bytes; {expected}")
    if dtype != np.uint8 or fortran or len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape:
        raise RequestError(400, f"the array is {str(dtype)[:40]} {list(shape)[:8]}; {expected}")
    if len(shape) == 4:
        _check_count(shape[0], limits)
    data = stream.read()
    if math.prod(shape) != len(data):
        raise RequestError(400, f"the array's shape does not fit its {len(data)} bytes; {expected}")
    height, width = shape[-3], shape[-2]
    check_size(width, height, limits)
    array = np.frombuffer(data, dtype=np.uint8).reshape(shape)
    return (list(array), True) if len(shape) == 4 else ([array], False)


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse pictures that are too large or too long, before they are decoded."""
    if width * height > limits.pixels:
        text = f"the picture has {width} x {height} pixels; the limit is {limits.pixels} (make it smaller)"
        raise RequestError(413, text)
    if max(width, height) > limits.aspect * max(min(width, height), 1):
        text = f"the picture is {width} x {height} pixels; at most {limits.aspect} to 1 is accepted (crop it)"
        raise RequestError(413, text)


def _multipart(body: bytes, content_type: str) -> bytes:
    """The only file of a form."""
    match = re.search(r'boundary=(?:"([^"]{1,200})"|([^;,\s]{1,200}))', content_type, re.IGNORECASE)
    if not match:
        raise RequestError(400, "the form has no boundary in its Content-Type")
    boundary = b"--" + (match[1] or match[2]).encode("latin-1", "replace")
    parts = (b"\r\n" + body).split(b"\r\n" + boundary)[1:-1]
    files = []
    for part in parts:
        head, blank, content = part.partition(b"\r\n\r\n")
        if blank and b"filename" in head.lower():
            files.append(content)
    if len(files) != 1 or not files[0]:
        raise RequestError(400, f"the form has {len(files)} files; send exactly one, with a file name")
    return files[0]


def _attributes(text: str, options: Options) -> Options:
    """Custom attributes are free text, which others may use too: only our own names are looked at."""
    for pair in re.split(r"[,;&]", text):
        name, _, value = pair.partition("=")
        name = name.strip().lower()
        if name in OPTIONS:
            options = dataclasses.replace(options, **{name: OPTIONS[name](value.strip())})
    return options


def _top_k(value: Any) -> int | None:
    if value == "all":
        return None
    try:
        count = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    except ValueError:
        count = 0
    if count < 1:
        raise RequestError(400, 'top_k must be a whole number of at least 1, or "all"')
    return count


def _threshold(value: Any) -> float:
    try:
        number = (
            float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
        )
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise RequestError(400, "threshold must be a probability from 0 to 1")
    return number


def _explain(value: Any) -> bool:
    if value in (True, "true", "grad-cam"):
        return True
    if value in (False, "false", None):
        return False
    raise RequestError(400, 'explain must be "grad-cam" or false')


OPTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "top_k": _top_k,
    "threshold": _threshold,
    "explain": _explain,
}
