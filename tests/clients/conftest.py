"""The local SageMaker as its users meet it: a process of its own, an address, and AWS's own clients."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts import localservice

TRAIN = """
import json, os, pathlib, sys
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
given = json.loads((base / "input/config/hyperparameters.json").read_text())
print("score=" + given.get("lr", "0").strip('"'))
if given.get("fail"):
    (base / "output/failure").write_text(given["fail"])
    sys.exit(1)
(base / "model/model.txt").write_text("trained")
"""
SERVE = """
import http.server, json, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"] == "application/json":
            rows = json.loads(body)["instances"]  # as models of mlflow are asked
            answer = {"predictions": rows, "by": os.environ.get("BY")}
            self.answer(200, json.dumps(answer).encode(), "application/json")
        else:
            self.answer(415 if body == b"text" else 200, b"echo " + body)
    def answer(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Service:
    """A running service whose image `small` trains and serves in an instant."""

    url: str
    home: Path
    environment: Mapping[str, str]

    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/small:1"
    role = "arn:aws:iam::123456789012:role/byoc-sagemaker"

    def client(self, name: str) -> Any:
        # Nothing but an address: what somebody who does not know `byoc` would write.
        return boto3.client(
            name,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )

    def training(self, name: str, **hyperparameters: str) -> dict[str, Any]:
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": self.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "score", "Regex": r"score=([\d.]+)"}],
            },
            "RoleArn": self.role,
            "HyperParameters": hyperparameters,
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path | None], Service]]:
    """Starts a service over a new home, or over one that was used before."""
    folder = tmp_path_factory.mktemp("it's an image")
    for name, text in (("train", TRAIN), ("serve", SERVE)):
        (folder / name).write_text(f"#!{sys.executable} -u\n{text}")
        (folder / name).chmod(0o755)
    homes: list[Path] = []

    def start(home: Path | None = None) -> Service:
        home = home or tmp_path_factory.mktemp("home")
        homes.append(home)
        service, _ = localservice.up(
            home, localservice.free_port(), localservice.Setup(images=(f"small={folder}",))
        )
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "AWS_ENDPOINT_URL": service.url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        return Service(service.url, home, environment)

    yield start
    for home in homes:
        localservice.down(home)
    for process in localservice._STARTED:
        process.wait()


@pytest.fixture(scope="session")
def service(start: Callable[[Path | None], Service]) -> Service:
    service = start(None)
    service.client("s3").create_bucket(Bucket="bucket")
    return service
