"""`byoc delete --all`, with moto in place of AWS, and a neighbour whose name begins with this project's."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from contract.errors import ByocError
from scripts import prices
from scripts.celloutput import NotebookError
from scripts.cleanup import images, logs, services, storage
from scripts.notebook import Project
from scripts.requests import FOLDERS
from scripts.settings import load
from tests.scripts.conftest import Refuse, Run

BUCKET = "sagemaker-us-east-1-123456789012"
TRAINING = "/aws/sagemaker/TrainingJobs"


@pytest.fixture
def s3(ready: Path) -> Any:
    return boto3.client("s3", "us-east-1")


@pytest.fixture
def made(ready: Path, run: Run) -> Path:
    """This project and a neighbour, each with jobs, a model, an endpoint, logs and objects."""
    run("train", "--name", "digits-1", "--no-wait")
    run("transform", "--name", "digits-t", "--no-wait")
    run("deploy", "digits-1", "--no-wait")
    neighbour()
    cloudwatch = boto3.client("logs", "us-east-1")
    for group in (TRAINING, *(f"/aws/sagemaker/Endpoints/{name}" for name in ("digits", "digits2"))):
        cloudwatch.create_log_group(logGroupName=group)
    for stream in ("digits-1/algo-1-17", "digits-12/algo-1-18"):
        cloudwatch.create_log_stream(logGroupName=TRAINING, logStreamName=stream)
    return ready


def neighbour() -> None:
    """What byoc makes for the project digits2."""
    sagemaker, name = boto3.client("sagemaker", "us-east-1"), "digits2-v-0412-093007-51"
    tags: Any = [{"Key": "byoc:project", "Value": "digits2"}]
    role = "arn:aws:iam::123456789012:role/byoc-sagemaker"
    sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "i"}, ExecutionRoleArn=role, Tags=tags)
    variant: Any = {
        "VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1
    }  # fmt: skip
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=tags)
    sagemaker.create_endpoint(EndpointName="digits2", EndpointConfigName=name, Tags=tags)
    data()


def data() -> None:
    s3 = boto3.client("s3", "us-east-1")
    for number in range(3):
        s3.put_object(Bucket=BUCKET, Key=f"byoc/digits2/data/train/{number}.png", Body=b"1")


def account() -> dict[str, list[str]]:
    """All that there is, by kind."""
    sagemaker, s3 = boto3.client("sagemaker", "us-east-1"), boto3.client("s3", "us-east-1")
    cloudwatch, ecr = boto3.client("logs", "us-east-1"), boto3.client("ecr", "us-east-1")
    streams = cloudwatch.describe_log_streams(logGroupName=TRAINING)["logStreams"]
    versions = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
    return {
        "endpoints": [each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]],
        "configs": [
            each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]
        ],
        "models": [each["ModelName"] for each in sagemaker.list_models()["Models"]],
        "streams": [each["logStreamName"] for each in streams],
        "groups": sorted(each["logGroupName"] for each in cloudwatch.describe_log_groups()["logGroups"]),
        "keys": sorted(
            {
                each["Key"]
                for page in versions
                for kind in ("Versions", "DeleteMarkers")
                for each in page.get(kind, ())
            }
        ),
        "repositories": [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]],
    }


def only(neighbour: str, everything: dict[str, list[str]]) -> dict[str, list[str]]:
    return {kind: [name for name in names if neighbour in name] for kind, names in everything.items()}


def test_everything_goes_and_the_neighbour_stays(made: Path, run: Run) -> None:
    before = account()
    theirs = only("digits2", before) | {"streams": ["digits-12/algo-1-18"]}
    shown = run("delete", "--all", "--yes").stdout
    after = account()
    assert after == theirs | {"groups": [*theirs["groups"], TRAINING]} | {"keys": after["keys"]}
    assert after["keys"]
    assert all(key.startswith("byoc/digits2/") for key in after["keys"])
    assert "AWS was asked again: nothing of digits is left in us-east-1 but what is named above." in shown
    assert "--records deletes them" in shown
    assert not (made / ".byoc" / "state.json").exists()
    again = json.loads(run("delete", "--all", "--yes", "--json").stdout)
    assert (again["deleted"], again["left"], again["failed"]) == ([], [], [])


def test_another_project_leaves_what_the_folder_remembers(made: Path, run: Run) -> None:
    state = made / ".byoc" / "state.json"
    kept = state.read_text()
    shown = run("delete", "--all", "--yes", "--set", "project.name=digit").stdout
    assert "nothing of digit is left" in shown
    assert state.read_text() == kept
    assert f"deleted file {state}" not in shown


def test_a_file_that_is_all_there_is_left_is_named(made: Path, run: Run) -> None:
    run("delete", "--all", "--yes")
    state = made / ".byoc" / "state.json"
    state.write_text('{"training_job": "of-mine", "project": "digits"}')
    assert "deleted file .byoc/state.json" in run("delete", "--all", "--yes").stdout
    assert not state.exists()


def test_the_list_names_sizes_and_prices(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "asked", lambda *_: 0.115)
    error = json.loads(run("delete", "--all", "--json", code=2).stdout)["error"]
    parts = {(part["kind"], part["name"]): part for part in error["would_delete"]}
    assert parts["endpoint", "digits"]["hourly"] == 0.115
    data = parts["objects", f"s3://{BUCKET}/byoc/digits/data/"]
    assert data["note"].startswith("12 objects")
    assert 0 < data["hourly"] < 1e-6
    assert ("logs", TRAINING) in parts
    assert "--yes" in error["remedy"]
    assert "digits2" not in json.dumps(error)
    assert account()["endpoints"] == ["digits", "digits2"]  # nothing was done


@pytest.mark.parametrize("answer", [True, False])
def test_it_asks(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr("scripts.commands.cleanup._can_ask", lambda out: True)
    monkeypatch.setattr("rich.prompt.Confirm.ask", lambda *_, **__: answer)
    shown = run("delete", "--all").stdout
    assert ("Nothing was deleted." in shown) is not answer
    assert ("digits" in account()["endpoints"]) is not answer


@pytest.mark.slow
def test_versions_markers_pages_and_unfinished_uploads(ready: Path, run: Run, s3: Any) -> None:
    """More than one page of versions, in a bucket that keeps them."""
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    keys = [f"byoc/digits/output/{number:04}" for number in range(1500)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=b"x"), [*keys, *keys[:300]]))
        list(pool.map(lambda key: s3.delete_object(Bucket=BUCKET, Key=key), keys[300:600]))
    s3.create_multipart_upload(Bucket=BUCKET, Key="byoc/digits/output/u")
    theirs = s3.create_multipart_upload(Bucket=BUCKET, Key="byoc/digits2/output/u")["UploadId"]
    s3.put_object(Bucket=BUCKET, Key="byoc/digits2/output/1", Body=b"")
    result = json.loads(run("delete", "--all", "--yes", "--json").stdout)
    notes = {(part["kind"], part["name"]): part["note"] for part in result["deleted"]}
    assert notes["objects", f"s3://{BUCKET}/byoc/digits/output/"].startswith("2,100 versions")
    assert notes["uploads", f"s3://{BUCKET}/byoc/digits/output/"] == "1 unfinished"
    left = s3.list_object_versions(Bucket=BUCKET)
    assert [each["Key"] for each in left["Versions"]] == ["byoc/digits2/output/1"]
    assert "DeleteMarkers" not in left
    uploads = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [each["UploadId"] for each in uploads] == [theirs]


def test_what_byoc_did_not_write_stays_and_is_named(ready: Path, run: Run, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="byoc/digits/notes.txt", Body=b"")
    s3.put_object(
        Bucket=BUCKET, Key="byoc/digits/nested/data/train/a.png", Body=b""
    )  # prefix byoc/digits/nested
    result = json.loads(run("delete", "--all", "--yes", "--json").stdout)
    assert result["left"] == []
    assert "byoc/digits/nested/ and 1 more: byoc did not write that" in result["stays"][0]
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == ["byoc/digits/nested/data/train/a.png", "byoc/digits/notes.txt"]


def test_all_that_requests_write_lies_in_the_folders_that_are_emptied() -> None:
    golden = Path(__file__).parent.parent / "golden"
    text = "\n".join(path.read_text() for path in golden.glob("*.json"))
    folders = {each.partition("/")[0].partition('"')[0] for each in text.split("/byoc/pictures/")[1:]}
    assert folders
    assert folders <= set(FOLDERS)


@contextmanager
def failing_once(operation: str, error: Exception) -> Iterator[None]:
    """The first request of that operation fails."""
    send: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]
    errors = [error]

    def answer(client: BaseClient, name: str, request: dict[str, Any]) -> Any:
        if name == operation and errors:
            raise errors.pop()
        return send(client, name, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", answer)
        yield


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as told"}}, operation)


@pytest.mark.parametrize(
    "operation", ["DeleteObjects", "DeleteLogStream", "DeleteLogGroup", "DeleteEndpoint"]
)
def test_a_failure_in_the_middle_is_named_and_a_second_run_goes_on(
    made: Path, run: Run, operation: str
) -> None:
    with failing_once(operation, refusal("AccessDenied", operation)):
        result = run("delete", "--all", "--yes", code=1)
    assert f"AWS does not allow {operation}: as told." in result.stdout
    assert "could not be deleted" in result.stderr
    assert "`byoc delete --all` tries again" in result.stderr
    assert (made / ".byoc" / "state.json").exists()
    run("delete", "--all", "--yes")
    assert not only("digits/", account())["keys"]
    assert account()["endpoints"] == ["digits2"]


def test_expired_credentials_end_it_at_once_with_what_still_costs(made: Path, run: Run) -> None:
    with failing_once("DeleteEndpoint", refusal("ExpiredTokenException", "DeleteEndpoint")):
        error = json.loads(run("delete", "--all", "--yes", "--json", code=3).stdout)["error"]
    assert "Not deleted yet: endpoint digits, " in error["remedy"]
    assert "$83.95 a month" in error["remedy"]
    assert "`byoc delete --all` goes on" in error["remedy"]
    assert error["deleted"] == []
    run("delete", "--all", "--yes")


def test_ctrl_c_in_the_middle_says_what_is_left(made: Path, run: Run) -> None:
    with failing_once("DeleteObjects", KeyboardInterrupt()):  # type: ignore[arg-type]
        shown = run("delete", "--all", "--yes", code=130).stdout
    assert "Interrupted: " in shown
    assert f"Not deleted yet: objects s3://{BUCKET}/byoc/digits/data/" in shown
    assert account()["endpoints"] == ["digits2"]
    run("delete", "--all", "--yes")
    assert not [key for key in account()["keys"] if key.startswith("byoc/digits/")]


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ("ListObjectVersions", "are not seen and stay"),
        ("ListMultipartUploads", "Unfinished uploads"),
        ("DescribeLogStreams", "logs stay"),
        ("DescribeRepositories", "images in ECR stay"),
        ("ListModels", "what it would list stays"),
        ("DescribeEndpointConfig", "endpoint digits: AWS does not allow DescribeEndpointConfig"),
    ],
)
def test_it_works_without_a_permission(
    made: Path, run: Run, refuse: Refuse, operation: str, told: str
) -> None:
    with refuse(operation, "AccessDeniedException"):
        shown = run("delete", "--all", "--yes").stdout
    assert told in shown
    assert account()["endpoints"] == ["digits2"]


def test_without_any_tags_only_names_that_byoc_makes_up_go(
    made: Path, run: Run, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.tags._all_of_project", lambda *_: None)
    with refuse("ListTags", "AccessDeniedException"):
        shown = run("delete", "--all", "--yes").stdout
    assert "AWS does not allow to read tags" in shown
    assert account()["endpoints"] == ["digits2"]
    assert all("digits2" in name for name in account()["configs"])
    # Named by the user: without tags nobody knows whose it is.
    assert "digits-t" in account()["models"]
    assert "digits-1/algo-1-17" in account()["streams"]


def test_endpoints_of_any_name_are_found_by_their_own_tags(
    made: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("deploy", "digits-1", "--endpoint", "shop", "--no-wait")
    monkeypatch.setattr("scripts.tags._all_of_project", lambda *_: None)
    shown = run("delete", "--all", "--yes").stdout
    assert account()["endpoints"] == ["digits2"]
    assert "AWS does not allow tag:GetResources" in shown


def test_the_log_of_somebody_elses_endpoint_stays_where_tags_are_read_one_by_one(
    made: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings name an endpoint that another project has made."""
    sagemaker = boto3.client("sagemaker", "us-east-1")
    sagemaker.create_endpoint(EndpointName="shop", EndpointConfigName="digits2-v-0412-093007-51")
    group = "/aws/sagemaker/Endpoints/shop"
    boto3.client("logs", "us-east-1").create_log_group(logGroupName=group)
    monkeypatch.setattr("scripts.tags._all_of_project", lambda *_: None)
    run("delete", "--all", "--yes", "--set", "deploy.endpoint=shop")
    assert "shop" in account()["endpoints"]
    assert group in account()["groups"]


