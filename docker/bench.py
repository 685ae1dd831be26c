"""Measure the images: `make bench docker`. Needs an engine with the images; with REGISTRY=127.0.0.1:5000
(`.ci/engine registry up`) compressed sizes and pushes as well. The figures also go to out/bench-docker.json.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy
from docker.models.containers import Container
from PIL import Image
from rich.console import Console
from rich.table import Table

from docker import DockerClient
from scripts import push
from scripts.registry import AnyRegistry

ROOT = Path(__file__).resolve().parent.parent
RUNS = int(os.environ.get("RUNS", "3"))
CHANGES = {"train": "train/train.py", "serve": "serve/handler.py", "serve_cpu": "serve/handler.py"}
ACCEPT = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
console = Console()


def main() -> int:
    engine = push.connect()
    registry = os.environ.get("REGISTRY", "")
    images = {which: push.find(engine, name, None)[0] for which, name in push.IMAGES.items()}
    results: dict[str, Any] = {"cores": os.cpu_count()}
    if registry:
        compressed = {}
        for which, name in push.IMAGES.items():
            seconds, pushed = send(engine, images[which], registry, name)
            compressed[which] = layer_sizes(registry, name, pushed.uri.partition("@")[2])
            results[f"push {which}"] = {"seconds": seconds, "new layers": pushed.sent}
        for which in ("serve", "serve_cpu"):
            results[f"compressed {which} / train"] = sum(compressed[which]) / sum(compressed["train"])
    else:
        compressed = {which: [] for which in images}
        console.print("Without REGISTRY=host:port there are no compressed sizes and no pushes.")
    for which, image in images.items():
        results[f"layers of {which}"] = layers(image, compressed[which])
    with tempfile.TemporaryDirectory(prefix="byoc bench ") as folder:
        base = job(Path(folder))
        results["train to first step"] = spread(lambda: first_step(engine, base))
        engine.containers.run("byoc-train:latest", "train", volumes=[f"{base}:/opt/ml"], remove=True)
        for image in (push.IMAGES["serve"], push.IMAGES["serve_cpu"]):
            starts = [start(engine, image, base) for _ in range(RUNS)]
            for name in starts[0]:
                results[f"{image} to {name}"] = [round(item[name], 2) for item in starts]
        delete(engine, base)
        for which in images:
            results[f"one line changed in {which}"] = change(engine, which, images[which], registry)
    show(results)
    (ROOT / "out").mkdir(exist_ok=True)
    (ROOT / "out" / "bench-docker.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.monotonic()
    done = action()
    return round(time.monotonic() - begin, 2), done


def send(engine: DockerClient, image: Any, registry: str, name: str) -> tuple[float, push.Pushed]:
    seconds, pushed = timed(lambda: push.push(engine, image, AnyRegistry(registry), name, "bench"))
    engine.images.remove(f"{registry}/{name}:bench")  # the name that pushing gave it; the image stays
    return seconds, pushed


def spread(action: Callable[[], float]) -> list[float]:
    return [round(action(), 2) for _ in range(RUNS)]


def layer_sizes(registry: str, name: str, digest: str) -> list[int]:
    """Compressed bytes of each layer, the base first."""
    url = f"http://{registry}/v2/{name}/manifests/{digest}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": ACCEPT})) as answer:
        return [layer["size"] for layer in json.load(answer)["layers"]]


def layers(image: Any, compressed: list[int]) -> list[dict[str, Any]]:
    """What made each layer, its bytes and its compressed bytes; the base first."""
    # An instruction that makes no layer has size 0; our two empty ones are known by their command.
    steps = [step for step in reversed(image.history()) if step["Size"] or "install -d" in step["CreatedBy"]]
    sizes = compressed if len(compressed) == len(steps) else [0] * len(steps)
    return [
        {"made by": step["CreatedBy"][:60] or "base", "MB": step["Size"] / 1e6, "compressed MB": size / 1e6}
        for step, size in zip(steps, sizes, strict=True)
    ]


def job(folder: Path) -> Path:
    """/opt/ml of a job with photo-sized pictures of five classes: one step an epoch."""
    base = folder / "ml"
    random = numpy.random.default_rng(0)
    for channel, count in (("train", 4), ("validation", 1)):
        for label in "abcde":
            place = base / "input" / "data" / channel / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 255, (375, 500, 3), dtype=numpy.uint8)
                Image.fromarray(pixels).save(place / f"{number}.jpg")
    (base / "input" / "config").mkdir()
    hyperparameters = {"epochs": "1", "batch_size": "20", "weights": "none"}
    (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return base


def delete(engine: DockerClient, base: Path) -> None:
    command = ["/work", "-mindepth", "1", "-delete"]
    engine.containers.run(
        "byoc-train:latest", command, entrypoint="find", volumes=[f"{base}:/work"], remove=True
    )


@contextmanager
def running(engine: DockerClient, image: str, command: str, **options: Any) -> Iterator[Container]:
    container = engine.containers.run(image, command, detach=True, **options)
    try:
        yield container
    finally:
        container.remove(force=True)


def first_step(engine: DockerClient, base: Path) -> float:
    """Seconds from `docker run` to the line of the first step (and the evaluation of 5 pictures)."""
    begin = time.monotonic()
    with (
        running(engine, "byoc-train:latest", "train", volumes=[f"{base}:/opt/ml"]) as container,
        closing(container.logs(stream=True)) as lines,
    ):
        if not any(b"step=1 " in line for line in lines):
            sys.exit(container.logs().decode())
        return time.monotonic() - begin


def start(engine: DockerClient, image: str, base: Path) -> dict[str, float]:
    """Seconds from `docker run` to the first healthy ping, to the first answer, and of the stop."""
    picture = (base / "input" / "data" / "validation" / "a" / "0.jpg").read_bytes()
    begin = time.monotonic()
    options = {"volumes": [f"{base}/model:/opt/ml/model:ro"], "ports": {"8080": ("127.0.0.1", None)}}
    with running(engine, f"{image}:latest", "serve", **options) as container:
        container.reload()
        (port, *_) = container.ports["8080/tcp"] or []
        url = f"http://127.0.0.1:{port['HostPort']}"
        while not healthy(url):
            if time.monotonic() - begin > 120:
                sys.exit(container.logs().decode())
            time.sleep(0.02)
        found = {"first healthy ping": time.monotonic() - begin}
        headers = {"Content-Type": "image/jpeg"}
        request = urllib.request.Request(f"{url}/invocations", picture, headers)  # noqa: S310 (loopback)
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            answer.read()
        found["first prediction"] = time.monotonic() - begin
        found["end after SIGTERM"], _ = timed(lambda: container.stop(timeout=30))
        return found


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def change(engine: DockerClient, which: str, image: Any, registry: str) -> dict[str, Any]:
    """Build a copy of the repository with one more line in it, and push that."""
    name = push.IMAGES[which]
    with tempfile.TemporaryDirectory(prefix="byoc bench ") as folder:
        for part in ("docker", "contract", "model", "debugger", "train", "serve", ".dockerignore"):
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, Path(folder) / part)
        build = [str(Path(folder) / "docker" / "build"), which.replace("_", "-")]
        environment = {**os.environ, "TAG": "bench"}
        # The copy as it is, so that only the line is new; then with the line.
        run_quietly(build, environment)
        before = engine.images.get(f"{name}:bench").attrs["RootFS"]["Layers"]
        if registry:
            send(engine, engine.images.get(f"{name}:bench"), registry, name)
        with (Path(folder) / CHANGES[which]).open("a") as file:
            file.write(f"# {time.time()}\n")
        seconds, _ = timed(lambda: run_quietly(build, environment))
        changed = engine.images.get(f"{name}:bench")
        image.tag(name, "latest")  # docker/build moved it
        after = changed.attrs["RootFS"]["Layers"]
        new = [index for index, layer in enumerate(after) if layer not in before]
        found: dict[str, Any] = {"build seconds": seconds, "layers touched": len(new)}
        if registry:
            found["push seconds"], pushed = send(engine, changed, registry, name)
            sizes = layer_sizes(registry, name, pushed.uri.partition("@")[2])
            found["bytes pushed"] = sum(sizes[index] for index in new)
        engine.images.remove(f"{name}:bench", force=True)
        return found


def run_quietly(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


def show(results: dict[str, Any]) -> None:
    for name, value in results.items():
        if name.startswith("layers of"):
            table = Table("made by", "MB", "compressed MB", title=name, title_justify="left")
            for layer in value:
                table.add_row(layer["made by"], f"{layer['MB']:,.1f}", f"{layer['compressed MB']:,.1f}")
            table.add_row(
                "all",
                *(f"{sum(layer[key] for layer in value):,.1f}" for key in ("MB", "compressed MB")),
            )
            console.print(table)
        elif isinstance(value, list):
            console.print(f"{name}: {statistics.median(value):.2f} s (runs: {', '.join(map(str, value))})")
        else:
            console.print(f"{name}: {value}")


if __name__ == "__main__":
    sys.exit(main())
