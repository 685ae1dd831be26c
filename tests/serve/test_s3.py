"""Pictures that requests name by S3 URIs, read from a real server."""

from __future__ import annotations

import json
from collections.abc import Callable

import boto3
import pytest
from moto.server import ThreadedMotoServer

from .conftest import Server, encode, picture

pytestmark = pytest.mark.slow


def test_objects_under_the_allowed_prefix_are_classified(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    store.start()
    try:
        address = "http://{}:{}".format(*store.get_host_and_port())
        account = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in account.items():
            monkeypatch.setenv(name, value)
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="mine")
        s3.put_object(Bucket="mine", Key="in/a picture.png", Body=encode(picture(1)))
        s3.put_object(Bucket="mine", Key="in/large", Body=bytes(7_000_000))
        s3.put_object(Bucket="mine", Key="secret.png", Body=encode(picture(2)))
        server = start(BYOC_S3_PREFIXES="s3://mine/in/")
        server.wait_until_healthy()

        def ask(*keys: str) -> tuple[int, str]:
            body = json.dumps({"images": [f"s3://mine/{key}" for key in keys]}).encode()
            answer = server.invoke(body, "application/json")
            return answer.status, answer.body.decode()

        status, found = ask("in/a picture.png")
        assert status == 200, found
        assert json.loads(found) == [json.loads(server.invoke(encode(picture(1))).body)]
        for keys, expected, says in [
            (
                ["in/a picture.png", "in/absent.png"],
                422,
                "picture 1: the object cannot be read from S3 (NoSuchKey)",
            ),
            (["in/large"], 413, "picture 0: the object has 7000000 bytes"),
            (["secret.png"], 400, "not allowed"),
            (["in/../secret.png"], 400, "names no object"),
        ]:
            status, found = ask(*keys)
            assert (status, says in found) == (expected, True), found
        assert server.log.count("\n") == 1, server.log
    finally:
        store.stop()
