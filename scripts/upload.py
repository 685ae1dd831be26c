"""Pictures to S3: only what is not there yet, and nothing of an older split left behind."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.errors import REFUSED, ByocError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS = 16
CHANNELS = ("train", "validation", "test")
# An object beside the channels, so that no job reads it: while it is there, they may hold two splits.
UNFINISHED = "upload-unfinished"
MD5 = "byoc-md5"  # of the content, in the metadata of objects whose ETag is not it
_SINGLE_PART = 5 * 1024**3  # S3's limit; one part, so that the ETag is the content's MD5


@dataclass(frozen=True)
class Uploaded:
    """What an upload did, in files."""

    sent: int
    unchanged: int
    removed: int
    bytes: int


def sync(
    s3: S3Client,
    bucket: str,
    prefix: str,
    files: Mapping[str, Path],
    progress: Callable[[int, int], None] | None = None,
    kms_key: str = "",
) -> Uploaded:
    """Make the channels below `prefix` in the bucket hold exactly `files` (key below the prefix → file).

    A file is left alone where size and MD5 agree with the object's, and the object is encrypted with a key of
    one's own if there is one. Other objects of the channels are deleted: a picture that moved from train to
    test must not stay in train. The channel `weights` is left alone where `files` has nothing for it: it may
    be somebody else's. Until all is done, the object UNFINISHED lies below the prefix; it stays where this is
    interrupted or fails.
    """
    from botocore.exceptions import ClientError

    prefix = prefix.strip("/") + "/"
    s3.put_object(Bucket=bucket, Key=prefix + UNFINISHED, Body=b"", **encryption(kms_key))
    there = _list(s3, bucket, prefix)
    sizes = send(s3, bucket, prefix, files, there, progress, kms_key)
    channels = {*CHANNELS, *(key.partition("/")[0] for key in files)}
    ours = tuple(f"{prefix}{channel}/" for channel in channels)
    stale = [key for key in there if key.startswith(ours) and key[len(prefix) :] not in files]
    for chunk in _chunks(iter(stale), 1000):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True})
    try:
        s3.delete_object(Bucket=bucket, Key=prefix + UNFINISHED)
    except ClientError as error:
        raise ByocError(
            f"All is sent, but s3://{bucket}/{prefix}{UNFINISHED} could not be deleted: {error}",
            "Allow s3:DeleteObject there, or have it deleted: until then nothing is trained.",
            code=REFUSED,
        ) from error
    return Uploaded(len(sizes), len(files) - len(sizes), len(stale), sum(sizes))


def send(
    s3: S3Client,
    bucket: str,
    prefix: str,
    files: Mapping[str, Path],
    there: Mapping[str, tuple[int, str]],
    progress: Callable[[int, int], None] | None = None,
    kms_key: str = "",
) -> list[int]:
    """Send files (key below the prefix → file), several at a time; the sizes of those that were sent.

    Args:
        prefix: ends with a slash.
        there: size and MD5 of the objects that exist, by key; the same file is not sent again.
    """
    sizes: list[int] = []
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        jobs = {
            pool.submit(_send, s3, bucket, prefix + key, path, there.get(prefix + key), kms_key): key
            for key, path in files.items()
        }
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                size = job.result()
                if size is not None:
                    sizes.append(size)
                if progress:
                    progress(done, len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sizes


def _list(s3: S3Client, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {
        item["Key"]: (item["Size"], item["ETag"].strip('"'))
        for page in pages
        for item in page.get("Contents", [])
    }


def encryption(kms_key: str) -> Any:
    """Members of PutObject."""
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}


def _send(
    s3: S3Client, bucket: str, key: str, path: Path, there: tuple[int, str] | None, kms_key: str
) -> int | None:
    """Send one file; returns its bytes, or None where the object is the same already."""
    size = path.stat().st_size
    if size > _SINGLE_PART:
        raise ByocError(f"{path} is larger than 5 GB.", "S3 takes no larger file in one piece.")
    content = path.read_bytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if there == (size, digest) and not kms_key:
        return None
    # An ETag that is the MD5 is of an object that was not encrypted so; of one that is, it says nothing.
    if (
        kms_key
        and there
        and there[0] == size
        and there[1] != digest
        and _is_same(s3.head_object(Bucket=bucket, Key=key), digest, kms_key)
    ):
        return None
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    encrypted = {"Metadata": {MD5: digest}, **encryption(kms_key)} if kms_key else {}
    s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=kind, **encrypted)
    return size


def _is_same(head: Mapping[str, Any], digest: str, kms_key: str) -> bool:
    """Whether an object has that content and is encrypted with that key; an alias says not with which."""
    used = str(head.get("SSEKMSKeyId", ""))
    encrypted = "alias/" in kms_key or not used or used.rpartition("/")[2] == kms_key.rpartition("/")[2]
    return head["Metadata"].get(MD5) == digest and encrypted


def md5_of(path: Path) -> str:
    """What S3 calls the ETag of the file, had it been sent in one part and not encrypted with KMS."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _chunks(items: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(items, size)):
        yield chunk
