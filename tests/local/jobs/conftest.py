"""A home with buckets, fake images whose commands are small scripts, and an engine over them."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from local.config import Config
from local.jobs.documents import Document, training_document
from local.jobs.engine import Engine
from local.jobs.services import Services, Timing
from local.jobs.slots import Slots
from local.runtime.process import ProcessRuntime
from local.store import Store

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fake:latest"
TIMING = Timing(stop_grace=10, close_grace=2, endpoint_grace=2, rules_limit=10, tick=0.05, ping_interval=0.1)


class WatchedStore(Store):
    """A store that wakes whoever waits for a document's change."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.changed = threading.Condition()

    def put(self, kind: str, name: str, doc: Document) -> None:
        super().put(kind, name, doc)
        self._tell()

    def mutate(self, kind: str, name: str, change: Callable[[Document], Document | None]) -> Document:
        doc = super().mutate(kind, name, change)
        self._tell()
        return doc

    def delete(self, kind: str, name: str) -> bool:
        done = super().delete(kind, name)
        self._tell()
        return done

    def _tell(self) -> None:
        with self.changed:
            self.changed.notify_all()


@dataclass
class Platform:
    """The engine under test and what surrounds it."""

    image = IMAGE

    config: Config
    store: WatchedStore
    images: Path
    timing: Timing = TIMING
    cores: int = 2
    engine: Engine = field(init=False)

    def start(self) -> Engine:
        images = {"fake": self.images, self.config.train_image: self.debugger}
        runtime = ProcessRuntime(images, self.config.home)
        services = Services(self.config, self.store, runtime, Slots(self.cores), self.timing)
        self.engine = Engine(self.config, self.store, services=services)
        self.engine.start()
        return self.engine

    @property
    def debugger(self) -> Path:
        """Folder of the training image that the service is configured with."""
        return self.images.with_name("debugger")

    def rules(self, text: str) -> None:
        """Gives the configured training image its command `rules`; the jobs' own image has none."""
        self.debugger.mkdir(exist_ok=True)
        self.command("../debugger/rules", _RULES + text)

    def command(self, name: str, text: str) -> None:
        """Gives the jobs' image a command. Python, unless it begins with `#!`."""
        path = self.images / name
        path.write_text(text if text.startswith("#!") else f"#!{sys.executable} -u\n{_PRELUDE}{text}")
        path.chmod(0o755)

    def put(self, uri: str, content: bytes | str) -> Path:
        path = self.config.bucket_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def object(self, uri: str) -> Path:
        return self.config.bucket_path(uri)

    def request(self, name: str = "job", **members: Any) -> dict[str, Any]:
        """A CreateTrainingJob request."""
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": self.config.role_arn,
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **members,
        }

    def train(self, name: str = "job", **members: Any) -> None:
        request = self.request(name, **members)
        self.store.put("training-job", name, training_document(self.config, request))
        self.engine.submit("training-job", name)

    def wait(self, kind: str, name: str, until: Callable[[Document], bool], seconds: float = 15) -> Document:
        deadline = time.monotonic() + seconds
        with self.store.changed:
            while True:
                doc = self.store.get(kind, name)
                if doc is not None and until(doc):
                    return doc
                left = deadline - time.monotonic()
                assert left > 0, f"{kind} {name} is {json.dumps(doc, indent=1)}"
                self.store.changed.wait(left)

    def ended(self, name: str = "job") -> Document:
        return self.wait("training-job", name, lambda doc: "TrainingEndTime" in doc)

    def status(self, name: str, status: str) -> Document:
        return self.wait("training-job", name, lambda doc: doc["SecondaryStatus"] == status)

    def log(self, name: str = "job", group: str = "/aws/sagemaker/TrainingJobs") -> list[str]:
        """The texts of a job's log."""
        [file] = sorted((self.config.log_folder(group) / name).glob("*.log"))
        return [line.partition(" ")[2] for line in file.read_text().splitlines()]

    def log_line(self, start: str, name: str = "job", group: str = "/aws/sagemaker/TrainingJobs") -> str:
        """Waits until the job has printed a line that begins so."""
        deadline = time.monotonic() + 15
        folder = self.config.log_folder(group) / name
        while time.monotonic() < deadline:
            if any(folder.glob("*.log")):
                for line in self.log(name, group):
                    if line.startswith(start):
                        return line
            time.sleep(0.01)
        raise AssertionError(f"no line {start!r}")

    def faster(self, **times: float) -> None:
        self.timing = replace(self.timing, **times)


_PRELUDE = """import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
def config(name): return json.loads((base / "input/config" / f"{name}.json").read_text())
"""

_RULES = """
import argparse
parser = argparse.ArgumentParser()
for name in ("job", "tensors", "profiler", "config", "output", "sample-system"):
    parser.add_argument(f"--{name}")
options = parser.parse_args()
ends = [pathlib.Path(f, "training_job_end.ts") for f in (options.tensors, options.profiler) if f]
rules = json.loads(pathlib.Path(options.config).read_text()) if options.config else {}

def ended():
    return any(end.exists() for end in ends)

def verdict(outcome, stop=False):
    status = {f"{kind}RuleEvaluationStatuses": [
        {"RuleConfigurationName": rule["RuleConfigurationName"], "RuleEvaluationStatus": outcome,
         "StatusDetails": "because", "LastModifiedTime": time.time()}
        for rule in rules[f"{kind}RuleConfigurations"]] for kind in ("Debug", "Profiler")}
    path = pathlib.Path(options.output, "status.json")
    path.with_suffix(".tmp").write_text(json.dumps({**status, "StopTrainingJob": stop}))
    path.with_suffix(".tmp").replace(path)

def sample(value=1.0):
    path = pathlib.Path(options.profiler, "system/incremental/2026112210/1795341600.algo-1.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", "Value": value,
            "NodeId": "algo-1", "Timestamp": time.time()}
    with path.open("a") as file: file.write(json.dumps(line) + "\\n")
"""


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose engine has not been started."""
    images = tmp_path / "images"
    images.mkdir()
    config = Config(home=tmp_path / "a home", port=5999)
    (config.s3_root / "bucket").mkdir(parents=True)
    store = WatchedStore(config.database)
    platform = Platform(config, store, images)
    yield platform
    if hasattr(platform, "engine"):
        platform.engine.close()
    store.close()


@pytest.fixture
def platform(stopped: Platform) -> Platform:
    stopped.start()
    return stopped
