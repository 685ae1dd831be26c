from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Service = Any  # conftest.Service
Refused = Callable[..., str]

ROLE = "arn:aws:iam::123456789012:role/byoc-sagemaker"
ARTIFACT = "s3://bucket/out/job/output/model.tar.gz"
CONTAINER = {"Image": "byoc-serve", "ModelDataUrl": ARTIFACT}
UNCOMPRESSED_OBJECT = {"S3Uri": ARTIFACT, "S3DataType": "S3Object", "CompressionType": "None"}
VARIANT = {
    "VariantName": "AllTraffic",
    "ModelName": "m",
    "InstanceType": "ml.m5.large",
    "InitialInstanceCount": 1,
}


@pytest.fixture
def model(service: Service) -> Service:
    """A service with the model `m`."""
    service.put(ARTIFACT)
    service.sagemaker.create_model(ModelName="m", PrimaryContainer=CONTAINER, ExecutionRoleArn=ROLE)
    return service


def test_a_model_lives_and_dies(model: Service, refused: Refused) -> None:
    sagemaker = model.client("sagemaker")
    doc = sagemaker.describe_model(ModelName="m")
    assert doc["ModelArn"] == "arn:aws:sagemaker:us-east-1:123456789012:model/m"
    assert doc["PrimaryContainer"] == CONTAINER
    assert doc["ExecutionRoleArn"] == ROLE
    assert doc["EnableNetworkIsolation"] is False
    assert [each["ModelName"] for each in sagemaker.list_models()["Models"]] == ["m"]
    sagemaker.delete_model(ModelName="m")
    assert sagemaker.list_models()["Models"] == []
    for operation in (sagemaker.describe_model, sagemaker.delete_model):
        message = refused(operation, "ValidationException", ModelName="m")
        assert message == 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/m".'


def test_a_model_of_one_container_in_a_list(service: Service) -> None:
    service.put(ARTIFACT)
    service.sagemaker.create_model(ModelName="m", Containers=[CONTAINER], ExecutionRoleArn=ROLE)
    assert service.sagemaker.describe_model(ModelName="m")["Containers"] == [CONTAINER]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "Give either PrimaryContainer or Containers"),
        ({"PrimaryContainer": CONTAINER, "Containers": [CONTAINER]}, "Give either"),
        ({"Containers": [CONTAINER, CONTAINER]}, "inference pipelines are not available"),
        ({"PrimaryContainer": CONTAINER, "ExecutionRoleArn": None}, "ExecutionRoleArn is missing"),
        ({"PrimaryContainer": {"ModelDataUrl": ARTIFACT}}, "The container has no Image"),
        (
            {"PrimaryContainer": {"Image": "x", "ModelDataUrl": "s3://bucket/none"}},
            "Could not find model data",
        ),
        ({"PrimaryContainer": {"Image": "x", "ModelDataUrl": "s3://bucket/../x"}}, "'..'"),
        ({"PrimaryContainer": {"Image": "x", "ModelDataUrl": "https://bucket/x"}}, "must be an S3 URI"),
        ({"PrimaryContainer": CONTAINER, "ModelName": "m_"}, "regular expression pattern"),
        ({"PrimaryContainer": {**CONTAINER, "Mode": "MultiModel"}}, "deploy an endpoint for each"),
        ({"PrimaryContainer": {"ModelPackageName": "p"}}, "PrimaryContainer.ModelPackageName: the local"),
        ({"Containers": [{**CONTAINER, "MultiModelConfig": {"ModelCacheSetting": "Enabled"}}]}, "MultiModel"),
        (
            {"PrimaryContainer": {"Image": "x", "ModelDataSource": {"S3DataSource": UNCOMPRESSED_OBJECT}}},
            "S3DataType S3Object and CompressionType None: the local SageMaker takes S3Prefix with None",
        ),
    ],
)
def test_no_such_model(service: Service, refused: Refused, members: dict[str, Any], expected: str) -> None:
    service.put(ARTIFACT)
    request = {"ModelName": "m", "ExecutionRoleArn": ROLE, **members}
    request = {key: value for key, value in request.items() if value is not None}
    assert expected in refused(service.sagemaker.create_model, "ValidationException", **request)
    assert service.sagemaker.list_models()["Models"] == []


