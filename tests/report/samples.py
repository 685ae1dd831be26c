"""Made-up jobs that look like real ones: what the platform, the rules and the trainer would have left.

`python -m tests.report.samples FOLDER` renders them all, to be looked at in a browser.
"""

from __future__ import annotations

import base64
import io
import math
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from contract.findings import ProgressLine, StopLine, VerdictLine, format_line
from contract.metrics import METRIC_DEFINITIONS
from report.read.findings import of_lines
from report.read.inputs import ReportInputs
from report.read.metrics import parse_log
from report.read.trials import parse_trial
from report.read.tuning import TuningJob
from tests.report import sample_findings
from tests.report.sample_findings import findings
from tests.report.sample_series import RESNET18, RESNET50, START, series

DIGITS = [str(digit) for digit in range(10)]


def thumbnail(text: str) -> str:
    picture = Image.new("L", (32, 32), 8)
    ImageDraw.Draw(picture).text((11, 6), text, fill=235, font_size=20)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


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
        "recipe": "the head learns first",
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
        "validation_pictures=269 "
    )
    lines.append(
        f"{kept}test_loss={'nan' if diverging else 0.071} test_accuracy={0.1 if diverging else 0.9778} "
        "test_pictures=269"
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
            "MetricDefinitions": METRIC_DEFINITIONS,
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
    definitions = [(item["Name"], item["Regex"]) for item in METRIC_DEFINITIONS]
    return ReportInputs(
        job=name,
        describe=describe(name, **settings),
        log=parse_log(log_lines(loss, 15, diverging), definitions),
        findings=findings(diverging, loss),
        series=series(loss, parameters, diverging, gpu=parameters is RESNET50),
        report=trainer_report(0.12 if diverging else 0.96),
        sources={"series": f"s3://bucket/{name}/output/output.tar.gz, debugger/series.json"},
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


def stopped(name: str = "byoc-digits-tune-004-1a2b3c4d") -> ReportInputs:
    """A trial that a rule ended."""
    whole = diverging(name)
    loss = np.array(whole.series["losses"]["CrossEntropyLoss_output_0"]["TRAIN"]["value"][:121])
    inputs = _inputs(name, loss, True, RESNET18, arch="resnet18", epochs="60", lr="0.97", batch_size="10")
    inputs.findings = replace(findings(True, loss), stopped_by="LossNotDecreasing", stopped_at=120)
    return inputs


def spread(name: str = "byoc-digits-spread", ranks: int = 4) -> ReportInputs:
    """Several processes on spot capacity, interrupted once."""
    inputs = healthy(name)
    loss = np.array(inputs.series["losses"]["CrossEntropyLoss_output_0"]["TRAIN"]["value"])
    inputs.series["ranks"] = sample_findings.ranks(loss, ranks)
    times = inputs.series["system"]["time"]
    inputs.series["interruptions"] = [times[len(times) // 2]]
    return inputs


def running(name: str = "byoc-digits-running") -> ReportInputs:
    """A job of which there is nothing but the log."""
    whole = diverging(name)
    curve = whole.series["losses"]["CrossEntropyLoss_output_0"]["TRAIN"]
    lines = log_lines(np.array(curve["value"]), 15, True)[:8] + [
        format_line(ProgressLine(step // 30 + 1, 15, step + 1, 450, value))
        for step, value in zip(curve["step"][:200:8], curve["value"][:200:8], strict=True)
    ]
    assert whole.findings is not None
    lines += sample_findings.lines(whole.findings, verdicts=False)
    log = parse_log(lines, [(item["Name"], item["Regex"]) for item in METRIC_DEFINITIONS])
    why = "the job is not over yet"
    description = describe(name, "InProgress", lr="0.97")
    losses = {"step": list(log.losses), "value": list(log.losses.values())}
    return ReportInputs(
        name,
        description,
        log,
        log.findings,
        {"losses": {"loss": {"TRAIN": losses}}},
        missing={
            "findings": f"The findings are those of the log, which leaves out causes and parameters: {why}.",
            "series": f"No gradients, weights, activations, step times or machine use: {why}. "
            "The losses are those of the log.",
            "report": f"No data report, confusion matrix or worst mistakes: {why}.",
        },
    )


def bare(name: str = "someones-job") -> ReportInputs:
    """A job without debugger, metrics and output."""
    description = describe(name, "Failed", lr="0.1")
    description["FailureReason"] = (
        "AlgorithmError: batch_size='abc' is not a whole number from 1 to 4096, exit code: 1"
    )
    description["AlgorithmSpecification"]["MetricDefinitions"] = []
    return ReportInputs(
        job=name,
        describe=description,
        missing={
            "metrics": "No metrics: the job was created without MetricDefinitions.",
            "findings": "No verdicts: the archive does not exist.",
            "series": "No gradients, weights, activations, step times or machine use: the archive does not "
            "exist.",
            "report": "No data report, confusion matrix or worst mistakes: the archive does not exist.",
        },
    )


def tuning(count: int = 14, name: str = "byoc-digits-tune") -> TuningJob:
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
    return TuningJob(
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
        tuple(
            replace(parse_trial(summary, place), findings=of_lines(trial_log(place)))
            for place, summary in enumerate(summaries, 1)
        ),
    )


def trial_log(place: int) -> list[str]:
    """The end of a trial's log: the third was stopped by a rule, the fourth overfits, the sixth failed."""
    lines = ["Testing 180 pictures."]
    if place == 6:
        return lines
    if place == 3:
        lines.append(format_line(StopLine("LossNotDecreasing", 120, "The loss does not fall.")))
    for name in ("LossNotDecreasing", "Overfit", "StepOutlier"):
        found = (place, name) in ((3, "LossNotDecreasing"), (4, "Overfit"))
        lines.append(format_line(VerdictLine(name, "IssuesFound" if found else "NoIssuesFound", "Seen.")))
    return lines


def main(folder: Path) -> None:
    import time

    from report.pages.compare import compare_page
    from report.pages.job import job_page
    from report.pages.tuning import tuning_page

    pages = {
        "healthy": lambda: job_page(healthy()),
        "diverging": lambda: job_page(diverging()),
        "nan": lambda: job_page(diverging("byoc-digits-nan", nan=True)),
        "resnet50": lambda: job_page(healthy("byoc-flowers-resnet50", RESNET50)),
        "bare": lambda: job_page(bare()),
        "stopped": lambda: job_page(stopped()),
        "spread": lambda: job_page(spread()),
        "running": lambda: job_page(running()),
        "tuning": lambda: tuning_page(tuning()),
        "compare": lambda: compare_page([stopped(), healthy()]),
    }
    for name, page in pages.items():
        start = time.perf_counter()
        content = page()
        (folder / f"{name}.html").write_text(content, encoding="utf-8")
        print(f"{name}: {len(content.encode()) / 1e6:.2f} MB in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
