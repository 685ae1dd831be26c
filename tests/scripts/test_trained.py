"""What training computed, and whether it was on the pictures that are there now."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from scripts import requests, trained
from scripts.account import bucket, place
from scripts.aws import Clients, connect
from scripts.commands.serving import test_uri as uri_of_test_set
from scripts.context import Context
from scripts.output import Output
from scripts.settings import load
from tests.scripts.conftest import Run


@pytest.fixture
def clients(ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Clients:
    run("train", "--name", "one", "--no-wait")
    run("deploy", "one", "--no-wait")
    monkeypatch.setattr("report.read.jobs.metrics", lambda job: {"test:accuracy": 0.5})
    return connect(load())


def look(clients: Clients) -> trained.Trained | str:
    return trained.of_endpoint(clients, "digits", uri_of_test_set(Context(Output())))


def write_report(clients: Clients, images: int) -> None:
    [key] = [
        str(item["PrimaryContainer"]["ModelDataUrl"])
        for model in clients.sagemaker.list_models()["Models"]
        for item in [clients.sagemaker.describe_model(ModelName=model["ModelName"])]
    ]
    content = json.dumps({"data": {"test": {"images": images, "skipped_count": 0}}}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("data/report.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    name, _, rest = key.removeprefix("s3://").partition("/")
    assert name == bucket(load(), clients)
    clients.s3.put_object(Bucket=name, Key=f"{rest.rpartition('/')[0]}/output.tar.gz", Body=packed.getvalue())


def test_what_was_removed_or_changed_since_makes_it_another_test_set(clients: Clients, run: Run) -> None:
    assert look(clients) == trained.Trained(0.5, same_pictures=True)
    write_report(clients, images=2)
    assert look(clients) == trained.Trained(0.5, same_pictures=True)
    write_report(clients, images=3)
    assert look(clients) == trained.Trained(0.5, same_pictures=False)


def test_pictures_from_elsewhere_are_others(clients: Clients) -> None:
    assert trained.of_endpoint(clients, "digits", "s3://elsewhere/test/") == trained.Trained(
        0.5, same_pictures=False
    )
    unknown = trained.of_endpoint(clients, "nothing", "s3://elsewhere/test/")
    assert unknown == "The model of the endpoint nothing is not known"


def test_a_job_without_a_measure_is_named(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report.read.jobs.metrics", lambda job: {})
    assert str(look(clients)).startswith("one (")
    assert str(look(clients)).endswith(") measured no accuracy on a test set")


def test_a_converted_model_is_the_one_that_it_was_made_from(clients: Clients, run: Run) -> None:
    [model] = clients.sagemaker.list_models()["Models"]
    artifact = clients.sagemaker.describe_model(ModelName=model["ModelName"])["PrimaryContainer"][
        "ModelDataUrl"
    ]
    account = load()
    request = requests.conversion_job(account, place(account, clients), "two", artifact)
    clients.sagemaker.create_training_job(**request)
    run("delete")
    run("deploy", "two", "--no-wait")
    assert look(clients) == trained.Trained(0.5, same_pictures=True)
