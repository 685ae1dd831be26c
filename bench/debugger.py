"""What the debugger costs: python -m bench.debugger [--blocks 5] [--image-size 96] [--steps 50]

One process trains ResNet-18 on random pictures in blocks of steps. Blocks with nothing on alternate with
blocks that have the profiler (step times, and the machine looked at every 500 ms) and with blocks that have
the hook with `byoc`'s default collections. Each block is compared with the mean of the plain blocks beside
it, so that a slow drift of the machine cancels out.

Then a job saves losses, gradients and weights every 10 steps while `rules` follows it with all debugger and
profiler rules: what share of a core does that take, and how long after the end of the job is it done?
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
import torchvision
from torch import nn

from local.jobs.system_metrics import SystemSampler
from scripts.settings import Debugger
from train.debug import Monitor
from train.rules.registry import DEBUGGER_RULES, PROFILER_RULES

WARM = 5


class Training:
    """ResNet-18 with SGD on the same random batch; what is measured does not depend on the pictures."""

    def __init__(self, size: int, batch: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = torchvision.models.resnet18(num_classes=10).to(self.device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.pictures = torch.randn(batch, 3, size, size, device=self.device)
        self.labels = torch.randint(0, 10, (batch,), device=self.device)
        self.step = 0

    def run(self, monitor: Monitor, steps: int) -> tuple[float, float]:
        """Train `steps` steps; returns seconds passed, and seconds of this process on all cores."""
        started, used = time.perf_counter(), time.process_time()
        for _ in range(steps):
            with monitor.step("TRAIN", self.step):
                with monitor.phase("forward"):
                    loss = self.criterion(self.model(self.pictures), self.labels)
                with monitor.phase("backward"):
                    loss.backward()
                with monitor.phase("optimizer"):
                    self.optimizer.step()
                    self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started, time.process_time() - used

    @contextmanager
    def watched(self, folder: Path, *, collections: Any = None, profiler: bool = False) -> Iterator[Monitor]:
        """A monitor as a job with these configurations would have it."""
        config = folder / "input" / "config"
        config.mkdir(parents=True, exist_ok=True)
        if collections is not None:
            hook = {
                "LocalPath": str(folder / "tensors"),
                "CollectionConfigurations": [
                    {"CollectionName": name, "CollectionParameters": {k: str(v) for k, v in values.items()}}
                    for name, values in collections.items()
                ],
            }
            (config / "debughookconfig.json").write_text(json.dumps(hook))
        if profiler:
            settings = {"ProfilingParameters": {"LocalPath": str(folder / "profiler")}}
            (config / "profilerconfig.json").write_text(json.dumps(settings))
        monitor = Monitor.from_environment(
            model=self.model, loss=self.criterion, environment={"SAGEMAKER_BASE_DIR": str(folder)}
        )
        sampler = SystemSampler(folder / "profiler", "algo-1") if profiler else None
        try:
            yield monitor
        finally:
            monitor.close()
            if sampler is not None:
                sampler.close()


def overhead(training: Training, blocks: int, steps: int, scratch: Path) -> dict[str, Any]:
    """Time a step of each kind of block, and their ratio to the plain blocks around them."""
    collections = Debugger().collections
    plain, kinds = Monitor(), ("profiler", "hook")
    training.run(plain, WARM)
    times: list[tuple[str, tuple[float, float]]] = []
    for number in range(blocks):
        for kind in kinds:
            times.append(("off", training.run(plain, steps)))
            with training.watched(
                scratch / f"{kind}{number}",
                collections=collections if kind == "hook" else None,
                profiler=kind == "profiler",
            ) as monitor:
                times.append((kind, training.run(monitor, steps)))
    times.append(("off", training.run(plain, steps)))
    result: dict[str, Any] = {}
    for kind in ("off", *kinds):
        result[kind] = {}
        # Where the machine does other things too, the processor's time tells more than the clock.
        for place, clock in enumerate(("wall", "cpu")):
            own = [spent[place] for found, spent in times if found == kind]
            result[kind][f"{clock}_step_ms"] = round(1e3 * statistics.median(own) / steps, 2)
            if kind == "off":
                continue
            ratios = [
                spent[place] / ((times[index - 1][1][place] + times[index + 1][1][place]) / 2)
                for index, (found, spent) in enumerate(times)
                if found == kind
            ]
            result[kind][f"{clock}_ratio"] = round(statistics.median(ratios), 4)
            result[kind][f"{clock}_ratios"] = [round(ratio, 3) for ratio in ratios]
    return result


def evaluator(training: Training, steps: int, scratch: Path) -> dict[str, Any]:
    """A job that saves every 10 steps, with `rules` beside it."""
    every = {"save_interval": 10}
    collections = dict.fromkeys(("losses", "gradients", "weights"), every)
    config = {
        f"{kind}RuleConfigurations": [
            {"RuleConfigurationName": name, "RuleParameters": {"rule_to_invoke": name}} for name in rules
        ]
        for kind, rules in (("Debug", DEBUGGER_RULES), ("Profiler", PROFILER_RULES))
    }
    scratch.mkdir()
    (scratch / "rules.json").write_text(json.dumps(config))
    for part in ("tensors", "profiler"):
        (scratch / part).mkdir()
    os.environ["TRAINING_JOB_NAME"] = "bench"  # inside a job the platform writes the end file
    command = [sys.executable, "-m", "train.rules", "--job", "bench", "--config", scratch / "rules.json"]
    command += [
        "--tensors",
        scratch / "tensors",
        "--profiler",
        scratch / "profiler",
        "--output",
        scratch / "o",
    ]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    while watched.cpu_times().user == 0 or not (scratch / "o" / "status.json").exists():
        time.sleep(0.1)
    at_start = sum(watched.cpu_times()[:2])
    with training.watched(scratch, collections=collections, profiler=True) as monitor:
        seconds, _ = training.run(monitor, steps)
    used = sum(watched.cpu_times()[:2]) - at_start
    ended = time.perf_counter()
    series = json.loads((scratch / "o" / "series.json").read_text())
    behind = training.step - 1 - series["last_step"]
    for part in ("tensors", "profiler"):
        (scratch / part / "training_job_end.ts").touch()
    process.wait(timeout=300)
    return {
        "steps": steps,
        "seconds": round(seconds, 1),
        "core_share": round(used / seconds, 3),
        "steps_behind_at_end": behind,
        "verdicts_after_s": round(time.perf_counter() - ended, 1),
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each kind")
    parser.add_argument("--steps", type=int, default=50, help="steps of a block: a multiple of 50")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rules-steps", type=int, default=150, help="0: leave the evaluator out")
    given = parser.parse_args()
    training = Training(given.image_size, given.batch_size)
    result: dict[str, Any] = {
        "machine": {"device": training.device, "cores": os.cpu_count(), "torch": torch.__version__},
        "settings": vars(given),
    }
    with tempfile.TemporaryDirectory(prefix="bench-debugger-") as scratch:
        result["overhead"] = overhead(training, given.blocks, given.steps, Path(scratch))
        print(json.dumps(result["overhead"]), file=sys.stderr, flush=True)
        if given.rules_steps:
            result["evaluator"] = evaluator(training, given.rules_steps, Path(scratch) / "rules")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
