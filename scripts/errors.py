"""What went wrong, in the user's words: every error that `byoc` shows is one sentence and a remedy.

Exit codes are part of the interface:

    0  done
    1  a job, an endpoint or an expectation failed
    2  wrong input: a setting, a hyperparameter, a data set, an argument
    3  AWS refused: credentials, permissions, quotas
    4  AWS, or the local SageMaker, does not answer
    5  something named does not exist
    130  interrupted with Ctrl-C
"""

from __future__ import annotations

import contextlib
import errno
import json
from typing import Final

FAILED: Final = 1
BAD_INPUT: Final = 2
REFUSED: Final = 3
UNREACHABLE: Final = 4
NOT_FOUND: Final = 5
INTERRUPTED: Final = 130


class ByocError(Exception):
    """Something that the user can cause, with what to do about it."""

    def __init__(self, message: str, remedy: str = "", *, code: int = BAD_INPUT, kind: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
        self.kind = kind or type(self).__name__

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


# AWS error code → (exit code, remedy). Codes come from the services' own models.
_REMEDIES: Final[dict[str, tuple[int, str]]] = {
    "ExpiredToken": (REFUSED, "Renew the credentials: `aws sso login`, or fetch new temporary ones."),
    "ExpiredTokenException": (
        REFUSED,
        "Renew the credentials: `aws sso login`, or fetch new temporary ones.",
    ),
    "InvalidClientTokenId": (REFUSED, "The access key is unknown to AWS: check the profile and the region."),
    "UnrecognizedClientException": (REFUSED, "The access key is unknown to AWS: check profile and region."),
    "SignatureDoesNotMatch": (
        REFUSED,
        "The secret key does not belong to the access key: check the profile.",
    ),
    "RequestTimeTooSkewed": (REFUSED, "Set this machine's clock: AWS refuses requests that are minutes off."),
    "ResourceInUse": (FAILED, "Choose another name, or delete the one that exists (`byoc jobs` lists them)."),
    "ConflictException": (FAILED, "Something else is changing it just now: try again in a moment."),
    "ThrottlingException": (UNREACHABLE, "AWS asks to go slower: try again in a minute."),
    "Throttling": (UNREACHABLE, "AWS asks to go slower: try again in a minute."),
    "SlowDown": (UNREACHABLE, "S3 asks to go slower: try again in a minute."),
    "NoSuchBucket": (NOT_FOUND, "`byoc upload` creates the bucket; or set aws.bucket in byoc.toml."),
    "NoSuchKey": (NOT_FOUND, "Check the address; `byoc upload` puts the data set in place."),
    "NoSuchEntity": (NOT_FOUND, "`byoc doctor` says how to create what is missing."),
    "ResourceNotFound": (NOT_FOUND, "`byoc jobs` lists what there is."),
    "ResourceNotFoundException": (NOT_FOUND, "`byoc jobs` lists what there is."),
    "ModelNotReadyException": (FAILED, "The model is still being loaded: try again in a moment."),
    "InsufficientCapacityException": (FAILED, "AWS has no such machine free now: try later or another type."),
    "BucketAlreadyExists": (REFUSED, "The bucket belongs to another account: set aws.bucket in byoc.toml."),
}


def translate(error: BaseException) -> ByocError | None:
    """The readable form of an exception that boto3 or the operating system raised; None for a bug of ours."""
    if isinstance(error, ByocError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ByocError(
            f"No space left on the device{f' for {error.filename}' if error.filename else ''}.",
            "Free some space (`df -h .` shows how much there is) and run the command again.",
            code=FAILED,
            kind="DiskFull",
        )
    from botocore import exceptions as aws  # here, because importing botocore costs 0.2 s

    if isinstance(error, aws.ClientError):
        return _from_answer(error)
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
        return ByocError(
            "No AWS credentials were found.",
            "Run `aws configure` or `aws sso login`, or set AWS_PROFILE. `byoc local up` needs none.",
            code=REFUSED,
            kind="NoCredentials",
        )
    if isinstance(error, aws.ProfileNotFound):
        return ByocError(
            f"{error}.", "`aws configure list-profiles` shows the profiles there are.", code=REFUSED
        )
    if isinstance(error, aws.SSOTokenLoadError | aws.UnauthorizedSSOTokenError | aws.TokenRetrievalError):
        return ByocError("The AWS SSO session is over.", "Renew it with `aws sso login`.", code=REFUSED)
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError):
        return _unreachable(str(error.kwargs.get("endpoint_url", "")), str(error))
    if isinstance(error, aws.ParamValidationError):
        return ByocError(f"A request would not be valid: {error}.", "Check the settings in byoc.toml.")
    if isinstance(error, aws.BotoCoreError):
        return ByocError(
            f"{error}.", "`byoc doctor` checks credentials, role, bucket and images.", code=FAILED
        )
    if isinstance(error, OSError) and error.filename:
        return ByocError(f"{error.filename}: {error.strerror}.", "", code=FAILED, kind=type(error).__name__)
    return None


def _from_answer(error: Exception) -> ByocError:
    answer: dict[str, dict[str, str]] = getattr(error, "response", {})
    code = answer.get("Error", {}).get("Code", "")
    text = answer.get("Error", {}).get("Message", "") or str(error)
    operation = getattr(error, "operation_name", "the request")
    if code == "ValidationException" and "could not find" in text.lower():
        return ByocError(_sentence(text), "`byoc jobs` lists what there is.", code=NOT_FOUND, kind=code)
    if "AccessDenied" in code or code in {"UnauthorizedOperation", "403", "Forbidden"}:
        return ByocError(
            f"AWS does not allow {operation}: {_sentence(text)}",
            "Ask for that permission, or use another profile (aws.profile); `byoc doctor` checks the role.",
            code=REFUSED,
            kind=code,
        )
    if code == "ResourceLimitExceeded":
        return ByocError(
            _sentence(text),
            "Ask for a higher quota (AWS console, Service Quotas), or choose another instance type.",
            code=REFUSED,
            kind=code,
        )
    if code == "ModelError":
        status = str(getattr(error, "response", {}).get("OriginalStatusCode", ""))
        original = str(getattr(error, "response", {}).get("OriginalMessage", "")) or text
        with contextlib.suppress(ValueError, TypeError, KeyError):  # our own image's errors are JSON
            original = str(json.loads(original)["message"])
        return ByocError(
            f"The model refused the request{f' with {status}' if status else ''}: {_sentence(original)}",
            "" if status.startswith("4") else "`byoc logs ENDPOINT` shows what the container says.",
            code=BAD_INPUT if status.startswith("4") else FAILED,
            kind=code,
        )
    exit_code, remedy = _REMEDIES.get(code, (FAILED, ""))
    if code in {"404", "NotFound"}:
        exit_code, remedy = NOT_FOUND, "Check the name or the address."
    return ByocError(
        f"{operation}: {_sentence(text)}", remedy, code=exit_code, kind=code or type(error).__name__
    )


def _unreachable(url: str, text: str) -> ByocError:
    where = url or "the AWS endpoint"
    if any(host in (url or text) for host in ("127.0.0.1", "localhost", "[::1]")):
        return ByocError(
            f"Nothing answers at {where}.",
            "Is the local SageMaker up? Start it with `byoc local up`.",
            code=UNREACHABLE,
            kind="Unreachable",
        )
    return ByocError(
        f"{where} does not answer ({text}).",
        "Check the network, the proxy and the region.",
        code=UNREACHABLE,
        kind="Unreachable",
    )


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?", "`")) else text + "."
