"""What an unknown name is, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from contract.errors import NOT_FOUND, ByocError
from report.read import aws


def refused(code: str, message: str) -> Any:
    def ask() -> Any:
        raise ClientError({"Error": {"Code": code, "Message": message}}, "DescribeTrainingJob")

    return ask


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "Requested resource not found."),
        ("ValidationException", 'Could not find endpoint "x".'),
        (
            "ValidationException",
            "1 validation error detected: Value … failed to satisfy constraint: …",
        ),
        ("ResourceNotFound", "Amazon SageMaker can't find a tuning job with the name x."),
    ],
)
def test_a_name_that_is_unknown_or_cannot_be_one_is_told(code: str, message: str) -> None:
    assert aws.find(refused(code, message)) is None
    with pytest.raises(ByocError, match=r"There is no training job x\.") as caught:
        aws.describe("training job", "x", refused(code, message))
    assert (caught.value.code, caught.value.kind) == (NOT_FOUND, "NoJob")


@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException", "ThrottlingException"])
def test_any_other_refusal_is_not_taken_for_an_unknown_name(code: str) -> None:
    with pytest.raises(ClientError):
        aws.find(refused(code, "You cannot do this now."))
