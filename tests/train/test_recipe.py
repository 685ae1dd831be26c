"""What a training does where the settings leave it open."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from contract.hyperparameters import Settings
from model import architecture, weights
from train import features, recipe
from train.loop import Trainer

Run = Callable[..., tuple[int, str]]


def choose(
    pretrained: bool = True, storable: bool = True, pictures: int = 500, **settings: Any
) -> recipe.Recipe:
    return recipe.choose(
        Settings(**settings), pretrained=pretrained, storable=storable, pictures=pictures, classes=5
    )


@pytest.mark.parametrize(
    ("case", "freeze", "optimizer", "lr", "epochs"),
    [
        ({}, "auto", "adamw", 2e-4, 10),
        ({"lr": 0.05}, "auto", "adamw", 1e-3, 10),
        ({"optimizer": "sgd"}, "none", "sgd", 0.01, 10),
        ({"optimizer": "sgd", "pictures": 60}, "auto", "sgd", 0.01, 1),
        ({"optimizer": "adamw", "lr": 1e-3}, "auto", "adamw", 1e-3, 10),
        ({"freeze": "none"}, "none", "sgd", 0.01, 10),
        ({"freeze": "backbone"}, "backbone", "sgd", 0.01, 10),
        ({"pictures": 99}, "auto", "sgd", 0.01, 1),  # below 20 a class
        ({"pictures": 100}, "auto", "adamw", 2e-4, 10),
        ({"epochs": 1}, "auto", "sgd", 0.01, 1),
        ({"pretrained": False}, "none", "sgd", 0.01, 10),
        ({"storable": False}, "none", "sgd", 0.01, 10),
    ],
)
def test_what_is_left_open_is_chosen_and_what_is_set_stays(
    case: dict[str, Any], freeze: str, optimizer: str, lr: float, epochs: int
) -> None:
    settings = choose(**case).settings
    assert (settings.freeze, settings.optimizer, settings.epochs) == (freeze, optimizer, epochs)
    assert settings.lr == pytest.approx(lr)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({}, "the head learns first"),
        ({"pictures": 60, "epochs": 7}, "whatever epochs=7 says: 60 pictures to learn from for 5"),
        ({"optimizer": "sgd"}, "the whole network learns at once, with sgd"),
        ({"storable": False}, "do not fit in memory"),
        ({"epochs": 1}, "only the head learns"),
        ({"freeze": "none"}, ""),
        ({"pretrained": False}, ""),
    ],
)
def test_the_reason_is_given_where_something_was_chosen(case: dict[str, Any], words: str) -> None:
    assert words in choose(**case).reason
    assert bool(words) is bool(choose(**case).reason)


def test_a_head_makes_enough_steps_and_few_passes_over_many_pictures() -> None:
    assert [recipe.head_passes(Settings(), batches) for batches in (3, 100, 1000, 10**6)] == [30, 30, 3, 2]
    assert recipe.head_passes(Settings(freeze="none"), 3) == 0


@pytest.fixture
def pretrained(job: Any) -> Any:
    torch.manual_seed(0)
    job.channel("weights").mkdir(parents=True)
    module = architecture.build("shufflenet_v2_x0_5", 10)
    torch.save(module.state_dict(), job.channel("weights") / "backbone.pth")
    return job


def test_the_head_learns_first_and_the_backbone_joins_it(pretrained: Any, run: Run) -> None:
    pretrained.pictures(20, 4)
    code, output = run(pretrained, weights="channel", epochs=3)
    assert code == 0, output
    assert output.index("recipe: the head learns first") < output.index("the backbone saw 60 pictures once")
    assert output.index("the backbone saw 60 pictures once") < output.index("epoch=1 ")
    history = pretrained.report["history"]
    batches = 60 // int(pretrained.settings.get("batch_size", 32))
    assert [row["step"] for row in history] == [30 * batches, 31 * batches, 32 * batches]
    assert pretrained.report["recipe"].startswith("the head learns first")
    trained = weights.load(pretrained.base / "model")[0].state_dict()
    start = torch.load(pretrained.channel("weights") / "backbone.pth", weights_only=True)
    assert any(not torch.equal(trained[name], start[name]) for name in start if name.startswith("conv5.0"))
    assert torch.equal(trained["conv5.1.running_mean"], start["conv5.1.running_mean"])


def test_few_pictures_teach_the_head_alone(pretrained: Any, run: Run) -> None:
    code, output = run(pretrained.pictures(), weights="channel", epochs=3)
    assert code == 0, output
    assert "24 pictures to learn from for 3 classes are too few" in output
    assert len(pretrained.report["history"]) == 1
    trained = weights.load(pretrained.base / "model")[0].state_dict()
    start = torch.load(pretrained.channel("weights") / "backbone.pth", weights_only=True)
    assert all(torch.equal(trained[name], start[name]) for name in start if not name.startswith("fc."))


def test_patience_begins_where_the_backbone_joins(pretrained: Any, run: Run) -> None:
    pretrained.pictures(20, 4)
    # So low a rate changes nothing: whatever the head has reached, no later epoch is better.
    code, output = run(pretrained, weights="channel", augment="none", epochs=9, patience=2, lr=1e-7)
    assert code == 0, output
    assert "stopping early" in output
    assert len(pretrained.report["history"]) == 3


def test_a_frozen_backbone_needs_weights(job: Any, run: Run) -> None:
    assert run(job.pictures(2, 2), freeze="backbone")[0] == 1
    assert "freeze=backbone needs pretrained weights" in job.failure


def test_a_job_goes_on_with_the_recipe_that_it_began_with(
    pretrained: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained.pictures(20, 4)
    original = Trainer._step

    def step(trainer: Trainer, batch: Any) -> None:
        original(trainer, batch)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        assert run(pretrained, weights="channel", epochs=2)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(features, "storable", lambda *_: False)  # on a machine with less memory
        assert run(pretrained, weights="channel", epochs=2)[0] == 1
    assert "was made with another freeze, lr, optimizer" in pretrained.failure
    assert "as much memory" in pretrained.failure
    assert run(pretrained, weights="channel", epochs=2)[0] == 0
