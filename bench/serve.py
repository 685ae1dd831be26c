"""How fast the endpoint is, beside others and beside what the processor can do at all.

    python -m bench.serve                          our server (auto, bf16, fp32), the textbook MMS handler
    python -m bench.serve --network resnet50       another network than a ResNet-18
    python -m bench.serve --baseline 76c0352       also our server as it was at that commit, and ratios to it
    python -m bench.serve --container IMAGE        another image than byoc-serve-cpu (measured if it is there)
    python -m bench.serve --peers VENV             also TorchServe, FastAPI, mosec, LitServe and BentoML
    python -m bench.serve --also NAME=PORT         also a server that runs already

VENV is a virtual environment with these packages, beside what our own needs (docker/serve-cpu.lock);
TorchServe is left out where it is not among them:
    pip install fastapi uvicorn mosec litserve bentoml
    pip install torchserve==0.12.0 torch-model-archiver torch==2.10.0 torchvision==0.25.0

L is OpenVINO's forward pass alone, in fp32, a process a core: pictures a second. Everything is measured in
turns within one run, so that a machine that slows down slows everybody down; the figures are medians of the
rounds.
The picture is a JPEG of 500 x 375 pixels and about 70 kB, the network has 1,000 classes and random weights.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench import load, servers

CONNECTIONS = (1, 8, 32)
BASELINE = "baseline"


def make_picture(seed: int) -> bytes:
    """A JPEG with about as much detail as a photograph."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = (smooth + generator.integers(-18, 19, smooth.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def make_model(folder: Path, network: str = "resnet18") -> None:
    """With every precision: as training leaves a model whose 8-bit integers it has accepted."""
    import torch

    from model import architecture, artifact, weights
    from model.preprocess import Preprocessing
    from train import graph

    torch.manual_seed(0)
    classes = tuple(f"class {number}" for number in range(1000))
    module = architecture.build(network, 1000).eval()
    weights.save(folder, module, artifact.ModelInfo(network, classes, Preprocessing.for_size(224)))
    graph.add(folder)
    subprocess.run([sys.executable, "-m", "bench.quantise", str(folder)], cwd=servers.ROOT, check=True)


class Yardstick:
    """Worker processes: each holds the compiled network and computes one batch on request."""

    def __init__(self, model: Path, cores: int) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.serve", "--forward", str(model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=servers.ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for _ in range(cores)
        ]
        for process in self.processes:
            self._line(process)  # it is ready

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    def measure(self, seconds: float) -> tuple[float, float]:
        """L, and the milliseconds that one picture takes alone: decode and forward."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"rate {seconds}\n")
            process.stdin.flush()
        rate = sum(float(self._line(process)) for process in self.processes)
        first = self.processes[0]
        assert first.stdin is not None
        first.stdin.write(f"one {seconds / 2}\n")
        first.stdin.flush()
        return rate, float(self._line(first))

    def stop(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def forward(model: Path) -> None:
    """What a yardstick's process does."""
    from serve import job, settings
    from serve.classifier import Classifier

    classifier = Classifier.load(model, "cpu", numbers="fp32")
    data, limits = make_picture(0), settings.Limits()
    pixels = job.decode(data, classifier.preprocessing, limits)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        what, seconds = line.split()
        end = time.perf_counter() + float(seconds)
        times = []
        begin = time.perf_counter()
        while (start := time.perf_counter()) < end:
            if what == "one":
                pixels = job.decode(data, classifier.preprocessing, limits)
            classifier.probabilities([pixels])
            times.append(time.perf_counter() - start)
        spent = time.perf_counter() - begin
        print(len(times) / spent if what == "rate" else 1e3 * statistics.median(times), flush=True)


def pictures_a_second(running: servers.Running, seconds: float) -> float:
    """As batch transform sends them: JSON Lines, 24 pictures a payload, one payload a worker at a time."""
    lines = [json.dumps({"image": base64.b64encode(make_picture(seed)).decode()}) for seed in range(24)]
    body = ("\n".join(lines) + "\n").encode()
    request = load.post(body, running.path, Content_Type="application/jsonlines")
    return 24 * load.run(running.port, [request], servers_workers(), seconds, warm=1.0).rate


def servers_workers() -> int:
    return len(os.sched_getaffinity(0))


def row(name: str, cells: list[str]) -> str:
    return f"| {name:22} | " + " | ".join(cells) + " |"


