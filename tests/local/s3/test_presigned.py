from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.s3 import presigned

Service = Any  # conftest.Service
WHOLE = {
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": "a/20260101/us-east-1/s3/aws4_request",
    "X-Amz-Date": "20260101T000000Z",
    "X-Amz-Expires": "60",
    "X-Amz-SignedHeaders": "host",
    "X-Amz-Signature": "0",
}
MINUTE_LATER = 1767225660  # than the date


@pytest.mark.parametrize(
    ("signature", "more"), [("s3", set()), ("s3v4", {"X-Amz-Expires"})], ids=["version 2", "version 4"]
)
@pytest.mark.parametrize("operation", ["get_object", "put_object", "head_object", "list_objects_v2"])
def test_an_address_expires(
    service: Service, s3: Any, send: Any, signature: str, more: set[str], operation: str
) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"old")
    signer = service.client("s3", signature_version=signature)
    request = {"Bucket": "bucket"} | ({} if operation == "list_objects_v2" else {"Key": "k"})
    url = urlsplit(signer.generate_presigned_url(operation, request, ExpiresIn=60))
    method = {"put_object": "PUT", "head_object": "HEAD"}.get(operation, "GET")
    body = b"new" if method == "PUT" else None
    signed = time.time()
    service.now = signed + 50
    assert send(method, f"{url.path}?{url.query}", body).status == 200
    s3.put_object(Bucket="bucket", Key="k", Body=b"old")
    service.now = signed + 70
    answer = send(method, f"{url.path}?{url.query}", body)
    assert answer.status == 403
    if method != "HEAD":
        members = {child.tag: child.text for child in answer.xml}
        assert (members["Code"], members["Message"]) == ("AccessDenied", "Request has expired")
        assert members.keys() == {"Code", "Message", "Expires", "ServerTime", "RequestId"} | more
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"old"


def test_the_last_second_counts() -> None:
    presigned.check(WHOLE, MINUTE_LATER + 0.9)
    with pytest.raises(presigned.S3Error, match="Request has expired") as caught:
        presigned.check(WHOLE, MINUTE_LATER + 1)
    assert caught.value.members == {
        "X-Amz-Expires": "60",
        "Expires": "2026-01-01T00:01:00Z",
        "ServerTime": "2026-01-01T00:01:01Z",
    }


def test_an_address_of_a_clock_that_is_ahead_holds_for_a_quarter_of_an_hour() -> None:
    date = MINUTE_LATER - 60
    presigned.check(WHOLE, date - 900)
    with pytest.raises(presigned.S3Error, match="Request is not valid yet") as caught:
        presigned.check(WHOLE, date - 901)
    assert (caught.value.status, caught.value.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({name: None}, "requires the X-Amz-Algorithm, X-Amz-Credential") for name in WHOLE),
        ({"X-Amz-Expires": "604801"}, "must be less than a week"),
        ({"X-Amz-Expires": "-1"}, "must be non-negative"),
        ({"X-Amz-Expires": "soon"}, "should be a number"),
        ({"X-Amz-Expires": "9" * 5000}, "should be a number"),
        ({"X-Amz-Date": "2026-01-01"}, "must be in the ISO8601 Long Format"),
    ],
)
def test_an_address_says_when_it_expires(change: dict[str, Any], message: str) -> None:
    query = {name: value for name, value in {**WHOLE, **change}.items() if value is not None}
    with pytest.raises(presigned.S3Error, match=message) as caught:
        presigned.check(query, MINUTE_LATER)
    assert (caught.value.status, caught.value.code) == (400, "AuthorizationQueryParametersError")


def test_an_address_of_version_2_says_when_it_expires() -> None:
    query = {"AWSAccessKeyId": "a", "Signature": "0", "Expires": "1000"}
    presigned.check(query, 1000)
    for expires in ("999", "soon", "1e9", "9" * 11):
        with pytest.raises(presigned.S3Error) as caught:
            presigned.check({**query, "Expires": expires}, 1000)
        assert (caught.value.status, caught.value.code) == (403, "AccessDenied")
    with pytest.raises(presigned.S3Error, match="requires the Signature, Expires and AWSAccessKeyId"):
        presigned.check({"AWSAccessKeyId": "a", "Signature": "0"}, 1000)


def test_what_is_not_presigned_does_not_expire() -> None:
    presigned.check({"prefix": "a", "x-amz-meta-a": "1", "response-expires": "0"}, time.time())
