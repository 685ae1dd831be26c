"""What the rules would say of the made-up jobs: `findings.json`."""

from __future__ import annotations

from typing import Any

import numpy as np

PASSING = {
    "VanishingGradient": "The smallest mean absolute gradient was 3.1e-05 (fc.bias, step 410) among 2,604 "
    "saved gradients; the limit is 1e-07.",
    "ExplodingTensor": "All of 5,460 saved tensors are finite.",
    "Overfit": "Validation loss was at most 4 % above training loss; the limit is 10 %.",
    "DeadRelu": "At most 1 of 17 ReLU layers was below 1 % active.",
    "WeightUpdateRatio": "Updates lay between 2.1e-05 and 0.014 of the weights; allowed are 1e-08 to 10.",
    "ClassImbalance": "The largest class has 1.05 times as many pictures as the smallest; the limit is 10.",
    "IOBottleneck": "I/O wait exceeded 50 % in 0 of 61 samples.",
    "CPUBottleneck": "No GPU was seen, so there is nothing that the CPU could hold up.",
}


def rule(
    name: str, status: str, summary: str, findings: list[dict[str, Any]] | None = None, **parameters: str
) -> dict[str, Any]:
    return {
        "RuleConfigurationName": name,
        "Rule": name,
        "RuleEvaluationStatus": status,
        "Summary": summary,
        "Parameters": parameters,
        "Description": f"What {name} looks for.",
        "Findings": findings or [],
    }


def findings(diverging: bool, loss: np.ndarray) -> dict[str, Any]:
    rules = []
    if diverging:
        stuck = {
            "cause": "The learning rate is so high that every step jumps over the minimum, or so low that "
            "nothing moves.",
            "remedy": "Lower lr: it is 0.97, and 0.0001 to 0.1 is usual for this optimizer.",
            "severity": "high",
            "tensor": "CrossEntropyLoss_output_0",
        }
        rules.append(
            rule(
                "LossNotDecreasing",
                "IssuesFound",
                f"The loss went from {loss[0]:.3g} to {loss[min(299, len(loss) - 1)]:.3g} in {len(loss)} "
                "steps; it failed to fall 20 times.",
                [
                    {
                        "step": step,
                        "message": f"The loss is {loss[step]:.4g} at step {step}, {loss[step - 10]:.4g} ten "
                        "steps before: it fell by less than 0.1 %.",
                        **stuck,
                    }
                    for step in range(20, 220, 10)
                ],
                num_steps="10",
                diff_percent="0.1",
            )
        )
        if not np.isfinite(loss).all():
            first = int(np.flatnonzero(~np.isfinite(loss))[0])
            rules.append(
                rule(
                    "ExplodingTensor",
                    "IssuesFound",
                    f"Tensors are NaN or infinite from step {first} on.",
                    [
                        {
                            "step": first,
                            "tensor": "CrossEntropyLoss_output_0",
                            "severity": "high",
                            "message": "The loss is NaN.",
                            "cause": "Numbers grew beyond what the data type can hold.",
                            "remedy": "Lower the learning rate, or clip gradients (grad_clip=1).",
                        }
                    ],
                )
            )
    named = {item["Rule"] for item in rules}
    rules += [rule(name, "NoIssuesFound", text) for name, text in PASSING.items() if name not in named]
    if not diverging:
        rules.insert(
            0,
            rule("LossNotDecreasing", "NoIssuesFound", "The loss fell from 2.36 to 0.0312.", num_steps="10"),
        )
        parts = [
            ("OverallSystemUsage", 0, 61, "61 samples; CPU median 87 % and p95 96 %."),
            ("StepOutlier", 1, 450, "TRAIN on algo-1-0: 5 of 450 steps are outliers."),
            ("LowGPUUtilization", 0, 0, "Nothing to judge: it needs GPU metrics."),
        ]
        report = rule("ProfilerReport", "IssuesFound", "StepOutlier found issues.")
        report["Parts"] = [
            {"Rule": name, "Found": found, "Seen": seen, "Summary": text, "Parameters": {"window": 500}}
            for name, found, seen, text in parts
        ]
        rules.append(report)
        rules.append(
            rule(
                "StepOutlier",
                "IssuesFound",
                "5 of 450 steps took longer than the mean plus 5 standard deviations.",
                [
                    {
                        "step": 97,
                        "tensor": None,
                        "severity": "low",
                        "message": "Step 97 took 139 ms, 2.8 times as long as the others.",
                        "cause": "A picture that is slow to decode, or another process on the machine.",
                        "remedy": "Raise workers, or shrink very large pictures beforehand.",
                    }
                ],
                stddev="5",
            )
        )
    rules.append(rule("PoorWeightInitialization", "InProgress", "Waiting for activations."))
    return {"schema": 1, "job": "sample", "rules": rules}