def measure(
    running: list[servers.Running], yardstick: Yardstick, rounds: int, seconds: float, fine: bool
) -> None:
    """Print the table."""
    requests = [make_picture(seed) for seed in range(8)]
    loads: dict[tuple[str, int], list[load.Load]] = {}
    rates, alone = [], []
    for _ in range(rounds):
        rate, one = yardstick.measure(seconds)
        rates.append(rate)
        alone.append(one)
        for server in running:
            wire = [server.post(data) for data in requests]
            for connections in CONNECTIONS:
                one_load = load.run(server.port, wire, connections, seconds)
                loads.setdefault((server.name, connections), []).append(one_load)
    best, single = statistics.median(rates), statistics.median(alone)
    print(f"\nL = {best:.1f} pictures/s ({min(rates):.1f} to {max(rates):.1f} in {rounds} rounds)")
    print(f"decode + forward of one picture, alone: {single:.2f} ms\n")
    print(row("", [f"c = {c}: x L, p50 / p99 ms" for c in CONNECTIONS]))
    print(row("---", ["---"] * len(CONNECTIONS)))
    for server in running:
        cells = []
        for connections in CONNECTIONS:
            found = loads[server.name, connections]
            # Each round against the L of its own minute.
            ratio = statistics.median(one.rate / rate for one, rate in zip(found, rates, strict=True))
            middle = statistics.median(one.percentile(50) for one in found)
            tail = statistics.median(one.percentile(99) for one in found)
            bad = sum(count for one in found for code, count in one.codes.items() if code != 200)
            cells.append(f"{ratio:.2f} ({middle:.1f} / {tail:.1f})" + (f" {bad} bad" if bad else ""))
        print(row(server.name, cells))
    if BASELINE in {server.name for server in running}:
        print(f"\ntimes the rate of {BASELINE}, and of its p50 at c = 1:")
        for server in running:
            ratios = [
                statistics.median(
                    one.rate / old.rate
                    for one, old in zip(loads[server.name, count], loads[BASELINE, count], strict=True)
                )
                for count in CONNECTIONS
            ]
            fast, old = (
                statistics.median(one.percentile(50) for one in loads[name, 1])
                for name in (server.name, BASELINE)
            )
            print(row(server.name, [*(f"{ratio:.2f}" for ratio in ratios), f"{fast / old:.2f}"]))
    if fine:
        name = running[0].name
        p50 = statistics.median(one.percentile(50) for one in loads[name, 1])
        print(f"\n{name}: c = 1 takes {p50 / single:.2f} times decode + forward")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other servers")
    parser.add_argument("--container", default="byoc-serve-cpu:latest", metavar="IMAGE")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--baseline", metavar="COMMIT", help="also our server of that commit")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PORT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--forward", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    servers.end_on_sigterm()
    if options.forward:
        forward(options.forward)
        return 0
    cores = servers_workers()
    with tempfile.TemporaryDirectory(prefix="byoc-bench-") as folder:
        base = Path(folder) / "base"
        make_model(base / "model", options.network)
        running: list[servers.Running] = []
        work = Path(folder) / "work"
        work.mkdir()
        yardstick = Yardstick(base / "model", cores)
        try:
            for number, name in enumerate(("auto", "bf16", "fp32")):
                log = work / f"{name}.log"
                running.append(servers.ours(f"byoc {name}", base, log, BYOC_PRECISION=name))
                print(f"start to the first healthy ping: {running[number].started:.1f} s")
                print(log.read_text().strip())
            if options.baseline:
                old = servers.sources_of(options.baseline, Path(folder) / "old")
                running.append(servers.ours(BASELINE, base, work / "old.log", old))
                print(f"{options.baseline}: {running[-1].started:.1f} s, {running[-1].memory_mb():.0f} MB")
                print(f"and {pictures_a_second(running[-1], 5):.1f} pictures/s of a batch transform")
            many = servers.ours("more", base, work / "c.log", BYOC_WORKERS=str(cores + 2))
            request = [load.post(make_picture(0))]
            for server in (*running, many):
                load.run(server.port, request, cores + 2, 1.5)
            extra = (many.memory_mb() - running[0].memory_mb()) / 2
            for server in running:
                print(f"memory of {server.name}: {server.memory_mb():.0f} MB with {cores} workers")
            print(f"one more worker: {extra:.0f} MB")
            many.stop()
            print(f"batch transform (JSON Lines, base64): {pictures_a_second(running[0], 5):.1f} pictures/s")
            contained = servers.container("byoc auto, container", base, options.container)
            if isinstance(contained, str):
                print(f"without the container: {contained}")
            else:
                print(f"the container: {contained.started:.1f} s to the first healthy ping")
                running.append(contained)
            running.append(servers.textbook_mms(base, work, cores))
            if options.peers:
                python = options.peers / "bin" / "python"
                if (python.parent / "torchserve").exists():
                    running.append(servers.torchserve(base, work, cores, python))
                running.extend(servers.others(base, work, cores, python))
            for pair in options.also:
                name, _, port = pair.partition("=")
                running.append(servers.Running(name, int(port)))
            for server in running:  # the stock servers say that they are healthy before they are
                load.until_answered(server.port, server.post(make_picture(0)))
            measure(running, yardstick, options.rounds, options.seconds, fine=True)
        finally:
            for server in running:
                server.stop()
            yardstick.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
