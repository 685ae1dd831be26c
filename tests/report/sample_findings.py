"""What the rules would say of the made-up jobs: `findings.json`, and the lines of the log."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from contract.findings import (
    Finding,
    FindingLine,
    Findings,
    Outcome,
    Part,
    RuleResult,
    StopLine,
    VerdictLine,
    format_line,
)
from contract.rules import RULES

PASSING = {
    "VanishingGradient": "The smallest mean absolute gradient was 3.1e-05 (fc.bias, step 410) among 2,604 "
    "gradients; the limit is 1e-07.",
    "ExplodingTensor": "All of 5,460 tensors are finite.",
    "Overfit": "Validation loss was at most 4 % above training loss; the limit is 10 %.",
    "DeadRelu": "At most 1 of 17 ReLU layers was below 1 % active.",
    "WeightUpdateRatio": "Updates lay between 2.1e-05 and 0.014 of the weights; allowed are 1e-08 to 10.",
    "ClassImbalance": "The largest class has 1.05 times as many pictures as the smallest; the limit is 10.",
}
NO_GPU = "The job ran without a GPU, so this does not apply."


def rule(
    name: str,
    outcome: Outcome,
    summary: str = "",
    findings: Sequence[Finding] = (),
    parts: Sequence[Part] = (),
    total: int = 0,
    **parameters: object,
) -> RuleResult:
    """A result; the kind is the rule's."""
    kind = RULES[name].kind if name in RULES else "debugger"
    return RuleResult(
        name,
        name,
        kind,
        outcome,
        summary,
        parameters,
        max(total, len(findings)),
        tuple(findings),
        tuple(parts),
    )


def stuck(loss: np.ndarray, step: int) -> Finding:
    return Finding(
        step=step,
        tensor="CrossEntropyLoss_output_0",
        severity="high",
        message=f"The loss is {loss[step]:.4g} at step {step}, {loss[step - 10]:.4g} ten steps before: it "
        "fell by less than 0.1 %.",
        cause="The learning rate is so high that every step jumps over the minimum, or so low that nothing "
        "moves.",
        remedy="Lower lr: it is 0.97, and 0.0001 to 0.1 is usual for this optimizer.",
    )


def findings(diverging: bool, loss: np.ndarray) -> Findings:
    rules: list[RuleResult] = []
    last = len(loss) - 1
    if diverging:
        steps = range(20, min(220, last), 10)
        rules.append(
            rule(
                "LossNotDecreasing",
                Outcome.ISSUES_FOUND,
                f"The loss went from {loss[0]:.3g} to {loss[min(299, last)]:.3g} in {len(loss)} steps; it "
                f"failed to fall {len(steps)} times.",
                [stuck(loss, step) for step in steps],
                total=len(steps) + 14,
                num_steps=10,
                diff_percent=0.1,
                tensor_regex=None,
            )
        )
        broken = np.flatnonzero(~np.isfinite(loss))
        if broken.size:
            first = int(broken[0])
            rules.append(
                rule(
                    "ExplodingTensor",
                    Outcome.ISSUES_FOUND,
                    f"Tensors are NaN or infinite from step {first} on.",
                    [
                        Finding(
                            first, "CrossEntropyLoss_output_0", "high", "The loss is NaN.",
                            "Numbers grew beyond what the data type can hold.",
                            "Lower the learning rate, or clip gradients (grad_clip=1).",
                        )
                    ],
                )
            )  # fmt: skip
    else:
        rules.append(
            rule("LossNotDecreasing", Outcome.NO_ISSUES, "The loss fell from 2.36 to 0.0312.", num_steps=10)
        )
        slow = Finding(
            97, None, "low", "Step 97 took 139 ms, 2.8 times as long as the others.",
            "A picture that is slow to decode, or another process on the machine.",
            "Raise workers, or shrink very large pictures beforehand.",
        )  # fmt: skip
        parts = (
            Part("OverallSystemUsage", Outcome.NO_ISSUES, "61 samples; CPU median 87 % and p95 96 %."),
            Part(
                "StepOutlier",
                Outcome.ISSUES_FOUND,
                "TRAIN on algo-1-0: 5 of 450 steps are outliers.",
                1,
                {"stddev": 5.0, "mode": None},
            ),
            Part("LowGPUUtilization", Outcome.DOES_NOT_APPLY, NO_GPU),
        )
        text = "5 of 450 steps took longer than the mean plus 5 standard deviations."
        repeated = Finding(
            slow.step, slow.tensor, slow.severity, f"StepOutlier: {slow.message}", slow.cause, slow.remedy
        )
        rules += [
            rule("ProfilerReport", Outcome.ISSUES_FOUND, "StepOutlier found issues.", [repeated], parts),
            rule("StepOutlier", Outcome.ISSUES_FOUND, text, [slow], stddev=5.0),
        ]
    named = {item.rule for item in rules}
    rules += [rule(name, Outcome.NO_ISSUES, text) for name, text in PASSING.items() if name not in named]
    rules += [rule(name, Outcome.DOES_NOT_APPLY, NO_GPU) for name in ("CPUBottleneck", "IOBottleneck")]
    rules.append(
        rule(
            "PoorWeightInitialization",
            Outcome.COULD_NOT_JUDGE,
            "It needs the inputs of ReLUs: add the collection relu_input.",
        )
    )
    return Findings("sample", complete=True, rules=tuple(rules))


def lines(found: Findings, *, verdicts: bool = True) -> list[str]:
    """As the training container logs them."""
    texts = [
        format_line(
            FindingLine(result.name, item.step, item.tensor, item.severity, item.message, item.remedy)
        )
        for result in found.rules
        for item in result.findings
    ]
    if found.stopped_by:
        texts.append(format_line(StopLine(found.stopped_by, found.stopped_at, "The loss does not fall.")))
    if verdicts:
        texts += [
            format_line(VerdictLine(item.name, item.outcome, item.summary, item.total))
            for item in found.rules
        ]
    return texts


def ranks(loss: np.ndarray, count: int) -> dict[str, dict[str, list[float | None]]]:
    """Each rank's own loss and gradients, as series.json has them."""
    random = np.random.default_rng(8)
    steps = np.arange(len(loss))
    saved = steps[:: max(1, len(steps) // 60)]
    found: dict[str, dict[str, list[float | None]]] = {}
    for rank in range(count):
        own = loss * random.lognormal(0.1 * rank, 0.1, len(loss))
        norms = 1.5 * np.exp(-saved / len(loss)) * random.lognormal(0.2 * rank, 0.2, len(saved))
        found[str(rank)] = {
            "step": [float(step) for step in steps],
            "loss": [float(value) if math.isfinite(value) else None for value in own],
            "gradient_step": [float(step) for step in saved],
            "gradient_norm": [float(value) for value in norms],
        }
    return found
