"""What an account knows beside SageMaker: its quotas, its tags, and what machines cost. Here: nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import ServiceModel

from local.errors import InvalidParameterException
from local.pagetokens import page
from local.store import Store

Request = dict[str, Any]
_QUOTA = 100.0  # of each kind of machine; this one runs as many jobs at a time as it has room for
_USES = {
    "TrainingInstanceType": "training job",
    "ProductionVariantInstanceType": "endpoint",
    "TransformInstanceType": "transform job",
}
_COMPONENTS = ("Training", "Hosting", "Batch Transform")


class Quotas:
    """Service Quotas: for every machine that SageMaker's model names."""

    def __init__(self, sagemaker: ServiceModel) -> None:
        self._sagemaker = sagemaker

    def ListServiceQuotas(self, request: Request) -> dict[str, Any]:
        service = request["ServiceCode"]
        names = list(_quota_names(self._sagemaker)) if service == "sagemaker" else []
        shown, token = page(names, request.get("MaxResults", 100), request.get("NextToken"), _bad_token())
        return {
            "Quotas": [{"ServiceCode": service, "QuotaName": name, "Value": _QUOTA} for name in shown],
            "NextToken": token,
        }

    ListAWSDefaultServiceQuotas = ListServiceQuotas


def _quota_names(sagemaker: ServiceModel) -> Iterator[str]:
    for shape, use in _USES.items():
        for kind in sagemaker.shape_for(shape).metadata["enum"]:
            yield f"{kind} for {use} usage"
            if use == "training job":
                yield f"{kind} for spot {use} usage"
                yield f"{kind} for training warm pool usage"


class Prices:
    """The price list: jobs on this machine cost nothing."""

    def GetProducts(self, request: Request) -> dict[str, Any]:
        attributes = {each["Field"]: each["Value"] for each in request.get("Filters", [])}
        products = []
        for component in _COMPONENTS:
            dimension = {"unit": "Hrs", "pricePerUnit": {"USD": "0.0000000000"}}
            product = {
                "product": {"attributes": {**attributes, "component": component}},
                "serviceCode": request["ServiceCode"],
                "terms": {"OnDemand": {"local": {"priceDimensions": {"local": dimension}}}},
            }
            products.append(json.dumps(product))
        return {"FormatVersion": "aws_v1", "PriceList": products}


class Tagging:
    """Resource Groups Tagging: what of SageMaker carries which tags."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def GetResources(self, request: Request) -> dict[str, Any]:
        kinds = request.get("ResourceTypeFilters", [])
        filters = request.get("TagFilters", [])
        mappings = []
        for arn in self._store.names("tags"):
            tags = {
                tag["Key"]: tag["Value"] for tag in (self._store.get("tags", arn) or {"Tags": []})["Tags"]
            }
            if _is_of(arn, kinds) and all(_has(tags, each) for each in filters):
                mappings.append(
                    {"ResourceARN": arn, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
                )
        token = request.get("PaginationToken") or None
        shown, token = page(mappings, request.get("ResourcesPerPage", 100), token, _bad_token())
        return {"ResourceTagMappingList": shown, "PaginationToken": token or ""}


def _is_of(arn: str, kinds: list[str]) -> bool:
    """Whether an ARN is of one of these: `sagemaker`, `sagemaker:endpoint`."""
    service, _, _, resource = arn.split(":", 5)[2:]
    own = f"{service}:{resource.partition('/')[0]}"
    return not kinds or service in kinds or own in kinds


def _has(tags: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    values = wanted.get("Values", [])
    return wanted["Key"] in tags and (not values or tags[wanted["Key"]] in values)


def _bad_token() -> InvalidParameterException:
    return InvalidParameterException("The token is invalid: pass the one of the answer before.")