def test_a_second_model_of_a_name(model: Service, refused: Refused) -> None:
    request = {"ModelName": "m", "PrimaryContainer": CONTAINER, "ExecutionRoleArn": ROLE}
    message = refused(model.sagemaker.create_model, "ValidationException", **request)
    assert message.startswith("Cannot create already existing model")


def test_an_endpoint_configuration_lives_and_dies(model: Service, refused: Refused) -> None:
    sagemaker = model.client("sagemaker")
    arn = sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[VARIANT])[
        "EndpointConfigArn"
    ]
    assert arn.endswith(":endpoint-config/c")
    [variant] = sagemaker.describe_endpoint_config(EndpointConfigName="c")["ProductionVariants"]
    assert variant == {**VARIANT, "InitialVariantWeight": 1.0}
    [listed] = sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert listed["EndpointConfigName"] == "c"
    message = refused(
        sagemaker.create_endpoint_config,
        "ValidationException",
        EndpointConfigName="c",
        ProductionVariants=[VARIANT],
    )
    assert message.startswith("Cannot create already existing endpoint configuration")
    sagemaker.delete_endpoint_config(EndpointConfigName="c")
    for operation in (sagemaker.describe_endpoint_config, sagemaker.delete_endpoint_config):
        message = refused(operation, "ValidationException", EndpointConfigName="c")
        assert message.startswith("Could not find endpoint configuration")


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ([], "greater than or equal to 1"),
        ([VARIANT, VARIANT], "Duplicate variant name: AllTraffic"),
        ([{**VARIANT, "ModelName": "other"}], 'Could not find model "arn:'),
        ([{"VariantName": "a", "InstanceType": "ml.m5.large"}], "Production variant 'a' has no ModelName"),
        ([{"VariantName": "a", "ModelName": "m"}], "Production variant 'a' has no InstanceType"),
        (
            [{"VariantName": "a", "ModelName": "m", "InstanceType": "ml.m5.large"}],
            "Production variant 'a' has no InitialInstanceCount",
        ),
        ([{**VARIANT, "InstanceType": "big"}], "enum value set"),
        ([{**VARIANT, "EnableSSMAccess": True}], "ProductionVariants.EnableSSMAccess: the local SageMaker"),
    ],
)
def test_no_such_endpoint_configuration(
    model: Service, refused: Refused, variants: list[dict[str, Any]], expected: str
) -> None:
    create = model.sagemaker.create_endpoint_config
    request = {"EndpointConfigName": "c", "ProductionVariants": variants}
    assert expected in refused(create, "ValidationException", **request)


CAPTURE = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://bucket/captured",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {"DataCaptureConfig": {**CAPTURE, "EnableCapture": True}},
            "DataCaptureConfig.EnableCapture: the local",
        ),
        (
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/o"}}},
            "AsyncInferenceConfig: the",
        ),
        (
            {"ExplainerConfig": {"ClarifyExplainerConfig": {"ShapConfig": {"ShapBaselineConfig": {}}}}},
            "ExplainerConfig: the local SageMaker has no Clarify",
        ),
        (
            {"ShadowProductionVariants": [{**VARIANT, "VariantName": "s"}]},
            "ShadowProductionVariants: the local",
        ),
    ],
)
def test_what_an_endpoint_configuration_cannot_ask_for(
    model: Service, refused: Refused, members: dict[str, Any], expected: str
) -> None:
    create = model.sagemaker.create_endpoint_config
    request = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT], **members}
    if "ExplainerConfig" in members:
        request["ExplainerConfig"]["ClarifyExplainerConfig"]["ShapConfig"]["ShapBaselineConfig"] = {
            "MimeType": "text/csv"
        }
    assert refused(create, "ValidationException", **request).startswith(expected)
    assert model.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_capture_that_is_switched_off_is_none(model: Service) -> None:
    capture = {**CAPTURE, "EnableCapture": False}
    model.sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[VARIANT], DataCaptureConfig=capture
    )
    assert model.sagemaker.describe_endpoint_config(EndpointConfigName="c")["DataCaptureConfig"] == capture


def test_the_newest_comes_first(service: Service) -> None:
    sagemaker = service.client("sagemaker")
    for name in ("m1", "m2", "m3"):
        sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "x"}, ExecutionRoleArn=ROLE)
    assert [each["ModelName"] for each in sagemaker.list_models()["Models"]] == ["m3", "m2", "m1"]
    pages = sagemaker.get_paginator("list_models").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["Models"]) for page in pages] == [2, 1]
