"""A role that SageMaker refuses, for now or for good."""

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contract.errors import REFUSED, ByocError
from scripts.creation import create
from scripts.requests import Place

ARN = "arn:aws-us-gov:iam::123456789012:role/byoc-sagemaker"
PLACE = Place(ARN, "bucket", "train", "serve")
SAYS = (
    (
        f"Could not assume role {ARN}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role."
    ),
    (
        f'The execution role ARN "{ARN}" is invalid. Please ensure that the role exists and that its trust '
        "relationship policy allows the action."
    ),
)


class Sends:
    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    def __call__(self) -> None:
        if self.answers and (text := self.answers.pop(0)):
            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": text}}, "CreateTrainingJob"
            )


def nothing() -> None:
    return None


@pytest.mark.parametrize("text", SAYS)
def test_a_new_role_is_waited_for(text: str) -> None:
    pauses: list[float] = []
    send = Sends(text, text, "")
    create(replace(PLACE, role_new=True), send, nothing, pauses.append)
    assert len(pauses) == 2
    forever = Sends(*[text] * 99)
    with pytest.raises(ClientError):
        create(replace(PLACE, role_new=True), forever, nothing, pauses.append)
    assert 30 < sum(pauses) < 120


@pytest.mark.parametrize("text", SAYS)
def test_a_role_that_could_not_be_looked_up_is_to_be_named_in_full(text: str) -> None:
    with pytest.raises(ByocError, match="cannot take the role") as caught:
        create(replace(PLACE, role_guessed=True), Sends(text), nothing)
    beginning = "arn:aws-us-gov:iam::123456789012:role/service-role/byoc-sagemaker"
    assert f'aws.role = "{beginning}"' in caught.value.remedy
    assert caught.value.code == REFUSED


def test_what_is_not_about_the_role_is_told_as_it_is() -> None:
    for place in (PLACE, replace(PLACE, role_guessed=True, role_new=True)):
        with pytest.raises(ClientError, match="no such image"):
            create(place, Sends("no such image"), nothing)
    with pytest.raises(ClientError, match="assume"):
        create(PLACE, Sends(SAYS[0]), nothing)


def test_it_is_sent_once() -> None:
    sent: list[Any] = []
    create(PLACE, lambda: sent.append(1), nothing)
    assert sent == [1]


def refused(action: str) -> ClientError:
    text = (
        "User: arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Dev/me is not authorized to perform: "
        f"{action} on resource: {ARN} because no identity-based policy allows the {action} action"
    )
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": text}}, "CreateTrainingJob")


def test_a_permission_that_the_caller_lacks_is_not_taken_for_a_fault_of_the_role() -> None:
    def send() -> None:
        raise refused("sagemaker:CreateTrainingJob")

    pauses: list[float] = []
    with pytest.raises(ClientError, match="sagemaker:CreateTrainingJob"):
        create(replace(PLACE, role_guessed=True, role_new=True), send, nothing, pauses.append)
    assert not pauses


def test_a_guessed_role_that_may_not_be_passed_is_to_be_named_in_full() -> None:
    def send() -> None:
        raise refused("iam:PassRole")

    with pytest.raises(ByocError, match="cannot take the role"):
        create(replace(PLACE, role_guessed=True), send, nothing)
