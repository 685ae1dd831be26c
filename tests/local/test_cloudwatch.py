"""Metrics of jobs as CloudWatch shows them, in each protocol that it speaks."""

from __future__ import annotations

import datetime
import http.client
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from contract.names import TRAINING_LOGS
from local.jobs.documents import enter, training_document

if TYPE_CHECKING:
    from conftest import Service

Refused = Callable[..., str]
Make = Callable[..., dict[str, Any]]

START = 1_796_000_000.0 // 3600 * 3600
DEFINITIONS = [{"Name": "loss", "Regex": r"loss=(\S+)"}, {"Name": "accuracy", "Regex": r"accuracy=(\S+)"}]
# Seconds after START, and what was printed.
PRINTED = [
    (0, "loss=4 accuracy=0.5"),
    (10, "loss=2"),
    (59.9, "loss=0"),
    (60, "loss=nan loss=1"),
    (130, "loss=-1"),
]


@pytest.fixture
def job(service: Service, training: Make, image: str) -> str:
    """A job whose log is that of two hosts."""
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": DEFINITIONS}
    doc = training_document(service.config, training(AlgorithmSpecification=algorithm))
    enter(doc, "Completed")
    doc["FinalMetricDataList"] = [{"MetricName": "loss", "Value": -1.0, "Timestamp": START + 130}]
    service.store.put("training-job", "job", doc)
    for name, lines in (
        ("job/algo-1-1", PRINTED),
        ("job/algo-2-1", [(61, "loss=3")]),
        ("job2/algo-1-1", PRINTED),
    ):
        path = service.config.log_file(TRAINING_LOGS, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{round((START + at) * 1000)} {text}\n" for at, text in lines))
    return "job"


def metric(name: str = "loss", job: str = "job") -> dict[str, Any]:
    dimensions = [{"Name": "TrainingJobName", "Value": job}]
    return {"Namespace": "/aws/sagemaker/TrainingJobs", "MetricName": name, "Dimensions": dimensions}


def asked(**members: Any) -> dict[str, Any]:
    return {
        **metric(),
        "StartTime": START,
        "EndTime": START + 300,
        "Period": 60,
        "Statistics": ["Average"],
        **members,
    }


def after(moment: datetime.datetime) -> float:
    return moment.timestamp() - START


def test_statistics(service: Service, job: str) -> None:
    every = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    answer = service.client("cloudwatch").get_metric_statistics(**asked(Statistics=every))
    assert answer["Label"] == "loss"
    assert {after(point.pop("Timestamp")): point for point in answer["Datapoints"]} == {
        0: {"SampleCount": 3, "Average": 2, "Sum": 6, "Minimum": 0, "Maximum": 4, "Unit": "None"},
        60: {"SampleCount": 2, "Average": 2, "Sum": 4, "Minimum": 1, "Maximum": 3, "Unit": "None"},
        120: {"SampleCount": 1, "Average": -1, "Sum": -1, "Minimum": -1, "Maximum": -1, "Unit": "None"},
    }


def test_seconds_and_percentiles(service: Service, job: str) -> None:
    get = service.client("cloudwatch").get_metric_statistics
    points = get(**asked(Period=1))["Datapoints"]
    assert [(after(point["Timestamp"]), point["Average"]) for point in points] == [
        *((0, 4), (10, 2), (59, 0), (60, 1), (61, 3), (130, -1)),
    ]
    request = asked(ExtendedStatistics=["p50", "p75", "p100"])
    del request["Statistics"]
    found = {after(point["Timestamp"]): point["ExtendedStatistics"] for point in get(**request)["Datapoints"]}
    assert found[0] == {"p50": 2, "p75": 3, "p100": 4}
    assert found[120] == {}  # of a negative value, as on AWS


@pytest.mark.parametrize(
    "members",
    [
        {"MetricName": "other"},
        {"Namespace": "AWS/EC2"},
        {"Dimensions": []},
        {"Dimensions": [{"Name": "Host", "Value": "job/algo-1"}]},
        {"Dimensions": [{"Name": "TrainingJobName", "Value": "other"}]},
        {"Unit": "Percent"},
        {"StartTime": START - 600, "EndTime": START},
    ],
)
def test_what_nobody_measured_has_no_points(service: Service, job: str, members: dict[str, Any]) -> None:
    assert service.client("cloudwatch").get_metric_statistics(**asked(**members))["Datapoints"] == []


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        ({"Period": 7}, "InvalidParameterValue", "Period is 7, and must be 1, 5, 10, 20, 30 or a multiple"),
        ({"Statistics": ["p50"]}, "ValidationError", "Member must satisfy enum value set"),
        ({"ExtendedStatistics": ["p50"]}, "InvalidParameterCombination", "either Statistics or Extended"),
        ({"EndTime": START}, "InvalidParameterCombination", "StartTime must be less than the parameter EndT"),
        (
            {"Period": 1, "EndTime": START + 1441},
            "InvalidParameterCombination",
            "up to 1,441 datapoints, which exceeds the limit of 1,440",
        ),
    ],
)
def test_statistics_that_are_refused(
    service: Service, job: str, refused: Refused, members: dict[str, Any], code: str, message: str
) -> None:
    assert message in refused(service.client("cloudwatch").get_metric_statistics, code, **asked(**members))


def query(name: str, number: str = "a", period: int = 60, stat: str = "Maximum") -> dict[str, Any]:
    return {"Id": number, "MetricStat": {"Metric": metric(name), "Period": period, "Stat": stat}}


