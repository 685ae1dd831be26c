"""`byoc push` with a real engine and real registries."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from docker import DockerClient
from scripts import account, push
from scripts.aws import Clients, connect
from scripts.settings import load
from tests.docker.line import Break, Line
from tests.scripts.conftest import Run

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
def small(engine: DockerClient) -> Iterator[str]:
    """A tag under which both names are the base image, which is pushed in a second."""
    base = engine.images.get("debian:trixie-slim")
    for name in push.IMAGES.values():
        base.tag(name, "probe")
    yield "probe"
    for name in push.IMAGES.values():
        engine.images.remove(f"{name}:probe")


@pytest.fixture(autouse=True)
def _leave_no_tags(engine: DockerClient) -> Iterator[None]:
    before = _tags(engine)
    yield
    for tag in _tags(engine) - before:
        engine.images.remove(tag)


def _tags(engine: DockerClient) -> set[str]:
    return {tag for image in engine.images.list() for tag in image.tags}


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `docker login` would write to."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


def test_any_registry(registry: str, small: str, project: Path, run: Run) -> None:
    first = json.loads(run("push", "--all", "--registry", registry, "--tag", small, "--json").stdout)[
        "images"
    ]
    for which, name in push.IMAGES.items():
        repository, _, digest = first[which].partition("@")
        assert repository == f"{registry}/{name}"
        request = urllib.request.Request(
            f"http://{registry}/v2/{name}/manifests/{digest}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Docker-Content-Digest"] == digest
    assert not (project / ".byoc").exists()  # AWS is asked for no image that it cannot reach
    assert "is there already" in run("push", "--all", "--registry", registry, "--tag", small).stdout


def test_a_registry_that_wants_a_login(
    guarded_registry: str, small: str, project: Path, docker_config: Path, run: Run
) -> None:
    result = run("push", "--registry", guarded_registry, "--tag", small, code=3)
    assert f"docker login {guarded_registry}" in result.stderr
    assert not (project / ".byoc").exists()


def test_nothing_listens(small: str, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "_PAUSES", (0,))
    result = run("push", "--registry", "127.0.0.1:9", "--tag", small, code=4)
    assert "connection refused" in result.stderr


def test_a_line_that_breaks(
    registry: str, small: str, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_PAUSES", (0,))
    # In the middle of the layer (what the engine tries again by itself), and when all layers are there.
    breaks = (Break(b"PATCH /v2/byoc-train/", after=5_000_000), Break(b"PUT /v2/byoc-train/manifests/"))
    with Line(registry, *breaks) as line:
        result = run("push", "--registry", line.host, "--tag", small)
        assert line.broken == 2
    assert result.stdout.count("trying again") == 1
    assert f"{line.host}/byoc-train@sha256:" in result.stdout


def test_a_line_that_never_holds(
    registry: str, small: str, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_PAUSES", (0,))
    with Line(registry, Break(b"PUT /v2/byoc-serve-cpu/manifests/", times=100)) as line:
        result = run("push", "--registry", line.host, "--tag", small, code=4)
    assert f"The push to {line.host}/byoc-serve-cpu broke off" in result.stderr


def test_an_image_that_is_not_here(engine: DockerClient, project: Path, run: Run) -> None:
    assert "make build TAG=no" in run("push", "--registry", "127.0.0.1:9", "--tag", "no", code=5).stderr


def test_all_images_to_ecr_and_back(
    guarded_registry: str,
    small: str,
    engine: DockerClient,
    other_engine: DockerClient,
    project: Path,
    aws: None,
    docker_config: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # moto answers ECR's API and hands out the password; the registry of that account is on this machine.
    monkeypatch.setattr(Clients, "registry", guarded_registry)
    (project / "byoc.toml").write_text("")
    uris = json.loads(run("push", "--all", "--tag", small, "--json").stdout)["images"]

    settings = load()
    for which, name in push.IMAGES.items():
        assert account.image(settings, connect(settings), which) == uris[which]
        login = {"username": "AWS", "password": "123456789012-auth-token"}
        # `images.pull` would say nothing of an error, such as a full disk.
        steps = other_engine.api.pull(uris[which], auth_config=login, stream=True, decode=True)
        assert not [step for step in steps if "error" in step]
        assert other_engine.images.get(uris[which]).id == engine.images.get(f"{name}:{small}").id
    assert list(docker_config.iterdir()) == []  # no password, in no file
    ecr = boto3.client("ecr", "us-east-1")
    found = {item["repositoryName"]: item for item in ecr.describe_repositories()["repositories"]}
    assert set(found) == {f"sagemaker-{name}" for name in push.IMAGES.values()}
    for item in found.values():
        assert item["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        assert item["imageScanningConfiguration"] == {"scanOnPush": True}
        assert ecr.get_lifecycle_policy(repositoryName=item["repositoryName"])["lifecyclePolicyText"]
