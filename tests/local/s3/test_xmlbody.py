from __future__ import annotations

import time
from xml.etree import ElementTree

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from local.s3 import xmlbody
from local.s3.errors import S3Error

MODEL = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Delete>&b;</Delete>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"text",
        b"<a>",
        b"<a></b>",
        b"\xff\xfe",
        BOMB,
        BOMB.decode().encode("utf-16"),
        b"<a>&unknown;</a>",
    ],
)
def test_only_plain_xml_is_read(body: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        xmlbody.parse(body)
    assert (caught.value.status, caught.value.code) == (400, "MalformedXML")


def test_a_request_is_read_by_its_shape() -> None:
    body = (
        '<d:Delete xmlns:d="http://s3.amazonaws.com/doc/2006-03-01/"><d:Object><d:Key>a &amp; ü\n</d:Key>'
        "</d:Object><d:Object><d:Key>b</d:Key><d:Future/></d:Object><d:Quiet>true</d:Quiet></d:Delete>"
    )
    read = xmlbody.read(MODEL.shape_for("Delete"), xmlbody.parse(body.encode()))
    assert read == {"Objects": [{"Key": "a & ü\n"}, {"Key": "b"}], "Quiet": True}


@pytest.mark.parametrize(
    "body",
    [b"<Tagging/>", b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"],
)
def test_a_request_that_lacks_something_is_refused(body: bytes) -> None:
    with pytest.raises(S3Error, match=r"has no (TagSet|Value)"):
        xmlbody.read(MODEL.shape_for("Tagging"), xmlbody.parse(body))


def test_an_integer_that_is_none_is_refused() -> None:
    body = b"<Part><PartNumber>one</PartNumber></Part>"
    with pytest.raises(S3Error, match="'one' is not an integer"):
        xmlbody.read(MODEL.shape_for("CompletedPart"), xmlbody.parse(body))


def test_an_answer_is_written_by_its_shape() -> None:
    answer = {
        "Contents": [{"Key": "a<&>\r.png", "LastModified": 1_700_000_000.9, "Size": 1, "ETag": '"x"'}],
        "IsTruncated": False,
        "Delimiter": None,
        "Unknown": "left out",
    }
    text = xmlbody.write("ListBucketResult", MODEL.shape_for("ListObjectsV2Output"), answer)
    root = ElementTree.fromstring(text)
    space = {"s": xmlbody.NAMESPACE}
    assert root.tag == f"{{{xmlbody.NAMESPACE}}}ListBucketResult"
    assert [child.tag.rpartition("}")[2] for child in root] == ["IsTruncated", "Contents"]
    assert root.findtext("s:Contents/s:Key", namespaces=space) == "a<&>\r.png"
    assert root.findtext("s:Contents/s:LastModified", namespaces=space) == "2023-11-14T22:13:20.000Z"
    assert root.findtext("s:IsTruncated", namespaces=space) == "false"


def test_control_characters_are_written_as_aws_does() -> None:
    text = xmlbody.write("LocationConstraint", MODEL.shape_for("ObjectKey"), "a\x01b\tc\r")
    assert b">a&#x1;b\tc&#xd;<" in text


def test_a_grantee_has_its_type() -> None:
    text = xmlbody.write("Grantee", MODEL.shape_for("Grantee"), {"Type": "CanonicalUser", "ID": "1"})
    element = ElementTree.fromstring(text)
    assert element.get("{http://www.w3.org/2001/XMLSchema-instance}type") == "CanonicalUser"


def test_a_long_namespace_is_not_repeated_for_each_element() -> None:
    space = "x" * 500_000
    body = f'<Delete xmlns="{space}">{"<a/>" * 20_000}</Delete>'.encode()
    begin = time.process_time()
    assert len(xmlbody.parse(body)) == 20_000
    assert time.process_time() - begin < 2


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(S3Error, match="nested more than 32 deep"):
        xmlbody.parse(b"<a>" * 33)
    deepest = xmlbody.parse(b"<a>" * 32 + b"</a>" * 32)
    assert sum(1 for _ in deepest.iter()) == 32
