"""What users of SageMaker Python SDK v3 write. `python sdk_v3.py NAME IMAGE ROLE`; test_sdk_v3.py does."""

from __future__ import annotations

import sys
from pathlib import Path

from botocore.exceptions import ClientError
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, HyperParameterTuningJob, Model, TrainingJob
from sagemaker.core.shapes import ContainerDefinition, MetricDefinition, ProductionVariant
from sagemaker.core.training.configs import (
    Compute,
    InputData,
    OutputDataConfig,
    SourceCode,
    StoppingCondition,
)
from sagemaker.core.utils.exceptions import FailedStatusError
from sagemaker.train.model_trainer import ModelTrainer
from sagemaker.train.tuner import ContinuousParameter, HyperparameterTuner
from scripted import fails

BUCKET = "sdk-v3"
_NAME, IMAGE, ROLE = sys.argv[1:]

session = Session(default_bucket=BUCKET)
session.default_bucket()  # makes it
METRIC = MetricDefinition(name="score", regex=r"score=([\d.]+)")


def trainer(image: str = IMAGE, **options: object) -> ModelTrainer:
    settings = {
        "compute": Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=1),
        "output_data_config": OutputDataConfig(s3_output_path=f"s3://{BUCKET}/out"),
        "stopping_condition": StoppingCondition(max_runtime_in_seconds=300),
        **options,
    }
    return ModelTrainer(
        training_image=image, role=ROLE, sagemaker_session=session, base_job_name="v3", **settings
    )


def train() -> None:
    """ModelTrainer on an image's own `train`, and the resource class of its job."""
    job = trainer(hyperparameters={"lr": "0.5"})
    job.train(logs=True)
    name = job._latest_training_job.training_job_name
    found = TrainingJob.get(name)
    assert found.training_job_status == "Completed"
    assert found.hyper_parameters == {"lr": "0.5"}, found.hyper_parameters
    assert found.model_artifacts.s3_model_artifacts.endswith(f"out/{name}/output/model.tar.gz")
    assert name in [each.training_job_name for each in TrainingJob.get_all(name_contains=name)]
    failing = trainer(hyperparameters={"fail": "no pictures"})
    with fails(FailedStatusError, "no pictures"):
        failing.train(logs=False)


SCRIPT = """
import argparse, json, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--code", type=int, default=0)
given, _ = parser.parse_known_args()
folder = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"])
assert folder == pathlib.Path("/opt/ml/input/data/train"), folder
print("read", (folder / "data.txt").read_text(), "lr", given.lr)
print(f"score={given.lr}")
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("trained")
sys.exit(given.code)
"""


def source_code() -> None:
    """A script of the user's, in an image that knows nothing of it."""
    run_script(IMAGE)


def source_code_on_the_training_image() -> None:
    """The same on this project's own image, which has torch."""
    run_script("byoc-train", "import torch; print('torch', torch.__version__)")


def run_script(image: str, first: str = "") -> None:
    code = Path("code")
    code.mkdir(exist_ok=True)
    (code / "work.py").write_text(first + SCRIPT)
    Path("data").mkdir(exist_ok=True)
    Path("data", "data.txt").write_text("a line")
    options = {
        "source_code": SourceCode(source_dir="code", entry_script="work.py"),
        "input_data_config": [InputData(channel_name="train", data_source="data")],
    }
    job = trainer(image, hyperparameters={"lr": 0.25}, **options)
    job.train(logs=True)
    assert job._latest_training_job.training_job_status == "Completed"
    with fails(FailedStatusError, "exit code: 7", "exit code: 1"):
        trainer(image, hyperparameters={"lr": 0.25, "code": 7}, **options).train(logs=False)


def tune() -> None:
    """A tuner over a trainer, and the resource class of its job."""
    tuner = HyperparameterTuner(
        trainer(),
        "score",
        {"lr": ContinuousParameter(0.1, 0.9)},
        metric_definitions=[{"Name": "score", "Regex": r"score=([\d.]+)"}],
        max_jobs=2,
        max_parallel_jobs=2,
    )
    tuner.tune(wait=True)
    name = tuner._current_job_name
    found = HyperParameterTuningJob.get(name)
    assert found.hyper_parameter_tuning_job_status == "Completed"
    assert found.training_job_status_counters.completed == 2
    best = tuner.best_training_job()
    assert best == found.best_training_job.training_job_name
    assert len(list(found.get_all_training_jobs())) == 2


def serve() -> None:
    """An endpoint, by resource classes from the model to the end."""
    job = trainer(hyperparameters={"lr": "1"})
    job.train(logs=False)
    artifact = job._latest_training_job.model_artifacts.s3_model_artifacts
    container = ContainerDefinition(image=IMAGE, model_data_url=artifact)
    model = Model.create(model_name="v3", primary_container=container, execution_role_arn=ROLE)
    variant = ProductionVariant(
        variant_name="all", model_name="v3", initial_instance_count=1, instance_type="ml.m5.large"
    )
    config = EndpointConfig.create(endpoint_config_name="v3", production_variants=[variant])
    endpoint = Endpoint.create(endpoint_name="v3", endpoint_config_name=config.endpoint_config_name)
    endpoint.wait_for_status("InService")
    answer = endpoint.invoke(body=b"hello", content_type="text/plain")
    assert answer.body.read() == b"echo hello"
    with fails(ClientError, "TargetModel"):
        endpoint.invoke(body=b"hello", target_model="m")
    assert "v3" in [each.endpoint_name for each in Endpoint.get_all()]
    endpoint.delete()
    endpoint.wait_for_delete()
    config.delete()
    model.delete()


if __name__ == "__main__":
    globals()[_NAME]()
