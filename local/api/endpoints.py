"""Endpoints: create, update, describe, list, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.api.control import Control, Request, echo, now
from local.api.listing import page
from local.api.members import ENDPOINT
from local.api.models import missing, taken
from local.errors import ValidationException
from local.store import Document

_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


class Endpoints(Control):
    def _find(self, name: str) -> Document:
        return self.find("endpoint", name, lambda arn: missing("endpoint", arn))

    def _find_config(self, name: str) -> Document:
        return self.find("endpoint-config", name, lambda arn: missing("endpoint configuration", arn))

    def _change(self, name: str, change: Callable[[Document], None]) -> None:
        try:
            self.store.mutate("endpoint", name, change)
        except KeyError:
            # Deleted since it was found.
            raise missing("endpoint", self.config.arn("endpoint", name)) from None

    def CreateEndpoint(self, request: Request) -> dict[str, Any]:
        _check(request)
        name = request["EndpointName"]
        chosen = self._find_config(request["EndpointConfigName"])
        time = now()
        arn = self.config.arn("endpoint", name)
        doc = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": request["EndpointConfigName"],
            "ProductionVariants": _variants(chosen),
            **echo(chosen, "MetricsConfig"),
            "EndpointStatus": "Creating",
            "CreationTime": time,
            "LastModifiedTime": time,
        }
        if "DeploymentConfig" in request:
            doc["LastDeploymentConfig"] = request["DeploymentConfig"]
        error = taken("endpoint", arn)
        self.add("endpoint", name, doc, request, error, launch=True)
        return {"EndpointArn": arn}

    def UpdateEndpoint(self, request: Request) -> dict[str, Any]:
        _check(request)
        name = request["EndpointName"]
        arn = self._find(name)["EndpointArn"]
        chosen = self._find_config(request["EndpointConfigName"])

        def change(doc: Document) -> None:
            if doc["EndpointStatus"] in _CHANGING:
                raise ValidationException(f'Cannot update in-progress endpoint "{arn}".')
            if doc["EndpointStatus"] == "Failed":
                raise ValidationException(f'Cannot update failed endpoint "{arn}": it can only be deleted.')
            doc["EndpointStatus"] = "Updating"
            doc["PendingDeploymentSummary"] = {
                "EndpointConfigName": request["EndpointConfigName"],
                "ProductionVariants": _variants(chosen),
                "StartTime": now(),
            }
            if "DeploymentConfig" in request:
                doc["LastDeploymentConfig"] = request["DeploymentConfig"]

        self._change(name, change)
        self.engine.update_endpoint(name)
        return {"EndpointArn": arn}

    def DescribeEndpoint(self, request: Request) -> dict[str, Any]:
        return self._find(request["EndpointName"])

    def ListEndpoints(self, request: Request) -> dict[str, Any]:
        endpoints = page(self.store, "endpoint", request, order="Descending")
        return endpoints.answer("Endpoints", endpoints.items)

    def DeleteEndpoint(self, request: Request) -> None:
        name = request["EndpointName"]
        arn = self._find(name)["EndpointArn"]
        under_way = False

        def change(doc: Document) -> None:
            nonlocal under_way
            under_way = doc["EndpointStatus"] == "Deleting"
            doc["EndpointStatus"] = "Deleting"

        self._change(name, change)
        if under_way:
            # A second deletion would come to its end when the name may be another endpoint's.
            return
        self.store.delete("tags", arn)
        self.engine.delete_endpoint(name)


def _check(request: Request) -> None:
    ENDPOINT.check(request)
    policy = request.get("DeploymentConfig", {}).get("BlueGreenUpdatePolicy", {})
    kind = policy.get("TrafficRoutingConfiguration", {}).get("Type", "ALL_AT_ONCE")
    if kind != "ALL_AT_ONCE":
        raise ValidationException(
            f"TrafficRoutingConfiguration.Type {kind}: the local SageMaker moves all traffic at once; use "
            "ALL_AT_ONCE."
        )


def _variants(endpoint_config: Document) -> list[dict[str, Any]]:
    """The summaries of a configuration's variants, as DescribeEndpoint has them."""
    summaries = []
    for variant in endpoint_config["ProductionVariants"]:
        summary: dict[str, Any] = {
            "VariantName": variant["VariantName"],
            "CurrentWeight": variant["InitialVariantWeight"],
            "DesiredWeight": variant["InitialVariantWeight"],
        }
        if "ServerlessConfig" in variant:
            summary["CurrentServerlessConfig"] = variant["ServerlessConfig"]
        else:
            count = variant["InitialInstanceCount"]
            summary["CurrentInstanceCount"] = summary["DesiredInstanceCount"] = count
        summaries.append(summary)
    return summaries
