"""`byoc transform`, with moto in place of AWS: its transform jobs complete at once and answer nothing."""

import csv
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from contract.errors import ByocError
from scripts import predict, transform, transforminput
from scripts.aws import Clients, connect
from scripts.predict import Answer
from scripts.requests import Place
from scripts.settings import Settings, load
from tests.scripts.conftest import Run, draw

BUCKET = "sagemaker-us-east-1-123456789012"


@pytest.fixture
def clients(aws: None, settings: Settings) -> Clients:
    found = connect(settings)
    found.s3.create_bucket(Bucket="bucket")
    return found


def put(clients: Clients, *keys: str, bucket: str = "bucket", body: bytes = b"x") -> None:
    for key in keys:
        clients.s3.put_object(Bucket=bucket, Key=key, Body=body)


# --- what a job reads -------------------------------------------------------------------------------


def test_a_prefix_of_pictures(clients: Clients) -> None:
    put(clients, "p/cat/1.png", "p/dog/2.JPG", "p2/cat/3.png")
    for uri in ("s3://bucket/p", "s3://bucket/p/"):
        given, others = transforminput.find(clients, uri)
        assert (given.uri, given.whole, others) == ("s3://bucket/p/", True, [])
        assert [(item.key, item.folder) for item in given.items] == [
            ("cat/1.png", "cat"),
            ("dog/2.JPG", "dog"),
        ]


def test_what_is_no_picture_is_left_out_by_a_manifest(clients: Clients, settings: Settings) -> None:
    put(clients, "p/", "p/1.png", "p/notes.txt", "p/sub/2.png")
    given, others = transforminput.find(clients, "s3://bucket/p/")
    assert (given.whole, others) == (False, ["s3://bucket/p/notes.txt"])
    named = transforminput.write_manifest(clients, settings, given, "s3://bucket/job-input/")
    assert (named.kind, named.uri) == ("ManifestFile", "s3://bucket/job-input/input.manifest")
    manifest = json.loads(
        clients.s3.get_object(Bucket="bucket", Key="job-input/input.manifest")["Body"].read()
    )
    assert manifest == [{"prefix": "s3://bucket/p/"}, "1.png", "sub/2.png"]


def test_what_systems_put_beside_pictures_is_left_out(clients: Clients) -> None:
    put(clients, "p/cat/1.png", "p/cat/._1.png", "p/__MACOSX/cat/1.png", "p/cat/.ipynb_checkpoints/1.png")
    given, others = transforminput.find(clients, "s3://bucket/p/")
    assert [item.key for item in given.items] == ["cat/1.png"]
    assert (given.whole, others) == (False, [])
    assert [found.source for found in predict.gather(clients, ["s3://bucket/p/"])] == [
        "s3://bucket/p/cat/1.png"
    ]


def test_one_object_is_not_what_begins_like_it(clients: Clients) -> None:
    put(clients, "p/1.png", "p/1.png.png", "2.png")
    for uri, prefix, key in (
        ("s3://bucket/p/1.png", "s3://bucket/p/", "1.png"),
        ("s3://bucket/2.png", "s3://bucket/", "2.png"),
    ):
        given, others = transforminput.find(clients, uri)
        assert (given.uri, given.whole, others) == (prefix, False, [])
        assert [item.key for item in given.items] == [key]


@pytest.mark.parametrize("uri", ["s3://bucket/none", "s3://bucket/p/"])
def test_no_pictures_in_s3(clients: Clients, uri: str) -> None:
    put(clients, "p/notes.txt")
    with pytest.raises(ByocError, match="no pictures in"):
        transforminput.find(clients, uri)


@pytest.mark.parametrize("source", ["photos", "s3://bucket/photos/", "s3://bucket/photos"])
def test_deeper_and_linked_pictures_are_of_the_outer_class_as_in_training(
    project: Path, clients: Clients, source: str
) -> None:
    cats, pool = project / "photos" / "cat", draw(project / "pool", classes=("2021",), each=2) / "2021"
    draw(project / "photos" / "cat", classes=("dog",), each=1)
    (cats / "linked").symlink_to(pool)
    (cats / "a.png").symlink_to(pool / "0.png")
    keys = ["cat/a.png", "cat/dog/0.png", "cat/linked/0.png", "cat/linked/1.png"]
    put(clients, *(f"photos/{key}" for key in keys))
    if source.startswith("s3"):
        given = transforminput.find(clients, source)[0].items
    else:
        given = transforminput.gather([source], "s3://bucket/job-input/").items
    assert [item.key for item in given] == keys
    for found in (given, predict.gather(clients, [source])):
        answers = [predict.Answer("", picture.folder, "cat") for picture in found]
        assert [one.truth for one in predict.with_classes(answers, {"cat", "dog"})] == ["cat"] * 4
        assert [one.right for one in predict.with_plausible_truth(answers, {"cat", "dog"})] == [True] * 4


