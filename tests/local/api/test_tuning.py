from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest

from local.jobs.documents import training_document
from tests.local.api.conftest import BATCH, LR, warm

Service = Any  # conftest.Service
Make = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def hyperband(**resources: int) -> dict[str, Any]:
    return {"StrategyConfig": {"HyperbandStrategyConfig": resources}}


def test_a_tuning_job_is_created_and_described(service: Service, tuning: Make) -> None:
    sagemaker = service.client("sagemaker")
    request = tuning(RandomSeed=3)
    arn = sagemaker.create_hyper_parameter_tuning_job(**request)["HyperParameterTuningJobArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/tune"
    assert service.engine.calls == [("submit tuning-job", "tune")]
    doc = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    assert doc["HyperParameterTuningJobStatus"] == "InProgress"
    assert doc["TrainingJobStatusCounters"]["InProgress"] == 0
    assert doc["ObjectiveStatusCounters"] == {"Succeeded": 0, "Pending": 0, "Failed": 0}
    assert doc["HyperParameterTuningJobConfig"] == request["HyperParameterTuningJobConfig"]
    # As on AWS, with what clients that attach to the job read unasked.
    trial = request["TrainingJobDefinition"]
    static = {"_tuning_objective_metric": "accuracy", **trial["StaticHyperParameters"]}
    output = {"KmsKeyId": "", **trial["OutputDataConfig"]}
    assert doc["TrainingJobDefinition"] == {
        **trial,
        "StaticHyperParameters": static,
        "OutputDataConfig": output,
    }


def test_a_definitions_machines_are_those_of_its_jobs(service: Service, tuning: Make) -> None:
    request = tuning()
    machines = request["TrainingJobDefinition"].pop("ResourceConfig")
    request["TrainingJobDefinition"]["HyperParameterTuningResourceConfig"] = machines
    service.sagemaker.create_hyper_parameter_tuning_job(**request)
    doc = service.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    assert doc["TrainingJobDefinition"]["ResourceConfig"] == machines


def test_the_trials_are_in_the_tuning_jobs_region(service: Service, tuning: Make) -> None:
    abroad = boto3.client(
        "sagemaker",
        "eu-west-1",
        endpoint_url=service.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    service.clients.append(abroad)
    arn = abroad.create_hyper_parameter_tuning_job(**tuning(Tags=[{"Key": "a", "Value": "b"}]))[
        "HyperParameterTuningJobArn"
    ]
    assert arn == "arn:aws:sagemaker:eu-west-1:123456789012:hyper-parameter-tuning-job/tune"
    # What is made in one region is seen from all of them: there is one machine.
    assert service.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    service.store.update("tuning-job", "tune", HyperParameterTuningJobStatus="Stopped")
    service.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    assert list(service.store.names("tags")) == []


def test_the_list_tells_strategy_and_limits(service: Service, tuning: Make) -> None:
    sagemaker = service.client("sagemaker")
    for name in ("b", "a"):
        sagemaker.create_hyper_parameter_tuning_job(**tuning(name))
    found = sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    assert [job["HyperParameterTuningJobName"] for job in found] == ["a", "b"]
    assert found[0]["Strategy"] == "Bayesian"
    assert found[0]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 4


def test_a_tuning_job_that_is_not_there(service: Service, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    name = {"HyperParameterTuningJobName": "none"}
    refused(sagemaker.describe_hyper_parameter_tuning_job, "ResourceNotFound", **name)
    refused(sagemaker.stop_hyper_parameter_tuning_job, "ResourceNotFound", **name)
    refused(sagemaker.list_training_jobs_for_hyper_parameter_tuning_job, "ResourceNotFound", **name)


def test_a_name_is_taken_and_short(service: Service, tuning: Make, refused: Refused) -> None:
    sagemaker = service.sagemaker
    sagemaker.create_hyper_parameter_tuning_job(**tuning())
    refused(sagemaker.create_hyper_parameter_tuning_job, "ResourceInUse", **tuning())
    message = refused(sagemaker.create_hyper_parameter_tuning_job, "ValidationException", **tuning("x" * 33))
    assert "length less than or equal to 32" in message


def test_stop(service: Service, tuning: Make, refused: Refused) -> None:
    sagemaker = service.client("sagemaker")
    sagemaker.create_hyper_parameter_tuning_job(**tuning())
    name = {"HyperParameterTuningJobName": "tune"}
    sagemaker.stop_hyper_parameter_tuning_job(**name)
    status = sagemaker.describe_hyper_parameter_tuning_job(**name)["HyperParameterTuningJobStatus"]
    assert status == "Stopping"
    service.store.update("tuning-job", "tune", HyperParameterTuningJobStatus="Stopped")
    message = refused(sagemaker.stop_hyper_parameter_tuning_job, "ValidationException", **name)
    assert "in status Stopped" in message


def test_delete(service: Service, tuning: Make, refused: Refused) -> None:
    sagemaker, name = service.client("sagemaker"), {"HyperParameterTuningJobName": "tune"}
    sagemaker.delete_hyper_parameter_tuning_job(**name)  # as on AWS, which declares no error
    sagemaker.create_hyper_parameter_tuning_job(**tuning())
    refused(sagemaker.delete_hyper_parameter_tuning_job, "ValidationException", **name)
    service.store.update("tuning-job", "tune", HyperParameterTuningJobStatus="Failed")
    sagemaker.delete_hyper_parameter_tuning_job(**name)
    refused(sagemaker.describe_hyper_parameter_tuning_job, "ResourceNotFound", **name)


def test_the_training_jobs_of_a_tuning_job(service: Service, tuning: Make, training: Make) -> None:
    sagemaker = service.client("sagemaker")
    arn = sagemaker.create_hyper_parameter_tuning_job(**tuning())["HyperParameterTuningJobArn"]
    sagemaker.create_training_job(**training("alone"))
    for number, value in enumerate((0.5, 0.9, None), 1):
        child = training_document(service.config, training(f"tune-{number:03d}"), tuning_job_arn=arn)
        child["_TuningJobName"] = "tune"
        child["_TunedHyperParameters"] = {"lr": str(number)}
        if value is not None:
            child["_FinalObjectiveMetric"] = {"Type": "Maximize", "MetricName": "accuracy", "Value": value}
        service.store.put("training-job", child["TrainingJobName"], child)
    ask = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job
    found = ask(HyperParameterTuningJobName="tune")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in found] == ["tune-001", "tune-002", "tune-003"]
    assert found[0]["TunedHyperParameters"] == {"lr": "1"}
    assert found[0]["ObjectiveStatus"] == "Pending"
    best = ask(
        HyperParameterTuningJobName="tune", SortBy="FinalObjectiveMetricValue", SortOrder="Descending"
    )["TrainingJobSummaries"]
    assert [job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in best] == pytest.approx(
        [0.9, 0.5]
    )
    assert [
        job["TrainingJobName"]
        for job in sagemaker.list_training_jobs(NameContains="alone")["TrainingJobSummaries"]
    ] == ["alone"]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"TrainingJobDefinition": None}, "Give either TrainingJobDefinition or TrainingJobDefinitions"),
        (
            {"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"},
            "TrainingJobEarlyStoppingType must be Off with the Hyperband strategy",
        ),
        (
            {"Strategy": "Hyperband", **hyperband(MaxResource=20_001)},
            "MaxResource 20001 is above 20000",
        ),
        (
            {"Strategy": "Hyperband", **hyperband(MinResource=3, MaxResource=3)},
            "MinResource 3 must be below MaxResource 3",
        ),
        (
            {"Strategy": "Hyperband", "definition": {"StaticHyperParameters": {"epochs": "many"}}},
            "MaxResource is missing, and StaticHyperParameters has none of epochs, numepochs",
        ),
        (hyperband(MaxResource=9), "StrategyConfig is for the Hyperband strategy only, not Bayesian"),
        (
            {"ParameterRanges": {"AutoParameters": [{"Name": "lr", "ValueHint": "0.1"}]}},
            "has no range",
        ),
        ({"Strategy": "Luck"}, "enum value set"),
        ({"HyperParameterTuningJobObjective": None}, "HyperParameterTuningJobObjective is missing"),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "f1"}},
            "'f1' is not among the MetricDefinitions (accuracy)",
        ),
        ({"ParameterRanges": {}}, "has no range"),
        ({"ParameterRanges": {"CategoricalParameterRanges": [BATCH, BATCH]}}, "Duplicate hyperparameter"),
        (
            {"ParameterRanges": {"CategoricalParameterRanges": [{"Name": "epochs", "Values": ["1"]}]}},
            "epochs: in ParameterRanges and in StaticHyperParameters",
        ),
        ({"ParameterRanges": {"ContinuousParameterRanges": [{**LR, "MinValue": "0"}]}}, "lr"),
        ({"ParameterRanges": {"ContinuousParameterRanges": [{**LR, "MinValue": "1"}]}}, "lr"),
        ({"ParameterRanges": {"ContinuousParameterRanges": [{**LR, "MaxValue": "much"}]}}, "much"),
        ({"Strategy": "Grid"}, "The Grid strategy takes CategoricalParameterRanges only"),
        (
            {"Strategy": "Grid", "ParameterRanges": {"CategoricalParameterRanges": [BATCH]}},
            "MaxNumberOfTrainingJobs is 4, but the grid has 2 combinations",
        ),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "MaxNumberOfTrainingJobs is missing"),
        (
            {"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 2}},
            "MaxParallelTrainingJobs 2 is above MaxNumberOfTrainingJobs 1",
        ),
        (warm("gone"), "there is no parent tuning job gone"),
    ],
)
def test_refused_at_once(
    service: Service, tuning: Make, refused: Refused, members: dict[str, Any], expected: str
) -> None:
    create = service.sagemaker.create_hyper_parameter_tuning_job
    assert expected in refused(create, "ValidationException", **tuning(**members))
    assert list(service.store.each("tuning-job")) == []


