"""Which kind of warm start fits, and which hyperparameters its request has."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import ByocError
from scripts import requests, warmstart
from tests.scripts.test_requests import PLACE, settings_of

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


def request_of(*overrides: str) -> dict[str, Any]:
    return requests.tuning_job(settings_of(*overrides), PLACE, "now")


def parent_of(*overrides: str, name: str = "then", status: str = "Completed") -> dict[str, Any]:
    """What DescribeHyperParameterTuningJob says of a tuning job of these settings."""
    request = copy.deepcopy(request_of(*overrides))
    request["TrainingJobDefinition"]["StaticHyperParameters"]["_tuning_objective_metric"] = "x"
    return {
        **request,
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobStatus": status,
        "CreationTime": CREATED,
    }


def clients_of(*parents: dict[str, Any], uploaded: datetime = CREATED - timedelta(days=1)) -> Any:
    from botocore.exceptions import ClientError

    def describe(HyperParameterTuningJobName: str) -> dict[str, Any]:
        for parent in parents:
            if parent["HyperParameterTuningJobName"] == HyperParameterTuningJobName:
                return parent
        raise ClientError({"Error": {"Code": "ResourceNotFound", "Message": ""}}, "Describe")

    pages = SimpleNamespace(paginate=lambda **_: [{"Contents": [{"LastModified": uploaded}]}, {}])
    return SimpleNamespace(
        sagemaker=SimpleNamespace(describe_hyper_parameter_tuning_job=describe),
        s3=SimpleNamespace(get_paginator=lambda _: pages),
    )


def test_parents_are_looked_up_once_each() -> None:
    parent = parent_of()
    assert warmstart.look(clients_of(parent), ["then", "then"]) == [parent]
    assert warmstart.look(clients_of(), []) == []


@pytest.mark.parametrize(
    ("parents", "names", "expected"),
    [
        ([], ["then"], "tuning job"),
        ([parent_of(status="InProgress")], ["then"], "it is InProgress"),
        ([], ["a", "b", "c", "d", "e", "f"], "names 6 tuning jobs; SageMaker takes 5"),
    ],
)
def test_parents_that_sagemaker_would_not_take(
    parents: list[dict[str, Any]], names: list[str], expected: str
) -> None:
    with pytest.raises(ByocError, match=expected):
        warmstart.look(clients_of(*parents), names)


def test_the_same_image_and_pictures_are_identical_in_another_version_too() -> None:
    parent, request = parent_of(), request_of()
    request["TrainingJobDefinition"]["AlgorithmSpecification"]["TrainingImage"] += "-2"
    assert warmstart.kind(clients_of(), request, [parent]) == ("IdenticalDataAndAlgorithm", "")


def test_other_pictures_or_another_image_are_transfer() -> None:
    parent, request = parent_of(), request_of()
    later = clients_of(uploaded=CREATED + timedelta(minutes=1))
    assert warmstart.kind(later, request, [parent]) == (
        "TransferLearning", "the channel train has been uploaded to since",
    )  # fmt: skip
    elsewhere = request_of("aws.prefix=elsewhere")
    assert warmstart.kind(clients_of(), elsewhere, [parent]) == (
        "TransferLearning", "then trained on other data",
    )  # fmt: skip
    parent["TrainingJobDefinition"]["AlgorithmSpecification"]["TrainingImage"] = "host:5000/mine:1"
    assert warmstart.kind(clients_of(), request, [parent]) == (
        "TransferLearning", "then trained in another image, host:5000/mine",
    )  # fmt: skip


def test_what_the_parents_tuned_and_this_one_does_not_is_fixed_at_the_default() -> None:
    request = request_of("tune.ranges={lr = [0.1, 0.2]}", "tune.jobs=2")
    warm = warmstart.warm_started(request, [parent_of()], "IdenticalDataAndAlgorithm")
    assert warm["TrainingJobDefinition"]["StaticHyperParameters"] == {"batch_size": "32"}
    assert warm["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "then"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    assert "batch_size" not in request["TrainingJobDefinition"]["StaticHyperParameters"]


def test_a_default_that_the_parents_did_not_name_is_left_out() -> None:
    warm = warmstart.warm_started(request_of("momentum=0.9"), [parent_of()], "TransferLearning")
    assert warm["TrainingJobDefinition"]["StaticHyperParameters"] == {}


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ((), ("momentum=0.8",), r"momentum here only\. Take momentum out of|momentum here only"),
        ((), ("tune.objective=validation:loss",), "its objective is Maximize validation:accuracy"),
        (("train.instance_count=2",), (), "sagemaker_torch_distributed_enabled there only"),
    ],
)
def test_what_cannot_be_a_parent(then: tuple[str, ...], now: tuple[str, ...], expected: str) -> None:
    with pytest.raises(ByocError, match=expected):
        warmstart.warm_started(request_of(*now), [parent_of(*then)], "IdenticalDataAndAlgorithm")


def test_two_parents_must_both_have_the_same() -> None:
    other = parent_of("momentum=0.8", name="other")
    with pytest.raises(ByocError, match=r"--warm-start then: .* momentum here only"):
        warmstart.warm_started(request_of("momentum=0.8"), [parent_of(), other], "TransferLearning")


def test_a_parent_of_another_program_may_have_all_in_its_definition() -> None:
    parent, request = parent_of(), request_of()
    config, definition = parent["HyperParameterTuningJobConfig"], parent["TrainingJobDefinition"]
    definition["TuningObjective"] = config.pop("HyperParameterTuningJobObjective")
    definition["HyperParameterRanges"] = config.pop("ParameterRanges")
    warm = warmstart.warm_started(request, [parent], "IdenticalDataAndAlgorithm")
    assert warm["WarmStartConfig"]["WarmStartType"] == "IdenticalDataAndAlgorithm"
    definition["AlgorithmSpecification"] = {"AlgorithmName": "bought", "TrainingInputMode": "File"}
    assert warmstart.kind(clients_of(), request, [parent]) == (
        "TransferLearning", "then trained in another image, bought",
    )  # fmt: skip
    definition["TuningObjective"]["Type"] = "Minimize"
    with pytest.raises(ByocError, match="its objective is Minimize validation:accuracy"):
        warmstart.warm_started(request, [parent], "TransferLearning")
