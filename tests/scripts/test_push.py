"""Pushing, with an engine that plays what a real one says."""

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from docker.errors import APIError
from rich.console import Console

from contract.errors import BAD_INPUT, FAILED, NOT_FOUND, REFUSED, UNREACHABLE, ByocError
from scripts import account, push, pushfaults, pushmeter, state
from scripts.aws import connect
from scripts.output import Output
from scripts.registry import AnyRegistry, Ecr, Stored, repository_request
from scripts.settings import Settings, load
from tests.scripts.conftest import Refuse, Run

DIGEST = "sha256:" + "ab" * 32
GOOD = (
    {"status": "Preparing", "progressDetail": {}, "id": "one"},
    {"status": "Layer already exists", "progressDetail": {}, "id": "one"},
    {"status": "Pushing", "progressDetail": {"current": 512, "total": 1000}, "id": "two"},
    {"status": "Pushing", "progressDetail": {"current": 1536, "total": 1000}, "id": "two"},
    {"status": "Pushed", "progressDetail": {}, "id": "two"},
    {"progressDetail": {}, "aux": {"Tag": "1.0", "Digest": DIGEST, "Size": 1000}},
)


class Engine:
    """Answers each push with the next of `scripts`: events, or an exception."""

    def __init__(self, *scripts: Sequence[dict[str, Any]] | Exception) -> None:
        self.scripts = list(scripts)
        self.logins: list[Any] = []
        self.api = self
        self.id = "sha256:image"
        self.attrs = {"RepoDigests": [f"elsewhere/byoc-train@{DIGEST}"], "Size": 1000}

    def reload(self) -> None: ...

    def tag(self, *_: str) -> None: ...

    def push(self, *_: str, auth_config: Any, **__: Any) -> Iterator[dict[str, Any]]:
        self.logins.append(auth_config)
        script = self.scripts.pop(0)
        if isinstance(script, Exception):
            raise script
        return (event for event in script)


def error(text: str) -> Sequence[dict[str, Any]]:
    return [*GOOD[:3], {"errorDetail": {"message": text}, "error": text}]


class Guarded(AnyRegistry):
    """A new password for every attempt, and one tag that is taken."""

    numbers = iter(range(100))

    def login(self) -> dict[str, str] | None:
        return {"username": "AWS", "password": str(next(self.numbers))}

    def digest(self, repository: str, tag: str) -> str | None:
        return DIGEST


def send(engine: Engine, registry: Any = None, **options: Any) -> push.Pushed:
    options.setdefault("pause", lambda _: None)
    registry = registry or AnyRegistry("host:5000")
    return push.push(engine, engine, registry, "byoc-train", "1.0", **options)  # type: ignore[arg-type]


def test_the_digest_names_what_was_pushed() -> None:
    seen: list[tuple[int, int]] = []
    done = send(Engine(GOOD), report=lambda meter: seen.append((meter.done, meter.total)))
    assert done == push.Pushed(f"host:5000/byoc-train@{DIGEST}", "1.0", layers=2, sent=1)
    assert (512, 1000) in seen
    assert seen[-1] == (1000, 1000)  # never more than there is


