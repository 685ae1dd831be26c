from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from local.s3 import forms, policy
from local.s3.errors import S3Error

Service = Any  # conftest.Service
Post = Callable[..., Any]
Read = Callable[..., bytes]
ETAG = '"5d41402abc4b2a76b9719d911017c592"'  # of "hello"
FORM = "multipart/form-data; boundary=edge"
LATER = "2999-01-01T00:00:00Z"


def encoded(
    fields: Mapping[str, str] | list[tuple[str, str]], file: bytes | None, name: str = "a.txt"
) -> bytes:
    """A form whose boundary is `edge`."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n' for key, text in pairs
    ]
    if file is None:
        return "".join([*parts, "--edge--\r\n"]).encode()
    head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    return "".join([*parts, head, "Content-Type: text/plain\r\n\r\n"]).encode() + file + b"\r\n--edge--\r\n"


def policy_of(*conditions: Any, expiration: Any = LATER) -> str:
    return base64.b64encode(
        json.dumps({"expiration": expiration, "conditions": conditions}).encode()
    ).decode()


@pytest.fixture
def post(send: Any) -> Post:
    """Posts a form with these fields, under a policy that allows them and whatever `conditions` say."""

    def post(
        file: bytes | None = b"hello", *, name: str = "a.txt", conditions: Any = (), **fields: str
    ) -> Any:
        fields = {
            key.replace("_", "-") if key.startswith("x_") else key: text for key, text in fields.items()
        }
        allowed = [["starts-with", f"${key}", ""] for key in fields]
        text = policy_of({"bucket": "bucket"}, *allowed, *conditions)
        body = encoded({**fields, "policy": text, "x-amz-signature": "0"}, file, name)
        return send("POST", "/bucket", body, Content_Type=FORM)

    return post


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_a_form_as_boto3_signs_it(service: Service, s3: Any, send: Any, signature: str) -> None:
    signer = service.client("s3", signature_version=signature)
    form = signer.generate_presigned_post(
        "bucket",
        "in/${filename}",
        Fields={"acl": "bucket-owner-full-control", "Content-Type": "text/x", "x-amz-meta-mood": "good"},
        Conditions=[
            {"acl": "bucket-owner-full-control"},
            ["starts-with", "$Content-Type", "text/"],
            {"x-amz-meta-mood": "good"},
            ["content-length-range", 5, 5],
        ],
    )
    body = encoded(form["fields"], b"hello", r"C:\Pictures\a ü.txt")
    answer = send(
        "POST", urlsplit(form["url"]).path, body, Content_Type='multipart/form-data; boundary="edge"'
    )
    assert (answer.status, answer.body, answer.headers["etag"]) == (204, b"", ETAG)
    assert answer.headers["location"] == f"{service.url}/bucket/in/a%20%C3%BC.txt"
    got = s3.get_object(Bucket="bucket", Key="in/a ü.txt")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"hello", "text/x", {"mood": "good"})


def test_the_answer_that_a_form_asks_for(service: Service, s3: Any, post: Post) -> None:
    for wanted, status in (("200", 200), ("204", 204), ("404", 204)):
        answer = post(key="a", success_action_status=wanted)
        assert (answer.status, answer.body) == (status, b"")
    answer = post(key="a&b", success_action_status="201")
    assert (answer.status, answer.headers["content-type"]) == (201, "application/xml")
    location = f"{service.url}/bucket/a%26b"
    assert [(child.tag, child.text) for child in answer.xml] == [
        ("Location", location),
        ("Bucket", "bucket"),
        ("Key", "a&b"),
        ("ETag", ETAG),
    ]
    for field in ("success_action_redirect", "redirect"):
        answer = post(key="a b", success_action_status="201", **{field: "http://example.com/done?n=1"})
        where = urlsplit(answer.headers["location"])
        assert (answer.status, where.netloc, where.path) == (303, "example.com", "/done")
        assert parse_qs(where.query) == {"n": ["1"], "bucket": ["bucket"], "key": ["a b"], "etag": [ETAG]}
    for none in ("nowhere", "http://[", "javascript:x", "http://a/\x01", "http://a/\r\nA: b"):
        assert post(key="a", success_action_redirect=none).status == 204


def test_what_a_form_says_of_its_object(s3: Any, post: Post) -> None:
    tagging = "<Tagging><TagSet><Tag><Key>t 1</Key><Value>a&amp;b</Value></Tag></TagSet></Tagging>"
    answer = post(
        key="k", tagging=tagging, x_amz_storage_class="STANDARD_IA", **{"Cache-Control": "no-store"}
    )
    assert answer.status == 204
    head = s3.head_object(Bucket="bucket", Key="k")
    assert (head["CacheControl"], head["StorageClass"], head["ContentType"]) == (
        "no-store",
        "STANDARD_IA",
        "binary/octet-stream",  # the type of the part is not the object's
    )
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == [{"Key": "t 1", "Value": "a&b"}]
    digest = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    assert post(key="k", **{"Content-MD5": digest}).status == 204
    assert post(b"other", key="k", **{"Content-MD5": digest}).code == "BadDigest"
    assert post(key="k", x_amz_checksum_crc32="AAAAAA==").code == "BadDigest"
    assert post(key="k", acl="public-read").code == "AccessControlListNotSupported"
    assert post(key="k", x_amz_meta_a="\n").code == "InvalidArgument"
    assert post(key="folder/").code == "InvalidArgument"
    assert post(b"", key="folder/").status == 204


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ([{"x-amz-meta-a": "1"}], 'Policy Condition failed: ["eq", "$x-amz-meta-a", "1"]'),
        ([["eq", "$key", "other"]], 'Policy Condition failed: ["eq", "$key", "other"]'),
        ([["starts-with", "$key", "b"]], 'Policy Condition failed: ["starts-with", "$key", "b"]'),
        (
            [["starts-with", "$Content-Type", ""]],
            'Policy Condition failed: ["starts-with", "$Content-Type", ""]',
        ),
        ([{"bucket": "other"}], 'Policy Condition failed: ["eq", "$bucket", "other"]'),
    ],
)
def test_a_condition_that_does_not_hold(s3: Any, post: Post, keys: Any, conditions: Any, why: str) -> None:
    answer = post(key="a", conditions=conditions)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.xml.findtext("Message") == f"Invalid according to Policy: {why}"
    assert keys() == []


@pytest.mark.parametrize("field", ["x_amz_copy_source", "x_amz_expected_bucket_owner"])
def test_a_field_that_would_do_nothing_is_refused(post: Post, keys: Any, field: str) -> None:
    answer = post(key="a", **{field: "/bucket/other"})
    assert answer.status == 400
    assert f"does nothing for the form's {field.replace('_', '-')}".encode() in answer.body
    assert keys() == []


def test_sizes(s3: Any, post: Post, keys: Any) -> None:
    between = [["content-length-range", 2, 3_000_000], ["content-length-range", "3", "4000000"]]
    answer = post(b"xx", key="a", conditions=between)
    assert (answer.status, answer.code) == (400, "EntityTooSmall")
    assert (answer.xml.findtext("ProposedSize"), answer.xml.findtext("MinSizeAllowed")) == ("2", "3")
    assert post(b"x" * 3_000_001, key="a", conditions=between).code == "EntityTooLarge"
    assert keys() == []
    assert post(b"x" * 3_000_000, key="a", conditions=between).status == 204
    assert post(b"xxx", key="a", conditions=between).status == 204


def test_every_field_needs_a_condition(s3: Any, send: Any) -> None:
    fields = {"key": "a", "x-ignore-a": "1", "x-amz-meta-b": "1", "policy": policy_of({"key": "a"})}
    signed = {"AWSAccessKeyId": "a", "signature": "0"}
    answer = send(
        "POST",
        "/bucket",
        encoded({**fields, **signed}, b"x"),
        Content_Type=FORM,
    )
    assert answer.status == 403
    assert answer.xml.findtext("Message") == (
        "Invalid according to Policy: Extra input fields: x-amz-meta-b, bucket"
    )


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"key": "a"}, "AccessDenied", "no policy"),
        ({"policy": policy_of(), "signature": "0"}, "InvalidArgument", "'key'"),
        ({"key": "a", "policy": policy_of()}, "InvalidArgument", "'AWSAccessKeyId'"),
        ({"key": "a", "policy": policy_of(), "AWSAccessKeyId": "a"}, "InvalidArgument", "'signature'"),
        *(
            ({"key": "a", "x-amz-signature": "0", "policy": text}, "InvalidPolicyDocument", why)
            for text, why in (
                ("?", "Invalid JSON"),
                (base64.b64encode(b"[]").decode(), "Invalid JSON"),
                (base64.b64encode(b'{"conditions": []}').decode(), "'expiration'"),
                (policy_of(expiration=7), "'expiration'"),
                (policy_of(["eq", "key", "a"]), "Invalid condition"),
                (policy_of(["like", "$key", "a"]), "Invalid condition"),
                (policy_of("key"), "Invalid condition"),
                (policy_of({"key": 7}), "the value of key is a string"),
                (policy_of(["content-length-range", "a", 2]), "content-length-range"),
                (base64.b64encode(b'{"expiration": "2999-01-01"}').decode(), "missing conditions"),
            )
        ),
        ({"key": "a", "x-amz-signature": "0", "policy": policy_of(expiration="2020-01-01T00:00:00.000Z")},
         "AccessDenied", "Invalid according to Policy: Policy expired."),
    ],
)  # fmt: skip
def test_forms_that_are_refused(s3: Any, send: Any, fields: dict[str, str], code: str, text: str) -> None:
    answer = send("POST", "/bucket", encoded(fields, b"x"), Content_Type=FORM)
    assert answer.code == code
    assert text in answer.xml.findtext("Message")


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("multipart/form-data", encoded({"key": "a"}, b"x"), "MalformedPOSTRequest"),
        (FORM, b"", "IncorrectNumberOfFilesInPostRequest"),
        (FORM, b"nothing", "IncorrectNumberOfFilesInPostRequest"),
        (FORM, encoded({"key": "a"}, None), "IncorrectNumberOfFilesInPostRequest"),
        (FORM, b"--edge\r\nX: y\r\n\r\nx\r\n--edge--", "MalformedPOSTRequest"),
        (FORM, encoded({"key": "a" * 30_000}, b"x"), "MaxPostPreDataLengthExceededError"),
        ("application/x-www-form-urlencoded", b"key=a", "MethodNotAllowed"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_forms(s3: Any, send: Any, kind: str, body: bytes, code: str) -> None:
    assert send("POST", "/bucket", body, Content_Type=kind).code == code


def test_a_form_that_breaks_off_leaves_nothing(s3: Any, send: Any, keys: Any) -> None:
    fields = {"key": "a", "policy": policy_of({"bucket": "bucket"}, {"key": "a"}), "x-amz-signature": "0"}
    whole = encoded(fields, b"x" * 2_000_000)
    for body in (whole[:-20], whole[:-12]):
        answer = send("POST", "/bucket", body, Content_Type=FORM)
        assert answer.code == "MalformedPOSTRequest"
    assert keys() == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_form_may_come_in_any_pieces(size: int) -> None:
    file = b"a\r\n--edg\r\n\r\n--\r\r\n--edg" * 3
    body = encoded([("Key", "k/${filename}"), ("x", "1"), ("x", "2")], file, "f.txt") + b"below"
    form = forms.Form(FORM)
    got = b"".join(form.feed(body[start : start + size]) for start in range(0, len(body), size))
    form.check_ended()
    assert (form.fields, got) == ({"key": "k/f.txt", "x": "1,2"}, file)


def test_names_of_files_as_other_clients_write_them() -> None:
    for disposition, name in (
        ("form-data; name=file; filename=plain", "plain"),
        ('form-data; filename="a/b/c d"; name="file"', "c d"),
        ("form-data; name=\"file\"; filename*=utf-8''%C3%BC", "ü"),
        ('form-data; name="file"', ""),
    ):
        form = forms.Form(FORM)
        form.feed(b'--edge\r\nContent-Disposition: form-data; name="key"\r\n\r\n${filename}\r\n')
        form.feed(f"--edge\r\nContent-Disposition: {disposition}\r\n\r\n".encode())
        assert form.fields == {"key": name}


def test_a_long_file_name_is_refused_before_it_is_put_into_the_fields() -> None:
    form = forms.Form(FORM)
    with pytest.raises(S3Error, match="too large"):
        form.feed(encoded({"key": "${filename}"}, b"x", "n" * 30_000))
    assert form.fields == {"key": "${filename}"}


def test_a_list_of_types_holds_if_each_does() -> None:
    fields = {"bucket": "b", "content-type": "image/png, image/jpeg"}
    conditions = [{"bucket": "b"}, ["starts-with", "$Content-Type", "image/"]]
    policy.Policy(policy_of(*conditions)).check(fields)
    with pytest.raises(S3Error, match="Policy Condition failed"):
        policy.Policy(policy_of(*conditions)).check({**fields, "content-type": "image/png,text/html"})


def test_escapes_that_json_has_not() -> None:
    text = r'{"expiration": "2999-01-01T00:00:00Z", "conditions": [["eq", "$a", "\$\v\\$\u00fc"]]}'
    policy.Policy(base64.b64encode(text.encode()).decode()).check({"a": "$\v\\$ü"})