@pytest.mark.parametrize(
    ("sources", "keys"),
    [
        (["photos"], ["cat/0.png", "dog/0.png"]),
        (["photos/cat"], ["cat/0.png"]),
        (["photos/cat/0.png", "photos/dog/0.png"], ["cat/0.png", "dog/0.png"]),
        (["photos", "photos/cat"], ["photos/cat/0.png", "photos/dog/0.png", "cat/0.png"]),
        (["photos/cat", "photos/cat"], ["cat/0.png", "copy-2/cat/0.png"]),
    ],
)
def test_the_folder_of_a_local_picture_keeps_its_name(
    project: Path, clients: Clients, settings: Settings, sources: list[str], keys: list[str]
) -> None:
    draw(project / "photos", each=1)
    (project / "photos" / "cat" / "notes.txt").write_text("no picture")
    given = transforminput.gather(sources, f"s3://bucket/{transforminput.sent_folder('job')}")
    assert [item.key for item in given.items] == keys
    assert {item.shown for item in given.items} <= {"photos/cat/0.png", "photos/dog/0.png"}
    transforminput.send(clients, settings, given, lambda *_: None, pytest.fail)
    listed = clients.s3.list_objects_v2(Bucket="bucket", Prefix="job-input/")["Contents"]
    assert sorted(item["Key"] for item in listed) == sorted(f"job-input/{key}" for key in keys)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": given.uri}}
    job = {"TransformJobName": "job", "TransformInput": {"DataSource": source}}
    again = transforminput.given_of(clients, job)
    assert [(item.key, item.shown) for item in again.items] == [
        (item.key, item.shown) for item in given.items
    ]


def test_a_picture_above_the_payload_is_told_before_it_costs() -> None:
    items = tuple(
        transforminput.Item(f"s3://bucket/{mb}.png", f"{mb}.png", mb * 1024**2 + 1) for mb in (3, 7)
    )
    given = transforminput.Input("s3://bucket/", items)
    with pytest.raises(ByocError, match=r"7\.png has 7\.0 MB.*transform.max_payload_mb=8"):
        transforminput.check_sizes(load(required=False, environment={}), given)


# --- the job ----------------------------------------------------------------------------------------


def test_a_watch_ends_with_the_job_and_knows_what_was_said_of_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("report.read.pace.time.sleep", lambda seconds: None)
    lines = iter(
        [
            ["listening", "2026-01-01T00:00:00: [sagemaker logs]: MaxConcurrentTransforms=2"],
            [
                "[sagemaker logs]: bucket/p/1.png: ClientError:",
                "[sagemaker logs]: bucket/p/1.png: 422: no picture",
            ],
            [],
        ]
    )
    monkeypatch.setattr(transform.LogTail, "read", lambda _: iter(next(lines)))
    statuses = iter(["InProgress", "Failed"])
    describe = lambda TransformJobName: {"TransformJobStatus": next(statuses)}  # noqa: E731
    clients: Any = SimpleNamespace(log_lag=0.0, sagemaker=SimpleNamespace(describe_transform_job=describe))
    watch = transform.Watch(clients, "j")
    kinds = [(event.kind, event.text) for event in watch.follow()]
    assert [text for kind, text in kinds if kind == "status"] == ["InProgress", "Failed"]
    assert ("line", "listening") in kinds
    assert watch.problems == {"s3://bucket/p/1.png": "ClientError: 422: no picture"}


def test_a_picture_without_an_answer_has_the_sentence_of_the_log(clients: Clients) -> None:
    items = [transforminput.Item(f"s3://bucket/p/{n}.png", f"{n}.png", 1) for n in range(3)]
    told = {
        items[0].source: 'ClientError: 422: {"code": 422, "message": "no picture"}',
        items[1].source: "AlgorithmError: 500: {oh",
    }
    job = {"TransformOutput": {"S3OutputPath": "s3://bucket/out"}}
    answers = transform.collect(clients, job, items, told)
    assert [answer.error for answer in answers] == [
        "ClientError: 422: no picture",
        "AlgorithmError: 500: {oh",
        "no answer",
    ]


