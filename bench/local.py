"""What the local SageMaker itself takes, beside the server alone and beside an earlier commit's.

    python -m bench.local
    python -m bench.local --against COMMIT      one that runs with this environment's packages

Invocations go to a server that answers at once, and to the serving image's own (a ResNet-18 in fp32 and
int8), straight and through the service, in turns within one run; the server is today's for both versions. A
list of 10,000 training jobs is read beside one of 100.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil

from bench import load, servers
from bench.serve import make_model, make_picture

CONNECTIONS = (1, 8, 32)
JOBS = (100, 10_000)
PRECISIONS = ("fp32", "int8")
NEWEST = {"MaxResults": 100, "SortBy": "CreationTime", "SortOrder": "Descending"}
_ACCOUNT = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "any"}
_ROLE = "arn:aws:iam::000000000000:role/byoc"

# Run by each version with its own store: copies of the one job that the home has.
_FILL = """
import sys
from pathlib import Path
from local.store import Store
store = Store(Path(sys.argv[1]))
doc = store.get("training-job", "first")
for number in range(int(sys.argv[2]) - 1):
    name = f"job-{number}"
    arn = doc["TrainingJobArn"].rpartition("/")[0] + "/" + name
    created = doc["CreationTime"] + number
    copy = {**doc, "TrainingJobName": name, "TrainingJobArn": arn, "CreationTime": created}
    store.put("training-job", name, copy)
