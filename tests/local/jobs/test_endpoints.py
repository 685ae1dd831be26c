from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
import time
from typing import Any

import psutil
import pytest

from local.errors import ModelError, RequestTooLarge, ServiceUnavailable, ValidationError
from local.jobs.endpoints import Fleet
from local.jobs.variant import Variant

Platform = Any  # conftest.Platform

# Answers with what it got; the request's body chooses how.
SERVE = """
import http.server
model = sorted(p.name for p in (base / "model").iterdir())
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items(): self.send_header(name, value)
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        self.answer(PING(), b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"exit": os._exit(9)
        if body == b"sleep": time.sleep(60)
        if body == b"bad": return self.answer(415, b'{"code": "415", "message": "no picture"}')
        if body == b"error": return self.answer(500, b"oh")
        told = {"model": model, "body": body.decode(), "path": self.path, "pid": os.getpid(),
                "environment": os.environ.get("TAG"),
                "headers": {k.lower(): v for k, v in self.headers.items()}}
        self.answer(200, json.dumps(told).encode(), **HEADERS)
HEADERS = {"Content-Type": "application/json", "X-Amzn-SageMaker-Custom-Attributes": "c=1"}
PING = lambda: 200
"""
RUN = """
print("serving", os.getpid())
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server.serve_forever()
"""


def archive(**files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def describe(
    platform: Platform, config: str = "config", variants: list[dict[str, Any]] | None = None, **container: Any
) -> None:
    """Stores a model and an endpoint configuration."""
    platform.put("s3://bucket/model.tar.gz", archive(weights=b"123"))
    full = {"Image": platform.image, "ModelDataUrl": "s3://bucket/model.tar.gz", **container}
    name = f"model-{config}"
    model = {"ModelName": name, "ModelArn": platform.config.arn("model", name), "PrimaryContainer": full}
    platform.store.put("model", name, model)
    default = [{"VariantName": "AllTraffic", "InitialVariantWeight": 1.0}]
    chosen = [{"ModelName": f"model-{config}", **variant} for variant in variants or default]
    platform.store.put(
        "endpoint-config", config, {"EndpointConfigName": config, "ProductionVariants": chosen}
    )


def create(platform: Platform, name: str = "endpoint", config: str = "config") -> None:
    doc = {"EndpointName": name, "EndpointConfigName": config, "EndpointStatus": "Creating"}
    platform.store.put("endpoint", name, doc)
    platform.engine.submit("endpoint", name)


def status(platform: Platform, wanted: str, name: str = "endpoint") -> dict[str, Any]:
    doc: dict[str, Any] = platform.wait("endpoint", name, lambda doc: doc["EndpointStatus"] == wanted)
    return doc


def invoke(
    platform: Platform, body: bytes = b"hello", name: str = "endpoint", **headers: str
) -> dict[str, Any]:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    answer: dict[str, Any] = json.loads(platform.engine.invoke(name, body, sent).body)
    return answer


@pytest.fixture
def serving(platform: Platform) -> Platform:
    """A platform with an endpoint in service."""
    platform.command("serve", SERVE + RUN)
    describe(platform, Environment={"TAG": "blue"})
    create(platform)
    status(platform, "InService")
    return platform


def test_an_endpoint_serves_its_model(serving: Platform) -> None:
    doc = serving.store.get("endpoint", "endpoint")
    [variant] = doc["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"]) == ("AllTraffic", 1)
    answer = serving.engine.invoke(
        "endpoint",
        b"hello",
        {
            "content-type": "image/png",
            "accept": "application/json",
            "x-amzn-sagemaker-custom-attributes": "top=3",
            "host": "elsewhere",
            "authorization": "secret",
        },
    )
    assert (answer.status, answer.variant) == (200, "AllTraffic")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "c=1"
    told = invoke(serving, content_type="image/png", x_amzn_sagemaker_custom_attributes="top=3")
    assert (told["model"], told["path"], told["environment"]) == (["weights"], "/invocations", "blue")
    assert told["headers"]["content-type"] == "image/png"
    assert told["headers"]["x-amzn-sagemaker-custom-attributes"] == "top=3"
    assert not {"authorization", "x-amz-security-token"} & set(told["headers"])
    log = serving.config.logs_root / "aws/sagemaker/Endpoints/endpoint/AllTraffic/i-local.log"
    assert "serving" in log.read_text()


