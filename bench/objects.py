"""Writes objects all the time and remembers what must be there, for `bench.soak`."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError

BUCKET = "soak-objects"
_PART = 5 << 20  # bytes, the least that S3 takes
_KEYS = 400  # of a writer; then they are overwritten


class Writer:
    """`possible`: for each key the digests that its object may have, None for no object.

    One, as long as every request was answered. A request without an answer may have been done or not, so
    that another becomes possible until the next answer.
    """

    def __init__(self, s3: Any, number: int) -> None:
        self._s3 = s3
        self._pause = 0.0  # seconds before the next step: nobody answers
        self._prefix = f"writer-{number}/"
        self.possible: dict[str, set[str | None]] = {}
        self.done: Counter[str] = Counter()
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=BUCKET)

    def step(self) -> None:
        time.sleep(self._pause)
        self._pause = 0.0
        key = f"{self._prefix}{random.randrange(_KEYS)}"
        name = random.choices(("put", "copy", "delete", "parts"), (80, 10, 9, 1))[0]
        getattr(self, f"_{name}")(key)

    def _note(self, name: str, key: str, digests: set[str | None], call: Any, **request: Any) -> None:
        """Sends what gives `key` one of these digests."""
        try:
            call(Bucket=BUCKET, Key=key, **request)
        except BotoCoreError:
            self.possible[key] = self.possible.get(key, {None}) | digests
            self._unanswered()
        else:
            self.possible[key] = digests
            self.done[name] += 1

    def _unanswered(self) -> None:
        self.done["without an answer"] += 1
        self._pause = 0.2

    def _put(self, key: str) -> None:
        body = random.randbytes(random.choice((0, 10, 1000, 70_000, 1_500_000)))
        digest = hashlib.sha256(body).hexdigest()
        self._note("put", key, {digest}, self._s3.put_object, Body=body, Metadata={"digest": digest})

    def _copy(self, key: str) -> None:
        sources = [name for name, digests in self.possible.items() if None not in digests and name != key]
        if sources:
            source = random.choice(sources)
            copied = {"CopySource": f"{BUCKET}/{source}"}
            self._note("copy", key, set(self.possible[source]), self._s3.copy_object, **copied)

    def _delete(self, key: str) -> None:
        self._note("delete", key, {None}, self._s3.delete_object)

    def _parts(self, key: str) -> None:
        parts = [random.randbytes(_PART), random.randbytes(1000)]
        digest = hashlib.sha256(b"".join(parts)).hexdigest()
        where = {"Bucket": BUCKET, "Key": key}
        try:
            upload = self._s3.create_multipart_upload(**where, Metadata={"digest": digest})["UploadId"]
            sent = [
                {"PartNumber": number, "ETag": self._s3.upload_part(
                    **where, UploadId=upload, PartNumber=number, Body=part)["ETag"]}
                for number, part in enumerate(parts, 1)
            ]  # fmt: skip
        except BotoCoreError:
            self._unanswered()  # of an upload that is not completed nothing is seen
            return
        complete = {"UploadId": upload, "MultipartUpload": {"Parts": sent}}
        self._note("upload in parts", key, {digest}, self._s3.complete_multipart_upload, **complete)

    def problems(self) -> Iterator[str]:
        """Objects that are not what they must be, or not what is said of them."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=self._prefix)
        listed = {item["Key"] for page in pages for item in page.get("Contents", [])}
        for key, digests in self.possible.items():
            digest = said = None
            with contextlib.suppress(self._s3.exceptions.NoSuchKey):
                got = self._s3.get_object(Bucket=BUCKET, Key=key)
                digest, said = hashlib.sha256(got["Body"].read()).hexdigest(), got["Metadata"].get("digest")
            if digest not in digests:
                yield f"{key} is {digest}, and must be one of {digests}"
            if said != digest:
                yield f"{key} has the metadata {said}, and is {digest}"
            if (key in listed) != (digest is not None):
                yield f"{key} is {'' if key in listed else 'not '}listed, and is {digest}"
        for key in listed - self.possible.keys():
            yield f"{key} was never written"
