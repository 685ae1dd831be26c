"""How long a request is tried, by what it does. botocore's own retries end within 1.5 s, so they are off.

A request that asks, or that may be made twice, is sent again for a minute and a half: a job that runs for
hours is not lost sight of because AWS fails for one. One that creates something is sent again only where it
surely was not carried out; where its answer is lost, `create` looks for the thing by its name. An invocation
is not sent again after a timeout: the container may still be busy with the first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from contract.errors import UNREACHABLE, ByocError
from scripts.errors import translate

# Seconds before each further try. The short ones: while a service has not answered once, it is more likely
# that the address is wrong, the proxy or the network, than that it is about to get well.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
SHORT = (0.2, 0.5, 1.0, 2.0)
_ONCE = ("Create", "Update", "Invoke")
_UNAVAILABLE = frozenset({500, 502, 503, 504})
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceeded.Throttling", "RequestLimitExceeded",
        "RequestThrottled", "RequestThrottledException", "SlowDown", "Throttling", "ThrottlingException",
        "ThrottledException", "TooManyRequestsException",
    }
)  # fmt: skip
_SLOW_UPLOAD = "RequestTimeout"  # S3's, with status 400: what was sent did not arrive in time
_TAKEN = frozenset(
    {"ResourceInUse", "ResourceInUseException", "EntityAlreadyExists", "RepositoryAlreadyExistsException"}
)


class Patience:
    """botocore's `needs-retry` handler of one client: the seconds until the next try, or None for no more."""

    def __init__(self, *, loopback: bool) -> None:
        """`loopback`: what answers is on this machine, and is gone where it takes no connection."""
        self._loopback = loopback
        self._answered = False

    def __call__(
        self, *, response: Any, operation: Any, attempts: int, caught_exception: Any, **_: Any
    ) -> float | None:
        status, code = _outcome(response)
        if response is not None and status < 500:
            self._answered = True
        unsent = is_unsent(caught_exception)
        again = (
            unsent
            or status == 429
            or code in _THROTTLED
            or code == _SLOW_UPLOAD
            or (not operation.name.startswith(_ONCE) and is_lost(caught_exception, status))
            or (operation.name.startswith("Invoke") and status in {500, 503})
        )
        if not again:
            return None
        pauses = PAUSES if self._answered and not (unsent and self._loopback) else SHORT
        return pauses[attempts - 1] * random.uniform(0.8, 1.2) if attempts <= len(pauses) else None


def _outcome(response: Any) -> tuple[int, str]:
    if response is None:
        return 0, ""
    http, parsed = response
    return http.status_code, str(parsed.get("Error", {}).get("Code", ""))


def is_unsent(error: BaseException | None) -> bool:
    """Whether there was no connection, so that nothing can have been carried out."""
    from botocore import exceptions as aws

    never = (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError)
    return isinstance(error, never)


def is_lost(error: BaseException | None, status: int = 0) -> bool:
    """Whether a request may have been carried out though no answer to it came."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status in _UNAVAILABLE
    if isinstance(error, aws.SSLError) or is_unsent(error):
        return False
    return isinstance(error, aws.ConnectionError | aws.HTTPClientError) or status in _UNAVAILABLE


def create(
    send: Callable[[], object],
    find: Callable[[], Mapping[str, Any] | None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Send a request that creates or changes something, and make sure of its outcome.

    Args:
        find: describes what it makes; None where that does not exist (yet).

    Raises:
        ByocError: whether it was made could not be found out.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    begin, pauses, uncertain = time.monotonic(), list(SHORT), False
    while True:
        try:
            send()
            return
        except (ClientError, BotoCoreError) as error:
            if not is_lost(error) and not (uncertain and _is_taken(error)):
                raise
            uncertain = True
            try:
                made = find()
            except (ClientError, BotoCoreError):
                raise _unknown(error) from None
            if made and _is_new(made, time.monotonic() - begin):
                return
            if not pauses or made:
                raise
            pause(pauses.pop(0))


def _unknown(error: Exception) -> ByocError:
    meaning = translate(error)
    return ByocError(
        f"{meaning.message if meaning else error} It may have been made all the same.",
        "`byoc jobs` shows what runs, and costs money; `byoc stop` and `byoc delete` end it.",
        code=meaning.code if meaning else UNREACHABLE,
        kind=meaning.kind if meaning else "UnknownOutcome",
    )


def _is_taken(error: Exception) -> bool:
    answer = getattr(error, "response", {}).get("Error", {})
    return answer.get("Code") in _TAKEN or "already exist" in str(answer.get("Message", "")).lower()


def _is_new(described: Mapping[str, Any], seconds: float) -> bool:
    """Whether something was made within the last `seconds`, by the clock of the service that describes it."""
    date = described.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    made = described.get("LastModifiedTime") or described.get("CreationTime")
    if not date or not made:
        return True
    return bool((parsedate_to_datetime(date) - made).total_seconds() <= seconds + 60)
