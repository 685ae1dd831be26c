"""Made-up jobs that look like real ones: what the platform, the rules and the trainer would have left.

`python -m tests.scripts.report.samples FOLDER` renders them all, to be looked at in a browser.
"""

from __future__ import annotations

import base64
import io
import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from scripts.report.inputs import ReportInputs
from scripts.report.logs import parse_log
from scripts.report.tuning import TuningInputs, trial
from tests.scripts.report.sample_findings import findings

START = datetime(2025, 11, 3, 9, 12, 4, tzinfo=UTC)
NAMES = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "images_per_second",
    "data_wait_share",
    "epoch",
    "kept_epoch",
    "test_loss",
    "test_accuracy",
)


def metric_definitions() -> list[dict[str, str]]:
    return [
        {
            "Name": name.replace("_", ":", 1)
            if name.startswith(("train_", "validation_", "test_"))
            else name,
            "Regex": rf"(?:^|\s){name}=([-+0-9.eEinfa]+)",
        }
        for name in NAMES
    ]


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
DIGITS = [str(digit) for digit in range(10)]


def thumbnail(text: str) -> str:
    picture = Image.new("L", (32, 32), 8)
    ImageDraw.Draw(picture).text((11, 6), text, fill=235, font_size=20)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


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
    }


def trainer_report(accuracy: float, seed: int = 3) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    matrix = np.zeros((10, 10), dtype=int)
    for row in range(10):
        for _ in range(18):
            right = random.random() < accuracy
            matrix[row, row if right else int(random.choice([8, 9, 3, 1, (row + 1) % 10]))] += 1
    per_class = []
    for index, name in enumerate(DIGITS):
        recall = matrix[index, index] / matrix[index].sum()
        precision = matrix[index, index] / max(matrix[:, index].sum(), 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        per_class.append(
            {
                "class": name,
                "support": int(matrix[index].sum()),
                "precision": precision,
                "recall": recall,
                "f1": f1,
            }
        )
    data = {
        "train": {
            "images": 1257,
            "per_class": {name: 124 + index % 3 for index, name in enumerate(DIGITS)},
            "skipped": [
                {"file": "3/img_0091.png", "reason": "not a picture: cannot identify image file"},
                {"file": "7/notes.txt", "reason": "not a picture: unknown suffix .txt"},
            ],
        },
        "validation": {
            "images": 360,
            "per_class": dict.fromkeys(DIGITS, 36),
            "skipped": [],
            "repeated_count": 1200,
            "repeated": [["2/digit_0007.png", "2/copy of digit_0007.png"]],
        },
        "test": {"images": 180, "per_class": dict.fromkeys(DIGITS, 18), "skipped": []},
    }
    mistakes = [
        {
            "file": f"{truth}/digit_{number:04d}.png",
            "truth": truth,
            "predicted": predicted,
            "probability": probability,
            "image_png_base64": thumbnail(truth),
        }
        for truth, predicted, number, probability in (
            ("8", "1", 1204, 0.993),
            ("9", "3", 377, 0.981),
            ("3", "8", 92, 0.92),
            ("5", "9", 1511, 0.87),
            ("1", "8", 640, 0.71),
        )
    ]
    return {
        "schema": 1,
        "classes": DIGITS,
        "split": "test",
        "confusion_matrix": matrix.tolist(),
        "per_class": per_class,
        "data": data,
        "in_train_and_validation": [["2/digit_0009.png", "2/again.png"]],
        "worst_mistakes": mistakes,
        "settings": {
            "arch": "resnet18",
            "weights": "none",
            "epochs": 15,
            "batch_size": 42,
            "lr": 0.012,
            "seed": 7,
            "image_size": 32,
        },
        "environment": {
            "torch": "2.10.0+cu128",
            "device": "cpu",
            "precision": "bfloat16",
            "python": "3.11.2",
            "git_commit": "9fcd050",
        },
    }


def log_lines(loss: np.ndarray, epochs: int, diverging: bool) -> list[str]:
    lines = [
        "Training resnet18 on 1,257 pictures of 10 classes, weights: none.",
        "Device: cpu, precision: bfloat16.",
    ]
    steps = len(loss) // epochs
    for epoch in range(1, epochs + 1):
        part = loss[(epoch - 1) * steps : epoch * steps]
        progress = epoch / epochs
        mean = float(part.mean())  # NaN where one is
        rate = 0.97 if diverging else 0.012 * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))
        accuracy = 0.1 + 0.02 * math.sin(epoch) if diverging else 0.99 - 0.75 * math.exp(-5 * progress)
        validation = mean * 1.02 if diverging else 0.06 + 2.2 * math.exp(-5.2 * progress)
        lines.append(
            f"epoch={epoch} step={epoch * steps} train_loss={mean:.5g} train_accuracy={accuracy:.4f} "
            f"validation_loss={validation:.5g} "
            f"validation_accuracy={max(accuracy - 0.01, 0):.4f} learning_rate={rate:.5g} "
            "images_per_second=812.4 data_wait_share=0.05"
        )
    kept = (
        ""
        if diverging
        else f"kept_epoch={epochs - 2} validation_loss={validation:.5g} validation_accuracy=0.98 "
    )
    lines.append(
        f"{kept}test_loss={'nan' if diverging else 0.071} test_accuracy={0.1 if diverging else 0.9778}"
    )
    return lines