@pytest.mark.parametrize(("body", "original", "kind"), [(b"bad", 415, "client"), (b"error", 500, "server")])
def test_a_models_error_is_told_as_on_aws(serving: Platform, body: bytes, original: int, kind: str) -> None:
    with pytest.raises(ModelError) as caught:
        serving.engine.invoke("endpoint", body, {})
    assert caught.value.members["OriginalStatusCode"] == original
    assert caught.value.message.startswith(f"Received {kind} error ({original}) from primary with message")
    assert caught.value.members["OriginalMessage"]


def test_a_slow_model_times_out(stopped: Platform) -> None:
    stopped.faster(invoke_timeout=0.3)
    stopped.start()
    stopped.command("serve", SERVE + RUN)
    describe(stopped)
    create(stopped)
    status(stopped, "InService")
    with pytest.raises(ModelError, match="invocation timed out"):
        stopped.engine.invoke("endpoint", b"sleep", {})


def test_bad_requests_are_the_callers(serving: Platform) -> None:
    with pytest.raises(RequestTooLarge, match="6291456"):
        serving.engine.invoke("endpoint", b"x" * 6_291_457, {})
    with pytest.raises(ValidationError, match="Endpoint nowhere of account 123456789012 not found"):
        serving.engine.invoke("nowhere", b"", {})
    with pytest.raises(ValidationError, match="it has: AllTraffic"):
        serving.engine.invoke("endpoint", b"", {"x-amzn-sagemaker-target-variant": "other"})


def answers_again(serving: Platform) -> dict[str, Any]:
    """The first answer after a failure, at most 10 s later."""
    deadline = time.monotonic() + 10
    while True:
        assert time.monotonic() < deadline
        try:
            return invoke(serving)
        except (ServiceUnavailable, ModelError):
            time.sleep(0.02)


def test_a_dead_container_is_restarted(serving: Platform) -> None:
    first = invoke(serving)["pid"]
    with pytest.raises(ModelError, match="ended with exit code 9 before it had answered"):
        serving.engine.invoke("endpoint", b"exit", {})
    assert answers_again(serving)["pid"] != first
    assert serving.store.get("endpoint", "endpoint")["EndpointStatus"] == "InService"


def test_a_container_that_was_killed_is_said_to_be(serving: Platform) -> None:
    os.kill(invoke(serving)["pid"], signal.SIGKILL)
    says = (
        r"The container of variant AllTraffic of endpoint endpoint ended with exit code 137 \(SIGKILL; most"
    )
    with pytest.raises((ServiceUnavailable, ModelError), match=says):
        invoke(serving)
    log = serving.config.logs_root / "aws/sagemaker/Endpoints/endpoint/AllTraffic/i-local.log"
    deadline = time.monotonic() + 10
    while "the container ended with exit code 137 (SIGKILL" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "header",
    ["target-model", "target-container-hostname", "inference-component", "session-id", "enable-explanations"],
)
def test_what_an_invocation_cannot_ask_for(serving: Platform, header: str) -> None:
    with pytest.raises(ValidationError, match=r"of endpoint endpoint: the local SageMaker .*; leave"):
        serving.engine.invoke("endpoint", b"", {f"x-amzn-sagemaker-{header}": "x"})