def test_beyond_the_limits(service: Service, tuning: Make, refused: Refused) -> None:
    create = service.sagemaker.create_hyper_parameter_tuning_job
    for limits in ((751, 2), (750, 101)):
        given = dict(zip(("MaxNumberOfTrainingJobs", "MaxParallelTrainingJobs"), limits, strict=True))
        refused(create, "ResourceLimitExceeded", **tuning(ResourceLimits=given))


def test_a_definition_is_checked_like_a_training_job(
    service: Service, tuning: Make, refused: Refused
) -> None:
    create = service.sagemaker.create_hyper_parameter_tuning_job
    request = tuning(definition={"OutputDataConfig": {"S3OutputPath": "https://bucket/x"}})
    assert "OutputDataConfig.S3OutputPath" in refused(create, "ValidationException", **request)


def test_hyperband_takes_its_resources_from_the_epochs(service: Service, tuning: Make) -> None:
    sagemaker = service.client("sagemaker")
    for number, members in enumerate(({}, hyperband(MinResource=2), hyperband(MinResource=1, MaxResource=9))):
        name = f"tune-{number}"
        sagemaker.create_hyper_parameter_tuning_job(
            **tuning(name, {"StaticHyperParameters": {"epochs": '"9"'}}, Strategy="Hyperband", **members)
        )
        doc = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        assert doc["HyperParameterTuningJobConfig"].get("StrategyConfig") == members.get("StrategyConfig")