def test_records_go_if_wished_and_last(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    send = BaseClient._make_api_call  # type: ignore[attr-defined]

    def answer(client: BaseClient, name: str, request: dict[str, Any]) -> Any:
        if name == "DeleteTrainingJob":  # moto has none
            gone.append(request["TrainingJobName"])
            return {}
        if name == "ListTrainingJobs" and gone:
            return {"TrainingJobSummaries": []}
        return send(client, name, request)

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    shown = run("delete", "--all", "--yes", "--records").stdout
    assert gone == ["digits-1"]
    assert shown.index("deleted record digits-1") > shown.index(f"deleted logs {TRAINING}")
    assert "The records of 1 transform job: AWS deletes none." in shown


def test_warm_pools_end(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    send = BaseClient._make_api_call  # type: ignore[attr-defined]

    def answer(client: BaseClient, name: str, request: dict[str, Any]) -> Any:
        if name == "UpdateTrainingJob":
            validate_parameters(request, client.meta.service_model.operation_model(name).input_shape)
            return ended.append(request)
        reply = send(client, name, request)
        if name == "ListTrainingJobs":
            for job in reply["TrainingJobSummaries"]:
                job["WarmPoolStatus"] = {"Status": "Terminated" if ended else "Available"}
        return reply

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    run("delete", "--all", "--yes")
    assert ended == [{"TrainingJobName": "digits-1", "ResourceConfig": {"KeepAlivePeriodInSeconds": 0}}]


def test_the_streams_of_awss_own_rules_go(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cloudwatch, group = boto3.client("logs", "us-east-1"), "/aws/sagemaker/ProcessingJobs"
    cloudwatch.create_log_group(logGroupName=group)
    for stream in ("digits-1-Overfit-0a1b/algo-1-17", "digits-12-Overfit-0a1b/algo-1-17"):
        cloudwatch.create_log_stream(logGroupName=group, logStreamName=stream)
    arn = "arn:aws:sagemaker:us-east-1:123456789012:processing-job/digits-1-Overfit-0a1b"
    statuses = [{"RuleConfigurationName": "Overfit", "RuleEvaluationJobArn": arn}]
    monkeypatch.setattr(logs.jobs, "find", lambda *_: {"DebugRuleEvaluationStatuses": statuses})
    run("delete", "--all", "--yes")
    left = cloudwatch.describe_log_streams(logGroupName=group)["logStreams"]
    assert [each["logStreamName"] for each in left] == ["digits-12-Overfit-0a1b/algo-1-17"]


def test_jobs_are_stopped_and_waited_for_and_keep_no_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto cannot stop jobs."""
    statuses = {"a": ["InProgress", "Stopping", "Stopped"], "b": ["Stopped"]}
    done: list[str] = []
    kind = SimpleNamespace(status=lambda clients, name: statuses[name].pop(0))
    monkeypatch.setattr(services.kinds, "stop", lambda clients, name: done.append(f"stop {name}"))
    monkeypatch.setattr(services.kinds, "kind_of", lambda clients, name: kind)
    monkeypatch.setattr(services.Pace, "wait", lambda *_, **__: None)
    pool = {"WarmPoolStatus": {"Status": "Available"}}
    monkeypatch.setattr(services.jobs, "find", lambda clients, name: pool if name == "b" else {})
    monkeypatch.setattr(services.warmpool, "end", lambda clients, name: done.append(f"pool {name}"))
    services._end(None, ["a", "b"])  # type: ignore[arg-type]
    assert done == ["stop a", "stop b", "pool b"]
    monkeypatch.setattr(services, "_LOOKS", 2)
    statuses["a"] = ["InProgress"] * 3
    with pytest.raises(ByocError, match="a did not end"):
        services._end(None, ["a"])  # type: ignore[arg-type]


# --- images, which projects share -------------------------------------------------------------------


def repositories(*names: str, project: str = "digits") -> Any:
    ecr = boto3.client("ecr", "us-east-1")
    for name in names:
        ecr.create_repository(repositoryName=name, tags=[{"Key": "byoc:project", "Value": project}])
    return ecr


def test_the_last_projects_repositories_go_old_names_too(ready: Path, run: Run) -> None:
    repositories("sagemaker-byoc-train", "byoc-train", "byoc-other", "sagemaker-byoc-serve")
    run("delete", "--all", "--yes")
    assert account_repositories() == ["byoc-other"]


def account_repositories() -> list[str]:
    ecr = boto3.client("ecr", "us-east-1")
    return [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]]


def test_repositories_stay_where_another_project_has_models(made: Path, run: Run) -> None:
    repositories("sagemaker-byoc-train")
    shown = run("delete", "--all", "--yes").stdout
    assert "sagemaker-byoc-train (0 images, 0 B): the project digits2 has endpoints or models" in shown
    assert "aws ecr delete-repository --force --repository-name sagemaker-byoc-train" in shown
    assert account_repositories() == ["sagemaker-byoc-train"]


def test_repositories_stay_where_another_project_has_data(ready: Path, run: Run) -> None:
    data()
    repositories("sagemaker-byoc-train")
    assert (
        f"another project has data in s3://{BUCKET}/byoc/digits2/" in run("delete", "--all", "--yes").stdout
    )
    assert account_repositories() == ["sagemaker-byoc-train"]


def test_repositories_stay_where_another_project_made_them(ready: Path, run: Run) -> None:
    repositories("sagemaker-byoc-train", project="flowers")
    assert "the project flowers made it" in run("delete", "--all", "--yes").stdout
    assert account_repositories() == ["sagemaker-byoc-train"]


def test_repositories_stay_that_carry_no_tag(ready: Path, run: Run) -> None:
    boto3.client("ecr", "us-east-1").create_repository(repositoryName="sagemaker-byoc-train")
    assert "it has no tag byoc:project" in run("delete", "--all", "--yes").stdout
    assert account_repositories() == ["sagemaker-byoc-train"]


def test_repositories_stay_where_a_foreign_model_runs_an_image(ready: Path, run: Run) -> None:
    repositories("sagemaker-byoc-serve-cpu")
    uri = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-byoc-serve-cpu:1"
    boto3.client("sagemaker", "us-east-1").create_model(
        ModelName="theirs",
        PrimaryContainer={"Image": uri},
        ExecutionRoleArn="arn:aws:iam::123456789012:role/byoc-sagemaker",
    )
    assert "the model theirs, which is not of this project" in run("delete", "--all", "--yes").stdout
    assert account_repositories() == ["sagemaker-byoc-serve-cpu"]


def test_repositories_stay_where_nobody_knows(ready: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    repositories("sagemaker-byoc-train")
    monkeypatch.setattr(images, "other_projects", lambda *_: None)
    assert "is unknown, as AWS does not allow tag:GetResources" in run("delete", "--all", "--yes").stdout
    assert account_repositories() == ["sagemaker-byoc-train"]


def test_full_addresses_are_nobodys_repositories() -> None:
    settings = load(
        required=False, environment={}, overrides=["images.train=host/team/own:1", "images.serve=a:3"]
    )
    assert images.names(settings) == ["sagemaker-a", "a", "sagemaker-byoc-serve-cpu", "byoc-serve-cpu"]


# --- the rest -----------------------------------------------------------------------------------------


def test_the_whole_bucket_is_never_emptied() -> None:
    found = storage.find(None, "b", "", lambda _: None)  # type: ignore[arg-type]
    assert not found.parts
    assert "aws.prefix is the whole bucket" in found.stays[0]


@pytest.mark.parametrize(
    ("config", "endpoint"),
    [("digits-v-0412-093007-51", "digits"), ("digits-v-v-0412-093007-51", "digits-v"), ("digits", "")],
)
def test_the_endpoint_of_a_configuration(config: str, endpoint: str) -> None:
    assert logs.endpoint_of(config) == endpoint


def test_a_notebook_shows_the_list_first(made: Path) -> None:
    project = Project(made)
    with pytest.raises(NotebookError, match="yes=True in a notebook"):
        project.delete_all()
    assert project.delete_all(yes=True)["left"] == []
    assert account()["endpoints"] == ["digits2"]


def test_flags_that_do_not_go_together(ready: Path, run: Run) -> None:
    assert "Give the name or --all" in run("delete", "digits", "--all", code=2).stderr
    assert "go with --all" in run("delete", "--yes", code=2).stderr
