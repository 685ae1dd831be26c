from typing import Any

import pytest
from botocore.exceptions import ClientError

from scripts import endpoints
from scripts.aws import Clients, connect
from scripts.errors import ByocError
from scripts.requests import Place
from scripts.settings import Settings

PLACE = Place("arn:aws:iam::123456789012:role/r", "b", "i/byoc-train", "i/byoc-serve")
ARTIFACT = "s3://b/output/job/output/model.tar.gz"


def quiet(_: str) -> None:
    pass


@pytest.fixture
def clients(aws: None, settings: Settings) -> Clients:
    return connect(settings)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.jobs.time.sleep", lambda seconds: None)


def left(clients: Clients) -> list[str]:
    sagemaker = clients.sagemaker
    return [
        *(item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]),
        *(item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        *(item["ModelName"] for item in sagemaker.list_models()["Models"]),
    ]


def test_deploy_and_delete(clients: Clients, settings: Settings) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    assert name == "pictures"
    said: list[str] = []
    endpoints.wait(clients, name, said.append)
    assert said[-1] == "InService"
    with pytest.raises(ByocError, match="already"):
        endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    assert len(left(clients)) == 3
    assert [item.split()[0] for item in endpoints.delete(clients, name, quiet)] == [
        "endpoint",
        "endpoint",
        "model",
    ]
    assert left(clients) == []
    assert endpoints.delete(clients, name, quiet) == []


@pytest.mark.parametrize("broken", ["create_endpoint_config", "create_endpoint"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ClientError])
def test_what_was_half_made_is_taken_back(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch, broken: str, error: Any
) -> None:
    def fail(**_: Any) -> None:
        if error is KeyboardInterrupt:
            raise KeyboardInterrupt
        raise ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": "0 machines"}}, broken)

    monkeypatch.setattr(clients.sagemaker, broken, fail)
    with pytest.raises(error):
        endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    assert left(clients) == []


def test_an_endpoint_that_does_not_come_up_is_taken_away(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    describe = clients.sagemaker.describe_endpoint
    monkeypatch.setattr(
        clients.sagemaker,
        "describe_endpoint",
        lambda **names: {**describe(**names), "EndpointStatus": "Failed", "FailureReason": "no ping"},
    )
    with pytest.raises(ByocError, match="did not come up: no ping"):
        endpoints.wait(clients, name, quiet)
    assert left(clients) == []


def test_an_interrupted_deletion_can_be_finished(clients: Clients, settings: Settings) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    clients.sagemaker.delete_endpoint(EndpointName=name)
    assert len(endpoints.delete(clients, name, quiet)) == 2
    assert left(clients) == []