@pytest.mark.parametrize(
    ("listens", "words"), [(True, r"hangs\. Restart it"), (False, r"No Docker engine answers\. Start it")]
)
def test_an_engine_that_does_not_answer_is_told_soon(
    listens: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with socket.socket(socket.AF_UNIX) as engine:
        if listens:
            engine.bind(str(tmp_path / "engine.sock"))
            engine.listen()
        with pytest.raises(ByocError, match=words) as caught:
            push.connect(patience=1)
    assert caught.value.code == UNREACHABLE


@pytest.mark.parametrize(
    "broken",
    [
        error("write tcp 10.0.0.1:1->10.0.0.2:443: write: connection reset by peer"),
        error("unexpected EOF"),
        error("write tcp 127.0.0.1:40040->127.0.0.1:5059: use of closed network connection"),
        error("received unexpected HTTP status: 503 Service Unavailable"),
        error("denied: Your authorization token has expired. Reauthenticate and try again."),
        GOOD[:-1],  # the stream ends without a digest
        APIError("500 Server Error", explanation="net/http: TLS handshake timeout"),
    ],
)
def test_what_may_pass_is_tried_again(broken: Any) -> None:
    engine, pauses, reasons = Engine(broken, broken, GOOD), [], []
    done = send(
        engine,
        Guarded("host:5000"),
        pause=pauses.append,
        retrying=lambda reason, seconds: reasons.append(reason),
    )
    assert done.uri.endswith(DIGEST)
    assert pauses == [2, 5]
    assert len(reasons) == 2
    assert len({login["password"] for login in engine.logins}) == 3  # a fresh one each time


def test_in_the_end_it_gives_up() -> None:
    with pytest.raises(ByocError, match=r"broke off: unexpected EOF\.") as caught:
        send(Engine(*[error("unexpected EOF")] * 4))
    assert caught.value.code == UNREACHABLE


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("denied: requested access to the resource is denied", REFUSED, "docker login host:5000"),
        ("no basic auth credentials", REFUSED, "docker login host:5000"),
        ("write /var/lib/docker/tmp/x: no space left on device", FAILED, "docker system df"),
        ("tag invalid: '1.0' already exists and the tag is immutable", REFUSED, "TAG="),
        ("name unknown: repository 'x' does not exist", NOT_FOUND, "Create host:5000/byoc-train"),
        ("manifest invalid: unsupported", REFUSED, "without attestations"),
        ("received unexpected HTTP status: 403 Forbidden", REFUSED, "docker login host:5000"),
        ("dial tcp: lookup host on 10.0.0.2:53: no such host", UNREACHABLE, "no address"),
        ("http: server gave HTTP response to HTTPS client", UNREACHABLE, "127.0.0.0/8"),
        ("something new", FAILED, "something new"),
    ],
)  # fmt: skip
def test_what_cannot_pass_is_told_at_once(said: str, code: int, words: str) -> None:
    with pytest.raises(ByocError, match=words) as caught:
        send(Engine(error(said)))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text", ["127.0.0.1:5000", "localhost", "Registry.example/team/x", "[::1]:5000", "host:5/a/"]
)
def test_names_of_registries(text: str) -> None:
    assert AnyRegistry.named(text).host == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "https://host:5000",
        "two words",
        "host:5000/Team",
        "user",
        "/x",
        "host:port",
        "host.example@x",
        "host.example//x",
    ],
)
def test_what_names_no_registry(text: str, project: object, run: Run) -> None:
    said = run("push", "--registry", text, code=BAD_INPUT).stderr
    assert repr(text) in said
    assert "HOST[:PORT][/PATH]" in said


def test_the_engine_refuses_the_name() -> None:
    class Refusing(Engine):
        def tag(self, *_: str) -> None:
            raise APIError("500 Server Error", explanation="invalid tag format")

    with pytest.raises(ByocError, match=r"Docker refused: invalid tag format\."):
        send(Refusing())


