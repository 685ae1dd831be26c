"""Made-up series.json: the curves of a healthy and of a diverging training."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

START = datetime(2025, 11, 3, 9, 12, 4, tzinfo=UTC)


def resnet_parameters(blocks: tuple[int, ...], bottleneck: bool) -> list[str]:
    names = ["conv1.weight", "bn1.weight", "bn1.bias"]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            for part in range(1, 4 if bottleneck else 3):
                prefix = f"layer{stage}.{block}"
                names += [
                    f"{prefix}.conv{part}.weight",
                    f"{prefix}.bn{part}.weight",
                    f"{prefix}.bn{part}.bias",
                ]
            if block == 0 and (stage > 1 or bottleneck):
                names += [f"layer{stage}.0.downsample.{item}" for item in ("0.weight", "1.weight", "1.bias")]
    return [f"ResNet_{name}" for name in [*names, "fc.weight", "fc.bias"]]


RESNET18 = resnet_parameters((2, 2, 2, 2), bottleneck=False)
RESNET50 = resnet_parameters((3, 4, 6, 3), bottleneck=True)


def _null(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def series(
    loss: np.ndarray, parameters: list[str], diverging: bool, seed: int = 1, gpu: bool = False
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    steps = len(loss)
    saved = np.arange(0, steps, max(10, steps // 80 // 10 * 10))
    gradients, weights = {}, {}
    for index, name in enumerate(parameters):
        depth = index / len(parameters)
        if diverging:
            level = 10 ** (0.2 + 2.5 * np.exp(-saved / 25) * (1 - depth) - 1.5 * depth)
            level = np.where(~np.isfinite(loss[saved]), np.nan, level)
        else:
            level = 10 ** (-0.3 - 1.2 * depth - 1.4 * saved / steps)
        norm = level * random.lognormal(0, 0.25, len(saved))
        ratio = norm * (0.4 if diverging else 0.004)
        gradients[f"gradient/{name}"] = {
            "step": saved.tolist(),
            "norm": [_null(v) for v in norm],
            "mean_abs": [_null(v / 100) for v in norm],
        }
        weights[name] = {
            "step": saved.tolist(),
            "norm": [_null(v) for v in np.where(np.isnan(norm), np.nan, 5.0)],
            "update_ratio": [None, *[_null(v) for v in ratio[1:]]],
        }
    layers = [f"ResNet_layer{stage}.{block}.relu_output_0" for stage in range(1, 5) for block in (0, 1)]
    activations = {
        name: {
            "step": saved.tolist(),
            "active_share": np.clip(
                (0.02 if diverging and index > 4 else 0.55)
                - 0.03 * index
                + random.normal(0, 0.02, len(saved)),
                0,
                1,
            )
            .round(5)
            .tolist(),
        }
        for index, name in enumerate(layers)
    }
    phases = {
        "data_wait_ms": 2.5,
        "host_to_device_ms": 0.6,
        "forward_ms": 14.0,
        "backward_ms": 27.0,
        "optimizer_ms": 4.2,
        "other_ms": 0.9,
    }
    timing = {name: level * random.lognormal(0, 0.12, steps) for name, level in phases.items()}
    timing["forward_ms"][0] += 620
    timing["data_wait_ms"][::97] += 90
    total = np.sum(list(timing.values()), axis=0)
    samples = int(steps * 0.05 * 2) + 20
    clock = START.timestamp() + 0.5 * np.arange(samples)
    system: dict[str, Any] = {
        "time": clock.round(3).tolist(),
        "cpu": np.clip(88 + random.normal(0, 6, samples) - 70 * (np.arange(samples) < 8), 0, 100)
        .round(2)
        .tolist(),
        "memory": np.clip(22 + 14 * (1 - np.exp(-np.arange(samples) / 12)), 0, 100).round(2).tolist(),
        "io_wait": np.clip(random.gamma(0.6, 1.2, samples), 0, 100).round(2).tolist(),
        "gpu": np.clip(71 + random.normal(0, 9, samples), 0, 100).round(2).tolist()
        if gpu
        else [None] * samples,
        "gpu_memory": [48.0] * samples if gpu else [None] * samples,
        "network_receive": (random.gamma(0.5, 2e5, samples) + 4e7 * (np.arange(samples) < 5))
        .round()
        .tolist(),
        "network_transmit": random.gamma(0.5, 4e4, samples).round().tolist(),
        "disk_read": (random.gamma(0.5, 4e5, samples) + 9e6 * (np.arange(samples) < 12)).round().tolist(),
        "disk_write": random.gamma(0.5, 2e6, samples).round().tolist(),
        "gpu_power": np.clip(210 + random.normal(0, 20, samples), 0, 300).round(1).tolist()
        if gpu
        else [None] * samples,
    }
    units = ["cpu0", "cpu1", "cpu2", "cpu3"] + (["gpu0"] if gpu else [])
    bins = min(samples, 120)
    cores = {
        "time": np.linspace(clock[0], clock[-1], bins).round(3).tolist(),
        "units": {unit: np.clip(random.normal(80, 15, bins), 0, 100).round(1).tolist() for unit in units},
    }
    operators = [
        {"name": name, "calls": calls, "cpu_ms": cpu, "device_ms": 0.3 * cpu if gpu else 0.0}
        for name, calls, cpu in (
            ("aten::mkldnn_convolution", 60, 61.2),
            ("aten::convolution_backward", 60, 118.0),
            ("aten::native_batch_norm", 60, 9.3),
            ("aten::threshold_backward", 51, 6.1),
            ("aten::_foreach_add_", 3, 2.7),
        )
    ]
    evaluation = np.linspace(2.3, 0.3, 12) if not diverging else np.full(12, 2.6)
    return {
        "schema": 1,
        "job": "sample",
        "complete": True,
        "last_step": steps - 1,
        "losses": {
            "CrossEntropyLoss_output_0": {
                "TRAIN": {"step": list(range(steps)), "value": [_null(v) for v in loss]},
                "EVAL": {"step": list(range(12)), "value": evaluation.tolist()},
            }
        },
        "gradients": gradients,
        "weights": weights,
        "activations": activations,
        "step_time": {
            "step": list(range(steps)),
            "mode": ["TRAIN"] * steps,
            "total_ms": total.round(3).tolist(),
            **{name: values.round(3).tolist() for name, values in timing.items()},
        },
        "system": system,
        "cores": cores,
        "operators": {"from": "algo-1-0-step5", "rows": operators},
        "ranks": {},
        "interruptions": [],
    }