def test_several_definitions(service: Service, tuning: Make, refused: Refused) -> None:
    sagemaker = service.sagemaker
    request = tuning(HyperParameterTuningJobObjective=None, ParameterRanges=None)
    trial = request.pop("TrainingJobDefinition")
    ranges = [{"ContinuousParameterRanges": [LR]}, {"CategoricalParameterRanges": [BATCH]}]
    request["TrainingJobDefinitions"] = definitions = [
        {
            **trial,
            "DefinitionName": f"d{number}",
            "TuningObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            "HyperParameterRanges": each,
        }
        for number, each in enumerate(ranges)
    ]
    config = request["HyperParameterTuningJobConfig"]
    create = sagemaker.create_hyper_parameter_tuning_job
    for change, expected in (
        ({"TrainingJobEarlyStoppingType": "Auto"}, "must be Off with several TrainingJobDefinitions"),
        ({"WarmStartConfig": warm("parent")["WarmStartConfig"]}, "takes a single TrainingJobDefinition"),
    ):
        other = {**request, "HyperParameterTuningJobConfig": {**config}}
        place = other if "WarmStartConfig" in change else other["HyperParameterTuningJobConfig"]
        place.update(change)
        assert expected in refused(create, "ValidationException", **other)
    minimize = {**definitions[1], "TuningObjective": {"Type": "Minimize", "MetricName": "accuracy"}}
    several = {**request, "TrainingJobDefinitions": [definitions[0], minimize]}
    assert "must all be of one Type" in refused(create, "ValidationException", **several)
    create(**request)
    doc = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    assert [each["HyperParameterRanges"] for each in doc["TrainingJobDefinitions"]] == ranges


