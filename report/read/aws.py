"""The clients that everything is read with, and what an unknown name is to the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from contract.errors import NOT_FOUND, ByocError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef
    from mypy_boto3_sagemaker import SageMakerClient

# What SageMaker says, with a ValidationException, of a name that is unknown or too long to be one.
_UNKNOWN_NAME: Final = re.compile(
    r"not (find|found)|does not exist|failed to satisfy constraint", re.IGNORECASE
)

_NOT_FOUND: Final = frozenset(
    {"ResourceNotFound", "ResourceNotFoundException", "RepositoryNotFoundException"}
)


class Clients(Protocol):
    """boto3's clients of one account and region. `log_lag`: seconds until CloudWatch shows a line at most."""

    @property
    def sagemaker(self) -> SageMakerClient: ...
    @property
    def s3(self) -> S3Client: ...
    @property
    def logs(self) -> CloudWatchLogsClient: ...
    @property
    def log_lag(self) -> float: ...


def find(ask: Callable[[], Mapping[str, Any]]) -> dict[str, Any] | None:
    """The answer of a Describe operation; None where nothing has the name."""
    from botocore.exceptions import ClientError

    try:
        return dict(ask())
    except ClientError as error:
        if not is_unknown_name(error):
            raise
        return None


def is_unknown_name(error: ClientError) -> bool:
    """Whether AWS refused because nothing has the name."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", ""), answer.get("Message", "")
    return code in _NOT_FOUND or (
        code in ("ValidationException", "ValidationError") and bool(_UNKNOWN_NAME.search(message))
    )


def objects(s3: S3Client, bucket: str, prefix: str) -> Iterator[ObjectTypeDef]:
    """The objects whose keys begin with the prefix, in the order of their keys."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", ())


def describe(kind: str, name: str, ask: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The answer of a Describe operation.

    Args:
        kind: what is described, for the user: `training job`.

    Raises:
        ByocError: nothing of this kind has that name (NOT_FOUND).
    """
    answer = find(ask)
    if answer is None:
        raise no_job(kind, name)
    return answer


def no_job(kind: str, name: str) -> ByocError:
    return ByocError(
        f"There is no {kind} {name}.", "`byoc jobs` lists what there is.", code=NOT_FOUND, kind="NoJob"
    )
