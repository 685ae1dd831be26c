"""With a real engine; `.ci/engine up` starts one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.api.transform import transform_document
from local.config import Config
from local.jobs.documents import Document, training_document
from local.jobs.engine import Engine
from local.jobs.services import Services, Timing
from local.jobs.slots import Slots
from local.runtime.container import ContainerSpec, RuntimeProblem
from local.runtime.docker import LABEL, SERVICE, DockerRuntime, remove_leftovers
from local.store import Store
from tests.local.runtime.collected import Output
from tests.local.runtime.conftest import SMALL, image, left

pytestmark = pytest.mark.docker

TRAIN = os.environ.get("BYOC_TRAIN_IMAGE", "byoc-train:latest")
SERVE = os.environ.get("BYOC_SERVE_IMAGE", "byoc-serve:latest")


def spec(home: Path, image: str, script: str, **members: Any) -> ContainerSpec:
    """A container that runs a shell script as its `command`."""
    base = home / "jobs" / members.get("host", "ml")
    base.mkdir(parents=True, exist_ok=True)
    given = {"name": "job", "image": image, "command": "sh", "base": base, "arguments": ("-c", script)}
    return ContainerSpec(**given | members)


# --- containers ---------------------------------------------------------------------------------------


def test_output_exit_code_folders_and_environment(runtime: DockerRuntime, home: Path, small: str) -> None:
    lines = Output()
    extra = home / "extra"
    extra.mkdir(parents=True)
    script = (
        'echo "out $OMP_NUM_THREADS|$GREETING|$(hostname)"; printf "one\\rtwo\\nerr\\n" >&2; '
        "echo written > /opt/ml/model; echo more > /opt/ml/processing/input/x/file; printf end; exit 3"
    )
    container = runtime.start(
        spec(
            home,
            small,
            script,
            environment={"GREETING": "hello you"},
            cores=1,
            mounts={"/opt/ml/processing/input/x": extra},
        ),
        lines,
    )
    assert container.wait(60) == 3
    # The two streams come side by side.
    assert sorted(lines.all) == sorted(["out 1|hello you|algo-1", "one", "two", "err", "end"])
    assert (home / "jobs/ml/model").read_text() == "written\n"
    assert (extra / "file").read_text() == "more\n"
    for path in home.rglob("*"):
        assert path.stat().st_uid == os.getuid(), path


@pytest.mark.skipif(os.getuid() != 0, reason="only root can stand in for another user")
def test_files_belong_to_the_services_user(
    runtime: DockerRuntime, home: Path, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(home, small, "id -u; touch /opt/ml/file; echo $HOME; touch $HOME/other")
    os.chown(made.base, 4242, 4242)
    monkeypatch.setattr("local.runtime.docker.os.getuid", lambda: 4242)
    monkeypatch.setattr("local.runtime.docker.os.getgid", lambda: 4242)
    lines = Output()
    assert runtime.start(made, lines).wait(60) == 0
    assert lines.all == ["4242", "/tmp"]
    assert (made.base / "file").stat().st_uid == 4242


def test_paths(runtime: DockerRuntime, home: Path, small: str) -> None:
    base = home / "jobs/ml"
    assert runtime.inside(base, "/opt/ml/output/tensors") == "/opt/ml/output/tensors"
    assert runtime.outside(base, "/opt/ml/output/tensors") == base / "output/tensors"
    # A LocalPath beside /opt/ml.
    elsewhere = runtime.outside(base, "/var/tensors")
    elsewhere.mkdir(parents=True)
    assert runtime.inside(base, "/var/tensors") == "/var/tensors"
    assert runtime.start(spec(home, small, "echo 1 > /var/tensors/t"), Output()).wait(60) == 0
    assert (elsewhere / "t").read_text() == "1\n"


def test_hosts_of_a_job_find_each_other(runtime: DockerRuntime, engine: Any, home: Path, small: str) -> None:
    script = (
        "until getent hosts algo-1 && getent hosts algo-2; do sleep 0.1; done > /dev/null; "
        "echo $(hostname) sees both; read _ < /opt/ml/go"
    )
    outputs = [Output(), Output()]
    hosts = ("algo-1", "algo-2")
    specs = [spec(home, small, script, host=host, network="job") for host in hosts]
    for each in specs:
        os.mkfifo(each.base / "go")
    containers = [runtime.start(each, output) for each, output in zip(specs, outputs, strict=True)]
    for host, output in zip(hosts, outputs, strict=True):
        output.until(f"{host} sees both")
    assert len(engine.networks.list(filters={"label": f"{LABEL}={home}"})) == 1
    for each in specs:
        (each.base / "go").write_text("\n")
    assert [container.wait(60) for container in containers] == [0, 0]
    assert left(engine, home) == []


def networks(engine: Any, home: Path) -> list[str]:
    return [str(each.id) for each in engine.networks.list(filters={"label": f"{LABEL}={home}"})]


@pytest.mark.parametrize("name", [None, "job"])
def test_a_network_that_is_kept_serves_the_next_container(
    runtime: DockerRuntime, engine: Any, home: Path, small: str, name: str | None
) -> None:
    give_back = runtime.keep_network(name)
    [kept] = networks(engine, home)
    for _ in range(2):
        assert runtime.start(spec(home, small, "echo here", network=name), Output()).wait(60) == 0
        assert networks(engine, home) == [kept]
    give_back()
    assert left(engine, home) == []


def test_a_kept_network_that_was_pruned_is_made_again(
    runtime: DockerRuntime, engine: Any, home: Path, small: str
) -> None:
    give_back = runtime.keep_network(None)
    [kept] = networks(engine, home)
    engine.networks.get(kept).remove()  # as `docker network prune` does
    with socket.create_server(("127.0.0.1", 5999)) as service:
        service.settimeout(60)
        script = f"exec 3<>/dev/tcp/{SERVICE}/5999; read answer <&3; echo got $answer"
        lines = Output()
        container = runtime.start(spec(home, small, "", command="bash", arguments=("-c", script)), lines)
        connection, _ = service.accept()
        with connection:
            connection.sendall(b"good day\n")
            assert lines.until("got") == "got good day"
        assert container.wait(60) == 0
    assert len(networks(engine, home)) == 1
    give_back()


def test_a_container_reaches_the_service_and_nobody_else_does(
    runtime: DockerRuntime, home: Path, small: str
) -> None:
    assert runtime.reach("http://127.0.0.1:5999") == f"http://{SERVICE}:5999"
    assert runtime.hosts() == {SERVICE}
    with socket.create_server(("127.0.0.1", 5999)) as service:
        service.settimeout(60)
        # bash speaks TCP; the image has no other client.
        script = f"exec 3<>/dev/tcp/{SERVICE}/5999; echo hello >&3; read answer <&3; echo got $answer"
        lines = Output()
        container = runtime.start(spec(home, small, "", command="bash", arguments=("-c", script)), lines)
        connection, _ = service.accept()
        with connection:
            assert connection.recv(100) == b"hello\n"
            connection.sendall(b"good day\n")
            assert lines.until("got") == "got good day"
        assert container.wait(60) == 0


def test_terminate_is_passed_on_and_kill_ends_it(runtime: DockerRuntime, home: Path, small: str) -> None:
    polite, stubborn = Output(), Output()
    script = "trap 'echo saving; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    container = runtime.start(spec(home, small, script), polite)
    polite.until("ready")
    container.terminate()
    assert container.wait(60) == 0
    assert polite.all == ["ready", "saving"]
    container.terminate()  # harmless when it is over
    container = runtime.start(
        spec(home, small, "trap '' TERM; echo ready; while :; do sleep 1; done"), stubborn
    )
    stubborn.until("ready")
    container.terminate()
    assert container.wait(0.5) is None
    container.kill()
    assert container.wait(60) == 137


def test_what_cannot_be_started_is_said(runtime: DockerRuntime, engine: Any, home: Path, small: str) -> None:
    with pytest.raises(RuntimeProblem, match=r"Docker has no image none:1 here .* `docker pull a\.b/none:1`"):
        runtime.check("a.b/none:1", "train")
    with pytest.raises(RuntimeProblem, match=f"The image {SMALL} has no command 'train'"):
        runtime.start(spec(home, small, "", command="train"), Output())
    assert left(engine, home) == []


def test_an_entrypoint_takes_the_place_of_the_images_and_its_command(
    runtime: DockerRuntime, home: Path, small: str
) -> None:
    lines = Output()
    given = spec(home, small, "", entrypoint=("/bin/sh", "-c"), arguments=("echo $0 $1; exit 7", "a", "b"))
    assert runtime.start(given, lines).wait(60) == 7
    assert lines.all == ["a b"]
    with pytest.raises(RuntimeProblem, match="has no command 'nosuch'"):
        runtime.start(spec(home, small, "", entrypoint=("nosuch",)), Output())


def test_an_image_is_known_without_its_registry(runtime: DockerRuntime, small: str) -> None:
    runtime.check(f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{small}", "train")


def test_who_measures_the_machine_sees_its_network_cards(
    runtime: DockerRuntime, engine: Any, home: Path, small: str
) -> None:
    lines = Output()
    script = "cat /proc/net/dev"
    assert runtime.start(spec(home, small, script, measures=True), lines).wait(60) == 0
    seen = {line.partition(":")[0].strip() for line in lines.all}
    # Those of other containers come and go.
    assert seen >= {name for _, name in socket.if_nameindex() if not name.startswith(("veth", "br-"))}
    assert left(engine, home) == []


def test_gpus_that_docker_refuses_are_said_to_each_job(
    engine: Any, home: Path, make_image: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "nvidia" in engine.info()["Runtimes"]:
        pytest.skip("this engine hands out GPUs")
    monkeypatch.setattr("local.runtime.docker.gpu_count", lambda: 2)
    runtime = DockerRuntime(home, 5999)
    shells = make_image(train='exec sh "$@"', rules='exec sh "$@"')
    said = []
    for command, measures in (("rules", True), ("train", False), ("train", False), ("sh", False)):
        lines = Output()
        made = spec(home, shells, "echo here", command=command, measures=measures)
        assert runtime.start(made, lines).wait(60) == 0
        assert lines.all[-1] == "here"
        said.append("".join(lines.all[:-1]))
    runtime.close()
    assert "they are not measured" in said[0]
    assert "the job runs on the CPU" in said[1] == said[2]
    assert said[3] == ""


def test_a_port_on_loopback_only(runtime: DockerRuntime, engine: Any, home: Path) -> None:
    python = image(engine, TRAIN)
    serve = spec(home, python, "", command="python3", arguments=("-m", "http.server", "8080"), listen=True)
    container = runtime.start(serve, Output())
    [found] = engine.containers.list(filters={"label": f"{LABEL}={home}"})
    [binding] = found.attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(f"{container.url}/", trust_env=False).status_code == 200
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    container.kill()
    assert container.wait(60) == 137


@pytest.mark.parametrize("by", ["the next service", "byoc local down"])
def test_what_a_killed_service_left_is_removed(
    engine: Any, home: Path, small: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = home / "ml"
    base.mkdir(parents=True)
    program = (
        "import sys; from pathlib import Path; from local.runtime.container import ContainerSpec; "
        "from local.runtime.docker import DockerRuntime; home = Path(sys.argv[1]); "
        f"runtime = DockerRuntime(home, 5999); "
        "runtime.keep_network(None); "
        f"runtime.start(ContainerSpec('job', {small!r}, 'sh', home / 'ml', "
        "('-c', 'echo ready; sleep 1000')), lambda line: print(line, flush=True)); "
        "import time; time.sleep(1000)"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    container, network = left(engine, home)
    other = DockerRuntime(home.with_name("another home"), 5998)
    assert list(remove_leftovers(home.with_name("another home"))) == []
    other.close()
    # On another machine that uses the same engine, a home may have the very same path.
    home.rename(home.with_name("moved"))
    DockerRuntime(home, 5998).close()
    shutil.rmtree(home)
    home.with_name("moved").rename(home)
    assert left(engine, home) == [container, network]
    if by == "the next service":
        DockerRuntime(home, 5999).close()
    else:
        assert list(remove_leftovers(home)) == [f"container {container}", f"network {network}"]
    assert left(engine, home) == []
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///none.sock")
        assert list(remove_leftovers(home)) == []  # asks no engine


def test_close_ends_what_runs(engine: Any, home: Path, small: str) -> None:
    runtime = DockerRuntime(home, 5999)
    container = runtime.start(spec(home, small, "trap '' TERM; sleep 1000"), Output())
    runtime.close()
    assert container.exit_code == 137
    assert left(engine, home) == []
    with pytest.raises(RuntimeProblem, match="shutting down"):
        runtime.start(spec(home, small, ""), Output())


# --- the images ----------------------------------------------------------------------------------------


class Platform:
    """The engine of jobs over the docker runtime."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store = Store(config.database)
        self.runtime = DockerRuntime(config.home, config.port)
        timing = Timing(stop_grace=60, close_grace=10, endpoint_grace=30, ping_interval=1)
        self.services = Services(config, self.store, self.runtime, Slots(2), timing)
        self.engine = Engine(config, self.store, services=self.services)
        self.engine.start()

    def close(self) -> None:
        self.engine.close()
        self.store.close()

    def request(self, name: str, hosts: int = 1, **hyperparameters: str) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3DataDistributionType": "FullyReplicated"}
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{TRAIN}",
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": "validation:accuracy", "Regex": r"validation_accuracy=([0-9.]+)"}
                ],
            },
            "HyperParameters": {
                "epochs": "1",
                "batch_size": "4",
                "image_size": "32",
                "weights": "none",
                **hyperparameters,
            },
            "RoleArn": self.config.role_arn,
            "InputDataConfig": [
                {
                    "ChannelName": channel,
                    "DataSource": {"S3DataSource": {**source, "S3Uri": f"s3://bucket/data/{channel}/"}},
                }
                for channel in ("train", "validation")
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
        }
        if hosts > 1:
            request["HyperParameters"]["sagemaker_torch_distributed_enabled"] = "true"
        return request

    def train(self, name: str, hosts: int = 1, **hyperparameters: str) -> None:
        request = self.request(name, hosts, **hyperparameters)
        self.store.put("training-job", name, training_document(self.config, request))
        self.engine.submit("training-job", name)

    def wait(self, kind: str, name: str, until: Callable[[Document], bool]) -> Document:
        deadline = time.monotonic() + 240
        while True:
            doc = self.store.get(kind, name)
            if doc is not None and until(doc):
                return doc
            assert time.monotonic() < deadline, (doc, self.log(name))
            time.sleep(0.1)

    def log(self, name: str) -> dict[str, str]:
        folder = self.config.log_folder("/aws/sagemaker/TrainingJobs") / name
        return {path.name: path.read_text() for path in folder.glob("*.log")}

    def ended(self, name: str) -> Document:
        return self.wait("training-job", name, lambda doc: "TrainingEndTime" in doc)


