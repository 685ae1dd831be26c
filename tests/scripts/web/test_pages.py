"""Forms, data, endpoints and tuning jobs, with moto in place of AWS."""

import io
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from PIL import Image

from contract.errors import ByocError
from contract.hyperparameters import HYPERPARAMETERS
from report.read import pictures
from scripts.ranges import Range, parse_range
from scripts.web import data, endpoint, forms
from scripts.web.actions import Activities
from scripts.web.session import Session
from tests.scripts.conftest import Run
from tests.scripts.web.conftest import TestClient


def fields(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["key"]: item for group in document["groups"] for item in group["fields"]}


def test_the_form_has_every_hyperparameter_with_byoc_tomls_value(web: TestClient) -> None:
    shown = fields(web.get("/api/form/train").json())
    assert {f"hyperparameters.{item.name}" for item in HYPERPARAMETERS} <= set(shown)
    assert shown["hyperparameters.image_size"]["value"] == "32"
    assert (
        shown["hyperparameters.save_model"] | {"type": "bool", "value": "true"}
        == shown["hyperparameters.save_model"]
    )
    assert shown["train.input_mode"]["choices"] == ["File", "FastFile"]
    assert shown["train.instance_type"]["pattern"] == r"ml\..+"
    assert shown["debugger.rules"]["type"] == "list"


def test_what_a_form_says_by_itself_is_what_byoc_toml_says(web: TestClient, session: Session) -> None:
    for kind in ("train", "tune"):
        shown = fields(web.get(f"/api/form/{kind}").json())
        values: dict[str, Any] = {}
        for key, item in shown.items():
            if key.startswith("ranges."):
                continue
            names = [name.strip() for name in item["value"].split(",") if name.strip()]
            values[key] = names if item["type"] == "list" else item["value"]
        before, after = session.settings, session.context(forms.sets_of(values)).settings
        for section in ("train", "debugger", "profiler"):
            assert getattr(after, section) == getattr(before, section)
        for key, value in before.hyperparameters.items():
            assert after.hyperparameters[key] == value


def test_the_tuning_form_varies_what_the_settings_vary(web: TestClient) -> None:
    shown = fields(web.get("/api/form/tune").json())
    assert shown["ranges.lr"]["value"] == "0.0001:0.1:log"
    assert shown["ranges.batch_size"]["value"] == "16, 32, 64"
    assert shown["ranges.momentum"]["value"] == ""
    assert "tune.hyperparameters.lr" not in shown
    assert shown["tune.hyperparameters.epochs"]["value"] == "2"


@pytest.mark.parametrize(
    "item",
    [Range(1e-4, 0.1, "Logarithmic"), Range(1, 5, "Linear"), Range(0, 0.5), Range(values=("16", "32"))],
)
def test_a_range_is_read_back(item: Range) -> None:
    assert parse_range(forms.range_text(item), "lr") == item


def test_there_is_no_other_form(web: TestClient) -> None:
    assert web.get("/api/form/nothing").status_code == 404