def test_the_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on a narrow terminal, and nothing of it afterwards."""
    monkeypatch.setenv("COLUMNS", "60")
    out = Output()
    out.console = Console(width=60, force_terminal=True, legacy_windows=False)
    events = [
        {"status": "Pushing", "progressDetail": {"total": 8_000_000_000}, "id": "one"},
        {
            "status": "Pushing",
            "progressDetail": {"current": 7_000_000_000, "total": 8_000_000_000},
            "id": "one",
        },
    ]
    with pushmeter.shown(out, "byoc-train:1a2b3c4-dirty") as report:
        meter = pushmeter.Meter()
        for event in events:
            meter.take(event)
            report(meter)
    drawn = capsys.readouterr().out
    assert "7.0/8.0 GB" in drawn
    assert drawn.endswith("\x1b[1A\x1b[2K")  # up, and the line is gone


def test_ecr_is_told_which_permissions_are_missing() -> None:
    repository = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/byoc-train"
    passing, told = pushfaults.explain("denied: not authorized to perform", repository, "1.0")
    assert not passing
    assert "ecr:BatchCheckLayerAvailability" in told.remedy


@pytest.mark.parametrize(
    ("method", "code", "words"),
    [
        ("prepare", "AccessDeniedException", "AWS does not allow CreateRepository"),
        ("prepare", "ExpiredTokenException", "aws sso login"),
        ("login", "AccessDeniedException", "AWS does not allow GetAuthorizationToken"),
    ],
)
def test_what_ecr_refuses(
    method: str, code: str, words: str, aws: None, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        operation = {"prepare": "CreateRepository", "login": "GetAuthorizationToken"}[method]
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    engine = Engine()
    monkeypatch.setattr(push, "connect", lambda: engine)
    monkeypatch.setattr(push, "find", lambda *_: (engine, "1.0"))
    monkeypatch.setattr(Ecr, method, refuse)
    assert words in run("push", code=REFUSED).stderr
    assert not (project / ".byoc").exists()


def test_a_registry_with_a_full_disk_is_told() -> None:
    with pytest.raises(ByocError, match="its disk is full") as caught:
        send(Engine(*[error("received unexpected HTTP status: 500 Internal Server Error")] * 4))
    assert caught.value.code == UNREACHABLE


def test_a_version_that_was_pushed_before_is_no_error() -> None:
    said = "tag invalid: The image tag '1.0' already exists because the tag is immutable"
    done = send(Engine(error(said)), Guarded("host:5000"))
    assert (done.uri, done.sent) == (f"host:5000/byoc-train@{DIGEST}", 0)
    other = Engine(error(said))
    other.attrs = {"RepoDigests": []}
    with pytest.raises(ByocError, match="other content"):
        send(other, Guarded("host:5000"))


@pytest.mark.parametrize(
    ("setting", "name"),
    [("byoc-train", "byoc-train"), ("team-x:3", "team-x"), ("host/of/mine:1", "byoc-train")],
)
def test_image_name(setting: str, name: str) -> None:
    assert push.image_name(setting, "byoc-train") == name


def test_ecr_makes_the_repository_once(aws: None, settings: Settings) -> None:
    client = boto3.client("ecr", "us-east-1")
    registry = Ecr("host", client, settings, pytest.fail)
    name = registry.repository("byoc-train")
    assert name == "sagemaker-byoc-train"
    assert registry.prepare(name)
    assert not registry.prepare(name)
    (found,) = client.describe_repositories()["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert registry.login() == {"username": "AWS", "password": "123456789012-auth-token"}


def test_what_ecr_refuses_beside_the_repository_is_a_warning(
    aws: None, project: object, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AmazonSageMakerFullAccess has neither ecr:TagResource nor ecr:PutLifecyclePolicy."""
    settings = load(overrides=["aws.kms_key=alias/mine"], required=False, environment={})
    client, told = boto3.client("ecr", "us-east-1"), list[str]()
    create = client.create_repository

    def refused(**_: Any) -> Any:
        answer: Any = {"Error": {"Code": "AccessDeniedException", "Message": "ecr:TagResource"}}
        raise ClientError(answer, "TagResource")

    def plain_only(**request: Any) -> Any:
        return refused() if len(request) > 1 else create(**request)

    monkeypatch.setattr(client, "create_repository", plain_only)
    monkeypatch.setattr(client, "tag_resource", refused)
    with refuse("PutLifecyclePolicy", "AccessDeniedException"):
        assert Ecr("host", client, settings, told.append).prepare("sagemaker-byoc-train")
    assert len(client.describe_repositories()["repositories"]) == 1
    first, second, third = told
    assert "not encrypted with aws.kms_key" in first
    assert "has no tags" in second
    assert "stay, and cost storage" in third


def test_without_the_permission_to_create_there_is_no_repository(
    aws: None, settings: Settings, refuse: Refuse
) -> None:
    registry = Ecr("host", boto3.client("ecr", "us-east-1"), settings, pytest.fail)
    with refuse("CreateRepository", "AccessDeniedException"), pytest.raises(ClientError):
        registry.prepare("sagemaker-byoc-train")


def test_an_image_for_another_machine_is_not_pushed() -> None:
    image: Any = SimpleNamespace(attrs={"Os": "linux", "Architecture": "arm64"})
    with pytest.raises(ByocError, match="is for linux/arm64"):
        push.check_platform(image, "byoc-train")
    image.attrs["Architecture"] = "amd64"
    push.check_platform(image, "byoc-train")


@pytest.mark.parametrize(
    ("media_type", "size", "serves", "message"),
    [
        (push.DOCKER_MANIFEST, 9 * 1024**3, True, ""),
        (push.DOCKER_MANIFEST, 11 * 1024**3, False, ""),
        (push.DOCKER_MANIFEST, 11 * 1024**3, True, "up to 10 GB"),
        ("application/vnd.oci.image.manifest.v1+json", 1, True, "which SageMaker refuses"),
        ("application/vnd.oci.image.index.v1+json", 1, False, "which SageMaker refuses"),
    ],
)
def test_what_has_arrived_is_looked_at(media_type: str, size: int, serves: bool, message: str) -> None:
    error = push.unfit(Stored(media_type, size), "host/byoc-train@sha256:0", serves=serves)
    assert message in str(error) if message else error is None


