"""What users of SageMaker Python SDK v2 write. `python sdk_v2.py NAME IMAGE ROLE`; test_sdk_v2.py does."""

from __future__ import annotations

import sys
from pathlib import Path

import sagemaker
from botocore.exceptions import ClientError
from sagemaker.analytics import TrainingJobAnalytics
from sagemaker.debugger import ProfilerRule, Rule, rule_configs
from sagemaker.estimator import Estimator
from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.tuner import (
    CategoricalParameter,
    ContinuousParameter,
    HyperbandStrategyConfig,
    HyperparameterTuner,
    StrategyConfig,
    TuningJobCompletionCriteriaConfig,
)
from scripted import fails

BUCKET = "sdk-v2"
METRICS = [{"Name": "score", "Regex": r"score=([\d.]+)"}]
_NAME, IMAGE, ROLE = sys.argv[1:]

session = sagemaker.Session(default_bucket=BUCKET)
session.default_bucket()  # makes it


def estimator(**options: object) -> Estimator:
    settings = {
        "instance_count": 1,
        "instance_type": "ml.m5.large",
        "sagemaker_session": session,
        "metric_definitions": METRICS,
        "disable_profiler": True,
        **options,
    }
    return Estimator(IMAGE, ROLE, **settings)


def train() -> None:
    """fit with a channel and logs, attach, a failure."""
    Path("data.txt").write_text("a line")
    data = session.upload_data("data.txt", key_prefix="data")
    job = estimator(hyperparameters={"lr": 0.5}, tags=[{"Key": "team", "Value": "vision"}])
    job.fit({"train": TrainingInput(data, content_type="text/plain")}, logs="All")
    name = job.latest_training_job.name
    again = Estimator.attach(name, sagemaker_session=session)
    assert again.hyperparameters() == {"lr": "0.5"}, again.hyperparameters()
    assert again.model_data == job.model_data, again.model_data
    assert again.output_kms_key == "", again.output_kms_key
    assert again.training_job_analytics.name == name
    again.logs()
    model = session.boto_session.resource("s3").Object(BUCKET, f"{name}/output/model.tar.gz")
    assert model.content_length > 0
    with fails(UnexpectedStatusException, "AlgorithmError: no pictures, exit code: 1"):
        estimator(hyperparameters={"fail": "no pictures"}).fit()


def entrypoint() -> None:
    """A container entrypoint, which decides the exit code."""
    job = estimator(container_entry_point=["/bin/sh"], container_arguments=["-c", "ls /opt/ml; exit 7"])
    with fails(UnexpectedStatusException, "exit code: 7"):
        job.fit()


def tune() -> None:
    """fit of a tuner, attach, the best estimator, its results as a table; a grid."""
    tuner = HyperparameterTuner(
        estimator(hyperparameters={"epochs": 1}),
        "score",
        {"lr": ContinuousParameter(0.1, 0.9)},
        metric_definitions=METRICS,
        max_jobs=3,
        max_parallel_jobs=3,
    )
    tuner.fit(wait=True)
    again = HyperparameterTuner.attach(tuner.latest_tuning_job.name, sagemaker_session=session)
    assert again.objective_metric_name == "score"
    assert set(again.hyperparameter_ranges()["ContinuousParameterRanges"][0].values()) >= {"lr", "0.1", "0.9"}
    best = again.best_training_job()
    assert best == tuner.best_training_job()
    table = again.analytics().dataframe()
    assert len(table) == 3, table
    assert again.best_estimator().latest_training_job.name == best
    assert table.sort_values("FinalObjectiveValue").TrainingJobName.iloc[-1] == best
    grid = HyperparameterTuner(
        estimator(),
        "score",
        {"lr": CategoricalParameter(["0.25", "0.5"]), "kind": CategoricalParameter(["a", "b"])},
        metric_definitions=METRICS,
        strategy="Grid",
        max_jobs=4,
        base_tuning_job_name="grid",
        max_parallel_jobs=2,
    )
    grid.fit(wait=True)
    tried = grid.analytics().dataframe()
    assert len(tried) == len(set(zip(tried.lr, tried.kind, strict=True))) == 4, tried


