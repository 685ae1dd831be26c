"""What is sent again, how often, and what is not: against a server that fails in each way."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from contract.errors import ByocError
from report.read import jobs
from scripts import aws, patience
from scripts.aws import Clients
from tests.scripts.failing import Failing, failing

BUSY = (503, {"__type": "ServiceUnavailable", "message": "later"})
BROKEN = (500, {"__type": "InternalFailure", "message": "oh"})
SLOWER = (400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
NOT_READY = (429, {"__type": "ModelNotReadyException", "Message": "loading"})
FORBIDDEN = (400, {"__type": "AccessDeniedException", "message": "no"})
PAUSES, SHORT = patience.PAUSES, patience.SHORT
JOB = (200, {"TrainingJobName": "job", "TrainingJobStatus": "InProgress"})


@pytest.fixture
def server() -> Iterator[Failing]:
    with failing() as server:
        yield server


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """One for all, as it keeps the services' models that it has read."""
    return boto3.Session("any", "any", region_name="us-east-1")


@pytest.fixture
def clients(server: Failing, session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """As for AWS: not for a service of this machine, which is gone where it takes no connection."""
    monkeypatch.setattr(aws, "is_loopback", lambda url: False)
    return Clients(session, "us-east-1", server.url)


def describe(clients: Clients) -> Any:
    return clients.sagemaker.describe_training_job(TrainingJobName="job")["TrainingJobStatus"]


def invoke(clients: Clients) -> Any:
    return clients.runtime.invoke_endpoint(EndpointName="mine", Body=b"picture")["Body"].read()


def test_the_pauses_add_up_to_a_minute_and_more() -> None:
    assert sum(PAUSES) > 60
    assert sum(SHORT) < 5


@pytest.mark.parametrize("failure", [BUSY, BROKEN, SLOWER, (502, {}), (504, {}), "drop"])
def test_what_is_watched_is_asked_for_again_and_again(
    server: Failing, clients: Clients, failure: Any
) -> None:
    server.script = [JOB, *[failure] * 9, JOB]
    assert describe(clients) == "InProgress"
    assert describe(clients) == "InProgress"
    assert len(server.seen) == 11


@pytest.mark.parametrize("failure", [BUSY, "drop"])
def test_what_has_never_answered_is_given_up_soon(server: Failing, clients: Clients, failure: Any) -> None:
    server.after = failure
    with pytest.raises((ClientError, BotoCoreError)):
        describe(clients)
    assert len(server.seen) == 1 + len(patience.SHORT)


def test_an_upload_that_did_not_arrive_in_time_is_sent_again(server: Failing, clients: Clients) -> None:
    server.script = [(400, {"__type": "RequestTimeout", "message": "idle for too long"})] * 2
    server.after = JOB
    assert describe(clients) == "InProgress"


def test_a_refusal_is_an_answer(server: Failing, clients: Clients) -> None:
    server.after = FORBIDDEN
    with pytest.raises(ClientError):
        describe(clients)
    assert len(server.seen) == 1


def test_a_timeout_while_watching(server: Failing, clients: Clients) -> None:
    server.script = [JOB, "hang", JOB]
    client = clients.service("sagemaker", read_timeout=0.3)
    for _ in range(2):
        assert client.describe_training_job(TrainingJobName="job")["TrainingJobStatus"] == "InProgress"


def test_an_invocation_is_not_sent_again_after_a_timeout(server: Failing, clients: Clients) -> None:
    server.script = ["hang"]
    client = clients.service("sagemaker-runtime", read_timeout=0.3)
    with pytest.raises(BotoCoreError):
        client.invoke_endpoint(EndpointName="mine", Body=b"picture")
    assert len(server.seen) == 1
    assert clients.runtime.meta.config.read_timeout > 60  # the container may take that long


@pytest.mark.parametrize("failure", [BUSY, BROKEN, NOT_READY])
def test_an_invocation_that_was_not_carried_out_is_sent_again(
    server: Failing, clients: Clients, failure: Any
) -> None:
    server.script = [failure, failure, (200, {"predictions": []})]
    assert b"predictions" in invoke(clients)


def test_a_model_that_refuses_a_picture_is_asked_once(server: Failing, clients: Clients) -> None:
    server.after = (424, {"__type": "ModelError", "Message": "no picture"})
    with pytest.raises(ClientError):
        invoke(clients)
    assert len(server.seen) == 1


def creates(clients: Clients) -> Any:
    """A job by the name of job, as the commands make one."""
    sagemaker = clients.sagemaker
    request: Any = {
        "TrainingJobName": "job", "RoleArn": "arn:aws:iam::123456789012:role/mine",
        "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
    }  # fmt: skip

    return patience.create(
        lambda: sagemaker.create_training_job(**request), lambda: jobs.find(clients, "job"), lambda _: None
    )


MISSING = (400, {"__type": "ValidationException", "message": "Requested resource not found."})


@pytest.mark.parametrize("failure", [BUSY, BROKEN, "drop"])
def test_a_lost_answer_to_a_creation_is_looked_up_by_name(
    server: Failing, clients: Clients, failure: Any
) -> None:
    server.script = [failure, JOB]
    creates(clients)
    assert server.seen == ["CreateTrainingJob", "DescribeTrainingJob"]


def test_a_creation_that_was_lost_before_it_arrived_is_sent_again(server: Failing, clients: Clients) -> None:
    server.script = ["drop", MISSING, (200, {"TrainingJobArn": "arn"})]
    creates(clients)
    assert server.seen == ["CreateTrainingJob", "DescribeTrainingJob", "CreateTrainingJob"]


def test_a_creation_that_shows_late_is_no_second_one(server: Failing, clients: Clients) -> None:
    taken = (400, {"__type": "ResourceInUse", "message": "a job with this name already exists"})
    server.script = ["drop", MISSING, taken, JOB]
    creates(clients)


def test_a_name_that_was_taken_before_is_an_error(server: Failing, clients: Clients) -> None:
    server.after = (400, {"__type": "ResourceInUse", "message": "already exists"})
    with pytest.raises(ClientError, match="already exists"):
        creates(clients)
    assert len(server.seen) == 1


def test_an_older_job_of_that_name_is_not_taken_for_the_lost_one(server: Failing, clients: Clients) -> None:
    server.script = ["drop", (200, {**JOB[1], "CreationTime": 1_700_000_000})]
    with pytest.raises(BotoCoreError):
        creates(clients)


def test_a_creation_that_stays_lost_is_told(server: Failing, clients: Clients) -> None:
    server.after = lambda operation: MISSING if operation.startswith("Describe") else BUSY
    with pytest.raises(ClientError, match="later"):
        creates(clients)
    assert server.seen.count("CreateTrainingJob") == 1 + len(patience.SHORT)


def test_a_creation_that_cannot_be_looked_up_may_have_been_made(server: Failing, clients: Clients) -> None:
    server.script = ["drop"]
    server.after = (400, {"__type": "ExpiredTokenException", "message": "expired"})
    with pytest.raises(ByocError, match="may have been made all the same") as caught:
        creates(clients)
    assert "byoc jobs" in caught.value.remedy
    assert server.seen == ["CreateTrainingJob", "DescribeTrainingJob"]


def test_a_throttled_creation_was_not_carried_out(server: Failing, clients: Clients) -> None:
    server.script = [SLOWER, SLOWER, (200, {"TrainingJobArn": "arn"})]
    creates(clients)
    assert set(server.seen) == {"CreateTrainingJob"}


def test_without_a_connection_nothing_was_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    assert patience.is_unsent(refused)
    assert not patience.is_lost(refused)