def test_a_container_that_no_longer_answers_pings_is_restarted(stopped: Platform, tmp_path: Any) -> None:
    stopped.start()
    sick = tmp_path / "sick"
    stopped.command(
        "serve", f"{SERVE}\nPING = lambda: 500 if pathlib.Path({str(sick)!r}).exists() else 200\n{RUN}"
    )
    describe(stopped)
    create(stopped)
    status(stopped, "InService")
    pid = invoke(stopped)["pid"]
    sick.touch()
    process = psutil.Process(pid)
    process.wait(10)
    sick.unlink()


def test_two_variants_share_the_traffic(platform: Platform) -> None:
    platform.command("serve", SERVE + RUN)
    variants = [
        {"VariantName": "a", "InitialVariantWeight": 1.0},
        {"VariantName": "b", "InitialVariantWeight": 1.0},
    ]
    describe(platform, variants=variants)
    create(platform)
    status(platform, "InService")
    seen = {platform.engine.invoke("endpoint", b"", {}).variant for _ in range(40)}
    assert seen == {"a", "b"}
    targeted = {"x-amzn-sagemaker-target-variant": "b"}
    assert {platform.engine.invoke("endpoint", b"", targeted).variant for _ in range(10)} == {"b"}


def test_a_container_that_ends_fails_the_endpoint_with_its_last_words(platform: Platform) -> None:
    platform.command("serve", "print('no weights'); sys.exit(4)")
    describe(platform)
    create(platform)
    reason = status(platform, "Failed")["FailureReason"]
    assert "did not pass the ping health check" in reason
    assert "exit code 4" in reason
    assert "no weights" in reason
    with pytest.raises(ValidationError, match="not in service"):
        platform.engine.invoke("endpoint", b"", {})


def test_a_container_that_is_never_healthy_fails_the_endpoint(platform: Platform) -> None:
    platform.command("serve", f"{SERVE}\nPING = lambda: 503\n{RUN}")
    variants = [
        {
            "VariantName": "v",
            "InitialVariantWeight": 1.0,
            "ContainerStartupHealthCheckTimeoutInSeconds": 1,
        }
    ]
    describe(platform, variants=variants)
    create(platform)
    assert "not healthy within 1 seconds" in status(platform, "Failed")["FailureReason"]


def escaping() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        info = tarfile.TarInfo("../../evil")
        tar.addfile(info, io.BytesIO(b""))
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "Could not find model data"), (b"no tar", "no intact gzipped tar"), (escaping(), "would leave")],
    ids=["missing", "no tar", "escaping"],
)
def test_bad_model_data_fails_the_endpoint(platform: Platform, content: bytes | None, says: str) -> None:
    platform.command("serve", SERVE + RUN)
    describe(platform, ModelDataUrl="s3://bucket/other.tar.gz")
    if content is not None:
        platform.put("s3://bucket/other.tar.gz", content)
    create(platform)
    assert says in status(platform, "Failed")["FailureReason"]


def update(platform: Platform, config: str) -> None:
    platform.store.mutate(
        "endpoint",
        "endpoint",
        lambda doc: doc.update(
            {"EndpointStatus": "Updating", "PendingDeploymentSummary": {"EndpointConfigName": config}}
        ),
    )
    platform.engine.update_endpoint("endpoint")


def test_an_update_replaces_the_container_without_a_gap(serving: Platform) -> None:
    describe(serving, "second", Environment={"TAG": "green"})
    old = invoke(serving)["pid"]
    problems: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                invoke(serving)
            except Exception as error:
                problems.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    update(serving, "second")
    doc = status(serving, "InService")
    assert doc["EndpointConfigName"] == "second"
    assert "PendingDeploymentSummary" not in doc
    assert invoke(serving)["environment"] == "green"
    deadline = time.monotonic() + 10
    while psutil.pid_exists(old):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done.set()
    asking.join()
    assert problems == []


def test_a_failed_update_keeps_the_old_one_in_service(serving: Platform) -> None:
    describe(serving, "second", ModelDataUrl="s3://bucket/none.tar.gz")
    update(serving, "second")
    doc = status(serving, "InService")
    assert doc["EndpointConfigName"] == "config"
    assert "Could not find model data" in doc["FailureReason"]
    assert invoke(serving)["environment"] == "blue"


