"""How long presigned addresses hold ("Authenticating Requests: Using Query Parameters" of the API Reference).

Signatures are not checked; their times are, so that code which meets an expired address can be tried.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping

from local.s3.errors import S3Error

_NEEDED = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
_SIGNS_OF_VERSION_4 = ("X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Expires")
_NEEDED_BY_VERSION_2 = ("Signature", "Expires", "AWSAccessKeyId")
_LONGEST = 7 * 24 * 3600  # seconds
_SKEW = 15 * 60  # seconds that a client's clock may be ahead


def check(query: Mapping[str, str], now: float) -> None:
    """S3Error if the address with this query has expired at `now`, or does not say when it will."""
    if any(name in query for name in _SIGNS_OF_VERSION_4):
        _check_version_4(query, now)
    elif any(name in query for name in _NEEDED_BY_VERSION_2):
        _check_version_2(query, now)


def _check_version_4(query: Mapping[str, str], now: float) -> None:
    if not all(name in query for name in _NEEDED):
        raise _malformed(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    seconds = query["X-Amz-Expires"]
    if not seconds.removeprefix("-").isdecimal() or len(seconds) > 18:
        raise _malformed("X-Amz-Expires should be a number")
    if int(seconds) < 0:
        raise _malformed("X-Amz-Expires must be non-negative")
    if int(seconds) > _LONGEST:
        raise _malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be "
            f"less than {_LONGEST} seconds"
        )
    try:
        signed = calendar.timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise _malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"") from None
    if signed > now + _SKEW:
        raise S3Error(403, "AccessDenied", "Request is not valid yet")
    _check_time(signed + int(seconds), now, {"X-Amz-Expires": seconds})


def _check_version_2(query: Mapping[str, str], now: float) -> None:
    if not all(name in query for name in _NEEDED_BY_VERSION_2):
        raise S3Error(
            403,
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        )
    expires = query["Expires"]
    if not expires.isdecimal() or len(expires) > 10:
        raise S3Error(403, "AccessDenied", f"Invalid date (should be seconds since epoch): {expires[:100]}")
    _check_time(int(expires), now, {})


def _check_time(end: int, now: float, members: Mapping[str, str]) -> None:
    if int(now) > end:
        times = {"Expires": _iso(end), "ServerTime": _iso(int(now))}
        raise S3Error(403, "AccessDenied", "Request has expired", None, **members, **times)


def _malformed(text: str) -> S3Error:
    return S3Error(400, "AuthorizationQueryParametersError", text)


def _iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
