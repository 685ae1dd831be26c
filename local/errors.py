"""Errors that leave the service as AWS errors: a code, a sentence, an HTTP status.

Raise them anywhere below the protocol layer; `local.protocol` and `local.invoke` turn them into
the JSON that botocore parses. The codes and statuses are those that SageMaker declares in botocore's
service model, plus the ones that AWS sends undeclared (ValidationException, ThrottlingException, …).
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

DISK_FULL = (
    "The disk that holds the local SageMaker's home folder is full: free some space, or start the service "
    "with another --home."
)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of SQLite or of the operating system says that there is no space left."""
    if isinstance(error, sqlite3.OperationalError):
        return "full" in str(error)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class AwsError(Exception):
    """An error with AWS's `code`, a readable `message`, the HTTP `status` and further body members."""

    code = "InternalFailure"
    status = 500

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members = members


class ValidationException(AwsError):
    """Bad input, or (as on AWS) a resource that Describe and Delete do not find."""

    code = "ValidationException"
    status = 400


class ResourceNotFound(AwsError):
    """Declared by Stop* and by other operations that name a job which is not there."""

    code = "ResourceNotFound"
    status = 400


class ResourceInUse(AwsError):
    """The name is taken, or something else still needs the resource."""

    code = "ResourceInUse"
    status = 400


class ResourceLimitExceeded(AwsError):
    """More than this account (here: this machine) may have."""

    code = "ResourceLimitExceeded"
    status = 400


class ResourceNotFoundException(AwsError):
    """CloudWatch Logs' word for a group or a stream that does not exist."""

    code = "ResourceNotFoundException"
    status = 400


class InvalidParameterException(AwsError):
    """CloudWatch Logs' word for bad input."""

    code = "InvalidParameterException"
    status = 400


class InvalidParameterValue(AwsError):
    """CloudWatch's word for a value that it does not take."""

    code = "InvalidParameterValue"
    status = 400


class InvalidParameterCombination(AwsError):
    """CloudWatch's word for values that do not go together."""

    code = "InvalidParameterCombination"
    status = 400


class InvalidNextToken(AwsError):
    """CloudWatch's word for a token of another request."""

    code = "InvalidNextToken"
    status = 400


class UnknownOperationException(AwsError):
    """An operation that this service does not have. A 4xx, so that clients do not retry it."""

    code = "UnknownOperationException"
    status = 400


class SerializationException(AwsError):
    """The body is not the JSON object that the protocol asks for."""

    code = "SerializationException"
    status = 400


class AccessDenied(AwsError):
    """Not a request of an AWS client on this machine."""

    code = "AccessDeniedException"
    status = 403


class RequestTooLarge(AwsError):
    """A control-plane body beyond any that AWS takes."""

    code = "RequestEntityTooLargeException"
    status = 413


class InternalFailure(AwsError):
    """The local service itself failed; the message says what to look at."""

    code = "InternalFailure"
    status = 500


class InsufficientStorage(AwsError):
    """The disk that holds the home folder is full.

    A 4xx on purpose: clients retry a 5xx, and a full disk does not get better by that.
    """

    code = "InsufficientStorage"
    status = 400


# --- SageMaker Runtime -------------------------------------------------------------------------


class ValidationError(AwsError):
    """Runtime: bad input, or an endpoint that does not exist."""

    code = "ValidationError"
    status = 400


class ModelError(AwsError):
    """Runtime: the container answered with something else than 2xx, or not at all."""

    code = "ModelError"
    status = 424

    def __init__(
        self, message: str, *, original_status: int, original_message: str, log_stream_arn: str = ""
    ) -> None:
        super().__init__(
            message,
            OriginalStatusCode=original_status,
            OriginalMessage=original_message,
            LogStreamArn=log_stream_arn,
        )


class ServiceUnavailable(AwsError):
    """Runtime: the endpoint cannot take the request now; clients may retry."""

    code = "ServiceUnavailable"
    status = 503
