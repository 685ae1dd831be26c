"""A local SageMaker whose jobs say what a test tells them, and `byoc web` over it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from contract.findings import MachineLine, ProgressLine, format_line
from contract.metrics import METRIC_DEFINITIONS
from scripts.localservice import free_port

ROOT = Path(__file__).resolve().parents[3]
ROLE = "arn:aws:iam::123456789012:role/byoc-sagemaker"
BUCKET = "sagemaker-us-east-1-123456789012"
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mM8IWfDwMDAxMDAwMDAAAAOTgEmRbQBFQAAAABJRU5ErkJg"
    "gg=="
)
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/acted:latest"
SETTINGS = """
[project]
name = "digits"
[aws]
endpoint_url = "{url}"
region = "us-east-1"
[images]
train = "{image}"
serve = "{image}"
serve_cpu = "{image}"
[hyperparameters]
weights = "none"
epochs = 2
[tune]
jobs = 3
parallel = 3
strategy = "Random"
"""
# Says the lines of its script as they are written there, until END and an exit code; without a script, a
# short training.
TRAIN = """#!{python}
import json, os, pathlib, sys, time
base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
given = json.loads((base / "input/config/hyperparameters.json").read_text())
if "script" not in given:
    number = float(given.get("lr", "0.01").strip('"'))
    for epoch in (1, 2):
        print(f"epoch={{epoch}} step={{epoch * 10}} train_loss={{1 / epoch}} train_accuracy=0.8 "
              f"validation_loss=0.5 validation_accuracy={{0.9 - number}} learning_rate={{number}}",
              flush=True)
    (base / "model" / "model.json").write_text("{{}}")
    sys.exit()
script, said = pathlib.Path(given["script"].strip('"')), 0
while True:
    lines = script.read_text().split("\\n")[:-1]
    for line in lines[said:]:
        if line.startswith("END"):
            sys.exit(int(line.split()[1]))
        print(line, flush=True)
    said = len(lines)
    time.sleep(0.02)
"""
SERVE = """#!{python}
import http.server, json, os
PNG = "{png}"
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, {{"status": "Healthy"}})
    def do_POST(self):
        picture = self.rfile.read(int(self.headers["Content-Length"]))
        if not picture.startswith(b"\\x89PNG"):
            self.answer(400, {{"code": 400, "message": "picture 0 is no picture"}})
            return
        top = [{{"class": "cat", "index": 0, "probability": 0.875}}]
        top += [{{"class": "dog", "index": 1, "probability": 0.125}}]
        document = {{"predictions": top, "model": {{"precision": "fp32"}}}}
        if "explain" in self.headers.get("X-Amzn-SageMaker-Custom-Attributes", ""):
            document["explanation"] = {{"method": "grad-cam", "class": "cat", "png": PNG}}
        self.answer(200, document)
    def log_message(self, *_): pass
port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", 8080))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
# Copies of one job, made by the service's own store while it does not run.
FILL = """
import sys
from pathlib import Path
from local.store import Store
store = Store(Path(sys.argv[1]))
doc = store.get("training-job", "digits-first")
for number in range(int(sys.argv[2])):
    name = f"digits-many-{number:04}"
    arn = doc["TrainingJobArn"].rpartition("/")[0] + "/" + name
    created = doc["CreationTime"] + number
    copy = {**doc, "TrainingJobName": name, "TrainingJobArn": arn, "CreationTime": created}
    store.put("training-job", name, copy)
store.close()
"""


def progress(step: int, loss: float, steps: int = 100) -> str:
    return format_line(ProgressLine(1, 2, step, steps, loss, 100.0, 10.0))


def machine(cpu: float) -> str:
    return format_line(MachineLine(time.time(), cpu, 40.0, 1.0))


@dataclass
class Stage:
    """One project folder, its local SageMaker, and its page."""

    folder: Path
    port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    address: str = ""
    service: subprocess.Popen[bytes] | None = None
    page: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        image = self.folder / "acted"
        image.mkdir(parents=True)
        for name, text in (("train", TRAIN), ("serve", SERVE)):
            (image / name).write_text(text.format(python=sys.executable, png=PNG))
            (image / name).chmod(0o755)
        (self.folder / "byoc.toml").write_text(SETTINGS.format(url=self.url, image=IMAGE))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def own(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def client(self, name: str = "sagemaker") -> Any:
        return boto3.client(
            name,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )

    # --- the service

    def up(self) -> None:
        """Start the local SageMaker, or start it again."""
        home = self.folder / "home"
        command = [sys.executable, "-m", "local", "--home", str(home), "--port", str(self.port)]
        with (self.folder / "service.log").open("ab") as log:
            self.service = subprocess.Popen(
                [*command, "--image", f"acted={self.folder / 'acted'}"],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        _wait(f"{self.url}/health", self.service)

    def down(self) -> None:
        if self.service is not None:
            self.service.terminate()
            self.service.wait(60)
            self.service = None

    def fill(self, jobs: int) -> None:
        """So many training jobs more; the service must be down, and have had the job digits-first."""
        subprocess.run(
            [sys.executable, "-c", FILL, str(self.folder / "home" / "state.db"), str(jobs)],
            cwd=ROOT,
            check=True,
        )

    def upload(self) -> None:
        """A data set, of which two files in two classes are the same."""
        import io

        from PIL import Image

        s3 = self.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for channel in ("train", "validation", "test"):
            for label in ("cat", "dog"):
                for number in range(3):
                    stream = io.BytesIO()
                    tone = 9 if number == 2 and channel == "train" else hash((channel, label, number)) % 200
                    Image.new("RGB", (8, 8), (tone, number, 0)).save(stream, "PNG")
                    key = f"byoc/digits/data/{channel}/{label}/{number}.png"
                    s3.put_object(Bucket=BUCKET, Key=key, Body=stream.getvalue())

    # --- its jobs

    def train(self, name: str) -> None:
        """A job that says what `say` writes for it."""
        script = self.folder / f"{name}.lines"
        script.touch()
        self.client().create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "MetricDefinitions": [dict(item) for item in METRIC_DEFINITIONS],
            },
            HyperParameters={"script": str(script), "lr": "0.01"},
            OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 3600},
        )

    def say(self, name: str, *lines: str) -> None:
        with (self.folder / f"{name}.lines").open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    # --- its page

    def serve(self) -> None:
        """Start `byoc web`, or start it again."""
        self.page = subprocess.Popen(
            [sys.executable, "-m", "scripts.cli", "web", "--no-open", "--port", str(self.web_port),
             "--config", str(self.folder / "byoc.toml")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
        )  # fmt: skip
        assert self.page.stdout is not None
        for line in self.page.stdout:
            if found := re.search(r"http://\S+token=\S+", line):
                self.address = found[0]
                return
        raise AssertionError("byoc web ended before it was ready")

    def unserve(self) -> str:
        """End it as Ctrl-C does; returns what it said."""
        import signal

        assert self.page is not None
        self.page.send_signal(signal.SIGINT)
        said, _ = self.page.communicate(timeout=30)
        self.page = None
        return said

    def close(self) -> None:
        if self.page is not None:
            self.page.kill()
            self.page.communicate()
        if self.service is not None:
            self.service.terminate()
            try:
                self.service.wait(60)
            except subprocess.TimeoutExpired:
                self.service.kill()
                self.service.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                json.load(answer)
            return
        except OSError:
            assert process.poll() is None, "the service ended"
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)