def test_only_the_jobs_own_model_is_deleted(trained: str, run: Run) -> None:
    run("transform", "--name", "t", "--no-wait")
    job = sagemaker().describe_transform_job(TransformJobName="t")
    clients = connect(load())
    transform.delete_model(clients, {**job, "TransformJobName": "of somebody else"})
    assert len(sagemaker().list_models()["Models"]) == 1
    transform.delete_model(clients, job)
    assert sagemaker().list_models()["Models"] == []
    transform.delete_model(clients, job)


def test_answers_as_one_table() -> None:
    answers = [
        Answer("a, b.png", "cat", "cat", 0.75, (("cat", 0.75), ("dog", 0.25))),
        Answer("ö.png", "", error="ClientError: 422"),
    ]
    rows = list(csv.DictReader(transform.table(answers, "csv").splitlines()))
    assert rows == [
        {"picture": "a, b.png", "class": "cat", "probability": "0.75", "truth": "cat", "error": ""},
        {"picture": "ö.png", "class": "", "probability": "", "truth": "", "error": "ClientError: 422"},
    ]
    first, second = map(json.loads, transform.table(answers, "jsonl").splitlines())
    assert first == {
        "picture": "a, b.png",
        "truth": "cat",
        "predictions": [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.25}],
    }
    assert second == {"picture": "ö.png", "truth": None, "predictions": [], "error": "ClientError: 422"}


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def trained(ready: Path, run: Run) -> str:
    """The name of a training job that has completed, on pictures in S3."""
    name: str = json.loads(run("train", "--no-wait", "--json").stdout)["training_job"]
    return name


@pytest.fixture
def answered() -> Callable[..., None]:
    """Puts the outputs that moto's job does not write."""

    def put(job: str, **classes: str) -> None:
        s3 = boto3.client("s3", "us-east-1")
        for picture, label in classes.items():
            key = f"byoc/digits/transform/{job}/{picture.replace('__', '/')}.png.out"
            body = json.dumps({"predictions": [{"class": label, "probability": 0.5}]})
            s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())

    return put


def sagemaker() -> Any:
    return boto3.client("sagemaker", "us-east-1")