def describe(name: str, status: str = "Completed", **settings: str) -> dict[str, Any]:
    output = "s3://sagemaker-us-east-1-123456789012/byoc/digits/output"
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "TrainingJobStatus": status,
        "SecondaryStatus": status,
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/byoc-train:0.1.0",
            "TrainingInputMode": "File",
            "MetricDefinitions": metric_definitions(),
        },
        "HyperParameters": settings,
        "RoleArn": "arn:aws:iam::123456789012:role/byoc-sagemaker",
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://sagemaker-us-east-1-123456789012/byoc/digits/data/{channel}",
                    }
                },
            }
            for channel in ("train", "validation", "test")
        ],
        "OutputDataConfig": {"S3OutputPath": output},
        "ModelArtifacts": {"S3ModelArtifacts": f"{output}/{name}/output/model.tar.gz"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "CreationTime": START - timedelta(seconds=9),
        "TrainingStartTime": START,
        "TrainingEndTime": START + timedelta(seconds=43),
        "LastModifiedTime": START,
        "BillableTimeInSeconds": 43,
        "Environment": {"WANDB_API_KEY": "abc123", "LOG_LEVEL": "info"},
        "DebugHookConfig": {
            "S3OutputPath": output,
            "CollectionConfigurations": [{"CollectionName": "losses"}],
        },
        "ProfilerConfig": {"S3OutputPath": output, "ProfilingIntervalInMilliseconds": 500},
        "DebugRuleConfigurations": [
            {"RuleConfigurationName": "LossNotDecreasing", "RuleEvaluatorImage": "byoc-train"}
        ],
        "SecondaryStatusTransitions": [
            {
                "Status": "Starting",
                "StartTime": START - timedelta(seconds=9),
                "EndTime": START - timedelta(seconds=7),
                "StatusMessage": "Preparing the instances for training",
            },
            {
                "Status": "Training",
                "StartTime": START - timedelta(seconds=7),
                "EndTime": START + timedelta(seconds=36),
                "StatusMessage": "Training image download completed. Training in progress.",
            },
            {
                "Status": "Completed",
                "StartTime": START + timedelta(seconds=43),
                "EndTime": START + timedelta(seconds=43),
                "StatusMessage": "Training job completed",
            },
        ],
    }


def _inputs(
    name: str, loss: np.ndarray, diverging: bool, parameters: list[str], **settings: str
) -> ReportInputs:
    definitions = [(item["Name"], item["Regex"]) for item in metric_definitions()]
    return ReportInputs(
        job=name,
        describe=describe(name, **settings),
        log=parse_log(log_lines(loss, 15, diverging), definitions),
        findings=findings(diverging, loss),
        series=series(loss, parameters, diverging, gpu=parameters is RESNET50),
        report=trainer_report(0.12 if diverging else 0.96),
        sources={"series": f"s3://bucket/{name}/rule-output/series.json"},
        collected=START + timedelta(minutes=5),
    )


def healthy(name: str = "byoc-digits-20251103-091155", parameters: list[str] | None = None) -> ReportInputs:
    random = np.random.default_rng(0)
    steps = np.arange(450)
    loss = (
        0.02
        + 2.33 * np.exp(-steps / 70) * random.lognormal(0, 0.12, len(steps))
        + random.gamma(0.5, 0.02, len(steps))
    )
    return _inputs(
        name,
        loss,
        False,
        parameters or RESNET18,
        arch="resnet18",
        epochs="15",
        lr='"0.012"',
        **{"batch-size": "42"},
    )


