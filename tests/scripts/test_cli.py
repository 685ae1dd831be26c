"""Commands as a user types them, with moto in place of AWS."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts import localservice, state
from scripts.doctor import docker
from scripts.doctor.finding import Finding
from scripts.localstatus import free_port, home_of
from scripts.policies.jobs import TRUST
from scripts.settings import load
from tests.scripts.conftest import Refuse, Run, draw


@pytest.fixture(autouse=True)
def _no_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has none."""
    found = Finding("quota", "skipped", "")
    monkeypatch.setattr("scripts.doctor.examine.quotas", lambda *_: found)


@pytest.fixture
def ready(project: Path, aws: None, run: Run) -> Path:
    """byoc.toml, the role, and pictures in S3."""
    run("init", "--aws", "--example", "digits")
    role()
    draw(project / "digits", each=6)
    run("upload")
    return project


def role() -> None:
    trust = json.dumps(TRUST)
    boto3.client("iam").create_role(RoleName="byoc-sagemaker", AssumeRolePolicyDocument=trust)


def stdout(result: Any) -> Any:
    return json.loads(result.stdout)


def test_init_writes_once(project: Path, run: Run) -> None:
    run("init")
    assert 'name = "it-s-a-project"' in (project / "byoc.toml").read_text()
    run("init", "--force", "--name", "flowers")
    assert 'name = "flowers"' in (project / "byoc.toml").read_text()
    assert "endpoint_url = " in (project / "byoc.toml").read_text()
    assert "--force" in run("init", code=2).stderr
    refused = run("init", "--force", "--name", "-", code=2).stderr
    assert "is '-', but must be at most 16 letters and digits" in " ".join(refused.split())
    assert 'name = "flowers"' in (project / "byoc.toml").read_text()
    assert [path.name for path in project.iterdir()] == ["byoc.toml"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (("cat", "dog"), "."),
        (("photos/cat", "photos/dog", "notes"), "photos"),
        (("photos/train/cat", "photos/train/dog", "photos/test/cat"), "photos"),
        (("a/cat", "a/dog", "b/cat", "b/dog"), "data"),
        (("one",), "data"),
    ],
)
def test_init_finds_the_pictures(project: Path, run: Run, made: tuple[str, ...], expected: str) -> None:
    for folder in made:
        (project / folder).mkdir(parents=True)
        (project / folder / "1.jpg").touch()
    told = run("init").stdout
    assert load(project / "byoc.toml", environment={}).data.folder == expected
    assert ("Pictures:" in told) == (expected != "data")
    assert ("found here: set data.folder" in told) == (expected == "data")


def test_upload_names_the_folder_that_may_be_meant(project: Path, run: Run) -> None:
    run("init")
    for name in ("cat", "dog"):
        (project / "my photos" / name).mkdir(parents=True)
        (project / "my photos" / name / "1.jpg").touch()
    told = " ".join(run("upload", code=2).stderr.split())
    assert "There is no folder data, which data.folder in byoc.toml names." in told
    assert "`byoc upload 'my photos'` sends another one" in told


def test_upload_checks_counts_and_repeats(ready: Path, run: Run) -> None:
    again = stdout(run("upload", "--json"))
    assert again["pictures"] == {"train": 8, "validation": 2, "test": 2}
    assert (again["sent"], again["unchanged"]) == (0, 12)
    (ready / "digits" / "cat" / "bad.png").write_text("no")
    assert "bad.png" in run("upload", code=2).stderr
    assert stdout(run("upload", "--skip-unreadable", "--json"))["unreadable"][0]["file"].endswith("bad.png")