def test_ecr_says_what_has_arrived(aws: None, settings: Settings, refuse: Refuse) -> None:
    client, told = boto3.client("ecr", "us-east-1"), list[str]()
    registry = Ecr("host", client, settings, told.append)
    client.create_repository(repositoryName="sagemaker-byoc-train")  # moto stumbles over *-dirty
    manifest = {"schemaVersion": 2, "mediaType": push.DOCKER_MANIFEST, "layers": [],
                "config": {"mediaType": "x", "size": 1, "digest": DIGEST}}  # fmt: skip
    done = client.put_image(
        repositoryName="sagemaker-byoc-train", imageManifest=json.dumps(manifest), imageTag="1"
    )
    stored = registry.stored("sagemaker-byoc-train", done["image"]["imageId"]["imageDigest"])
    assert stored
    assert stored.media_type == push.DOCKER_MANIFEST
    with refuse("DescribeImages", "AccessDeniedException"):
        assert registry.stored("sagemaker-byoc-train", DIGEST) is None
    assert "was not looked at" in told[-1]


def test_what_went_to_another_registry_is_not_taken_for_aws(
    aws: None, project: Path, run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(GOOD, GOOD, GOOD, GOOD)
    monkeypatch.setattr(push, "connect", lambda: engine)
    monkeypatch.setattr(push, "find", lambda *_: (engine, "1.0"))
    done = run("push", "--registry", "127.0.0.1:5000")
    assert f"127.0.0.1:5000/byoc-train@{DIGEST}" in done.stdout
    assert state.read(settings).get("images") is None
    clients = connect(settings)
    # Versions before this one remembered it.
    state.update(settings, images={"train": f"127.0.0.1:5000/byoc-train@{DIGEST}"})
    registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    assert account.image(settings, clients, "train") == f"{registry}/sagemaker-byoc-train:latest"


def test_what_sagemaker_refuses_does_not_become_the_latest(
    aws: None, project: Path, run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(GOOD, GOOD, GOOD, GOOD)
    tags: list[str] = []
    monkeypatch.setattr(engine, "tag", lambda _image, _repository, tag: tags.append(tag))
    monkeypatch.setattr(push, "connect", lambda: engine)
    monkeypatch.setattr(push, "find", lambda *_: (engine, "1.0"))
    monkeypatch.setattr(Ecr, "prepare", lambda *_: False)
    oci = Stored("application/vnd.oci.image.manifest.v1+json", 1)
    monkeypatch.setattr(Ecr, "stored", lambda *_: oci)
    assert "which SageMaker refuses" in run("push", code=REFUSED).stderr
    assert tags == ["1.0"]
    assert state.read(settings).get("images") is None


@pytest.mark.parametrize(
    ("setting", "pushed", "there", "expected"),
    [
        ("byoc-train", "", "", "{}/sagemaker-byoc-train:latest"),
        ("byoc-train", "{}/sagemaker-byoc-train@" + DIGEST, "", "{}/sagemaker-byoc-train@" + DIGEST),
        # As versions before this one named the repository.
        ("byoc-train", "{}/byoc-train@" + DIGEST, "", "{}/byoc-train@" + DIGEST),
        ("byoc-train", "", "byoc-train", "{}/byoc-train:latest"),
        ("team:1", "{}/sagemaker-byoc-train@" + DIGEST, "", "{}/sagemaker-team:1"),
        ("my-sagemaker-image", "", "", "{}/my-sagemaker-image:latest"),
        ("byoc-train@" + DIGEST, "", "", "{}/sagemaker-byoc-train@" + DIGEST),
        ("host/of/mine:1", "{}/sagemaker-byoc-train@" + DIGEST, "", "host/of/mine:1"),
    ],
)
def test_which_image_a_request_names(
    aws: None, project: object, setting: str, pushed: str, there: str, expected: str
) -> None:
    settings = load(overrides=[f"images.train={setting}"], required=False, environment={})
    registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    if pushed:
        state.update(settings, images={"train": pushed.format(registry)})
    if there:
        client = boto3.client("ecr", "us-east-1")
        client.create_repository(repositoryName=there)
        manifest = {
            "schemaVersion": 2,
            "mediaType": push.DOCKER_MANIFEST,
            "layers": [],
            "config": {"mediaType": "x", "size": 1, "digest": DIGEST},
        }
        client.put_image(repositoryName=there, imageManifest=json.dumps(manifest), imageTag="latest")
    assert account.image(settings, connect(settings), "train") == expected.format(registry)


def test_a_key_of_the_users_encrypts(project: object) -> None:
    settings = load(overrides=["aws.kms_key=alias/mine"], required=False, environment={})
    request = repository_request("byoc-train", settings)
    assert request["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/mine"}


def test_nothing_to_push_to_the_local_sagemaker(project: object, run: Run) -> None:
    assert "nothing to push" in run("push", "--endpoint-url", "http://127.0.0.1:5757", code=2).stderr