def diverging(name: str = "byoc-digits-lr097-20251103-093310", nan: bool = False) -> ReportInputs:
    """The learning rate of 0.97: the loss explodes at once, comes down to guessing and stays there."""
    random = np.random.default_rng(5)
    steps = np.arange(450)
    loss = (
        2.4
        + random.gamma(1.2, 0.35, len(steps))
        + 900
        * (steps > 0)
        * np.exp(-((steps - 9) ** 2) / 30)
        * (1 - np.exp(-steps / 3))
        * random.lognormal(0, 0.8, len(steps))
    )
    loss += (random.random(len(steps)) < 0.03) * random.lognormal(2, 1, len(steps))
    if nan:
        loss = np.exp(0.045 * steps + random.normal(0, 0.5, len(steps))) * 2.3
        loss[300:] = np.nan
    return _inputs(name, loss, True, RESNET18, arch="resnet18", epochs="15", lr="0.97", batch_size="10")


def bare(name: str = "someones-job") -> ReportInputs:
    """A job without debugger, profiler, metrics and output."""
    description = describe(name, "Failed", lr="0.1")
    for key in ("DebugHookConfig", "ProfilerConfig", "DebugRuleConfigurations"):
        del description[key]
    description["FailureReason"] = (
        "AlgorithmError: batch_size='abc' is not a whole number from 1 to 4096, exit code: 1"
    )
    description["AlgorithmSpecification"]["MetricDefinitions"] = []
    return ReportInputs(
        job=name,
        describe=description,
        missing={
            "debugger": "No debugger output: the job had no DebugHookConfig.",
            "profiler": "No profiler output: the job had no ProfilerConfig.",
            "metrics": "No metrics: the job was created without MetricDefinitions.",
            "rules": "No verdicts: the job was created without rules.",
            "report": "No data report, confusion matrix or worst mistakes: the archive does not exist.",
        },
    )


def tuning(count: int = 14, name: str = "byoc-digits-tune") -> TuningInputs:
    random = np.random.default_rng(4)
    summaries = []
    for index in range(count):
        rate, batch = 10 ** random.uniform(-4, 0), int(random.choice([16, 32, 64, 128]))
        accuracy = 0.97 - 0.12 * (math.log10(rate) + 1.8) ** 2 * random.uniform(0.5, 1.2)
        start = START + timedelta(seconds=21 * (index // 2) + 2 * (index % 2))
        summary: dict[str, Any] = {
            "TrainingJobName": f"{name}-{index + 1:03d}-{random.integers(2**32):08x}",
            "TrainingJobStatus": "Completed",
            "CreationTime": start,
            "TrainingStartTime": start,
            "TrainingEndTime": start + timedelta(seconds=float(random.uniform(14, 20))),
            "TunedHyperParameters": {"lr": f"{rate:.6g}", "batch_size": str(batch)},
            "FinalHyperParameterTuningJobObjectiveMetric": {
                "MetricName": "validation:accuracy",
                "Value": max(accuracy, 0.1),
            },
        }
        if index == 5:
            summary |= {
                "TrainingJobStatus": "Failed",
                "FailureReason": "AlgorithmError: the loss is not finite at step 12",
            }
            del summary["FinalHyperParameterTuningJobObjectiveMetric"]
        if index == 8:
            summary["TrainingJobStatus"] = "Stopped"
        summaries.append(summary)
    return TuningInputs(
        name,
        {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobStatus": "Completed",
            "CreationTime": START,
            "HyperParameterTuningEndTime": START + timedelta(seconds=152),
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "ResourceLimits": {"MaxNumberOfTrainingJobs": count, "MaxParallelTrainingJobs": 2},
                "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
                "ParameterRanges": {
                    "ContinuousParameterRanges": [
                        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "1", "ScalingType": "Logarithmic"}
                    ],
                    "CategoricalParameterRanges": [
                        {"Name": "batch_size", "Values": ["16", "32", "64", "128"]}
                    ],
                },
            },
            "TrainingJobDefinition": {"StaticHyperParameters": {"arch": "resnet18", "epochs": "5"}},
        },
        [trial(summary, place) for place, summary in enumerate(summaries, 1)],
    )


def main(folder: Path) -> None:
    import time

    from scripts.report.compare import compare_page
    from scripts.report.job import job_page
    from scripts.report.page import write
    from scripts.report.tuning import tuning_page

    pages = {
        "healthy": lambda: job_page(healthy()),
        "diverging": lambda: job_page(diverging()),
        "nan": lambda: job_page(diverging("byoc-digits-nan", nan=True)),
        "resnet50": lambda: job_page(healthy("byoc-flowers-resnet50", RESNET50)),
        "bare": lambda: job_page(bare()),
        "tuning": lambda: tuning_page(tuning()),
        "compare": lambda: compare_page([diverging(), healthy()]),
    }
    for name, page in pages.items():
        start = time.perf_counter()
        content = page()
        write(folder / f"{name}.html", content)
        print(f"{name}: {len(content.encode()) / 1e6:.2f} MB in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