def test_the_test_set_is_the_default_and_is_scored(
    trained: str, project: Path, run: Run, answered: Callable[..., None]
) -> None:
    keys = [
        item["Key"].removeprefix("byoc/digits/data/test/").removesuffix(".png")
        for item in boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="byoc/digits/data/test/")[
            "Contents"
        ]
    ]
    assert sorted(key.split("/")[0] for key in keys) == ["cat", "dog"]
    answered("t", **{key.replace("/", "__"): "cat" for key in keys})
    result = run("transform", "--name", "t")
    assert "50.00 %" in result.stdout
    with (project / "predictions" / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["class"], row["truth"]) for row in rows) == [("cat", "cat"), ("cat", "dog")]
    job = sagemaker().describe_transform_job(TransformJobName="t")
    source = job["TransformInput"]["DataSource"]["S3DataSource"]
    assert source == {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/byoc/digits/data/test/"}
    assert sagemaker().list_models()["Models"] == []


def test_a_folder_is_sent_first_and_the_answers_name_its_files(
    trained: str, project: Path, run: Run, answered: Callable[..., None]
) -> None:
    draw(project / "photos", classes=("holiday",), each=2)
    answered("t", holiday__0="cat")
    arguments = ("transform", "photos", "--name", "t", "--output", "answers.jsonl", "--json")
    found = json.loads(run(*arguments).stdout)
    assert (found["pictures"], found["answered"], found["status"]) == (2, 1, "Completed")
    assert "accuracy" not in found
    lines = [json.loads(line) for line in (project / "answers.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines] == ["photos/holiday/0.png", "photos/holiday/1.png"]
    assert lines[0]["predictions"] == [{"class": "cat", "probability": 0.5}]
    assert lines[1]["error"] == "no answer"


def test_attaching_again_writes_the_same_file(
    trained: str, project: Path, run: Run, answered: Callable[..., None]
) -> None:
    draw(project / "photos", classes=("holiday",), each=2)
    (project / "photos" / "odd").write_bytes(b"taken though its name is no picture's")
    answered("t", holiday__0="cat", holiday__1="dog")
    run("transform", "photos/holiday", "photos/odd", "--name", "t")
    written = (project / "predictions" / "t.csv").read_text()
    assert "photos/holiday/0.png,cat," in written
    assert "photos/odd," in written
    run("transform", "--attach", "last")
    assert (project / "predictions" / "t.csv").read_text() == written


def test_a_job_may_be_left_and_watched_later(
    trained: str, project: Path, run: Run, answered: Callable[..., None]
) -> None:
    draw(project / "photos", classes=("holiday",), each=1)
    started = json.loads(run("transform", "photos", "--no-wait", "--json").stdout)
    name = started["transform_job"]
    assert started["status"] == "InProgress"
    assert [model["ModelName"] for model in sagemaker().list_models()["Models"]] == [name]
    answered(name, holiday__0="dog")
    found = json.loads(run("transform", "--attach", "last", "--json").stdout)
    assert (found["transform_job"], found["answered"]) == (name, 1)
    assert sagemaker().list_models()["Models"] == []
    assert name in run("jobs").stdout
    assert "no transform job" in run("logs", "nothing", code=5).stderr
    run("logs", name)


@pytest.mark.parametrize("granted", [True, False])
def test_the_model_stays_if_a_job_has_begun_whose_answer_is_lost(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    put(clients, "p/1.png")
    place = Place("arn:aws:iam::123456789012:role/r", "bucket", "i/byoc-train", "i/byoc-serve")
    create = clients.sagemaker.create_transform_job

    def lose(**request: Any) -> None:
        if granted:
            create(**request)
        raise ReadTimeoutError(endpoint_url="https://aws")

    monkeypatch.setattr(clients.sagemaker, "create_transform_job", lose)
    given, _ = transforminput.find(clients, "s3://bucket/p/")
    with nullcontext() if granted else pytest.raises(ReadTimeoutError):  # it is looked up by its name
        transform.start(clients, settings, place, "t", "s3://b/model.tar.gz", given, lambda _: None)
    assert [model["ModelName"] for model in sagemaker().list_models()["Models"]] == ["t"] * granted


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 5, "no file or folder nowhere"),
        (("photos", "--job", "x", "-o", "photos/holiday/0.png/a.csv"), 2, "a.csv cannot be written: photos"),
        (("empty",), 5, "no pictures in empty"),
        ((f"s3://{BUCKET}/none/",), 5, "no pictures"),
        (("s3://no-such-bucket/x/",), 5, "bucket does not exist"),
        (("s3://bucket/x", "photos"), 2, "one S3 address"),
        (("--job", "nothing"), 5, "no training job nothing"),
        (("--attach", "nothing"), 5, "no transform job nothing"),
        (("--attach", "last"), 2, "byoc transform"),
        (("photos", "--attach", "x"), 2, "--attach names a job"),
        (("photos", "--output", "answers.txt"), 2, "neither .csv nor .jsonl"),
        (("photos", "--parallel", "50"), 2, "at most 100"),
        (("photos", "--set", "transform.max_payload_mb=101"), 2, "at most 100"),
    ],
)
def test_mistakes_cost_nothing(
    trained: str, project: Path, run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (project / "empty").mkdir()
    draw(project / "photos", classes=("holiday",), each=1)
    result = run("transform", *arguments, code=code)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert sagemaker().list_transform_jobs()["TransformJobSummaries"] == []
    assert sagemaker().list_models()["Models"] == []


def test_without_a_training_there_is_no_model(project: Path, aws: None, run: Run) -> None:
    run("init", "--aws")
    assert "byoc train" in run("transform", code=2).stderr


@pytest.mark.parametrize(
    ("status", "message"), [("Failed", "t failed: ClientError: 1 of 2"), ("Stopped", "t was stopped")]
)
def test_a_job_that_does_not_complete_is_an_error(status: str, message: str) -> None:
    job = {"TransformJobName": "t", "TransformJobStatus": status, "FailureReason": "ClientError: 1 of 2"}
    with pytest.raises(ByocError, match=message):
        transform.require_completed(job)
    transform.require_completed({"TransformJobName": "t", "TransformJobStatus": "Completed"})
