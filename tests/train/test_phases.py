"""From what an epoch learns, and which part of the network does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from contract.hyperparameters import Settings
from train import schedule
from train.distributed import Process
from train.phases import Phases
from train.precision import FULL, Precision


class Network(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
        self.head = head


def phases(monkeypatch: pytest.MonkeyPatch, head: nn.Module | None = None, **settings: Any) -> Phases:
    """Those of a small network; its features are stand-ins."""
    chosen, network = Settings(**settings), Network(head or nn.Linear(3, 2))
    monkeypatch.setattr(Phases, "_features", lambda phases, loader, precision: (loader.name, precision.name))
    groups = schedule.parameter_groups(network, "head", chosen, pretrained=True)
    train, validation = (Loader(name) for name in ("train", "validation"))
    loaders: Any = (train, validation)
    return Phases(
        network, "head", schedule.make_optimizer(groups, chosen), *loaders, chosen,
        limits_head=False, device="cpu", precision=Precision("bf16", ""), process=Process(),
        should_stop=lambda: False,
    )  # fmt: skip


class Loader:
    def __init__(self, name: str) -> None:
        self.name, self.pictures = name, range(1_000_000)

    def __len__(self) -> int:
        return 100


class Watching:
    """A monitor that notes which part it is to watch."""

    def __init__(self) -> None:
        self.watched: list[Any] = []

    def model_changed(self, module: nn.Module) -> None:
        self.watched.append(module)


def test_a_head_learns_from_features_until_the_backbone_joins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, monitor = phases(monkeypatch, freeze="auto", cache_mb=100), Watching()
    seen: list[Any] = []
    for epoch in range(4):
        plan.begin(epoch, epoch, monitor)  # type: ignore[arg-type]
        learns = [parameter.requires_grad for parameter in plan._module.parameters()]
        seen.append((plan.on_features, plan.network is plan._head, any(learns[:-2]), all(learns[-2:])))
        if epoch < 1:
            assert plan.train == ("train", "bf16")
            assert plan.validation == ("validation", "fp32")  # exact: it costs once what it costs in an epoch
            assert plan.evaluation_precision is FULL
        else:
            assert (plan.train, plan.validation) == plan._pictures
            assert plan.evaluation_precision.name == "bf16"
    assert seen == [(True, True, False, True)] + [(False, False, True, True)] * 3
    assert monitor.watched == [plan._head, plan._module]


@pytest.mark.parametrize(
    ("settings", "epoch", "features"),
    [
        ({"freeze": "backbone", "augment": "none"}, 5, True),
        ({"freeze": "backbone", "augment": "none", "mixup": 0.2}, 5, False),
        ({"freeze": "backbone"}, 5, False),  # augmented: the backbone sees other pictures in each epoch
        ({"freeze": "auto"}, 0, True),
        ({"freeze": "auto", "augment": "none"}, 1, False),
        ({"freeze": "none"}, 0, False),
        ({"freeze": "backbone", "augment": "none", "cache_mb": 10}, 0, False),  # 24 MB of features
    ],
)
def test_features_are_used_where_nothing_else_would_change_them(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], epoch: int, features: bool
) -> None:
    plan = phases(monkeypatch, **{"cache_mb": 100, **settings})
    plan.begin(epoch, epoch, Watching())  # type: ignore[arg-type]
    assert plan.on_features is features


def test_a_head_that_is_not_linear_learns_from_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = phases(
        monkeypatch, nn.Sequential(nn.Linear(3, 2)), freeze="backbone", augment="none", cache_mb=100
    )
    plan.begin(0, 0, Watching())  # type: ignore[arg-type]
    assert not plan.on_features
    assert isinstance(plan.network, nn.Module)
    assert torch.is_tensor(next(plan.network.parameters()))