def test_train_report_the_request_and_the_job(ready: Path, run: Run) -> None:
    name = stdout(run("train", "--no-wait", "--set", "lr=0.5", "--epochs", "3", "--json"))["training_job"]
    job = boto3.client("sagemaker", "us-east-1").describe_training_job(TrainingJobName=name)
    assert job["HyperParameters"]["lr"] == "0.5"
    assert job["HyperParameters"]["epochs"] == "3"
    assert [item["ChannelName"] for item in job["InputDataConfig"]] == ["train", "validation", "test"]
    assert stdout(run("jobs", "--json"))["training"][0]["name"] == name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "--set", "lr=abc"), 2, "lr"),
        (("train", "--set", "learning_rat=1"), 2, "learning_rat"),
        (("train", "--set", "train.spto=true"), 2, "Did you mean spot"),
        (("train", "--best"), 2, "byoc tune"),
        (("train", "--from", "nothing-of-that-name"), 5, "no tuning job"),
        (("tune", "--range", "lr=0:1:log"), 2, "above 0"),
        (("tune", "--range", "lr=1e-4:900"), 2, "lr"),
        (("tune", "--range", "rl=0.1:0.2"), 2, "rl"),
        (("tune", "--set", "lr=0.1"), 2, "--range lr="),
        (("tune", "--set", "tune.strategy=Grid"), 2, "Grid"),
        (("logs", "nothing"), 5, "nothing"),
        (("deploy", "nothing"), 5, "no training job nothing"),
        (("deploy",), 2, "byoc train"),
        (("predict",), 2, "Which pictures"),
        (("predict", "nowhere.png"), 5, "nowhere.png"),
        (("upload", "nowhere"), 2, "nowhere"),
        (("report",), 2, "byoc train"),
        (("local", "status"), 4, ""),
    ],
)
def test_mistakes_cost_nothing(
    ready: Path, run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = run(*arguments, code=code)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert boto3.client("sagemaker", "us-east-1").list_training_jobs()["TrainingJobSummaries"] == []


def test_errors_are_json_where_json_was_asked_for(ready: Path, run: Run) -> None:
    error = stdout(run("train", "--set", "lr=abc", "--json", code=2))["error"]
    assert "lr" in error["message"]
    assert error["exit"] == 2


def test_training_without_data(project: Path, aws: None, run: Run) -> None:
    run("init", "--aws")
    role()
    assert "byoc upload" in run("train", code=5).stderr


def test_training_without_a_role(project: Path, aws: None, run: Run) -> None:
    run("init", "--aws")
    assert "byoc setup" in run("train", code=5).stderr


def test_no_settings(project: Path, run: Run) -> None:
    assert "byoc init" in run("train", code=2).stderr


def test_no_credentials(project: Path, run: Run) -> None:
    run("init", "--aws")
    assert "No AWS credentials" in run("jobs", code=3).stderr


def test_nothing_answers(project: Path, run: Run) -> None:
    run("init", "--endpoint-url", f"http://127.0.0.1:{free_port()}")
    assert "byoc local up" in run("jobs", code=4).stderr


def test_a_service_that_goes_in_the_middle_of_a_command(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    run("init", "--endpoint-url", f"http://127.0.0.1:{port}")
    state.write_json(home_of(project) / "service.json", {"pid": -1, "port": port})
    monkeypatch.setattr("scripts.localstatus.check", lambda *_, **__: None)
    monkeypatch.setattr("botocore.retries.standard.RetryHandler.needs_retry", lambda *_, **__: None)
    assert "this folder's local SageMaker was killed" in run("jobs", code=4).stderr


def test_two_folders_do_not_share_a_service(project: Path, run: Run, home: Path, port: int) -> None:
    """The first one's runs where the second one's would."""
    other, _ = localservice.up(home, port)
    run("init", "--endpoint-url", other.url)
    draw(project / "data")
    for arguments in (("upload",), ("jobs",), ("train",), ("predict", "data/cat/0.png"), ("local", "up")):
        assert f"is the local SageMaker of {home}" in run(*arguments, code=2).stderr
    [found] = [
        item for item in stdout(run("doctor", "--json", code=1))["checks"] if item["check"] == "credentials"
    ]
    assert f"is the local SageMaker of {home}" in found["message"]
    files = ["local.py", "service.json", "service.log", "up.json", "up.lock"]
    assert sorted(path.name for path in home.iterdir() if path.name != "__pycache__") == files

    told = run("local", "status", code=4).stdout
    assert "does not run" in told
    assert f"The local SageMaker of {home} answers at {other.url}" in told
    assert "byoc local down --config" in told
    assert stdout(run("local", "status", "--json", code=4))["other"]["home"] == str(home)
    assert f"The local SageMaker of {home} answers at" in run("local", "down").stdout
    assert localservice.status(home) == other

    elsewhere = home.parent.parent / "byoc.toml"
    assert "is stopped" in run("local", "down", "--config", str(elsewhere)).stdout
    assert localservice.status(home) is None


def test_settings_that_are_wrong_do_not_keep_a_service_running(project: Path, run: Run) -> None:
    (project / "byoc.toml").write_text("[project")
    assert "was not running" in run("local", "down").stdout
    assert "does not run" in run("local", "status", code=4).stdout


def test_the_doctor_names_what_is_missing(ready: Path, run: Run, refuse: Refuse) -> None:
    with refuse("SimulatePrincipalPolicy", "AccessDenied"):  # moto has it not
        checks = {item["check"]: item for item in stdout(run("doctor", "--json"))["checks"]}
    assert checks["permissions"]["severity"] == "skipped"
    assert checks["role"]["severity"] == checks["bucket"]["severity"] == checks["data"]["severity"] == "ok"
    assert checks["training image"]["severity"] == "warning"
    assert "make build push" in checks["training image"]["remedy"]


def test_the_doctor_finds_the_engine_that_local_up_finds(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@server")
    [found] = [
        item for item in stdout(run("doctor", "--json", code=1))["checks"] if item["check"] == "Docker"
    ]
    assert found["severity"] == "warning"
    assert "ssh://me@server is on another machine" in found["message"]


def test_the_doctor_runs_nothing_of_the_folder(project: Path) -> None:
    (project / "local.py").write_text("open('ran', 'w')")
    list(docker.docker())
    assert not (project / "ran").exists()


def test_the_doctor_judges_the_rules_too(project: Path, run: Run) -> None:
    run("init")
    told = stdout(run("doctor", "--json", "--set", 'debugger.rules=["Overftit"]', code=1))["checks"]
    [found] = [item for item in told if item["check"] == "settings"]
    assert found["severity"] == "error"
    assert "no rule 'Overftit'" in found["message"]


def test_the_doctors_old_flag_names_the_command_that_replaces_it(project: Path, run: Run) -> None:
    assert "`byoc setup` makes the role" in run("doctor", "--create-role", code=2).stderr


def test_the_doctor_asks_nobody_offline(project: Path, run: Run) -> None:
    run("init", "--aws")  # no credentials, no network
    checks = stdout(run("doctor", "--offline", "--json"))["checks"]
    assert {"Java", "disk", "settings", "machines", "AWS"} <= {item["check"] for item in checks}


def test_help_is_there_for_every_command_with_an_example(run: Run) -> None:
    from typer.main import get_command

    from scripts.app import app

    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for path, item in (
            [((name, sub), item) for sub, item in command.commands.items()]
            if hasattr(command, "commands")
            else [((name,), command)]
        ):
            assert f"byoc {' '.join(path)}" in (item.help or "") or item.hidden, path
            assert "Usage" in run(*path, "--help").stdout


def test_help_starts_fast() -> None:
    """Measured as CPU time, so that a busy machine does not matter; the heavy libraries stay unloaded."""
    code = (
        "import sys, scripts.app, typer.main; typer.main.get_command(scripts.app.app);"
        "print({'boto3', 'botocore', 'altair', 'numpy', 'PIL', 'torch', 'docker'} & set(sys.modules))"
    )
    begin = time.perf_counter()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "set()"
    assert time.perf_counter() - begin < 5
