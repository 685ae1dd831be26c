"""What is in the two images, and how they behave as containers."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from docker.errors import ContainerError
from docker.models.containers import Container
from PIL import Image

from docker import DockerClient
from tests.docker.wait import until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TRIM = Path(__file__).parents[2] / "docker" / "trim.py"
WHICH = ("train", "serve")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """/opt/ml of a training job that takes longer than any test waits."""
    base = tmp_path / "job"
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
    hyperparameters = {"image_size": "32", "epochs": "500", "batch_size": "8", "weights": "none"}
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    for folder in ("model", "output", "checkpoints"):
        (base / folder).mkdir()
    for path in (base, *base.rglob("*")):
        path.chmod(0o777)
    return base


@contextlib.contextmanager
def running(engine: DockerClient, image: str, command: str, **options: object) -> Iterator[Container]:
    container: Container = engine.containers.run(image, command, detach=True, **options)  # type: ignore[call-overload]
    try:
        yield container
    finally:
        container.remove(force=True)


def test_no_library_misses_what_it_needs(engine: DockerClient, images: dict[str, str]) -> None:
    said = engine.containers.run(
        images["serve"],
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
    assert capabilities == ({"multi-models", "accept-bind-to-port"} if which == "serve" else set())
    assert image.attrs["Os"] == "linux"
    assert image.attrs["Config"]["Entrypoint"] is None
    assert image.attrs["Config"]["Cmd"] == [which]


@pytest.mark.parametrize("user", ["0:0", "1234:1234"])
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
    with running(engine, images[which], which, volumes=volumes) as container:
        assert container.wait(timeout=60)["StatusCode"] != 0
        said = container.logs().decode()
    assert "there is a GPU, and torch cannot open it" in said
    assert "Traceback" not in said


def test_rules_run_in_the_training_image(engine: DockerClient, images: dict[str, str]) -> None:
    said = engine.containers.run(images["train"], ["rules", "--help"], remove=True, user="1234:1234")
    assert b"rule" in said