def test_deleting_ends_the_processes_and_the_document(serving: Platform) -> None:
    process = psutil.Process(invoke(serving)["pid"])
    serving.engine.delete_endpoint("endpoint")
    process.wait(10)
    with serving.store.changed:
        assert serving.store.changed.wait_for(
            lambda: serving.store.get("endpoint", "endpoint") is None, timeout=10
        )
    assert list(serving.config.jobs_root.iterdir()) == []
    with pytest.raises(ValidationError, match="not found"):
        serving.engine.invoke("endpoint", b"", {})


def test_deleting_while_it_is_created(platform: Platform) -> None:
    platform.command("serve", f"{SERVE}\nPING = lambda: 503\n{RUN}")
    describe(platform)
    create(platform)
    platform.engine.delete_endpoint("endpoint")
    with platform.store.changed:
        assert platform.store.changed.wait_for(
            lambda: platform.store.get("endpoint", "endpoint") is None, timeout=10
        )


def test_a_restart_brings_the_endpoint_back_though_its_model_was_deleted(serving: Platform) -> None:
    pid = invoke(serving)["pid"]
    serving.engine.close()
    assert not psutil.pid_exists(pid)
    serving.store.delete("model", "model-config")
    serving.store.delete("endpoint-config", "config")
    serving.start()
    status(serving, "InService")
    assert invoke(serving)["pid"] != pid


def test_an_update_that_a_restart_cut_off_is_told(serving: Platform) -> None:
    serving.engine.close()
    serving.store.mutate(
        "endpoint",
        "endpoint",
        lambda doc: doc.update(
            {"EndpointStatus": "Updating", "PendingDeploymentSummary": {"EndpointConfigName": "second"}}
        ),
    )
    serving.start()
    doc = status(serving, "InService")
    assert doc["EndpointConfigName"] == "config"
    assert "during the update to second; config serves" in doc["FailureReason"]


def test_any_error_at_the_start_fails_the_endpoint(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise OSError("no port")

    platform.command("serve", SERVE + RUN)
    describe(platform)
    monkeypatch.setattr(Variant, "_launch", broken)
    create(platform)
    assert "no port" in status(platform, "Failed")["FailureReason"]
    assert list(platform.config.jobs_root.iterdir()) == []


def test_any_error_at_a_restart_of_the_container_is_got_over(
    serving: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, failures = Variant._launch, []

    def fails_once(variant: Variant) -> bool:
        if not failures:
            failures.append(1)
            raise OSError("no port")
        return launch(variant)

    monkeypatch.setattr(Variant, "_launch", fails_once)
    first = invoke(serving)["pid"]
    with pytest.raises(ModelError):
        serving.engine.invoke("endpoint", b"exit", {})
    assert answers_again(serving)["pid"] != first
    assert failures


def test_what_cannot_be_stopped_does_not_stay_in_deleting(
    serving: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Fleet.stop

    def broken(fleet: Fleet, grace: float) -> None:
        stop(fleet, grace)
        raise OSError("oh")

    monkeypatch.setattr(Fleet, "stop", broken)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    serving.engine.delete_endpoint("endpoint")
    with serving.store.changed:
        assert serving.store.changed.wait_for(
            lambda: serving.store.get("endpoint", "endpoint") is None, timeout=10
        )


def test_close_ends_a_container_that_ignores_sigterm(stopped: Platform) -> None:
    stopped.faster(close_grace=0.2)
    stopped.start()
    stopped.command("serve", SERVE + RUN.replace("lambda *_: os._exit(0)", "signal.SIG_IGN"))
    describe(stopped)
    create(stopped)
    status(stopped, "InService")
    pid = invoke(stopped)["pid"]
    stopped.engine.close()
    assert not psutil.pid_exists(pid)