def test_data_of_several_metrics(service: Service, job: str) -> None:
    answer = service.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            query("loss"),
            query("accuracy", "b"),
            {**query("loss", "c"), "ReturnData": False},
        ],
        StartTime=START,
        EndTime=START + 300,
    )
    found = {
        each["Id"]: ([after(at) for at in each["Timestamps"]], each["Values"])
        for each in answer["MetricDataResults"]
    }
    assert found == {"a": ([120, 60, 0], [-1, 3, 4]), "b": ([0], [0.5])}
    assert {each["StatusCode"] for each in answer["MetricDataResults"]} == {"Complete"}
    assert [each["Label"] for each in answer["MetricDataResults"]] == ["loss", "accuracy"]


def test_data_in_pages(service: Service, job: str) -> None:
    pages = (
        service.client("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(
            MetricDataQueries=[query("loss", period=1), query("accuracy", "b")],
            StartTime=START,
            EndTime=START + 300,
            ScanBy="TimestampAscending",
            MaxDatapoints=4,
        )
    )
    first, second = list(pages)
    assert [each["Values"] for each in first["MetricDataResults"]] == [[4, 2, 0, 1], []]
    assert [each["StatusCode"] for each in first["MetricDataResults"]] == ["PartialData", "PartialData"]
    assert [each["Values"] for each in second["MetricDataResults"]] == [[3, -1], [0.5]]
    assert [each["StatusCode"] for each in second["MetricDataResults"]] == ["Complete", "Complete"]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([], "has 0 queries: give 1 to 500"),
        ([query("loss"), query("loss")], "The Id 'a' is there twice"),
        ([query("loss", "A")], "The Id 'A' must begin with a lower-case letter"),
        ([{"Id": "a", "Expression": "b*2"}], "has an Expression: the local SageMaker computes none"),
        ([{"Id": "a"}], "The query 'a' has no MetricStat"),
        ([query("loss", period=61)], "Period is 61"),
        ([query("loss", stat="tm99")], "The statistic 'tm99' is none of SampleCount"),
    ],
)
def test_data_that_is_refused(
    service: Service, refused: Refused, queries: list[dict[str, Any]], message: str
) -> None:
    get = service.client("cloudwatch").get_metric_data
    request = {"MetricDataQueries": queries, "StartTime": START, "EndTime": START + 1}
    assert message in refused(get, "ValidationError", **request)


def test_the_list(service: Service, job: str) -> None:
    cloudwatch = service.client("cloudwatch")
    assert cloudwatch.list_metrics()["Metrics"] == [metric()]
    assert cloudwatch.list_metrics(Dimensions=[{"Name": "TrainingJobName"}], MetricName="loss")["Metrics"]
    for other in (
        {"MetricName": "accuracy"},
        {"Namespace": "AWS/EC2"},
        {"Dimensions": [{"Name": "Host"}]},
        {"Dimensions": [{"Name": "TrainingJobName", "Value": "other"}]},
    ):
        assert cloudwatch.list_metrics(**other)["Metrics"] == []


def test_what_cloudwatch_does_not_have_here(service: Service, refused: Refused) -> None:
    cloudwatch = service.client("cloudwatch")
    message = refused(cloudwatch.describe_alarms, "UnknownOperationException")
    assert message.startswith("The local SageMaker does not have DescribeAlarms; it has GetMetricData, ")
    assert "none of this operation's" in refused(cloudwatch.list_metrics, "InvalidNextToken", NextToken="x")


SIGNED = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/monitoring/aws4_request, X=y"


def send(service: Service, path: str, body: bytes, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.server.port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, {"authorization": SIGNED, **named})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


FORM = {
    "Action": "GetMetricStatistics",
    "Version": "2010-08-01",
    "Namespace": "/aws/sagemaker/TrainingJobs",
    "MetricName": "loss",
    "Dimensions.member.1.Name": "TrainingJobName",
    "Dimensions.member.1.Value": "job",
    "StartTime": datetime.datetime.fromtimestamp(START, datetime.UTC).isoformat(),
    "EndTime": datetime.datetime.fromtimestamp(START + 60, datetime.UTC).isoformat(),
    "Period": "60",
    "Statistics.member.1": "Average",
    "Statistics.member.2": "Sum",
}


def test_the_query_protocol(service: Service, job: str) -> None:
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    status, text = send(service, "/", urlencode(FORM).encode(), content_type=kind)
    assert status == 200
    assert re.search(r"<GetMetricStatisticsResult><Label>loss</Label><Datapoints><member>", text)
    assert "<Average>2.0</Average><Sum>6.0</Sum>" in text
    assert re.search(r"<Timestamp>[-0-9]+T[0-9]+:00:00\.000Z</Timestamp>", text)
    for wrong, says in (
        ({**FORM, "Period": "often"}, "must be a integer"),
        ({**FORM, "Period": "7"}, "<Code>InvalidParameterValue</Code><Message>The parameter Period is 7"),
        ({**FORM, "Action": "PutMetricData"}, "<Code>InvalidAction</Code>"),
        ({}, "<Code>InvalidAction</Code>"),
    ):
        status, text = send(service, "/", urlencode(wrong).encode(), content_type=kind)
        assert status == 400
        assert says in text


def test_json(service: Service, job: str) -> None:
    target = "GraniteServiceVersion20100801.ListMetrics"
    status, text = send(service, "/", b"{}", x_amz_target=target, content_type="application/x-amz-json-1.0")
    assert (status, '"MetricName":"loss"' in text) == (200, True)


def test_what_is_no_cbor(service: Service) -> None:
    path = "/service/GraniteServiceVersion20100801/operation/ListMetrics"
    status, text = send(service, path, b"\xff\xff", smithy_protocol="rpc-v2-cbor")
    assert status == 400
    assert "SerializationException" in text
