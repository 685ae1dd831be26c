"""Search over jobs and endpoints, through boto3."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from local.jobs.documents import enter, fail, training_document, tuning_document

if TYPE_CHECKING:
    from conftest import Service

Refused = Callable[..., str]
Make = Callable[..., dict[str, Any]]
START = 1_796_000_000


def channel(name: str, uri: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


@pytest.fixture
def jobs(service: Service, training: Make) -> Service:
    """Three training jobs: two completed, one failed."""
    for number, (name, rate, accuracy) in enumerate(
        (("one", "0.5", 0.9), ("two", "1.5", 0.7), ("three", "x", None))
    ):
        request = training(
            name,
            HyperParameters={"lr": rate, "layers": str(number)},
            InputDataConfig=[channel("train", f"s3://{name}/cats"), channel("test", "s3://bucket/dogs")],
            EnableManagedSpotTraining=name == "two",
            StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
        )
        doc = training_document(service.config, request)
        if accuracy is None:
            fail(doc, "AlgorithmError: no luck")
        else:
            enter(doc, "Completed")
            doc["FinalMetricDataList"] = [
                {"MetricName": "test:accuracy", "Value": accuracy, "Timestamp": 1.0}
            ]
        doc["CreationTime"] = START + 60 * number
        doc["LastModifiedTime"] = START + 60 * number
        doc["BillableTimeInSeconds"] = 100 * number
        service.store.put("training-job", name, doc)
    service.store.put("tags", doc["TrainingJobArn"], {"Tags": [{"Key": "team.name", "Value": "vision"}]})
    return service


def names(service: Service, *filters: dict[str, Any], **members: Any) -> list[str]:
    """The training jobs found, by default in the order of their names."""
    expression = members.pop("SearchExpression", {"Filters": list(filters)} if filters else None)
    if expression is not None:
        members["SearchExpression"] = expression
    members.setdefault("SortBy", "CreationTime")
    members.setdefault("SortOrder", "Ascending")
    answer = service.sagemaker.search(Resource="TrainingJob", **members)
    return [each["TrainingJob"]["TrainingJobName"] for each in answer["Results"]]


def by(name: str, value: str | None = None, operator: str | None = None) -> dict[str, Any]:
    given = {"Name": name, "Operator": operator, "Value": value}
    return {key: part for key, part in given.items() if part is not None}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (by("TrainingJobName", "two"), ["two"]),
        (by("TrainingJobStatus", "Failed", "NotEquals"), ["one", "two"]),
        (by("TrainingJobName", "o", "Contains"), ["one", "two"]),
        (by("TrainingJobName", "one, three", "In"), ["one", "three"]),
        (by("FailureReason", operator="Exists"), ["three"]),
        (by("FailureReason", operator="NotExists"), ["one", "two"]),
        (by("ModelArtifacts", operator="Exists"), []),
        (by("Metrics.test:accuracy", "0.8", "GreaterThan"), ["one"]),
        (by("Metrics.test:accuracy", "0.7", "LessThanOrEqualTo"), ["two"]),
        (by("Metrics.test:accuracy", operator="Exists"), ["one", "two"]),
        (by("HyperParameters.lr", "1.2", "LessThan"), ["one"]),
        (by("HyperParameters.lr", "1"), ["two"]),  # a whole number: 1.5 counts as 1
        (by("HyperParameters.lr", "1.0"), []),
        (by("HyperParameters.lr", "x"), ["three"]),
        (by("HyperParameters.lr", ".", "Contains"), ["one", "two"]),
        (by("Tags.team.name", "vision"), ["three"]),
        (by("BillableTimeInSeconds", "100", "GreaterThanOrEqualTo"), ["two", "three"]),
        (by("EnableManagedSpotTraining", "true"), ["two"]),
        (by("ResourceConfig.InstanceType", "ml.m5.large"), ["one", "two", "three"]),
        (by("InputDataConfig.ChannelName", "train"), ["one", "two", "three"]),
        (by("InputDataConfig.DataSource.S3DataSource.S3Uri", "two", "Contains"), ["two"]),
        (
            by("CreationTime", datetime.fromtimestamp(START + 30, UTC).isoformat(), "GreaterThan"),
            ["two", "three"],
        ),
        (by("CreationTime", f"{datetime.fromtimestamp(START, UTC):%Y-%m-%dT%H:%M:%S}"), ["one"]),
    ],
)
def test_a_filter(jobs: Service, condition: dict[str, Any], expected: list[str]) -> None:
    assert names(jobs, condition) == expected


def test_several_filters(jobs: Service) -> None:
    spot, failed = by("EnableManagedSpotTraining", "true"), by("TrainingJobStatus", "Failed")
    assert names(jobs, spot, failed) == []
    either = {"Operator": "Or", "Filters": [spot, failed]}
    assert names(jobs, SearchExpression=either) == ["two", "three"]
    both = {"SubExpressions": [either, {"Filters": [by("TrainingJobName", "two")]}]}
    assert names(jobs, SearchExpression=both) == ["two"]


def test_one_element_of_a_list_satisfies_a_nested_filter(jobs: Service) -> None:
    def expression(name: str) -> dict[str, Any]:
        filters = [
            by("InputDataConfig.ChannelName", name),
            by("InputDataConfig.DataSource.S3DataSource.S3Uri", "cats", "Contains"),
        ]
        return {"NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": filters}]}

    assert names(jobs, SearchExpression=expression("train")) == ["one", "two", "three"]
    assert names(jobs, SearchExpression=expression("test")) == []


def test_order(jobs: Service) -> None:
    answer = jobs.sagemaker.search(Resource="TrainingJob")
    assert [each["TrainingJob"]["TrainingJobName"] for each in answer["Results"]] == ["three", "two", "one"]
    assert names(jobs, SortBy="TrainingJobName") == ["one", "three", "two"]
    assert names(jobs, SortBy="Metrics.test:accuracy", SortOrder="Descending") == ["one", "two", "three"]
    assert names(jobs, SortBy="Metrics.test:accuracy") == ["two", "one", "three"]
    assert names(jobs, SortBy="HyperParameters.layers", SortOrder="Descending") == ["three", "two", "one"]


def test_pages(jobs: Service) -> None:
    pages = list(
        jobs.client("sagemaker")
        .get_paginator("search")
        .paginate(Resource="TrainingJob", SortBy="CreationTime", PaginationConfig={"PageSize": 2})
    )
    assert [len(page["Results"]) for page in pages] == [2, 1]
    assert pages[0]["TotalHits"] == {"Value": 3, "Relation": "EqualTo"}
    assert names(jobs, CrossAccountFilterOption="CrossAccount") == []


def test_what_is_found_is_described(jobs: Service) -> None:
    [found] = jobs.client("sagemaker").search(
        Resource="TrainingJob", SearchExpression={"Filters": [by("TrainingJobName", "three")]}
    )["Results"]
    job = found["TrainingJob"]
    assert job["Tags"] == [{"Key": "team.name", "Value": "vision"}]
    assert job["FailureReason"] == "AlgorithmError: no luck"
    assert job["HyperParameters"] == {"lr": "x", "layers": "2"}


def test_tuning_jobs_and_endpoints(service: Service, training: Make) -> None:
    definition = training()
    del definition["TrainingJobName"]
    request = {
        "HyperParameterTuningJobName": "tune",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        },
        "TrainingJobDefinition": definition,
    }
    service.store.put("tuning-job", "tune", tuning_document(service.config, request))
    endpoint = {
        "EndpointName": "digits",
        "EndpointArn": "a",
        "EndpointStatus": "InService",
        "CreationTime": 1.0,
    }
    service.store.put("endpoint", "digits", endpoint)
    search = service.sagemaker.search
    random = by("HyperParameterTuningJobConfig.Strategy", "Random")
    [found] = search(Resource="HyperParameterTuningJob", SearchExpression={"Filters": [random]})["Results"]
    assert found["HyperParameterTuningJob"]["HyperParameterTuningJobName"] == "tune"
    [found] = search(Resource="Endpoint", SearchExpression={"Filters": [by("EndpointStatus", "InService")]})[
        "Results"
    ]
    assert found["Endpoint"]["EndpointName"] == "digits"


CONTAINS = by("TrainingJobName", "o", "Contains")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Resource": "Pipeline"}, "Resource Pipeline: the local SageMaker searches TrainingJob, HyperParam"),
        ({"Resource": "TransformJob"}, "enum value set"),
        ({"SearchExpression": {}}, "must have at least one of Filters, NestedFilters and SubExpressions"),
        ({"SearchExpression": {"Filters": [by("Nmae", "x")]}}, "Unknown property name: Nmae"),
        ({"SearchExpression": {"Filters": [by("ResourceConfig.Size", "x")]}}, "Unknown property name"),
        ({"SearchExpression": {"Filters": [by("ResourceConfig", "x")]}}, "ResourceConfig has parts"),
        ({"SearchExpression": {"Filters": [by("TrainingJobName")]}}, "has no Value, which Equals needs"),
        ({"SearchExpression": {"Filters": [by("TrainingJobName", "x", "Exists")]}}, "Exists takes none"),
        ({"SearchExpression": {"Filters": [by("TrainingJobName", "x", "LessThan")]}}, "not for text"),
        ({"SearchExpression": {"Filters": [by("CreationTime", "x")]}}, "'x' of CreationTime must be a time"),
        ({"SearchExpression": {"Filters": [by("Metrics.a", "x")]}}, "'x' of Metrics.a must be a number"),
        (
            {"SearchExpression": {"Filters": [by("Metrics.a", "1", "In")]}},
            "In is not supported for Metrics.a",
        ),
        ({"SearchExpression": {"Filters": [CONTAINS, CONTAINS]}}, "'CONTAINS' operator usage limit of 1"),
        (
            {"SearchExpression": {"SubExpressions": [{"Filters": [by("TrainingJobName", "x")] * 20}] * 3}},
            "has 63 filters, nested filters and subexpressions; at most 50",
        ),
        (
            {
                "SearchExpression": {
                    "NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": [CONTAINS]}]
                }
            },
            "has the property TrainingJobName, which is not in it",
        ),
        (
            {
                "SearchExpression": {
                    "NestedFilters": [{"NestedPropertyName": "RoleArn", "Filters": [CONTAINS]}]
                }
            },
            "RoleArn is not a list",
        ),
        ({"SortBy": "ResourceConfig"}, "SortBy is ResourceConfig, which has parts"),
        ({"NextToken": "x"}, "Invalid NextToken"),
        ({"VisibilityConditions": [{"Key": "Tags.a", "Value": "b"}]}, "shows everything to everybody"),
    ],
)
def test_what_is_refused(service: Service, refused: Refused, members: dict[str, Any], message: str) -> None:
    request = {"Resource": "TrainingJob", **members}
    assert message in refused(service.sagemaker.search, "ValidationException", **request)
