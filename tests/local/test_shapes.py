from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from local import shapes
from local.errors import SerializationException, ValidationException

MODEL = ServiceModel(Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def operation(name: str) -> Shape:
    shape = MODEL.operation_model(name).input_shape
    assert shape is not None
    return shape


def problem(name: str, value: Any) -> str:
    with pytest.raises(ValidationException) as caught:
        shapes.read(operation(name), value)
    return caught.value.message


def wrong_type(name: str, value: Any) -> str:
    with pytest.raises(SerializationException) as caught:
        shapes.read(operation(name), value)
    return caught.value.message


def test_every_pattern_of_botocores_model_is_understood() -> None:
    """Java's patterns; 18 of them are none for Python's `re` as they stand."""
    patterns = {MODEL.shape_for(name).metadata.get("pattern") for name in MODEL.shape_names} - {None}
    assert len(patterns) > 200
    for pattern in patterns:
        shapes.matches(str(pattern), "some text: 1")


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "abc1", False),
        ("[a-z]+", "xabc\n", False),
        (r"\w+", "é", False),  # Java's \w is ASCII's
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "Größe 1", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "数据", True),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "😀", False),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", "a#b", False),
    ],
)
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    assert shapes.matches(pattern, text) is expected


@pytest.mark.parametrize(
    ("name", "member", "value", "path"),
    [
        ("AddTags", "Tags", [{"Key": "k", "Value": "v"}, None], "tags.2.member"),
        ("CreateTrainingJob", "HyperParameters", {"lr": None}, "hyperParameters.lr.member"),
    ],
)
def test_a_null_in_a_list_or_a_map_is_not_dropped(name: str, member: str, value: Any, path: str) -> None:
    with pytest.raises(ValidationException, match=rf"Value null at '{path}' failed to satisfy"):
        shapes.read(operation(name), {member: value})


def test_nulls_are_dropped() -> None:
    read = shapes.read(operation("ListModels"), {"NameContains": None, "MaxResults": 3, "Strange": None})
    assert read == {"MaxResults": 3}


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("ListModels", {"MaxResults": 3, "Strange": [1]}, "strange"),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "a", "New": {"Deep": 1}}]},
            "productionVariants.1.member.new",
        ),
    ],
)
def test_members_of_a_newer_model_are_refused(name: str, value: dict[str, Any], path: str) -> None:
    assert problem(name, value).startswith(f"{path}: the service's model of AWS does not have this member")


def test_numbers() -> None:
    assert shapes.read(operation("ListModels"), {"MaxResults": 3.0}) == {"MaxResults": 3}
    for value in ("3", 3.5, True, [3]):
        assert "'maxResults' must be an integer" in wrong_type("ListModels", {"MaxResults": value})
    assert "less than or equal to 100" in problem("ListModels", {"MaxResults": 101})
    assert "greater than or equal to 1" in problem("ListModels", {"MaxResults": 0})
    for value in (float("nan"), float("inf"), "now"):
        assert "must be a number" in wrong_type("ListModels", {"CreationTimeAfter": value})


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"ModelName": 1}, "Value '1' at 'modelName' must be a string."),
        ({"ModelName": "m", "Containers": {}}, "Value '{}' at 'containers' must be a list."),
        ({"ModelName": "m", "PrimaryContainer": []}, "Value '[]' at 'primaryContainer' must be an object."),
        (
            {"ModelName": "m", "PrimaryContainer": {"Environment": {"A": 1}}},
            "Value '1' at 'primaryContainer.environment' must be a string.",
        ),
        ({"ModelName": "m", "EnableNetworkIsolation": "no"}, "at 'enableNetworkIsolation' must be a boolean"),
        ({"ModelName": "m", "Tags": [1]}, "Value '1' at 'tags.1.member' must be an object."),
    ],
)
def test_wrong_types(request_: Any, expected: str) -> None:
    assert expected in wrong_type("CreateModel", request_)


def test_aws_words_for_several_problems() -> None:
    tags = [{"Key": "", "Value": "v" * 257}, {"Value": "x"}]
    assert problem("CreateModel", {"ModelName": "m", "Tags": tags}) == (
        "3 validation errors detected: "
        "Value '' at 'tags.1.member.key' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1; "
        f"Value '{'v' * 200}…' at 'tags.1.member.value' failed to satisfy constraint: "
        "Member must have length less than or equal to 256; "
        "Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null"
    )


def test_many_problems_are_counted_and_some_are_shown() -> None:
    tags = [{"Value": "x"}] * 30
    message = problem("CreateModel", {"ModelName": "m", "Tags": tags})
    assert message.startswith("30 validation errors detected: ")
    assert message.count("must not be null") == 10


def test_maps() -> None:
    environment = {"1A": "x", "B" * 1025: "y"}
    message = problem("CreateModel", {"ModelName": "m", "PrimaryContainer": {"Environment": environment}})
    assert message.count("Map keys must satisfy constraint") == 2


def test_answers_are_cut_to_their_shape() -> None:
    shape = MODEL.operation_model("DescribeModel").output_shape
    answer = {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "i", "_secret": 1, "Environment": {"A": "b"}, "Mode": None},
        "CreationTime": 1_700_000_000.123456,
        "Containers": [{"Image": "j", "Strange": 1}],
    }
    assert shapes.write(shape, answer) == {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "i", "Environment": {"A": "b"}},
        "CreationTime": 1_700_000_000.123,
        "Containers": [{"Image": "j"}],
    }


@pytest.mark.parametrize("levels", [100, 300, 900])
def test_a_request_that_is_nested_without_end_is_refused(levels: int) -> None:
    expression: dict[str, Any] = {"Operator": "And"}
    for _ in range(levels):
        expression = {"SubExpressions": [expression]}
    request = {"Resource": "TrainingJob", "SearchExpression": expression}
    if levels == 100:
        assert shapes.read(operation("Search"), request) == request
    else:
        assert "nested too deeply" in problem("Search", request)
