"""XML in and out, by the shapes of botocore's model of S3."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from botocore.model import ListShape, Shape, StructureShape

from local.s3.errors import DECLARATION, malformed_xml

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_DEEPEST = 32  # elements in each other; the deepest request of the API has 9
# A parser drops or changes these where they stand for themselves.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f]")


def parse(body: bytes) -> Element:
    """The root, names without their prefixes. S3Error for anything but plain XML without a DTD."""
    builder = TreeBuilder()
    depth = 0

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise malformed_xml(f"its elements are nested more than {_DEEPEST} deep")
        builder.start(name.rpartition(":")[2], {})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition(":")[2])

    # Without expat's namespaces: it would repeat the address of one, however long, for each element.
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_dtd
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise malformed_xml(str(error)) from None
    return builder.close()


def _refuse_dtd(*_: object) -> None:
    raise malformed_xml("it has a document type")


def read(shape: Shape, element: Element) -> Any:
    """The value of an element. S3Error where it is not what `shape` has; unknown elements are left out."""
    if isinstance(shape, StructureShape):
        return _read_structure(shape, element)
    if isinstance(shape, ListShape):
        return [read(shape.member, child) for child in element]
    text = element.text or ""
    kind = shape.type_name
    if kind in ("integer", "long"):
        if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII):
            raise malformed_xml(f"{element.tag} {text[:100]!r} is not an integer")
        return int(text)
    if kind == "boolean":
        return text.strip().lower() == "true"
    return text


def _read_structure(shape: StructureShape, element: Element) -> dict[str, Any]:
    members = {
        member.serialization.get("name", name): (name, member) for name, member in shape.members.items()
    }
    value: dict[str, Any] = {}
    for child in element:
        if child.tag not in members:
            continue
        name, member = members[child.tag]
        if isinstance(member, ListShape) and member.serialization.get("flattened"):
            value.setdefault(name, []).append(read(member.member, child))
        else:
            value[name] = read(member, child)
    missing = [name for name in shape.required_members if name not in value]
    if missing:
        raise malformed_xml(f"{element.tag} has no {missing[0]}")
    return value


def write(root: str, shape: Shape, value: Any) -> bytes:
    """A document whose root is called `root`."""
    out = [DECLARATION]
    _write(out, root, shape, value, f' xmlns="{NAMESPACE}"')
    return "".join(out).encode()


def _write(out: list[str], name: str, shape: Shape, value: Any, attributes: str = "") -> None:
    if isinstance(shape, StructureShape):
        _write_structure(out, name, shape, value, attributes)
    elif isinstance(shape, ListShape):
        if shape.serialization.get("flattened"):
            for item in value:
                _write(out, name, shape.member, item)
        else:
            out.append(f"<{name}>")
            for item in value:
                _write(out, shape.member.serialization.get("name", "member"), shape.member, item)
            out.append(f"</{name}>")
    else:
        out.append(f"<{name}{attributes}>{_text(shape, value)}</{name}>")


def _write_structure(
    out: list[str], name: str, shape: StructureShape, value: Mapping[str, Any], attributes: str
) -> None:
    inner: list[str] = []
    space = shape.serialization.get("xmlNamespace")
    if space is not None and "prefix" in space:
        attributes += f' xmlns:{space["prefix"]}="{space["uri"]}"'
    for key, member in shape.members.items():
        item = value.get(key)
        rules = member.serialization
        if item is None or "location" in rules:
            continue
        if rules.get("xmlAttribute"):
            attributes += f" {rules['name']}={quoteattr(str(item))}"
        else:
            _write(inner, rules.get("name", key), member, item)
    out.append(f"<{name}{attributes}>")
    out.extend(inner)
    out.append(f"</{name}>")


def _text(shape: Shape, value: Any) -> str:
    kind = shape.type_name
    if kind == "timestamp":
        return timestamp(value)
    if kind == "boolean":
        return "true" if value else "false"
    # As AWS writes them; encoding-type=url is for clients whose parser takes none of them.
    return _CONTROL.sub(lambda found: f"&#x{ord(found[0]):x};", escape(str(value)))


def timestamp(seconds: float) -> str:
    """Epoch seconds as S3 writes them: milliseconds that are always 0."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(int(seconds)))
