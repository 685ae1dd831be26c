"""Pushing, with an engine that plays what a real one says."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from docker.errors import APIError
from rich.console import Console

from scripts import push, pushfaults, pushmeter
from scripts.errors import BAD_INPUT, FAILED, NOT_FOUND, REFUSED, UNREACHABLE, ByocError
from scripts.output import Output
from scripts.registry import AnyRegistry, Ecr, repository_request
from scripts.settings import Settings, load
from tests.scripts.conftest import Run

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
    monkeypatch.setattr(push, "_FIRST_ANSWER", 0.2)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with socket.socket(socket.AF_UNIX) as engine:
        if listens:
            engine.bind(str(tmp_path / "engine.sock"))
            engine.listen()
        with pytest.raises(ByocError, match=words) as caught:
            push.connect()
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

    with pytest.raises(ByocError, match=r"does not do it: invalid tag format\."):
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
def test_repository_name(setting: str, name: str) -> None:
    assert push.repository_name(setting, "byoc-train") == name


def test_ecr_makes_the_repository_once(aws: None, settings: Settings) -> None:
    client = boto3.client("ecr", "us-east-1")
    registry = Ecr("host", client, settings)
    assert registry.prepare("byoc-train")
    assert not registry.prepare("byoc-train")
    (found,) = client.describe_repositories()["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert registry.login() == {"username": "AWS", "password": "123456789012-auth-token"}


def test_a_key_of_the_users_encrypts(project: object) -> None:
    settings = load(overrides=["aws.kms_key=alias/mine"], required=False, environment={})
    request = repository_request("byoc-train", settings)
    assert request["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": "alias/mine"}


def test_nothing_to_push_to_the_local_sagemaker(project: object, run: Run) -> None:
    assert "nothing to push" in run("push", "--endpoint-url", "http://127.0.0.1:5757", code=2).stderr
