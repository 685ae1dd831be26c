"""What is in the images, and how they behave as containers."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy
import pytest
from docker.errors import ContainerError
from docker.models.containers import Container
from PIL import Image

from contract.debugger import DEBUGGER_RULES, PROFILER_RULES
from contract.findings import Findings
from docker import DockerClient
from tests.docker.wait import until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TRIM, SBOM = (Path(__file__).parents[2] / "docker" / name for name in ("trim.py", "sbom.py"))
WHICH = ("train", "serve", "serve_cpu")
SERVERS = WHICH[1:]
UNKNOWN = "1234:1234"  # a user that no image knows


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """/opt/ml of a training job that takes longer than any test waits."""
    return lay_out(tmp_path / "job", epochs="500")


@pytest.fixture(scope="module")
def trained(engine: DockerClient, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/opt/ml of a job that has ended, with hook and profiler on."""
    base = lay_out(tmp_path_factory.mktemp("trained"), epochs="3")
    hook = {
        "LocalPath": "/opt/ml/output/tensors",
        "HookParameters": {"save_interval": "1"},
        "CollectionConfigurations": [{"CollectionName": "losses"}, {"CollectionName": "gradients"}],
    }
    profiler = {"LocalPath": "/opt/ml/output/profiler", "ProfilingParameters": {}}
    for name, content in ("debughookconfig", hook), ("profilerconfig", profiler):
        (base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
    engine.containers.run(images["train"], "train", user=UNKNOWN, volumes=[f"{base}:/opt/ml"], remove=True)
    return base


def test_the_container_judges_its_training_itself(trained: Path) -> None:
    content = json.loads((trained / "output/data/debugger/findings.json").read_text())
    findings = Findings.from_dict(content)
    assert findings.complete
    assert {rule.name for rule in findings.rules} == {*DEBUGGER_RULES, *PROFILER_RULES}
    assert (trained / "output/data/debugger/series.json").stat().st_size < 1e6


def lay_out(base: Path, epochs: str) -> Path:
    config = base / "input" / "config"
    config.mkdir(parents=True)
    random = numpy.random.default_rng(0)
    for channel in ("train", "validation"):
        for label in ("a", "b"):
            folder = base / "input" / "data" / channel / label
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = random.integers(0, 255, (32, 32, 3), dtype=numpy.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    # The other files of a SageMaker job have defaults.
    hyperparameters = {"image_size": "32", "epochs": epochs, "batch_size": "8", "weights": "none"}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    for folder in ("model", "output", "checkpoints"):
        (base / folder).mkdir()
    for path in (base, *base.rglob("*")):
        path.chmod(0o777)
    return base


@contextlib.contextmanager
def running(
    engine: DockerClient, image: str, command: str | list[str], **options: object
) -> Iterator[Container]:
    container: Container = engine.containers.run(image, command, detach=True, **options)  # type: ignore[call-overload]
    try:
        yield container
    finally:
        container.remove(force=True)


@pytest.mark.parametrize("which", SERVERS)
def test_no_library_misses_what_it_needs(which: str, engine: DockerClient, images: dict[str, str]) -> None:
    said = engine.containers.run(
        images[which],
        ["/trim.py", "--check", "/opt/venv"],
        entrypoint="python",
        volumes=[f"{TRIM}:/trim.py:ro"],
        remove=True,
    )
    assert said.decode().strip() == "every NEEDED library is there"


def test_the_check_notices_a_missing_library(engine: DockerClient, images: dict[str, str]) -> None:
    cufft = "/opt/venv/lib/python3*/site-packages/nvidia/cufft/lib/libcufft.so.11"
    script = f"rm {cufft}; python /trim.py --check /opt/venv"
    with pytest.raises(ContainerError, match=r"libcufft\.so\.11: needed by torch/lib/libtorch_cuda\.so"):
        engine.containers.run(
            images["serve"], ["-c", script], entrypoint="sh", volumes=[f"{TRIM}:/trim.py:ro"], remove=True
        )


@pytest.mark.parametrize("which", WHICH)
def test_nothing_to_compile_with(which: str, engine: DockerClient, images: dict[str, str]) -> None:
    script = "for name in gcc cc g++ javac nvcc ptxas; do command -v $name && exit 1; done; exit 0"
    assert engine.containers.run(images[which], ["-c", script], entrypoint="sh", remove=True) == b""


@pytest.mark.parametrize("which", WHICH)
def test_labels(which: str, engine: DockerClient, images: dict[str, str]) -> None:
    image = engine.images.get(images[which])
    labels = {name.rpartition(".")[2]: value for name, value in image.labels.items()}
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] in {tag.partition(":")[2] for tag in image.tags}
    assert len(labels["revision"]) == 40
    capabilities = {name for name in labels if name in {"multi-models", "accept-bind-to-port"}}
    assert capabilities == ({"multi-models", "accept-bind-to-port"} if which in SERVERS else set())
    assert image.attrs["Os"] == "linux"
    assert image.attrs["Config"]["Entrypoint"] is None
    assert image.attrs["Config"]["Cmd"] == [which.partition("_")[0]]


def test_the_image_for_cpus_has_neither_torch_nor_cuda(engine: DockerClient, images: dict[str, str]) -> None:
    script = "from importlib.metadata import distributions; print(*(one.name for one in distributions()))"
    said = engine.containers.run(images["serve_cpu"], ["-c", script], entrypoint="python", remove=True)
    names = said.decode().lower().split()
    assert "openvino" in names
    assert not [name for name in names if name.startswith(("torch", "nvidia", "triton"))]


@pytest.mark.parametrize("user", ["0:0", UNKNOWN])
def test_training_stops_when_asked_and_keeps_its_model(
    user: str, engine: DockerClient, images: dict[str, str], job: Path
) -> None:
    with running(engine, images["train"], "train", user=user, volumes=[f"{job}:/opt/ml"]) as container:
        until(lambda: b"validation_accuracy=" in container.logs(), 120)
        start = time.monotonic()
        container.stop(timeout=60)
        assert time.monotonic() - start < 30
        assert container.wait()["StatusCode"] == 0, container.logs().decode()
    assert any((job / "model").iterdir())
    owners = {path.stat().st_uid for folder in ("model", "output") for path in (job / folder).rglob("*")}
    assert owners == {int(user.partition(":")[0])}


@pytest.mark.parametrize("which", WHICH)
def test_a_gpu_that_cannot_be_used_is_told(
    which: str, engine: DockerClient, images: dict[str, str], job: Path
) -> None:
    # A device file is how the container sees that there is a GPU; no driver stands behind this one.
    volumes = [f"{job}:/opt/ml", "/dev/null:/dev/nvidia0"]
    with running(engine, images[which], which.partition("_")[0], volumes=volumes) as container:
        assert container.wait(timeout=60)["StatusCode"] != 0
        said = container.logs().decode()
    assert ("shows a GPU" if which == "serve_cpu" else "there is a GPU, and torch cannot open it") in said
    assert "Traceback" not in said


def test_rules_judge_a_training_in_the_training_image(
    engine: DockerClient, images: dict[str, str], trained: Path
) -> None:
    """Nobody needs smdebug on their own machine."""
    output = trained / "verdicts"
    output.mkdir()
    output.chmod(0o777)
    rules = {
        f"{kind}RuleConfigurations": [
            {"RuleConfigurationName": name, "RuleParameters": {"rule_to_invoke": name}}
        ]
        for kind, name in (("Debug", "ExplodingTensor"), ("Profiler", "StepOutlier"))
    }
    (trained / "rules.json").write_text(json.dumps(rules))
    command = (
        "rules --job mine --tensors /output/tensors --profiler /output/profiler --config /rules.json "
        "--output /verdicts --once"
    )
    said = engine.containers.run(
        images["train"],
        command.split(),
        user=UNKNOWN,
        network_mode="none",
        volumes=[
            f"{trained}/output:/output:ro",
            f"{trained}/rules.json:/rules.json:ro",
            f"{output}:/verdicts",
        ],
        remove=True,
    ).decode()
    assert "ExplodingTensor: NoIssuesFound" in said
    status = json.loads((output / "status.json").read_text())
    (verdict,) = status["ProfilerRuleEvaluationStatuses"]
    # Of so few steps it may not be able to judge, and says so.
    could_not = verdict.get("StatusDetails", "").startswith("ClientError: Could not judge: ")
    assert could_not or verdict["RuleEvaluationStatus"] in {"NoIssuesFound", "IssuesFound"}, verdict


def test_the_profilers_sampler_in_the_training_image(
    engine: DockerClient, images: dict[str, str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    command = "rules --job mine --profiler /output --sample-system 200 --output /output/verdicts"
    volumes = [f"{tmp_path}:/output"]
    with running(
        engine,
        images["train"],
        command.split(),
        user=UNKNOWN,
        network_mode="none",
        volumes=volumes,
    ) as container:
        until(lambda: any(tmp_path.glob("system/incremental/*/*.algo-1.json")), 60)
        container.stop(timeout=30)
        assert container.wait(timeout=60)["StatusCode"] == 0
    (file, *_) = sorted(tmp_path.glob("system/incremental/*/*"))
    assert {"CPUUtilization", "MemoryUsedPercent"} <= {
        json.loads(line)["Dimension"] for line in file.read_text().splitlines()
    }


@pytest.mark.parametrize("which", SERVERS)
def test_serving_without_privileges(
    which: str, engine: DockerClient, images: dict[str, str], trained: Path
) -> None:
    picture = next((trained / "input" / "data" / "validation" / "a").iterdir()).read_bytes()
    hardened = {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "user": UNKNOWN,
    }
    ports = {"8080": ("127.0.0.1", None)}
    volumes = [f"{trained}/model:/opt/ml/model:ro"]
    with running(engine, images[which], "serve", ports=ports, volumes=volumes, **hardened) as container:
        container.reload()
        port = container.ports["8080/tcp"][0]["HostPort"]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            def healthy() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return client.get("/ping").status_code == 200
                return False

            until(healthy, 60)
            answer = client.post("/invocations", content=picture, headers={"Content-Type": "image/png"})
        assert {each["class"] for each in answer.json()["predictions"]} == {"a", "b"}
        container.stop(timeout=30)
        assert container.wait()["StatusCode"] == 0, container.logs().decode()


@pytest.mark.parametrize("which", SERVERS)
def test_bill_of_materials(which: str, engine: DockerClient, images: dict[str, str]) -> None:
    said = engine.containers.run(
        images[which],
        ["/sbom.py", "byoc-serve", "1.2"],
        entrypoint="python",
        volumes=[f"{SBOM}:/sbom.py:ro"],
        remove=True,
    )
    document = json.loads(said)
    assert document["metadata"]["component"] == {"type": "container", "name": "byoc-serve", "version": "1.2"}
    found = {item["name"]: item for item in document["components"]}
    assert len(found) == len(document["components"])
    for name, kind in (
        ("libc6", "deb/debian"),
        ("torch" if which == "serve" else "openvino", "pypi"),
        ("openjdk", "generic"),
        ("netty-codec-http", "maven/io.netty"),
        ("log4j-core", "maven/org.apache.logging.log4j"),
    ):
        assert found[name]["purl"].startswith(f"pkg:{kind}/{name}@")
    assert "version" not in found["gson"]  # its jar does not say it