def tune_more() -> None:
    """Hyperband, warm starts of both kinds after attaching, Autotune, two estimators at once."""
    ranges = {"lr": ContinuousParameter(0.1, 0.9)}
    options = {"metric_definitions": METRICS, "max_jobs": 3, "max_parallel_jobs": 3}
    first = HyperparameterTuner(
        estimator(hyperparameters={"epochs": 9}), "score", ranges, strategy="Hyperband",
        strategy_config=StrategyConfig(HyperbandStrategyConfig(max_resource=9, min_resource=1)),
        base_tuning_job_name="hyperband", **options,
    )  # fmt: skip
    first.fit(wait=True)
    attached = HyperparameterTuner.attach(first.latest_tuning_job.name, sagemaker_session=session)
    assert attached.strategy == "Hyperband"
    warm = attached.identical_dataset_and_algorithm_tuner(), attached.transfer_learning_tuner()
    for again, base in zip(warm, ("identical", "transfer"), strict=True):
        again.base_tuning_job_name = base
        again.metric_definitions = METRICS  # which the SDK's warm start tuners leave out
        again.fit(wait=True)
        described = again.describe()
        assert described["HyperParameterTuningJobStatus"] == "Completed", described
        kind = described["WarmStartConfig"]["WarmStartType"]
        assert ("OverallBestTrainingJob" in described) == (kind == "IdenticalDataAndAlgorithm"), described
        linked = HyperparameterTuner.attach(again.latest_tuning_job.name, sagemaker_session=session)
        assert linked.warm_start_config.parents == {first.latest_tuning_job.name}
    auto = HyperparameterTuner(
        estimator(hyperparameters={"lr": "0.2", "kind": "a"}), "score", None, autotune=True,
        hyperparameters_to_keep_static=["kind"], base_tuning_job_name="auto",
        completion_criteria_config=TuningJobCompletionCriteriaConfig(complete_on_convergence=True), **options,
    )  # fmt: skip
    auto.fit(wait=True)
    tried = auto.analytics().dataframe()
    assert len(set(tried.lr)) == 3, tried
    assert all(0.02 <= float(lr) <= 1 for lr in tried.lr), tried
    both = HyperparameterTuner.create(
        {"a": estimator(), "b": estimator(hyperparameters={"epochs": "2"})},
        {"a": "score", "b": "score"},
        {"a": ranges, "b": {"lr": ContinuousParameter(0.01, 0.02)}},
        metric_definitions_dict={"a": METRICS, "b": METRICS},
        max_jobs=4,
        max_parallel_jobs=2,
        base_tuning_job_name="both",
    )
    both.fit({"a": None, "b": None}, include_cls_metadata={}, wait=True)
    counts = both.analytics().dataframe().TrainingJobDefinitionName.value_counts()
    assert dict(counts) == {"a": 2, "b": 2}, counts
    best = max(float(lr) for lr in both.analytics().dataframe().lr)
    assert float(both.best_estimator().hyperparameters()["lr"]) == best


def serve() -> None:
    """deploy, predict, update, a second predictor by name; a transform job; clean up."""
    job = estimator(hyperparameters={"lr": "1"})
    job.fit(logs=False)
    predictor = job.deploy(1, "ml.m5.large")
    assert predictor.predict(b"hello") == b"echo hello"
    model = Model(IMAGE, model_data=job.model_data, role=ROLE, sagemaker_session=session)
    model.create(instance_type="ml.m5.large")
    predictor.update_endpoint(model_name=model.name, initial_instance_count=1, instance_type="ml.m5.large")
    other = Predictor(predictor.endpoint_name, sagemaker_session=session)
    assert other.predict(b"again") == b"echo again"
    with fails(ClientError, "TargetModel"):
        other.predict(b"x", target_model="m.tar.gz")
    predictor.delete_endpoint()
    lines = Path("lines.txt")
    lines.write_text("one\ntwo\n")
    source = session.upload_data(str(lines), key_prefix="batch")
    transformer = job.transformer(1, "ml.m5.large", strategy="SingleRecord", assemble_with="Line")
    transformer.transform(source, content_type="text/plain", split_type="Line", logs=True)
    answers = sagemaker.s3.S3Downloader.read_file(
        f"{transformer.output_path}/lines.txt.out", sagemaker_session=session
    )
    assert answers == "echo one\necho two\n", answers
    transformer.delete_model()


def rules() -> None:
    """Debugger's and Profiler's rules."""
    job = estimator(
        rules=[
            Rule.sagemaker(rule_configs.loss_not_decreasing()),
            ProfilerRule.sagemaker(rule_configs.LowGPUUtilization()),
        ],
        disable_profiler=False,
    )
    job.fit(logs=False)
    statuses = job.latest_training_job.rule_job_summary()
    names = {each["RuleConfigurationName"] for each in statuses}
    assert {"LossNotDecreasing", "LowGPUUtilization"} <= names, statuses
    attached = Estimator.attach(job.latest_training_job.name, sagemaker_session=session)
    assert attached.latest_training_job.rule_job_summary()


def analytics() -> None:
    """A job's metrics as a table, by its estimator and by name; a search."""
    job = estimator(hyperparameters={"lr": 0.25})
    job.fit(logs=False)
    name = job.latest_training_job.name
    table = TrainingJobAnalytics(name, ["score"], sagemaker_session=session, period=1).dataframe()
    assert list(table.value) == [0.25], table
    assert list(table.timestamp) == [0.0], table
    assert list(job.training_job_analytics.dataframe().metric_name) == ["score"]
    found = session.search("TrainingJob", search_expression=metric_above(0.2))["Results"]
    assert [each["TrainingJob"]["TrainingJobName"] for each in found].count(name) == 1


def metric_above(value: float) -> dict:
    return {"Filters": [{"Name": "Metrics.score", "Operator": "GreaterThan", "Value": str(value)}]}


def warm() -> None:
    """A warm pool, its update, and a spot job."""
    job = estimator(keep_alive_period_in_seconds=600)
    job.fit(logs=False)
    name = job.latest_training_job.name
    assert session.describe_training_job(name)["WarmPoolStatus"] == {"Status": "Available"}
    session.update_training_job(name, resource_config={"KeepAlivePeriodInSeconds": 0})
    assert session.describe_training_job(name)["WarmPoolStatus"]["Status"] == "Terminated"
    spot = estimator(use_spot_instances=True, max_run=60, max_wait=120)
    spot.fit(logs="All")
    assert session.describe_training_job(spot.latest_training_job.name)["EnableManagedSpotTraining"]


if __name__ == "__main__":
    globals()[_NAME]()