@pytest.fixture(scope="module")
def platform(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    from PIL import Image

    for name in (TRAIN, SERVE):
        image(engine, name)
    home = tmp_path_factory.mktemp("docker") / "a home"
    platform = Platform(Config(home=home, port=5997, runtime="docker"))
    for channel in ("train", "validation"):
        for label, colour in (("dark", 20), ("light", 220)):
            folder = platform.config.bucket_path(f"s3://bucket/data/{channel}/{label}")
            folder.mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (32, 32), (colour, colour, number * 20)).save(folder / f"{number}.png")
    yield platform
    platform.close()
    assert left(engine, home) == []


@pytest.fixture
def quick(engine: Any, home: Path, make_image: Callable[..., str]) -> Iterator[tuple[Platform, str]]:
    """A platform, and an image that trains in no time."""
    platform = Platform(Config(home=home, port=5996, runtime="docker"))
    platform.config.bucket_path("s3://bucket").mkdir(parents=True)
    yield (
        platform,
        make_image(train="getent hosts algo-1; touch $SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY/it"),
    )
    platform.close()
    assert left(engine, home) == []


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_warm_pool_keeps_its_network_until_it_ends(
    quick: tuple[Platform, str], engine: Any, hosts: int
) -> None:
    platform, name = quick
    home = platform.config.home

    def train(job: str, keep: int) -> str:
        request = platform.request(job, hosts)
        request["AlgorithmSpecification"] = {"TrainingImage": name, "TrainingInputMode": "File"}
        request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = keep
        del request["InputDataConfig"]
        platform.store.put("training-job", job, training_document(platform.config, request))
        platform.engine.submit("training-job", job)
        doc = platform.ended(job)
        assert doc["TrainingJobStatus"] == "Completed", doc["FailureReason"]
        return str(doc["WarmPoolStatus"]["Status"])

    assert train("one", 600) == "Available"
    [kept] = networks(engine, home)
    assert train("two", 600) == "Available"
    assert networks(engine, home) == [kept]
    platform.engine.keep_warm("two", 0)
    assert left(engine, home) == []
    assert train("three", 600) == "Available"
    assert train("four", 0) == "Terminated"
    assert left(engine, home) == []
    assert train("five", 600) == "Available"
    assert len(networks(engine, home)) == 1  # ends with the service


