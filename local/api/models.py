"""Models and endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.api.control import Control, Request, echo, now, unique
from local.api.listing import page
from local.api.members import ENDPOINT_CONFIG, MODEL
from local.api.training import check_s3
from local.config import Config
from local.errors import AwsError, ValidationException


def missing(what: str, arn: str) -> AwsError:
    """What AWS says where a model, an endpoint or its configuration does not exist."""
    return ValidationException(f'Could not find {what} "{arn}".')


def taken(what: str, arn: str) -> AwsError:
    return ValidationException(f'Cannot create already existing {what} "{arn}".')


class Models(Control):
    def CreateModel(self, request: Request) -> dict[str, Any]:
        name = request["ModelName"]
        MODEL.check(request)
        _check_model(self.config, request)
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
            "ModelArn": self.config.arn("model", name),
        }
        return {"ModelArn": self.add("model", name, doc, request, taken("model", doc["ModelArn"]))}

    def _find_model(self, name: str) -> dict[str, Any]:
        return self.find("model", name, lambda arn: missing("model", arn))

    def DescribeModel(self, request: Request) -> dict[str, Any]:
        return self._find_model(request["ModelName"])

    def ListModels(self, request: Request) -> dict[str, Any]:
        models = page(self.store, "model", request, order="Descending")
        return models.answer("Models", models.items)

    def DeleteModel(self, request: Request) -> None:
        self._find_model(request["ModelName"])
        self.remove("model", request["ModelName"])

    def CreateEndpointConfig(self, request: Request) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        ENDPOINT_CONFIG.check(request)
        self._check_variants(request)
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
            "EndpointConfigArn": self.config.arn("endpoint-config", name),
        }
        for variant in doc["ProductionVariants"]:
            variant.setdefault("InitialVariantWeight", 1.0)
        error = taken("endpoint configuration", doc["EndpointConfigArn"])
        return {"EndpointConfigArn": self.add("endpoint-config", name, doc, request, error)}

    def _find_config(self, name: str) -> dict[str, Any]:
        return self.find("endpoint-config", name, lambda arn: missing("endpoint configuration", arn))

    def DescribeEndpointConfig(self, request: Request) -> dict[str, Any]:
        return self._find_config(request["EndpointConfigName"])

    def ListEndpointConfigs(self, request: Request) -> dict[str, Any]:
        configs = page(self.store, "endpoint-config", request, order="Descending")
        return configs.answer("EndpointConfigs", configs.items)

    def DeleteEndpointConfig(self, request: Request) -> None:
        self._find_config(request["EndpointConfigName"])
        self.remove("endpoint-config", request["EndpointConfigName"])

    def _check_variants(self, request: Request) -> None:
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
            self.find("model", variant["ModelName"], lambda arn: missing("model", arn))


def _check_model(config: Config, request: Request) -> None:
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
        there = config.bucket_path(url).is_file()
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
