"""What the debugger costs a training: python -m bench.debugger [--blocks 5] [--image-size 32] [--steps 100]

One process trains ResNet-18 on random pictures in blocks of steps. Blocks without the debugger alternate
with blocks that have it as `byoc train` has it by default: statistics of losses, gradients, weights and
activations, step times, the machine measured every 500 ms, all rules, files written. Each block is compared
with the mean of the blocks beside it, so that a slow drift of the machine cancels out. What starting it
costs is measured apart, in a new process.

On a machine that does other work too, blocks differ by more than the debugger costs. So its CPU time is also
counted directly, of one whole training of `--plan` steps or `--counted` of them: that of its thread, and that
of the training's thread while it is in the debugger.

`--plan` is the length of the training, in steps, that the intervals suit: the demo's training has about 400.
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
from pathlib import Path
from typing import Any

# As the container has it: threads that wait must not spin, or a busy machine measures itself.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torchvision
from torch import nn

from debugger.monitor import Monitor, _Phase
from debugger.recorder import Recorder
from debugger.rules.rule import Plan
from debugger.watcher import Watcher

WARM = 5
START = """
import json, sys, time
from pathlib import Path
import torch, torchvision
model = torchvision.models.resnet18(num_classes=10)
loss = torch.nn.CrossEntropyLoss()
began, cpu = time.perf_counter(), time.process_time()
from debugger.monitor import Monitor
from debugger.rules.rule import Plan
monitor = Monitor.start(model=model, loss=loss, output=Path(sys.argv[1]), plan=Plan(400, 20, 10))
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
monitor.close()
"""


class Training:
    """ResNet-18 with SGD on the same random batch; what is measured does not depend on the pictures."""

    def __init__(self, size: int, batch: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = torchvision.models.resnet18(num_classes=10).to(self.device)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.pictures = torch.randn(batch, 3, size, size, device=self.device)
        self.labels = torch.randint(0, 10, (batch,), device=self.device)

    def run(self, monitor: Monitor, steps: int) -> tuple[float, float]:
        """Train `steps` steps; returns seconds passed, and seconds of this process on all cores."""
        started, used = time.perf_counter(), time.process_time()
        before: tuple[int, torch.Tensor] | None = None
        for step in range(steps):
            with monitor.step("TRAIN", step):
                with monitor.phase("forward"):
                    loss = self.criterion(self.model(self.pictures), self.labels)
                with monitor.phase("backward"):
                    loss.backward()
                with monitor.phase("optimizer"):
                    self.optimizer.step()
                    self.optimizer.zero_grad(set_to_none=True)
            # A step late, as the training loop does it, so that a GPU is never waited for.
            if before is not None:
                monitor.trained(before[0], float(before[1]), len(self.labels))
            before = step, loss.detach()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started, time.process_time() - used


def overhead(training: Training, blocks: int, steps: int, plan: int, scratch: Path) -> dict[str, Any]:
    """Time a step with and without, and the ratio of each block to those beside it."""
    plain = Monitor()
    training.run(plain, WARM)
    times = [training.run(plain, steps)]
    size = 0
    for number in range(blocks):
        monitor = Monitor.start(
            model=training.model,
            loss=training.criterion,
            output=scratch / f"{number}",
            plan=Plan(plan, 0, 10),
        )
        times.append(training.run(monitor, steps))
        monitor.close()
        size = sum(path.stat().st_size for path in (scratch / f"{number}").rglob("*") if path.is_file())
        times.append(training.run(plain, steps))
    result: dict[str, Any] = {"output_kb": round(size / 1e3)}
    for place, clock in enumerate(("wall", "cpu")):
        values = [spent[place] for spent in times]
        ratios = [
            values[index] / ((values[index - 1] + values[index + 1]) / 2)
            for index in range(1, len(values), 2)
        ]
        result[f"{clock}_step_ms"] = round(1e3 * statistics.median(values[::2]) / steps, 2)
        result[f"{clock}_ratio"] = round(statistics.median(ratios), 4)
        result[f"{clock}_ratios"] = [round(ratio, 3) for ratio in ratios]
    return result


def counted(training: Training, steps: int, plan: int, scratch: Path) -> dict[str, Any]:
    """CPU time of the debugger's parts in `steps` steps, in milliseconds, and its share of the training's."""
    spent: dict[str, float] = {}
    inside = False

    def count(owner: type, name: str) -> tuple[type, str, Any]:
        original = getattr(owner, name)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            nonlocal inside
            if inside and owner is not Watcher:
                return original(*arguments, **keywords)
            before, inside = time.thread_time(), inside or owner is not Watcher
            try:
                return original(*arguments, **keywords)
            finally:
                spent[name] = spent.get(name, 0.0) + time.thread_time() - before
                inside = inside and owner is Watcher

        setattr(owner, name, timed)
        return owner, name, original

    counted = [
        count(owner, name)
        for owner, names in (
            (Monitor, ("_begin", "_end", "trained")),
            (_Phase, ("__enter__", "__exit__")),
            (Recorder, ("_look_at_layer", "_look_at_loss", "_before_optimizer")),
            (Watcher, ("_run",)),
        )
        for name in names
    ]
    try:
        monitor = Monitor.start(
            model=training.model, loss=training.criterion, output=scratch / "counted", plan=Plan(plan, 0, 10)
        )
        wall, cpu = training.run(monitor, steps)
        monitor.close()
    finally:
        for owner, name, original in counted:
            setattr(owner, name, original)
    own = sum(spent.values())
    return {
        "steps": steps,
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "own_cpu_s": round(own, 3),
        "share": round(own / (cpu - own), 4),
        "parts_ms": {name: round(1e3 * seconds) for name, seconds in spent.items()},
    }


def start(scratch: Path, runs: int = 5) -> dict[str, float]:
    """Seconds that importing and starting the debugger adds to a process that has torch already."""
    found = []
    for number in range(runs):
        command = [sys.executable, "-c", START, str(scratch / f"start{number}")]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
    return {"start_wall_s": round(wall, 3), "start_cpu_s": round(cpu, 3)}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5, help="blocks with the debugger")
    parser.add_argument("--steps", type=int, default=100, help="steps of a block")
    parser.add_argument("--plan", type=int, default=400, help="steps of the training that the intervals suit")
    parser.add_argument("--counted", type=int, default=0, help="steps in which CPU time is counted directly")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=32)
    wanted = parser.parse_args()
    training = Training(wanted.image_size, wanted.batch_size)
    result: dict[str, Any] = {
        "machine": {"device": training.device, "cores": os.cpu_count(), "torch": torch.__version__},
        "settings": vars(wanted),
    }
    with tempfile.TemporaryDirectory(prefix="bench-debugger-") as scratch:
        result["counted"] = counted(training, wanted.counted or wanted.plan, wanted.plan, Path(scratch))
        print(json.dumps(result["counted"]), file=sys.stderr, flush=True)
        result["overhead"] = overhead(training, wanted.blocks, wanted.steps, wanted.plan, Path(scratch))
        print(json.dumps(result["overhead"]), file=sys.stderr, flush=True)
        result["start"] = start(Path(scratch))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
