"""Real trainings of seconds on scikit-learn's digits: each sickness makes its rules fire, health none.

They are watched as the training loop has them watched, and all rules run with their defaults.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from contract.findings import Findings, Outcome
from contract.rules import names
from debugger.monitor import Monitor
from debugger.rules.rule import Plan
from debugger.sampler import Machine

pytestmark = pytest.mark.slow


class SmallNet(nn.Module):
    """Two convolutions; with or without batch normalisation."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
        self.bn2 = nn.BatchNorm2d(32) if norm else nn.Identity()
        self.relu2 = nn.ReLU(inplace=True)
        self.fc = nn.Linear(32 * 16, 10)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        value = self.relu1(self.bn1(self.conv1(value)))
        value = self.relu2(self.bn2(self.conv2(value)))
        output: torch.Tensor = self.fc(value.flatten(1))
        return output


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits  # takes seconds, which fast tests need not wait for

    found = load_digits()
    pictures = torch.tensor(found.images, dtype=torch.float32)[:, None] / 8 - 1
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    return pictures[order], torch.tensor(found.target)[order]


@pytest.fixture
def fired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Trains with all rules at their defaults, as the loop does; returns the findings by rule."""
    # What else the machine does must not excuse a slow step.
    monkeypatch.setattr(Machine, "sample", lambda self: [])

    def run(
        pictures: torch.Tensor,
        labels: torch.Tensor,
        model: nn.Module,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        *,
        steps: int = 150,
        batch: int = 32,
        every: int = 40,
        train: int = 1400,
        wait: Callable[[int], float] = lambda step: 0.0,
        stall: Callable[[int], float] = lambda step: 0.0,
    ) -> dict[str, Any]:
        criterion = nn.CrossEntropyLoss()
        configuration = {
            "rules": names("debugger"),
            "profiler_rules": ["ProfilerReport"],
        }
        monitor = Monitor.start(
            model=model,
            loss=criterion,
            output=tmp_path,
            plan=Plan(steps, evaluations=steps // every),
            environment={"BYOC_DEBUGGER": json.dumps(configuration)},
        )
        stepper = optimizer(list(model.parameters()))
        generator = torch.Generator().manual_seed(1)
        for step in range(steps):
            with monitor.step("TRAIN", step):
                with monitor.phase("data_wait"):
                    if wait(step):
                        time.sleep(wait(step))
                    chosen = torch.randint(0, train, (batch,), generator=generator)
                with monitor.phase("forward"):
                    loss = criterion(model(pictures[chosen]), labels[chosen])
                    if stall(step):
                        time.sleep(stall(step))
                with monitor.phase("backward"):
                    stepper.zero_grad()
                    loss.backward()
                with monitor.phase("optimizer"):
                    stepper.step()
            monitor.trained(step, loss.item(), batch)
            if step % every == every - 1:
                model.eval()
                with torch.no_grad():
                    value = float(criterion(model(pictures[1400:1700]), labels[1400:1700]))
                monitor.evaluated(step + 1, value, 300)
                model.train()
        monitor.close()
        findings = Findings.from_dict(json.loads((tmp_path / "debugger/findings.json").read_text()))
        assert findings.complete
        assert not findings.problems
        assert [rule.summary for rule in findings.rules if rule.outcome is Outcome.ERROR] == []
        found = {rule.rule: list(rule.findings) for rule in findings.rules if rule.findings}
        for finding in found.pop("ProfilerReport", []):
            found.setdefault(finding.message.split(":")[0], []).append(finding)
        return found

    return run


def adam(rate: float = 1e-3) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.AdamW(parameters, rate)


def sgd(rate: float, momentum: float = 0.9) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, rate, momentum=momentum)


# Timings on a shared machine are what they are: a neighbour can stall a step of a healthy training.
SHARED = {"StepOutlier"}


@pytest.mark.parametrize(
    ("optimizer", "batch", "steps"),
    [
        (adam(), 32, 200),
        (adam(), 100, 100),
        (adam(3e-3), 16, 250),
        (sgd(0.01), 32, 300),
        (sgd(0.05), 100, 120),
    ],
)
@pytest.mark.parametrize("norm", [True, False])
def test_a_healthy_training_fires_nothing(
    digits: Any, fired: Any, optimizer: Any, batch: int, steps: int, norm: bool
) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(norm=norm), optimizer, batch=batch, steps=steps)
    assert set(found) - SHARED == set()


@pytest.mark.parametrize(("optimizer", "batch"), [(sgd(0.97), 10), (adam(0.97), 10), (adam(0.97), 100)])
def test_a_learning_rate_near_one(digits: Any, fired: Any, optimizer: Any, batch: int) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(), optimizer, batch=batch, steps=600 // batch * 2 + 40)
    assert "LossNotDecreasing" in found
    assert set(found) - SHARED <= {
        "LossNotDecreasing",
        "Overfit",
        "DeadRelu",
        "WeightUpdateRatio",
        "VanishingGradient",
    }


@pytest.mark.parametrize(("batch", "steps"), [(10, 60), (100, 28)])
def test_the_seed_story(digits: Any, fired: Any, batch: int, steps: int) -> None:
    import torchvision

    torch.manual_seed(0)
    pictures = nn.functional.interpolate(digits[0], size=32).repeat(1, 3, 1, 1)
    model = torchvision.models.resnet18(num_classes=10)
    found = fired(
        pictures,
        digits[1],
        model,
        sgd(0.97),
        batch=batch,
        steps=steps,
        every=steps // 2,
    )
    assert "LossNotDecreasing" in found
    assert "rises" in found["LossNotDecreasing"][0].message


def test_weights_that_are_all_zero(digits: Any, fired: Any) -> None:
    model = SmallNet(norm=False)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    found = fired(*digits, model, adam(), steps=60)
    assert {"PoorWeightInitialization", "VanishingGradient"} <= set(found)
    assert set(found) - SHARED <= {
        "PoorWeightInitialization", "VanishingGradient", "LossNotDecreasing", "DeadRelu", "WeightUpdateRatio",
        "ClassImbalance",
    }  # fmt: skip


def test_dead_relus(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    model = SmallNet(norm=False)
    nn.init.constant_(model.conv1.bias, -20.0)  # type: ignore[arg-type]
    found = fired(*digits, model, adam(), steps=60)
    assert found["DeadRelu"][0].tensor == "relu1_output_0"
    assert set(found) - SHARED <= {
        "DeadRelu",
        "VanishingGradient",
        "LossNotDecreasing",
        "PoorWeightInitialization",
        "WeightUpdateRatio",
    }


def test_an_overflow(digits: Any, fired: Any) -> None:
    class Overflow(SmallNet):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            scores = super().forward(value)
            return (scores * 1e30 * 1e30 if self.late else scores) if hasattr(self, "late") else scores

    torch.manual_seed(0)
    model = Overflow()
    calls = iter(range(10_000))
    model.register_forward_pre_hook(lambda *unused: setattr(model, "late", next(calls) > 30))
    found = fired(*digits, model, adam(), steps=60)
    assert any("Loss" in finding.tensor for finding in found["ExplodingTensor"])
    assert 30 <= found["ExplodingTensor"][0].step <= 35
    assert set(found) - SHARED <= {
        "ExplodingTensor",
        "LossNotDecreasing",
        "DeadRelu",
        "Overfit",
        "ClassImbalance",
    }


def test_a_handful_of_pictures_learned_by_heart(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(), adam(3e-3), train=20, batch=10, steps=300, every=30)
    assert "Overfit" in found
    assert set(found) - SHARED <= {"Overfit", "Overtraining", "VanishingGradient"}


def test_a_loader_that_starves_the_model(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(), adam(), steps=60, wait=lambda step: 0.2)
    assert "Dataloader" in found
    assert set(found) - SHARED == {"Dataloader"}


def test_one_stalled_step_in_fifty(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(), adam(), steps=200, stall=lambda step: 0.5 * (step % 50 == 49))
    assert "forward" in found["StepOutlier"][0].message
    assert set(found) == {"StepOutlier"}


def test_skewed_classes(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    pictures, labels = digits
    many = (labels != 3) & (labels != 7)
    rare = torch.nonzero(~many)[:20, 0]
    order = torch.cat([torch.nonzero(many)[:, 0], rare, torch.nonzero(~many)[20:, 0]])
    pool = int(many.sum()) + 20
    found = fired(
        pictures[order],
        labels[order],
        SmallNet(),
        adam(),
        train=pool,
        steps=150,
        every=50,
    )
    assert "ClassImbalance" in found
    assert set(found) - SHARED <= {"ClassImbalance", "Overfit"}


def head_alone(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters[-2:], lr=1e-3)


def test_layers_that_the_optimizer_was_not_given(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(), head_alone, steps=100)
    assert {finding.tensor for finding in found["WeightUpdateRatio"]} >= {
        "SmallNet_conv1.weight",
        "SmallNet_conv2.weight",
    }
    assert set(found) - SHARED == {"WeightUpdateRatio"}


def test_layers_that_are_frozen_are_not_accused(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    model = SmallNet()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("fc"))
    assert set(fired(*digits, model, adam(1e-3), steps=100)) <= SHARED


def test_a_learning_rate_of_nothing(digits: Any, fired: Any) -> None:
    torch.manual_seed(0)
    found = fired(*digits, SmallNet(), sgd(1e-9, 0.0), steps=120)
    assert {"LossNotDecreasing", "WeightUpdateRatio"} <= set(found)
    assert set(found) - SHARED <= {
        "LossNotDecreasing",
        "WeightUpdateRatio",
        "ClassImbalance",
        "PoorWeightInitialization",
    }
