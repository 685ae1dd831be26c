"""`byoc local`, with the stand-in of `conftest`."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from scripts import localservice, localstatus
from scripts.localservice import Setup
from tests.scripts.conftest import Run, kill


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, whose local SageMaker the stand-in is."""
    monkeypatch.chdir(home.parent.parent)
    return home.parent.parent


def test_up_says_that_it_comes_up_as_last_time(folder: Path, port: int, run: Run) -> None:
    first = run("local", "up", "--port", str(port), "--runtime", "docker").stdout
    assert "last time" not in first
    kill()
    again = run("local", "up", "--port", str(port)).stdout
    assert "It was started as last time, with `--runtime docker`" in again
    assert "last time" not in run("local", "up", "--port", str(port)).stdout  # it runs
    assert "runs already, with `--runtime docker`" in run(
        "local", "up", "--port", str(port), "--runtime", "process", code=2
    ).stderr  # fmt: skip
    run("local", "down")
    run("local", "up", "--port", str(port), "--runtime", "process")
    run("local", "down")
    assert "last time" not in run("local", "up", "--port", str(port)).stdout


def test_what_was_chosen_last_time_is_told_where_it_does_not_work_any_more(
    folder: Path, home: Path, port: int, run: Run
) -> None:
    run("local", "up", "--port", str(port), "--runtime", "docker")
    run("local", "down")
    (home / "local.py").write_text("raise SystemExit('No Docker engine answers.')")
    told = run("local", "up", "--port", str(port), code=1).stderr
    assert "No Docker engine answers." in told
    assert "It was started as last time, with `--runtime docker`" in told
    assert "last time" not in run("local", "up", "--port", str(port), "--runtime", "docker", code=1).stderr
    (home / "local.py").write_text("")


def test_the_folder_of_an_image_is_the_users(folder: Path, home: Path, port: int, run: Run) -> None:
    run("local", "up", "--port", str(port), "--image", "mine=programs")
    assert localservice.last(home) == Setup(images=(f"mine={folder / 'programs'}",))


def test_the_image_that_judges_is_the_services(folder: Path, home: Path, port: int, run: Run) -> None:
    up = ("local", "up", "--port", str(port))
    run(*up, "--runtime", "docker", "--train-image", "team:2")
    assert localservice.last(home) == Setup("docker", train_image="team:2")
    run("local", "down")
    assert "as last time, with `--runtime docker --train-image team:2`" in run(*up).stdout


def test_interruptions_are_the_services(folder: Path, home: Path, port: int, run: Run) -> None:
    up = ("local", "up", "--port", str(port))
    run(*up, "--spot-interruptions", "30")
    assert localservice.last(home) == Setup(spot_interruptions=30)
    run("local", "down")
    assert "as last time, with `--runtime process --spot-interruptions 30`" in run(*up).stdout
    run("local", "down")
    run(*up, "--spot-interruptions", "0")
    assert localservice.last(home) == Setup()


def test_only_the_local_sagemaker_interrupts_when_it_is_asked_to(project: Path, run: Run) -> None:
    (project / "byoc.toml").write_text('[aws]\nregion = "eu-west-1"\n')
    assert "AWS interrupts spot jobs by itself" in run("local", "interrupt", "job", code=2).stderr
    run("local", "interrupt", "job", "--endpoint-url", "http://127.0.0.1:9", code=4)


def test_up_tells_whose_address_it_is(folder: Path, port: int, run: Run) -> None:
    url = f"http://127.0.0.1:{port}"
    up = ("local", "up", "--port", str(port))
    assert f"no byoc.toml here yet: `byoc init --endpoint-url {url}`" in run(*up).stdout
    run("init", "--endpoint-url", "http://127.0.0.1:1024")
    other = run(*up)
    assert "byoc.toml does not name this address" in other.stdout + other.stderr
    run("init", "--force", "--endpoint-url", url)
    assert "byoc.toml" not in run(*up).output


def test_one_that_hangs(folder: Path, port: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (localservice, localstatus):
        monkeypatch.setattr(module, "PATIENCE", 0.2)
    run("init", "--endpoint-url", f"http://127.0.0.1:{port}")
    run("local", "up")
    monkeypatch.setattr(localstatus, "_SOON", 0.2)
    os.kill(localservice._STARTED[-1].pid, signal.SIGSTOP)
    told = "is there, but hangs or still starts. → Its log is"
    for command in (("jobs",), ("local", "up")):
        assert told in " ".join(run(*command, code=4).stderr.split())
    assert "does not answer; `byoc local down` stops it" in run("local", "status", code=4).stdout
    assert "is stopped" in run("local", "down").stdout


def test_one_that_had_to_be_killed_is_told(
    folder: Path, home: Path, port: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = (home / "local.py").read_text().replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
    (home / "local.py").write_text(deaf)
    at_once = partial(localservice.down, timing=localservice.Timing(stop=0.1))
    monkeypatch.setattr(localservice, "down", at_once)
    run("local", "up", "--port", str(port))
    (home / "left").write_text("container one")
    told = run("local", "down").stdout
    assert "did not end by itself and was killed" in told
    assert "container one" in told
