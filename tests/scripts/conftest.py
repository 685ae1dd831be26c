"""A project folder, pictures, and AWS in memory."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.loaders import JSONFileLoader
from click.testing import Result
from moto import mock_aws
from moto.s3.models import FakeBucket
from PIL import Image
from typer.testing import CliRunner

from scripts import aws as clients
from scripts import localservice, patience, prices
from scripts.app import app
from scripts.policies.jobs import TRUST
from scripts.settings import Settings, load

Run = Callable[..., Result]
Refuse = Callable[[str, str], AbstractContextManager[None]]

# In place of `python -m local`: answers /health; --sweep tells and deletes the file `left`.
STAND_IN = """
import http.server, json, os, pathlib, signal, sys
if "--sweep" in sys.argv:
    if pathlib.Path("no engine").exists():
        sys.exit("local: No Docker engine answers.")
    if pathlib.Path("left").exists():
        print(pathlib.Path("left").read_text())
        pathlib.Path("left").unlink()
    sys.exit()
port, home = int(sys.argv[sys.argv.index("--port") + 1]), sys.argv[sys.argv.index("--home") + 1]
runtime = sys.argv[sys.argv.index("--runtime") + 1] if "--runtime" in sys.argv else "process"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"service": "byoc-local", "version": "1", "runtime": runtime,
            "home": home, "port": port, "pid": os.getpid()}).encode())
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture(autouse=True, scope="session")
def _models_are_read_once() -> Iterator[None]:
    """Each command has a session of its own, which reads AWS's service models anew: half of a test's time.

    Not S3's: botocore's clients take the bucket out of its addresses, and the local S3 reads them too.
    """
    models: dict[str, Any] = {}
    read = JSONFileLoader.load_file

    def read_once(loader: JSONFileLoader, path: str) -> Any:
        if "/s3/" in path:
            return read(loader, path)
        if path not in models:
            models[path] = read(loader, path)
        return models[path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", read_once)
        yield


@pytest.fixture(autouse=True)
def _no_aws_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in list(os.environ):
        if key.startswith("AWS_") and key != "AWS_CA_BUNDLE":
            monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what AWS may yet say."""
    monkeypatch.setattr(patience, "PAUSES", (0.0,) * len(patience.PAUSES))
    monkeypatch.setattr(patience, "SHORT", (0.0,) * len(patience.SHORT))
    monkeypatch.setattr(clients, "LOG_LAG", 0.0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory whose name needs quoting."""
    folder = tmp_path / "it's a project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def settings(project: Path) -> Settings:
    return load(required=False, environment={})


@pytest.fixture
def run() -> Run:
    """`byoc` in this process; stdout and stderr apart."""

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a folder's local SageMaker, in which `-m local` finds the stand-in first."""
    started: list[subprocess.Popen[bytes]] = []
    home = tmp_path / "it's home" / ".byoc" / "local"
    monkeypatch.setattr(localservice, "_STARTED", started)
    home.mkdir(parents=True)
    (home / "local.py").write_text(STAND_IN)
    yield home
    localservice.down(home)
    for process in started:
        process.kill()  # where `down` has missed it
        process.wait()


def kill() -> None:
    """SIGKILL to the service that was started last."""
    process = localservice._STARTED[-1]
    process.kill()
    process.wait()


@pytest.fixture
def port() -> int:
    return localservice.free_port()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in place of AWS; its SageMaker completes jobs at once."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(prices, "asked", lambda *_: None)  # moto has no price list, and would ask AWS
    permission = FakeBucket.get_permission

    def over_tls(bucket: Any, action: str, resource: str) -> Any:
        """moto takes no notice of conditions, and would refuse everything that setup refuses without TLS."""
        policy = json.loads(bucket.policy or "{}")
        kept = [each for each in policy.get("Statement", ()) if "aws:SecureTransport" not in str(each)]
        if policy and not kept:
            return None
        return permission(bucket, action, resource)

    monkeypatch.setattr(FakeBucket, "get_permission", over_tls)
    with mock_aws():
        yield


@pytest.fixture
def refuse(aws: None) -> Refuse:
    """Within the context, AWS answers one operation with an error of that code."""

    @contextmanager
    def refusing(operation: str, code: str) -> Iterator[None]:
        send = BaseClient._make_api_call  # type: ignore[attr-defined]

        def answer(client: BaseClient, name: str, request: dict[str, Any]) -> Any:
            if name == operation:
                raise ClientError({"Error": {"Code": code, "Message": "as told"}}, name)
            return send(client, name, request)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BaseClient, "_make_api_call", answer)
            yield

    return refusing


@pytest.fixture
def ready(project: Path, aws: None, run: Run) -> Path:
    """byoc.toml, the role, and pictures in S3."""
    run("init", "--aws", "--example", "digits")
    trust = json.dumps(TRUST)
    boto3.client("iam").create_role(RoleName="byoc-sagemaker", AssumeRolePolicyDocument=trust)
    draw(project / "digits", each=6)
    run("upload")
    return project


def draw(folder: Path, classes: Sequence[str] = ("cat", "dog"), each: int = 10, size: int = 8) -> Path:
    """Class folders with `each` different pictures."""
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(each):
            colour = (number * 40 % 256, index % 256, index // 256)
            Image.new("RGB", (size, size), colour).save(folder / label / f"{index}.png")
    return folder
