"""S3 of a running local SageMaker under the clients that people use for it, none of which knows of us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from scripts import localservice

if TYPE_CHECKING:
    from conftest import Service

Run = Callable[[str], None]

# What each program is tried with; other versions may do as well.
PACKAGES = ("s3fs==2026.9.0", "obstore==0.12.1", "s3torchconnectorclient==1.5.0", "minio==7.2.20")

S3FS = """
import os, s3fs
fs = s3fs.S3FileSystem()
fs.mkdir("fs-bucket")
with fs.open("fs-bucket/a/b.txt", "wb") as file:
    file.write(b"hello")
assert fs.cat("fs-bucket/a/b.txt") == b"hello"
assert fs.cat_file("fs-bucket/a/b.txt", start=1, end=3) == b"el"
data = os.urandom(12 << 20)
with fs.open("fs-bucket/large", "wb", block_size=5 << 20) as file:
    file.write(data)
fs.copy("fs-bucket/large", "fs-bucket/copy")
fs.mv("fs-bucket/copy", "fs-bucket/c/moved")
assert fs.cat("fs-bucket/c/moved") == data
fs.touch("fs-bucket/new/")
assert fs.find("fs-bucket") == ["fs-bucket/a/b.txt", "fs-bucket/c/moved", "fs-bucket/large", "fs-bucket/new/"]
assert fs.ls("fs-bucket") == ["fs-bucket/a", "fs-bucket/c", "fs-bucket/large", "fs-bucket/new"]
assert fs.isdir("fs-bucket/c") and not fs.exists("fs-bucket/none")
fs.setxattr("fs-bucket/a/b.txt", x="1")
assert fs.getxattr("fs-bucket/a/b.txt", "x") == "1"
fs.put_tags("fs-bucket/a/b.txt", {"t": "1"})
assert fs.get_tags("fs-bucket/a/b.txt") == {"t": "1"}
with fs.open("fs-bucket/a/b.txt", "ab") as file:
    file.write(b" and more")
assert fs.cat("fs-bucket/a/b.txt") == b"hello and more"
fs.rm("fs-bucket", recursive=True)
assert not fs.exists("fs-bucket")
"""
OBSTORE = """
import os, obstore
from obstore.store import S3Store
store = S3Store("bucket", prefix="obstore", endpoint=os.environ["AWS_ENDPOINT_URL"],
                client_options={"allow_http": True})
first = obstore.put(store, "a/b", b"hello", attributes={"Content-Type": "text/plain"})
got = obstore.get(store, "a/b")
assert (got.bytes(), got.attributes["Content-Type"]) == (b"hello", "text/plain")
assert obstore.get_range(store, "a/b", start=1, end=3) == b"el"
assert obstore.get(store, "a/b", options={"range": {"suffix": 2}}).bytes() == b"lo"
data = os.urandom(12 << 20)
obstore.put(store, "large", data, use_multipart=True, chunk_size=5 << 20)
assert obstore.head(store, "large")["size"] == len(data)
assert obstore.get(store, "large").bytes() == data
for mode, error in [("create", obstore.exceptions.AlreadyExistsError),
                    ({"e_tag": "other"}, obstore.exceptions.PreconditionError)]:
    try:
        obstore.put(store, "a/b", b"x", mode=mode)
    except error:
        pass
    else:
        raise AssertionError(mode)
obstore.put(store, "a/b", b"new", mode={"e_tag": first["e_tag"]})
obstore.copy(store, "a/b", "a/c")
obstore.rename(store, "a/c", "d/e")
assert [item["path"] for page in obstore.list(store) for item in page] == ["a/b", "d/e", "large"]
assert obstore.list_with_delimiter(store)["common_prefixes"] == ["a", "d"]
obstore.delete(store, ["a/b", "large", "d/e"])
assert not [page for page in obstore.list(store)]
"""
AWS_RUNTIME = """
import os
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client, S3Exception
client = MountpointS3Client(region="us-east-1", user_agent_prefix="test", throughput_target_gbps=1.0,
                            part_size=5 << 20, endpoint=os.environ["AWS_ENDPOINT_URL"], force_path_style=True)
