"""Interrupts a spot job of the local SageMaker: AWS does so by itself, and has no operation for it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

from contract.errors import BAD_INPUT, NOT_FOUND, UNREACHABLE, ByocError

_PATIENCE = 30.0  # seconds; it answers before the job has ended


def interrupt(url: str, job: str, *, wait: float | None = None, grace: float | None = None) -> None:
    """Ask the local SageMaker at `url` to interrupt a training job.

    Args:
        wait: seconds until there is another machine; the service's default without.
        grace: seconds between SIGTERM and SIGKILL; SageMaker's without.

    Raises:
        ByocError: the job is none, runs on demand or has no machine now; or no local SageMaker answers.
    """
    named = {name: value for name, value in (("wait", wait), ("grace", grace)) if value is not None}
    address = f"{url.rstrip('/')}/_local/training-jobs/{urllib.parse.quote(job, safe='')}/interrupt"
    query = urllib.parse.urlencode(named)
    request = urllib.request.Request(f"{address}?{query}", method="POST")  # noqa: S310 - a loopback address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(request, timeout=_PATIENCE):
            return
    except urllib.error.HTTPError as error:
        raise _refused(error, job) from None
    except OSError:
        raise ByocError(
            f"No local SageMaker answers at {url}.",
            "Start it with `byoc local up`.",
            code=UNREACHABLE,
            kind="NotRunning",
        ) from None


def _refused(error: urllib.error.HTTPError, job: str) -> ByocError:
    with error:
        try:
            answer = json.load(error)
            kind, message = str(answer["__type"]), str(answer["message"])
        except (ValueError, KeyError, TypeError):
            kind, message = "", ""
    if kind == "ResourceNotFound":
        return ByocError(message, "`byoc jobs` lists them.", code=NOT_FOUND, kind=kind)
    if kind == "ValidationException":
        return ByocError(
            message,
            "A job of `byoc train --spot` can be interrupted while its status is Downloading or Training.",
            code=BAD_INPUT,
            kind=kind,
        )
    return ByocError(
        f"The service did not interrupt {job}: HTTP status {error.code}.",
        "If an earlier version of the local SageMaker runs: `byoc local down`, then `byoc local up`.",
        code=UNREACHABLE,
    )
