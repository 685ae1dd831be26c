"""A bucket, and S3 as a client meets it: through boto3, and as bare HTTP."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pytest

Service = Any  # tests/local/conftest.Service


@dataclass
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    @property
    def code(self) -> str:
        """Of an error."""
        return self.xml.findtext("Code", "")


@pytest.fixture
def s3(service: Service) -> Any:
    """A client; the bucket `bucket` is there."""
    client = service.client("s3")
    client.create_bucket(Bucket="bucket")
    return client


@pytest.fixture
def read(s3: Any) -> Callable[..., bytes]:
    def read(key: str, **request: Any) -> bytes:
        return bytes(s3.get_object(Bucket="bucket", Key=key, **request)["Body"].read())

    return read


@pytest.fixture
def keys(s3: Any) -> Callable[..., list[str]]:
    def keys(**request: Any) -> list[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket", **request)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    return keys


@pytest.fixture
def send(service: Service, s3: Any) -> Iterator[Callable[..., Answered]]:
    """Sends a request without a client's help; headers are lower-case in what comes back."""
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=20)

    def send(method: str, path: str, body: Any = None, **headers: str) -> Answered:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return Answered(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )

    yield send
    connection.close()