data = os.urandom(12 << 20)
for key, body in (("crt/small", b"hello"), ("crt/large", data)):
    writer = client.put_object("bucket", key)
    writer.write(body)
    writer.close()
    assert b"".join(client.get_object("bucket", key)) == body
assert b"".join(client.get_object("bucket", "crt/large", start=5, end=11)) == data[5:11]
client.copy_object("bucket", "crt/small", "bucket", "crt/copy")
client.delete_object("bucket", "crt/small")
listed = [item.key for page in client.list_objects("bucket", prefix="crt/") for item in page.object_info]
assert listed == ["crt/copy", "crt/large"]
try:
    client.head_object("bucket", "crt/none")
except S3Exception:
    pass
else:
    raise AssertionError
"""
MINIO = """
import io, os, urllib.request
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource, Tags
from minio.deleteobjects import DeleteObject
host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
client = Minio(host, access_key="any", secret_key="any", secure=False, region="us-east-1")
client.make_bucket("minio-bucket")
assert client.bucket_exists("minio-bucket") and not client.bucket_exists("minio-none")
client.put_object("minio-bucket", "a/b", io.BytesIO(b"hello"), 5, content_type="text/plain",
                  metadata={"X": "1"})
data = os.urandom(12 << 20)
client.put_object("minio-bucket", "stream", io.BytesIO(data), -1, part_size=5 << 20)
status = client.stat_object("minio-bucket", "a/b")
assert (status.content_type, status.metadata["x-amz-meta-x"]) == ("text/plain", "1")
client.compose_object("minio-bucket", "joined",
                      [ComposeSource("minio-bucket", "stream"), ComposeSource("minio-bucket", "a/b")])
with client.get_object("minio-bucket", "joined") as answer:
    assert answer.read() == data + b"hello"
client.copy_object("minio-bucket", "copy", CopySource("minio-bucket", "a/b"))
tags = Tags(for_object=True)
tags["t"] = "1"
client.set_object_tags("minio-bucket", "copy", tags)
assert client.get_object_tags("minio-bucket", "copy") == {"t": "1"}
with urllib.request.urlopen(client.presigned_get_object("minio-bucket", "a/b")) as answer:
    assert answer.read() == b"hello"
