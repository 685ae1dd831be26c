"""Pictures that a request names by an S3 URI: only under the prefixes that BYOC_S3_PREFIXES allows."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any

from contract import s3
from serve.errors import RequestError, ServeError
from serve.settings import Limits

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Object:
    """One that requests may name. It is read when its turn has come: a list of many is never in memory."""

    bucket: str
    key: str

    def read(self, limits: Limits) -> bytes:
        """The object's bytes. Raises RequestError: 413 if it is too large, 422 if it cannot be had."""
        try:
            answer = client().get_object(Bucket=self.bucket, Key=self.key)
            if answer["ContentLength"] > limits.bytes:
                raise RequestError(
                    413, f"the object has {answer['ContentLength']} bytes; the limit is {limits.bytes}"
                )
            data: bytes = answer["Body"].read(limits.bytes)
        except RequestError:
            raise
        except Exception as error:  # botocore's errors have two bases, and the transport's more
            response = getattr(error, "response", {})
            reason = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
            if reason is None:  # nothing that S3 said: no credentials, no route
                log.error("S3 cannot be read: %s", error)
            raise RequestError(
                422, f"the object cannot be read from S3 ({reason or type(error).__name__})"
            ) from error
        if not data:
            raise RequestError(422, "the object in S3 is empty")
        return data


def find(uri: str, where: str, limits: Limits) -> Object:
    """What a request names. `where`: the picture's place in it, for messages.

    Raises:
        RequestError: 400 if this is not allowed.
    """
    if not any(uri.startswith(prefix) for prefix in limits.s3):
        reason = (
            "this endpoint reads some prefixes only" if limits.s3 else "this endpoint reads nothing from S3"
        )
        raise RequestError(400, f"{where} is an S3 URI that is not allowed: {reason} (BYOC_S3_PREFIXES)")
    bucket, key = s3.split(uri)
    # S3 takes a key as it is, but a proxy or another store may walk such a path out of the prefix.
    if not key or any(part in (".", "..") for part in key.split("/")):
        raise RequestError(400, f"{where} is an S3 URI that names no object")
    return Object(bucket, key)


def check(limits: Limits) -> None:
    """At start. Raises ServeError if S3 is wanted and cannot be had."""
    if limits.s3:
        try:
            client()
        except ImportError as error:
            raise ServeError(
                "BYOC_S3_PREFIXES is set, and the package boto3 is not installed here"
            ) from error
        except Exception as error:
            raise ServeError(f"BYOC_S3_PREFIXES is set, and S3 cannot be used: {error}") from error


@functools.cache
def client() -> Any:
    """One for all requests; late, because few endpoints need it."""
    import boto3
    from botocore.config import Config

    patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    return boto3.client("s3", config=patience)
