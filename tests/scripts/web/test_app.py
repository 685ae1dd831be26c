"""What the addresses answer, with moto in place of AWS."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from report.read.listing import newest
from scripts.prices import Price
from scripts.web import sources
from scripts.web.app import ASSETS
from scripts.web.session import Session
from scripts.web.stream import Timing, events
from tests.scripts.commands.test_watching import write_log
from tests.scripts.conftest import Refuse, Run
from tests.scripts.web.conftest import TOKEN, TestClient


def messages(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


async def first(session: Session, source: Any) -> dict[str, Any]:
    async for event in events(session, lambda: source):
        return messages(event)[0]
    raise AssertionError("no event")


def test_pages_and_files(web: TestClient) -> None:
    for path in ("/", "/training/a", "/tuning/a", "/endpoint/a", "/data", "/new/train"):
        assert '<main id="main"' in web.get(path).text
    for file in ASSETS.iterdir():
        if file.suffix != ".j2":
            answer = web.get(f"/assets/{file.name}")
            assert answer.status_code == 200
            kept = web.get(f"/assets/{file.name}", headers={"if-none-match": answer.headers["etag"]})
            assert kept.status_code == 304
    for path in ("/assets/page.html.j2", "/assets/..%2fread%2faws.py", "/assets/nothing.js"):
        assert web.get(path).status_code == 404


def test_all_of_it_is_small_and_loads_nothing_from_elsewhere(web: TestClient) -> None:
    own = sum(file.stat().st_size for file in ASSETS.iterdir())
    assert own + len(web.get("/assets/vega.js").content) < 3_000_000
    for file in ASSETS.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text.replace("https?:\\/\\/", ""), file


def test_the_list_has_every_kind_with_the_projects_own(web: TestClient, run: Run, session: Session) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    run("train", "--name", "longrun", "--no-wait")
    run("transform", "--name", "digits-2", "--no-wait")
    run("deploy", "digits-1", "--endpoint", "digits", "--no-wait")
    run(
        "train",
        "--name",
        "theirs",
        "--no-wait",
        "--set",
        "project.name=flowers",
        "--set",
        "aws.prefix=byoc/digits",
    )
    rows = asyncio.run(first(session, sources.JobList(session)))["documents"]
    assert set(rows) == {
        "training/digits-1", "training/longrun", "training/theirs", "transform/digits-2", "endpoint/digits"
    }  # fmt: skip
    assert {key for key, row in rows.items() if not row["ours"]} == {"training/theirs"}
    assert rows["endpoint/digits"]["runs"]
    details = web.get(
        "/api/details?job=training/digits-1&job=endpoint/digits&job=nonsense/x&job=training/gone"
    ).json()
    assert details["training/digits-1"]["machine"] == "ml.m5.xlarge"
    assert details["endpoint/digits"]["machine"] == "ml.m5.large"
    assert details["nonsense/x"] is None
    assert details["training/gone"] is None


def test_changes_alone_are_sent(ready: Path, run: Run, session: Session) -> None:
    run("train", "--name", "digits-1", "--no-wait")

    async def two() -> list[dict[str, Any]]:
        told = []
        async for event in events(session, lambda: source):
            told += messages(event)
            if len(told) == 2:
                return told
            run("train", "--name", "digits-2", "--no-wait")
        raise AssertionError

    source = sources.JobList(session, pause=0.0)
    told = asyncio.run(two())
    assert list(told[0]["documents"]) == ["training/digits-1"]
    assert list(told[1]["documents"]) == ["training/digits-2"]


def test_a_job_that_has_ended_ends_its_stream(web: TestClient, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait", "--set", "lr=0.003")
    told = messages(web.get("/live/training/digits-1").text)
    job = told[0]["documents"]["job"]
    assert job["status"] == "Completed"
    assert job["settings"]["lr"] == "0.003"
    assert told[-1]["ended"] is True


def test_a_job_that_is_not_there_ends_its_stream_with_the_reason(web: TestClient) -> None:
    told = messages(web.get("/live/training/nothing").text)
    assert "There is no training job nothing" in told[0]["trouble"]["message"]
    assert told[0]["ended"] is True


def test_trouble_is_told_once_and_taken_back(
    ready: Path, run: Run, session: Session, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    source = sources.JobList(session, pause=0.0)
    looks = 0
    look = source.look

    def counted() -> None:
        nonlocal looks
        looks += 1
        if looks < 4:
            with refuse("ListTrainingJobs", "AccessDeniedException"):
                look()
        else:
            look()

    monkeypatch.setattr(source, "look", counted)

    async def two() -> list[dict[str, Any]]:
        told = []
        async for event in events(session, lambda: source, timing=Timing(0.01, 0.02)):
            told += messages(event)
            if len(told) == 2:
                break
        return told

    told = asyncio.run(two())
    assert "AWS does not allow ListTrainingJobs" in told[0]["trouble"]["message"]
    assert told[1]["trouble"] is None
    assert "training/digits-1" in told[1]["documents"]
    assert looks == 4


def test_the_report_is_in_a_sandbox(web: TestClient, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    answer = web.get("/report/training/digits-1")
    assert "digits-1" in answer.text
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts; frame-ancestors 'self'"
    assert web.get("/report/training/nothing").status_code == 404


def test_a_job_is_started(web: TestClient, session: Session) -> None:
    made = web.post(
        "/api/train",
        json={"set": {"hyperparameters.lr": "0.002", "train.volume_gb": "40"}, "name": "digits-7"},
    )
    assert made.json()["training_job"] == "digits-7"
    job = session.clients.sagemaker.describe_training_job(TrainingJobName="digits-7")
    assert job["HyperParameters"]["lr"] == "0.002"
    assert job["ResourceConfig"]["VolumeSizeInGB"] == 40


def test_a_job_is_stopped_by_what_the_command_calls(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.kinds.stop", lambda clients, name: f"training job {name}")  # moto stops none
    assert web.post("/api/stop", json={"name": "digits-7"}).json()["kind"] == "training job digits-7"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("train", {"set": {"hyperparameters.lr": "99"}}, 400, "lr"),
        ("train", {"set": {"train.nonsense": "1"}}, 400, "no setting train.nonsense"),
        ("train", {"set": {"train.volume_gb": 3}}, 400, "no text"),
        ("train", {"best_of": "nothing"}, 404, "There is no tuning job nothing"),
        ("tune", {"ranges": {"lr": "1:2:3:4"}}, 400, "lr"),
        ("train", {"set": ["lr"]}, 400, "set is no JSON object"),
        ("tune", {"ranges": "lr"}, 400, "ranges is no JSON object"),
        ("stop", {}, 400, "no name"),
        ("stop", {"name": "nothing"}, 404, "nothing"),
        ("deploy", {"job": "a"}, 400, "no endpoint"),
        ("delete", {"endpoint": 3}, 400, "no endpoint"),
    ],
)
def test_what_is_wrong_is_said_with_its_name(
    web: TestClient, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = web.post(f"/api/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_a_request_that_is_no_object_or_too_long(web: TestClient) -> None:
    assert web.post("/api/stop", content=b"[1]").status_code == 400
    assert web.post("/api/stop", content=b"{").status_code == 400
    assert web.post("/api/stop", content=b"[" * 100_000).status_code == 400
    assert (
        web.post("/api/stop", content=b'{"name": "' + b"a" * 300_000 + b'"}').json()["error"]["kind"]
        == "TooLarge"
    )


def test_the_project_says_where_it_runs(web: TestClient) -> None:
    told = web.get("/api/project").json()
    assert told["project"] == "digits"
    assert told["url"] == ""
    assert TOKEN not in json.dumps(told)


def test_lists_of_more_than_a_page(
    ready: Path, run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("report.read.listing.PAGE", 2)
    for number in range(5):
        run("train", "--name", f"digits-{number}", "--no-wait")
    assert len([item for item in newest(session.clients, 4, "digits") if item["kind"] == "training"]) == 4


def test_prices_are_those_of_the_commands(web: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.prices.find", lambda *_: Price(0.25, "this test"))
    assert web.get("/api/price?machine=ml.m5.xlarge").json() == {"hourly": 0.25, "origin": "this test"}
    run("train", "--name", "digits-1", "--no-wait")
    run("deploy", "digits-1", "--endpoint", "digits", "--no-wait", "--set", "deploy.instance_count=2")
    endpoint = web.get("/api/details?job=endpoint/digits").json()["endpoint/digits"]
    assert endpoint["hourly"] == 0.5
    assert endpoint["cost"] == pytest.approx(endpoint["seconds"] / 3600 * 0.5)


def test_the_whole_log_is_text(web: TestClient, run: Run) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    write_log("digits-1/algo-1-1", ["one", "<b>two</b>"])
    answer = web.get("/log/training/digits-1")
    assert answer.text == "one\n<b>two</b>"
    assert answer.headers["content-type"].startswith("text/plain")
    assert web.get("/log/nothing/digits-1").status_code == 404
    assert web.get("/live/nothing/digits-1").status_code == 404


def test_details_of_the_others_where_one_is_gone(web: TestClient, run: Run, refuse: Refuse) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    path = "/api/details?job=transform/gone&job=training/digits-1&job=endpoint/a"
    found = web.get(path).json()
    assert found["transform/gone"] is None
    assert found["training/digits-1"]["machine"]
    with refuse("DescribeTransformJob", "AccessDeniedException"):
        assert web.get(path).json()["training/digits-1"]["machine"]


def test_another_place_in_byoc_toml_is_another_client(ready: Path, web: TestClient, session: Session) -> None:
    """What the page shows and starts is where byoc.toml says, not where it said when the page was opened."""
    before, live = session.clients, session.source("jobs/", lambda: sources.JobList(session))
    assert session.clients is before
    file = ready / "byoc.toml"
    file.write_text(file.read_text().replace("[aws]", '[aws]\nregion = "eu-west-1"', 1))
    assert session.context().clients.region == session.clients.region == "eu-west-1"
    assert session.source("jobs/", lambda: sources.JobList(session)) is not live


def test_renewed_credentials_are_taken(web: TestClient, session: Session, refuse: Refuse) -> None:
    before = session.clients
    with refuse("DescribeTrainingJob", "ExpiredTokenException"):
        assert web.get("/api/details?job=training/a").status_code == 403
    assert session.clients is not before


@pytest.mark.parametrize(("lag", "kept"), [(0.0, 0.0), (8.0, 0.2)])
def test_a_price_of_aws_is_not_kept_for_a_local_service_that_did_not_answer(
    web: TestClient, session: Session, monkeypatch: pytest.MonkeyPatch, lag: float, kept: float
) -> None:
    monkeypatch.setattr("scripts.aws.Clients.log_lag", lag)
    answers = iter([Price(0.2, "the table", "2026-08-11"), Price(0.0, "the local SageMaker")])
    monkeypatch.setattr("scripts.prices.find", lambda *_: next(answers))
    assert session.hourly("ml.m5.large", "Hosting") == 0.2
    assert session.hourly("ml.m5.large", "Hosting") == kept


def test_a_report_of_a_job_on_this_machine_has_no_price(
    web: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train", "--name", "digits-1", "--no-wait")
    monkeypatch.setattr("scripts.prices.find", lambda *_: Price(0.0, "the local SageMaker"))
    drawn: list[float | None] = []
    monkeypatch.setattr("report.pages.job.job_page", lambda inputs: drawn.append(inputs.price) or "")
    assert web.get("/report/training/digits-1").status_code == 200
    assert drawn == [None]