listed = [item.object_name for item in client.list_objects("minio-bucket", recursive=True)]
assert listed == ["a/b", "copy", "joined", "stream"]
assert not list(client.remove_objects("minio-bucket", map(DeleteObject, listed)))
client.remove_bucket("minio-bucket")
"""


@pytest.fixture(scope="module")
def run(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program in an environment of its own, which has none of our packages."""
    folder = tmp_path_factory.mktemp("clients")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", *PACKAGES], check=True)

    def run(program: str) -> None:
        result = subprocess.run(
            [folder / "bin/python", "-c", program],
            env={**service.environment, "AWS_REGION": "us-east-1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [S3FS, OBSTORE, AWS_RUNTIME, MINIO], ids=["s3fs", "obstore", "crt", "minio"]
)
def test_a_client_of_s3(run: Run, program: str) -> None:
    run(program)


def aws(service: Service, *arguments: str | Path) -> str:
    result = subprocess.run(
        [Path(sys.executable).with_name("aws"), "s3", *arguments],
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_command_line_copies_moves_and_synchronises(service: Service, tmp_path: Path) -> None:
    """20 MB are copied in parts, inside S3 too."""
    large = os.urandom(20 << 20)
    (tmp_path / "from/sub").mkdir(parents=True)
    (tmp_path / "from/large").write_bytes(large)
    for name in ("rose-hip", "rose", "sub/ü b"):
        (tmp_path / "from" / name).write_text(name)
    for path in (tmp_path / "from").rglob("*"):
        os.utime(path, (1e9, 1e9))  # S3's times are whole seconds: a file of this second would be newer
    aws(service, "mb", "s3://cli-bucket")
    aws(service, "sync", tmp_path / "from", "s3://cli-bucket/data")
    assert aws(service, "sync", tmp_path / "from", "s3://cli-bucket/data") == ""
    aws(service, "cp", "s3://cli-bucket/data/large", "s3://cli-bucket/copy")
    aws(service, "mv", "s3://cli-bucket/copy", "s3://cli-bucket/moved")
    aws(service, "cp", "s3://cli-bucket/moved", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large
    listed = [
        line.split(maxsplit=3)[2:]
        for line in aws(service, "ls", "--recursive", "s3://cli-bucket").splitlines()
    ]
    assert listed == [
        [str(20 << 20), "data/large"],
        ["4", "data/rose"],
        ["8", "data/rose-hip"],
        ["8", "data/sub/ü b"],
        [str(20 << 20), "moved"],
    ]
    assert "PRE sub/" in aws(service, "ls", "s3://cli-bucket/data/")
    (tmp_path / "from/rose").unlink()
    aws(service, "sync", "--delete", tmp_path / "from", "s3://cli-bucket/data")
    aws(service, "sync", "s3://cli-bucket/data", tmp_path / "to")
    assert sorted(path.name for path in (tmp_path / "to").rglob("*") if path.is_file()) == [
        "large",
        "rose-hip",
        "ü b",
    ]
    aws(service, "rm", "--recursive", "s3://cli-bucket/data")
    aws(service, "rb", "--force", "s3://cli-bucket")


def test_what_was_acknowledged_outlives_a_kill(start: Callable[[Path | None], Service]) -> None:
    first = start(None)
    s3 = first.client("s3")
    s3.create_bucket(Bucket="bucket")
    upload = s3.create_multipart_upload(Bucket="bucket", Key="large")["UploadId"]
    part = {"Bucket": "bucket", "Key": "large", "UploadId": upload}
    etag = s3.upload_part(**part, PartNumber=1, Body=b"x" * (6 << 20))["ETag"]
    s3.put_object(Bucket="bucket", Key="k", Body=b"hello", ContentType="text/css", Metadata={"a": "1"})
    with urllib.request.urlopen(f"{first.url}/health") as answer:
        pid = json.load(answer)["pid"]
    [process] = [each for each in localservice._STARTED if each.pid == pid]
    process.kill()
    process.wait()
    s3 = start(first.home).client("s3")
    got = s3.get_object(Bucket="bucket", Key="k")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"hello", "text/css", {"a": "1"})
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert s3.head_object(Bucket="bucket", Key="large")["ContentLength"] == 6 << 20


def test_boto3s_resources(service: Service) -> None:
    s3 = boto3.resource("s3", **{
        "endpoint_url": service.url, "region_name": "us-east-1",
        "aws_access_key_id": "any", "aws_secret_access_key": "any",
    })  # fmt: skip
    bucket = s3.Bucket("resource-bucket")
    assert bucket.creation_date is None
    bucket.create()
    bucket.put_object(Key="folder/")
    item = bucket.put_object(Key="folder/a", Body=b"x", Metadata={"m": "1"})
    assert [each.key for each in bucket.objects.filter(Prefix="folder/")] == ["folder/", "folder/a"]
    assert (s3.Object("resource-bucket", "folder/a").metadata, item.e_tag) == ({"m": "1"}, item.e_tag)
    bucket.copy({"Bucket": "resource-bucket", "Key": "folder/a"}, "b")
    assert [each.key for each in bucket.object_versions.all()] == ["b", "folder/", "folder/a"]
    assert s3.BucketVersioning("resource-bucket").status is None
    bucket.object_versions.delete()
    bucket.delete()
    bucket.wait_until_not_exists()