@pytest.mark.slow
def test_one_job_on_two_hosts_then_an_endpoint_and_a_transform_job(platform: Platform) -> None:
    platform.train("two", hosts=2)
    doc = platform.ended("two")
    logs = platform.log("two")
    assert doc["TrainingJobStatus"] == "Completed", doc["FailureReason"]
    assert sorted(name.rpartition("-")[0] for name in logs) == ["algo-1", "algo-2"]
    assert "Rank 1 is connected to 1 peer ranks" in "".join(logs.values())
    assert [metric["MetricName"] for metric in doc["FinalMetricDataList"]] == ["validation:accuracy"]
    artifact = doc["ModelArtifacts"]["S3ModelArtifacts"]
    for path in platform.config.home.rglob("*"):
        assert path.lstat().st_uid == os.getuid(), path
    store = platform.store
    container = {"Image": f"1.dkr.ecr.us-east-1.amazonaws.com/{SERVE}", "ModelDataUrl": artifact}
    arn = platform.config.arn("model", "m")
    store.put("model", "m", {"ModelName": "m", "ModelArn": arn, "PrimaryContainer": container})
    variant = {"VariantName": "AllTraffic", "ModelName": "m", "InitialVariantWeight": 1.0}
    store.put("endpoint-config", "c", {"EndpointConfigName": "c", "ProductionVariants": [variant]})
    endpoint = {"EndpointName": "e", "EndpointConfigName": "c", "EndpointStatus": "Creating"}
    store.put("endpoint", "e", endpoint)
    platform.engine.submit("endpoint", "e")
    doc = platform.wait("endpoint", "e", lambda doc: doc["EndpointStatus"] != "Creating")
    assert doc["EndpointStatus"] == "InService", doc
    picture = platform.config.bucket_path("s3://bucket/data/validation/dark/0.png").read_bytes()
    answer = platform.engine.invoke("e", picture, {"content-type": "image/png"})
    assert answer.status == 200
    assert b"dark" in answer.body
    request = {
        "TransformJobName": "batch",
        "ModelName": "m",
        "TransformInput": {
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/validation/dark/"}
            },
            "ContentType": "application/x-image",
        },
        "TransformOutput": {"S3OutputPath": "s3://bucket/batch", "Accept": "application/json"},
    }
    store.put("transform-job", "batch", transform_document(platform.config, request))
    platform.engine.submit("transform-job", "batch")
    doc = platform.wait("transform-job", "batch", lambda doc: "TransformEndTime" in doc)
    assert doc["TransformJobStatus"] == "Completed", doc["FailureReason"]
    assert platform.config.bucket_path("s3://bucket/batch/0.png.out").read_bytes() == answer.body
    platform.engine.delete_endpoint("e")
    deadline = time.monotonic() + 60
    while store.get("endpoint", "e") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_tuning_job(platform: Platform) -> None:
    definition = platform.request("unused")
    del definition["TrainingJobName"]
    definition["StaticHyperParameters"] = definition.pop("HyperParameters")
    rate = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    doc = {
        "HyperParameterTuningJobName": "tune",
        "HyperParameterTuningJobArn": platform.config.arn("tuning-job", "tune"),
        "HyperParameterTuningJobStatus": "InProgress",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [rate]},
        },
        "TrainingJobDefinition": definition,
    }
    platform.store.put("tuning-job", "tune", doc)
    platform.engine.submit("tuning-job", "tune")
    doc = platform.wait("tuning-job", "tune", lambda doc: "HyperParameterTuningEndTime" in doc)
    assert doc["HyperParameterTuningJobStatus"] == "Completed", doc
    assert doc["TrainingJobStatusCounters"]["Completed"] == 2
    assert "BestTrainingJob" in doc


@pytest.mark.slow
def test_a_job_that_is_stopped_saves_what_it_has(platform: Platform) -> None:
    platform.train("long", epochs="10000")
    deadline = time.monotonic() + 120
    while "validation_accuracy=" not in "".join(platform.log("long").values()):
        assert time.monotonic() < deadline, platform.log("long")
        time.sleep(0.1)
    begin = time.monotonic()
    platform.engine.stop("training-job", "long")
    doc = platform.ended("long")
    assert doc["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - begin < 60
    assert platform.config.bucket_path(doc["ModelArtifacts"]["S3ModelArtifacts"]).is_file()