store.close()
"""


class Service:
    """One version's service on a home of its own."""

    def __init__(self, root: Path, home: Path, image: Path) -> None:
        self.port = servers.free_port()
        command = [sys.executable, "-m", "local", "--home", str(home), "--port", str(self.port)]
        self._output = (home.parent / f"{home.name}.log").open("ab")
        self._process = subprocess.Popen(
            [*command, "--image", f"quick={image}", "--image", f"byoc-serve={servers.ROOT / 'docker/bin'}"],
            cwd=root, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
            env=os.environ | {"PYTHONPATH": str(root)},
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"
        self.client: Any = boto3.client("sagemaker", endpoint_url=self.url, **_ACCOUNT)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._output.close()

    @property
    def cpu(self) -> float:
        """Seconds of this process, without the containers and any S3 server."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    @property
    def memory_mb(self) -> float:
        """With its children: an S3 server, where it has one."""
        process = psutil.Process(self._process.pid)
        return (
            sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)]) / 2**20
        )

    def deploy(self, name: str, image: str, data: str | None = None, precision: str = "") -> None:
        """An endpoint in service."""
        container: dict[str, Any] = {"Image": image}
        if data:
            container |= {"ModelDataUrl": data, "Environment": {"BYOC_PRECISION": precision}}
        self.client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=_ROLE)
        variant = {
            "VariantName": "A",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        self.client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.client.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self.client.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})

    def train(self) -> None:
        self.client.create_training_job(
            TrainingJobName="first", RoleArn=_ROLE,
            AlgorithmSpecification={"TrainingImage": "quick", "TrainingInputMode": "File"},
            OutputDataConfig={"S3OutputPath": "s3://bench/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
            HyperParameters={f"parameter_{number}": "0.001" for number in range(30)},
        )  # fmt: skip
        waiter = self.client.get_waiter("training_job_completed_or_stopped")
        waiter.wait(TrainingJobName="first", WaiterConfig={"Delay": 1})


@contextlib.contextmanager
def started(root: Path, home: Path, image: Path) -> Iterator[Service]:
    service = Service(root, home, image)
    try:
        load.until_answered(service.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # S3: all buckets
        yield service
    finally:
        service.stop()


def quick_image(folder: Path) -> Path:
    """Programs `train`, which does nothing, and `serve`."""
    folder.mkdir()
    for name, line in (("train", "exit 0"), ("serve", f"exec {sys.executable} {servers.PEERS / 'quick.py'}")):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


def invocations(versions: dict[str, Service], straight: int, kind: str, seconds: float, rounds: int) -> None:
    """A table: the server itself, and through each version's service."""
    pictures = [make_picture(seed) for seed in range(8)]
    wire = {
        name: [load.post(data, f"/endpoints/{kind}/invocations") for data in pictures] for name in versions
    }
    direct = [load.post(data) for data in pictures]
    print(f"\n{kind}: {sum(map(len, pictures)) / 8 / 1000:.0f} kB a picture")
    for connections in CONNECTIONS:
        loads: dict[str, list[tuple[load.Load, float]]] = {}
        for _ in range(rounds):
            for name, service in versions.items():
                before = service.cpu
                result = load.run(service.port, wire[name], connections, seconds)
                spent = service.cpu - before
                loads.setdefault(name, []).append((result, spent))
            loads.setdefault("", []).append((load.run(straight, direct, connections, seconds), 0.0))
        rate, middle, tail = (statistics.median(values) for values in zip(
            *((one.rate, one.percentile(50), one.percentile(99)) for one, _ in loads[""]), strict=True
        ))  # fmt: skip
        print(f"c = {connections:2}: straight {rate:.1f}/s, p50 {middle:.2f} ms, p99 {tail:.2f} ms")
        for name in versions:
            share = statistics.median(
                one.rate / alone.rate for (one, _), (alone, _) in zip(loads[name], loads[""], strict=True)
            )
            added = statistics.median(one.percentile(50) for one, _ in loads[name]) - middle
            far = statistics.median(one.percentile(99) for one, _ in loads[name]) / tail
            # With the calls of the warm-up, which take their time as well.
            cpu = statistics.median(1e3 * spent / (sum(one.codes.values()) * (seconds + 0.3) / seconds)
                                    for one, spent in loads[name])  # fmt: skip
            print(f"        {name:8} {share:.2f} of its rate, {added:+.2f} ms p50, {far:.2f} of its p99, "
                  f"{cpu:.2f} ms of CPU a call")  # fmt: skip


def fastest(call: Callable[[], object], times: int = 20) -> float:
    """Milliseconds."""
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        spent.append(1e3 * (time.perf_counter() - begin))
    return min(spent)


def lists(name: str, root: Path, home: Path, image: Path) -> None:
    """A page of a hundred, the newest first, and a description."""
    with started(root, home, image) as service:
        boto3.client("s3", endpoint_url=service.url, **_ACCOUNT).create_bucket(Bucket="bench")
        service.train()
    pages = []
    for count in JOBS:
        fill = [sys.executable, "-c", _FILL, str(home / "state.db"), str(count)]
        subprocess.run(fill, cwd=root, check=True, env=os.environ | {"PYTHONPATH": str(root)})
        with started(root, home, image) as service:
            fresh, ours = service.memory_mb, service.client
            pages.append(fastest(lambda ours=ours: ours.list_training_jobs(**NEWEST)))
            described = fastest(lambda ours=ours: ours.describe_training_job(TrainingJobName="job-0"))
            for _ in range(200):
                ours.list_training_jobs(MaxResults=100)
            print(
                f"{name:8} {count:6} jobs: a page of 100 {pages[-1]:.1f} ms, Describe {described:.1f} ms, "
                f"{fresh:.0f} MB fresh, {service.memory_mb:.0f} MB after 200 lists"
            )
    print(f"{name:8} a page of {JOBS[1]:,} jobs takes {pages[1] / pages[0]:.1f} times that of {JOBS[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.local", description=__doc__.split("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", help="also measure that commit's service")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    servers.end_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="byoc-local-") as folder, contextlib.ExitStack() as stack:
        work = Path(folder)
        roots = {"now": servers.ROOT}
        if options.against:
            archive = subprocess.run(
                ["git", "archive", options.against], cwd=servers.ROOT, capture_output=True, check=True
            )
            (work / "old").mkdir()
            subprocess.run(["tar", "-x", "-C", work / "old"], input=archive.stdout, check=True)
            roots = {"before": work / "old", **roots}
        image = quick_image(work / "image")
        for name, root in roots.items():
            lists(name, root, work / f"{name}-lists", image)

        make_model(work / "base" / "model")
        with tarfile.open(work / "model.tar.gz", "w:gz") as tar:
            for file in (work / "base" / "model").iterdir():
                tar.add(file, file.name)
        versions = {}
        for name, root in roots.items():
            service = versions[name] = stack.enter_context(started(root, work / name, image))
            s3 = boto3.client("s3", endpoint_url=service.url, **_ACCOUNT)
            s3.create_bucket(Bucket="bench")
            s3.upload_file(str(work / "model.tar.gz"), "bench", "model.tar.gz")
            service.deploy("quick", "quick")
            for precision in PRECISIONS:
                service.deploy(f"resnet18-{precision}", "byoc-serve", "s3://bench/model.tar.gz", precision)
        port = servers.free_port()
        settings = {"SAGEMAKER_BIND_TO_PORT": str(port)}
        quick = subprocess.Popen([str(image / "serve")], env=os.environ | settings)
        stack.callback(quick.terminate)
        load.until_answered(port, load.post(b"x"))
        invocations(versions, port, "quick", options.seconds, options.rounds)
        for precision in PRECISIONS:
            ours = servers.ours(precision, work / "base", work / "serve.log", BYOC_PRECISION=precision)
            try:
                load.until_answered(ours.port, load.post(make_picture(0)))
                invocations(versions, ours.port, f"resnet18-{precision}", options.seconds, options.rounds)
            finally:
                ours.stop()


if __name__ == "__main__":
    main()
