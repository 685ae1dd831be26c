from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]


@pytest.fixture
def configured(service: Service) -> Service:
    """A service with the endpoint configurations `c` and `d`."""
    sagemaker = service.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/byoc-sagemaker"
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "byoc-serve"}, ExecutionRoleArn=role)
    for name in ("c", "d"):
        variant = {
            "VariantName": f"variant-{name}",
            "ModelName": "m",
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 2,
            "InitialVariantWeight": 0.5,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return service


def test_an_endpoint_lives_and_dies(configured: Service, refused: Refused) -> None:
    sagemaker, engine = configured.client("sagemaker"), configured.engine
    arn = sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")["EndpointArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
    doc = sagemaker.describe_endpoint(EndpointName="e")
    assert (doc["EndpointStatus"], doc["EndpointConfigName"]) == ("Creating", "c")
    assert doc["ProductionVariants"] == [
        {
            "VariantName": "variant-c",
            "CurrentWeight": 0.5,
            "DesiredWeight": 0.5,
            "CurrentInstanceCount": 2,
            "DesiredInstanceCount": 2,
        }
    ]
    engine.serve("e")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e")
    [listed] = sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"]
    assert listed["EndpointName"] == "e"
    sagemaker.delete_endpoint(EndpointName="e")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="e")
    assert engine.calls == [("submit endpoint", "e"), ("delete_endpoint", "e")]
    message = refused(sagemaker.describe_endpoint, "ValidationException", EndpointName="e")
    assert message == f'Could not find endpoint "{arn}".'


def test_an_endpoint_that_fails_ends_the_waiter(configured: Service) -> None:
    from botocore.exceptions import WaiterError

    sagemaker = configured.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    configured.store.update("endpoint", "e", EndpointStatus="Failed", FailureReason="no ping")
    with pytest.raises(WaiterError, match="terminal failure state"):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e")
    assert sagemaker.describe_endpoint(EndpointName="e")["FailureReason"] == "no ping"
    sagemaker.delete_endpoint(EndpointName="e")


def test_an_update_names_the_new_configuration_to_the_engine(configured: Service, refused: Refused) -> None:
    sagemaker = configured.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    request = {"EndpointName": "e", "EndpointConfigName": "d"}
    message = refused(sagemaker.update_endpoint, "ValidationException", **request)
    assert message.startswith("Cannot update in-progress endpoint")
    configured.engine.serve("e")
    sagemaker.update_endpoint(**request)
    assert configured.engine.calls[-1] == ("update_endpoint", "e")
    doc = sagemaker.describe_endpoint(EndpointName="e")
    # The old one serves until the new one does.
    assert (doc["EndpointStatus"], doc["EndpointConfigName"]) == ("Updating", "c")
    pending = doc["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == "d"
    assert [variant["VariantName"] for variant in pending["ProductionVariants"]] == ["variant-d"]
    assert pending["StartTime"].timestamp() <= doc["LastModifiedTime"].timestamp()
    configured.store.update("endpoint", "e", EndpointStatus="Failed")
    assert "can only be deleted" in refused(sagemaker.update_endpoint, "ValidationException", **request)


def policy(kind: str, **members: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": 0, **members}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {"DeploymentConfig": policy("CANARY", CanarySize={"Type": "INSTANCE_COUNT", "Value": 1})},
            "CanarySize: the local SageMaker moves the traffic at once",
        ),
        (
            {"DeploymentConfig": policy("LINEAR")},
            "Type LINEAR: the local SageMaker moves all traffic at once",
        ),
        (
            {
                "DeploymentConfig": {
                    "RollingUpdatePolicy": {
                        "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
                        "WaitIntervalInSeconds": 0,
                    }
                }
            },
            "DeploymentConfig.RollingUpdatePolicy: the local SageMaker replaces all of a variant at once",
        ),
        ({"RetainAllVariantProperties": True}, "RetainAllVariantProperties: the local SageMaker takes"),
    ],
)
def test_an_update_in_steps(
    configured: Service, refused: Refused, members: dict[str, Any], expected: str
) -> None:
    sagemaker = configured.sagemaker
    sagemaker.create_endpoint(
        EndpointName="e", EndpointConfigName="c", DeploymentConfig=policy("ALL_AT_ONCE")
    )
    configured.engine.serve("e")
    request = {"EndpointName": "e", "EndpointConfigName": "d", **members}
    assert expected in refused(sagemaker.update_endpoint, "ValidationException", **request)
    assert sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"


def test_what_is_not_there(configured: Service, refused: Refused) -> None:
    sagemaker = configured.client("sagemaker")
    request = {"EndpointName": "e", "EndpointConfigName": "none"}
    for operation in (sagemaker.create_endpoint, sagemaker.update_endpoint):
        assert "Could not find endpoint" in refused(operation, "ValidationException", **request)
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    configured.engine.serve("e")
    message = refused(sagemaker.update_endpoint, "ValidationException", **request)
    assert message.startswith("Could not find endpoint configuration")
    assert sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"
    refused(sagemaker.delete_endpoint, "ValidationException", EndpointName="other")


def test_a_name_is_taken(configured: Service, refused: Refused) -> None:
    sagemaker = configured.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    for name in ("e", "E"):
        request = {"EndpointName": name, "EndpointConfigName": "c"}
        message = refused(sagemaker.create_endpoint, "ValidationException", **request)
        assert message.startswith("Cannot create already existing endpoint")


def test_a_second_deletion_does_nothing(configured: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker = configured.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    deleted: list[str] = []
    # As a real engine, which takes its time.
    monkeypatch.setattr(configured.engine, "delete_endpoint", deleted.append)
    sagemaker.delete_endpoint(EndpointName="e")
    sagemaker.delete_endpoint(EndpointName="e")
    assert deleted == ["e"]
    assert sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "Deleting"