def test_the_deploy_form_names_jobs_and_endpoints(web: TestClient, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    run("deploy", "digits-1", "--endpoint", "digits-e", "--no-wait")
    document = web.get("/api/form/deploy").json()
    assert document["jobs"] == ["digits-1"]
    assert document["job"] == "digits-1"
    assert document["endpoints"] == {"digits-e": "InService"}


# --- data


def put(key: str, content: bytes) -> None:
    boto3.client("s3", region_name="us-east-1").put_object(
        Bucket="sagemaker-us-east-1-123456789012", Key=key, Body=content
    )


def test_classes_are_counted_and_equal_files_are_found(web: TestClient) -> None:
    document = web.get("/api/data").json()
    assert document["total"] == 12
    assert {item["name"]: sum(item["counts"].values()) for item in document["classes"]} == {
        "cat": 6,
        "dog": 6,
    }
    before = document["repeated_count"]
    for place in ("train/cat/again.png", "test/dog/again.png"):
        put(f"byoc/digits/data/{place}", b"the same")
    put("byoc/digits/data/train/notes.txt", b"the same")
    put("byoc/digits/data/train/cat/notes.txt", b"the same")
    document = web.get("/api/data").json()
    assert document["total"] == 14
    assert document["repeated_count"] == before + 1
    worst = document["repeated"][0]  # two labels, and two splits
    assert {(file["channel"], file["label"]) for file in worst} == {("train", "cat"), ("test", "dog")}


def test_a_list_that_is_too_long_is_cut_and_says_so(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LIMIT", 3)
    assert web.get("/api/data").json()["truncated"] is True


def test_pictures_are_small_pngs_of_the_data_set_alone(web: TestClient, session: Session) -> None:
    key = web.get("/api/data").json()["classes"][0]["samples"][0]
    answer = web.get("/api/picture", params={"key": key})
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "PNG"
    put("byoc/digits/data/train/cat/broken.png", b"no picture")
    assert web.get("/api/picture", params={"key": "byoc/digits/data/train/cat/broken.png"}).status_code == 400
    assert web.get("/api/picture", params={"key": "byoc/digits/data/train/cat/none.png"}).status_code == 404
    for other in ("byoc/digits/out/secret.png", "secret.png", "", "byoc/digits/database/x.png"):
        assert web.get("/api/picture", params={"key": other}).status_code == 403
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "EPS")  # Pillow would start Ghostscript for it
    put("byoc/digits/data/train/cat/script.jpg", stream.getvalue())
    answer = web.get("/api/picture", params={"key": "byoc/digits/data/train/cat/script.jpg"})
    assert "cannot identify" in answer.json()["error"]["message"]
    wide = Image.new("RGB", (900, 300))
    stream = io.BytesIO()
    wide.save(stream, "JPEG")
    put("byoc/digits/data/train/cat/wide.jpg", stream.getvalue())
    with Image.open(io.BytesIO(data.picture(session, "byoc/digits/data/train/cat/wide.jpg"))) as small:
        assert small.size == (128, 43)


def test_without_pictures_the_remedy_is_upload(project: Path, aws: None, client: TestClient) -> None:
    answer = client.get("/api/data")
    assert answer.status_code == 404
    assert "byoc upload" in answer.json()["error"]["remedy"]


def test_labels_are_doubted_by_the_last_model(
    web: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert web.get("/api/doubtful").json()["job"] == ""
    run("train", "--name", "digits-train-1", "--no-wait")
    collect = data.collect

    def with_report(clients: Any, name: str) -> Any:
        inputs = collect(clients, name)
        mistake = {"file": "cat/1.png", "truth": "cat", "predicted": "dog", "probability": 0.99}
        inputs.report = {"split": "test", "worst_mistakes": [mistake]}
        return inputs

    monkeypatch.setattr(data, "collect", with_report)
    reached = {"digits-train-1": 0.95}
    monkeypatch.setattr(data.jobs, "metrics", lambda job: {"test:accuracy": reached[job["TrainingJobName"]]})
    doubted = web.get("/api/doubtful").json()
    assert doubted["job"] == "digits-train-1"
    assert doubted["mistakes"][0] == {
        "file": "cat/1.png", "truth": "cat", "predicted": "dog", "probability": 0.99, "image": ""
    }  # fmt: skip
    run("train", "--name", "digits-train-2", "--no-wait")
    reached["digits-train-2"] = 0.1  # it has learned nothing, and doubts nothing
    assert web.get("/api/doubtful").json()["job"] == "digits-train-1"
    reached["digits-train-1"] = 0.5
    doubted = web.get("/api/doubtful").json()
    assert (doubted["good"], doubted["mistakes"]) == (False, [])


# --- endpoints


def test_pictures_that_are_too_large_or_empty_are_not_sent(web: TestClient) -> None:
    large = web.post("/api/predict/digits", content=b"0" * (endpoint.LARGEST + 1))
    assert large.status_code == 400
    assert large.json()["error"]["kind"] == "TooLarge"
    assert web.post("/api/predict/digits", content=b"").json()["error"]["kind"] == "Empty"
    assert web.post("/api/predict/digits", content=b"a").status_code == 404


def test_an_endpoint_names_the_job_of_its_model(web: TestClient, run: Run, session: Session) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    run("deploy", "digits-1", "--endpoint", "digits-e", "--no-wait")
    found = endpoint.described(session.clients, "digits-e")
    assert found is not None
    assert found.machine == "ml.m5.large"
    assert endpoint.job_of_model(session.clients, found.model) == "digits-1"
    assert endpoint.described(session.clients, "nothing") is None


def ended(activities: Activities, page: str) -> Any:
    activity = activities.about(page)
    assert activity is not None
    activity.thread.join(30)
    return activity


def test_deploying_and_deleting_go_on_in_the_background(ready: Path, run: Run, session: Session) -> None:
    from scripts.web import actions

    run("train", "--name", "digits-1", "--no-wait")
    activities = Activities()
    actions.deploy(session, activities, "digits-1", "digits-e", "ml.m5.xlarge", update=False)
    made = ended(activities, "endpoint/digits-e")
    assert (made.state, made.error) == ("done", None)
    assert any("endpoint digits-e" in line for line in made.lines)
    assert "thread" not in made.as_dict()
    found = endpoint.described(session.clients, "digits-e")
    assert found is not None
    assert found.machine == "ml.m5.xlarge"
    actions.deploy(session, activities, "digits-1", "digits-e", "", update=False)
    refused = ended(activities, "endpoint/digits-e")
    assert refused.state == "failed"
    assert "There is an endpoint digits-e already" in refused.error["message"]
    actions.delete(session, activities, "digits-e")
    assert ended(activities, "endpoint/digits-e").state == "done"
    with pytest.raises(ClientError):
        session.clients.sagemaker.describe_endpoint(EndpointName="digits-e")


def test_one_endpoint_is_changed_by_one_at_a_time(ready: Path, session: Session) -> None:
    import threading

    activities, go = Activities(), threading.Event()
    activities.start(session, "Waiting", "endpoint/a", lambda context: go.wait(30), ())
    with pytest.raises(ByocError, match="a already"):
        activities.start(session, "Waiting", "endpoint/a", lambda context: None, ())
    activities.start(session, "Waiting", "endpoint/b", lambda context: None, ())
    go.set()
    assert ended(activities, "endpoint/a").state == "done"
