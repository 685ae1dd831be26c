"""Models and endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.api.control import Control, Request, echo, now, unique
from local.api.listing import page
from local.api.members import ENDPOINT_CONFIG, MODEL
from local.api.training import check_s3
from local.errors import AwsError, ValidationException
from local.protocol import Handler


def missing(what: str, arn: str) -> AwsError:
    """What AWS says where a model, an endpoint or its configuration does not exist."""
    return ValidationException(f'Could not find {what} "{arn}".')


def taken(what: str, arn: str) -> AwsError:
    return ValidationException(f'Cannot create already existing {what} "{arn}".')


def handlers(control: Control) -> Mapping[str, Handler]:
    config, store = control.config, control.store

    def create_model(request: Request) -> dict[str, Any]:
        name = request["ModelName"]
        MODEL.check(request)
        _check_model(control, request)
        doc = {
            **echo(
                request,
                "ModelName",
                "PrimaryContainer",
                "Containers",
                "InferenceExecutionConfig",
                "ExecutionRoleArn",
                "VpcConfig",
            ),
            "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            "CreationTime": now(),
            "ModelArn": config.arn("model", name),
        }
        return {"ModelArn": control.add("model", name, doc, request, taken("model", doc["ModelArn"]))}

    def find_model(name: str) -> dict[str, Any]:
        return control.find("model", name, lambda arn: missing("model", arn))

    def describe_model(request: Request) -> dict[str, Any]:
        return find_model(request["ModelName"])

    def list_models(request: Request) -> dict[str, Any]:
        found = page(store, "model", request, order="Descending")
        return found.answer("Models", found.items)

    def delete_model(request: Request) -> None:
        find_model(request["ModelName"])
        control.remove("model", request["ModelName"])

    def create_config(request: Request) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        ENDPOINT_CONFIG.check(request)
        _check_variants(control, request)
        doc = {
            **echo(
                request,
                "EndpointConfigName",
                "ProductionVariants",
                "DataCaptureConfig",
                "KmsKeyId",
                "ExecutionRoleArn",
                "VpcConfig",
                "MetricsConfig",
            ),
            "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            "CreationTime": now(),
            "EndpointConfigArn": config.arn("endpoint-config", name),
        }
        for variant in doc["ProductionVariants"]:
            variant.setdefault("InitialVariantWeight", 1.0)
        error = taken("endpoint configuration", doc["EndpointConfigArn"])
        return {"EndpointConfigArn": control.add("endpoint-config", name, doc, request, error)}

    def find_config(name: str) -> dict[str, Any]:
        return control.find("endpoint-config", name, lambda arn: missing("endpoint configuration", arn))

    def describe_config(request: Request) -> dict[str, Any]:
        return find_config(request["EndpointConfigName"])

    def list_configs(request: Request) -> dict[str, Any]:
        found = page(store, "endpoint-config", request, order="Descending")
        return found.answer("EndpointConfigs", found.items)

    def delete_config(request: Request) -> None:
        find_config(request["EndpointConfigName"])
        control.remove("endpoint-config", request["EndpointConfigName"])

    return {
        "CreateModel": create_model,
        "DescribeModel": describe_model,
        "ListModels": list_models,
        "DeleteModel": delete_model,
        "CreateEndpointConfig": create_config,
        "DescribeEndpointConfig": describe_config,
        "ListEndpointConfigs": list_configs,
        "DeleteEndpointConfig": delete_config,
    }


def _check_model(control: Control, request: Request) -> None:
    if ("PrimaryContainer" in request) == ("Containers" in request):
        raise ValidationException("Give either PrimaryContainer or Containers.")
    if len(request.get("Containers", [None])) != 1:
        raise ValidationException(
            "The local SageMaker runs one container a model: inference pipelines are not available."
        )
    if "ExecutionRoleArn" not in request:
        raise ValidationException("ExecutionRoleArn is missing: give the role that the model runs with.")
    container = request.get("PrimaryContainer") or request["Containers"][0]
    if not container.get("Image"):
        raise ValidationException("The container has no Image: name the image that serves the model.")
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise ValidationException("Give either ModelDataUrl or ModelDataSource.")
    if container.get("Mode") == "MultiModel":
        raise ValidationException(
            "Mode MultiModel: the local SageMaker serves one model a container; deploy an endpoint for each."
        )
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is not None:
        _check_model_source(source)
    url = container.get("ModelDataUrl")
    if url is None:
        return
    check_s3(url, "ModelDataUrl")
    try:
        there = control.config.bucket_path(url).is_file()
    except ValueError as error:
        raise ValidationException(str(error)) from None
    if not there:
        raise ValidationException(
            f"Could not find model data at {url}. Check that the object exists; a training job that did not "
            "complete has none."
        )


def _check_model_source(source: Mapping[str, Any]) -> None:
    check_s3(source["S3Uri"], "ModelDataSource.S3DataSource.S3Uri")
    kind, compression = source["S3DataType"], source["CompressionType"]
    if (kind, compression) not in (("S3Prefix", "None"), ("S3Object", "Gzip")):
        raise ValidationException(
            f"ModelDataSource.S3DataSource has S3DataType {kind} and CompressionType {compression}: the "
            "local SageMaker takes S3Prefix with None, or S3Object with Gzip (a model.tar.gz)."
        )


def _check_variants(control: Control, request: Request) -> None:
    variants = request["ProductionVariants"]
    unique([variant["VariantName"] for variant in variants], "variant name")
    for variant in variants:
        name = variant["VariantName"]
        if "ModelName" not in variant:
            raise ValidationException(f"Production variant {name!r} has no ModelName.")
        if "ServerlessConfig" not in variant:
            for member in ("InstanceType", "InitialInstanceCount"):
                if member not in variant:
                    raise ValidationException(f"Production variant {name!r} has no {member}.")
        control.find("model", variant["ModelName"], lambda arn: missing("model", arn))