def test_autotune_chooses_ranges_and_keeps_what_cannot_have_one(
    service: Service, tuning: Make, refused: Refused
) -> None:
    sagemaker = service.sagemaker
    hints = {
        "lr": "0.01",
        "momentum": "0.9",
        "batch_size": "32",
        "optimizer": '"sgd"',
        "epochs": "3",
        "wd": "0",
    }
    auto = [{"Name": name, "ValueHint": hint} for name, hint in hints.items()]
    request = tuning(
        definition={"StaticHyperParameters": {"workers": "1"}},
        ParameterRanges={"AutoParameters": auto},
        ResourceLimits={"MaxParallelTrainingJobs": 2},
    )
    mixed = tuning(ParameterRanges={"ContinuousParameterRanges": [LR], "AutoParameters": auto})
    create = sagemaker.create_hyper_parameter_tuning_job
    assert "AutoParameters need Autotune" in refused(create, "ValidationException", **mixed)
    only_text = {"AutoParameters": [{"Name": "optimizer", "ValueHint": "sgd"}]}
    enabled = {"Autotune": {"Mode": "Enabled"}}
    assert "has no range" in refused(
        create, "ValidationException", **tuning(ParameterRanges=only_text), **enabled
    )
    create(**request, **enabled)
    doc = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    config = doc["HyperParameterTuningJobConfig"]
    assert doc["Autotune"] == {"Mode": "Enabled"}
    interval = {"MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    near_one = {"MinValue": "0", "MaxValue": "0.99", "ScalingType": "ReverseLogarithmic"}
    whole = {"MinValue": "8", "MaxValue": "128", "ScalingType": "Logarithmic"}
    assert config["ParameterRanges"] == {
        "AutoParameters": auto,
        "ContinuousParameterRanges": [{"Name": "lr", **interval}, {"Name": "momentum", **near_one}],
        "IntegerParameterRanges": [{"Name": "batch_size", **whole}],
    }
    assert config["ResourceLimits"] == {"MaxParallelTrainingJobs": 2, "MaxNumberOfTrainingJobs": 30}
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    criteria = config["TuningJobCompletionCriteria"]
    assert criteria == {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}
    static = doc["TrainingJobDefinition"]["StaticHyperParameters"]
    assert {key: value for key, value in static.items() if key in hints} == {
        "optimizer": '"sgd"', "epochs": "3", "wd": "0",
    }  # fmt: skip


def test_a_tuning_job_that_nothing_would_end_is_refused(
    service: Service, tuning: Make, refused: Refused
) -> None:
    endless = tuning(
        ResourceLimits={"MaxParallelTrainingJobs": 1},
        TuningJobCompletionCriteria={"ConvergenceDetected": {"CompleteOnConvergence": "Disabled"}},
    )
    create = service.sagemaker.create_hyper_parameter_tuning_job
    assert "nothing else would end" in refused(create, "ValidationException", **endless)


def test_autotune_takes_large_numbers_and_those_next_to_one(service: Service, tuning: Make) -> None:
    hints = {"buffer": "400000", "decay": "0.999999"}
    auto = [{"Name": name, "ValueHint": hint} for name, hint in hints.items()]
    request = tuning(ParameterRanges={"AutoParameters": auto}, Autotune={"Mode": "Enabled"})
    service.sagemaker.create_hyper_parameter_tuning_job(**request)
    doc = service.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    found = doc["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert [found["IntegerParameterRanges"][0][end] for end in ("MinValue", "MaxValue")] == [
        "100000",
        "1600000",
    ]
    assert found["ContinuousParameterRanges"][0]["MaxValue"] == "0.9999999"


def test_autotune_of_definitions_that_share_their_ranges(service: Service, tuning: Make) -> None:
    hints = {"lr": "0.01", "optimizer": "sgd"}
    auto = [{"Name": name, "ValueHint": hint} for name, hint in hints.items()]
    request = tuning(ParameterRanges={"AutoParameters": auto}, Autotune={"Mode": "Enabled"})
    one = request.pop("TrainingJobDefinition")
    objective = request["HyperParameterTuningJobConfig"].pop("HyperParameterTuningJobObjective")
    request["TrainingJobDefinitions"] = [
        {**one, "DefinitionName": name, "TuningObjective": objective} for name in ("a", "b")
    ]
    service.sagemaker.create_hyper_parameter_tuning_job(**request)
    doc = service.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="tune")
    found = doc["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert [each["Name"] for each in found["ContinuousParameterRanges"]] == ["lr"]
    assert [each["StaticHyperParameters"]["optimizer"] for each in doc["TrainingJobDefinitions"]] == [
        "sgd", "sgd",
    ]  # fmt: skip
