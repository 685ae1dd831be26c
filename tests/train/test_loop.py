"""Schedule, freezing, features, precision: the parts of learning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from contract.hyperparameters import Settings
from model import architecture
from train import precision, schedule
from train.errors import TrainingError
from train.freezing import Freezing
from train.precision import Hardware

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return architecture.build("resnet18", 4)


def test_norms_and_biases_do_not_decay_and_the_head_learns_faster(resnet: nn.Module) -> None:
    groups = schedule.parameter_groups(resnet, "fc", Settings(), pretrained=True)
    names = {id(parameter): name for name, parameter in resnet.named_parameters()}
    assert sum(len(group["params"]) for group in groups) == len(names)
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["weight_decay"] == (1e-4 if parameter.ndim > 1 else 0.0), name
            assert group["scale"] == (10.0 if name.startswith("fc.") else 1.0), name


def test_a_random_backbone_learns_as_fast_as_the_head(resnet: nn.Module) -> None:
    groups = schedule.parameter_groups(resnet, "fc", Settings(), pretrained=False)
    assert {group["scale"] for group in groups} == {1.0}


def test_the_heads_rate_is_limited_to_what_its_features_bear(resnet: nn.Module) -> None:
    assert schedule.stable_rate(torch.full((10, 4), 3.0)) == pytest.approx(4 / 36)
    assert schedule.stable_rate(torch.zeros(0, 4)) == float("inf")
    settings = Settings()  # 0.01, the head ten times that
    for limit, head in ((1.0, 0.1), (0.02, 0.02), (0.001, 0.001)):
        groups = schedule.parameter_groups(resnet, "fc", settings, pretrained=True)
        optimizer = schedule.make_optimizer(groups, settings)
        assert schedule.limit_head(optimizer, settings.lr, limit) == pytest.approx(0.1)
        schedule.set_learning_rate(optimizer, settings.lr)
        rates = {group["is_head"]: group["lr"] for group in optimizer.param_groups}
        assert rates == {False: 0.01, True: pytest.approx(head)}


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_a_head_learns_from_features_of_any_size(scale: float) -> None:
    """Two classes far apart on top of a mean that is far from zero, as after a ReLU."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    features = torch.randn(200, 16, generator=generator).abs() + 3
    features[:, 0] += 2 * labels
    features *= scale
    head = nn.Linear(16, 2)
    nn.init.zeros_(head.weight)
    settings = Settings()
    groups = schedule.parameter_groups(nn.Sequential(nn.Identity(), head), "1", settings, pretrained=True)
    optimizer = schedule.make_optimizer(groups, settings)
    schedule.limit_head(optimizer, settings.lr * 1000, schedule.stable_rate(features))
    schedule.set_learning_rate(optimizer, settings.lr * 1000)
    for _ in range(300):
        loss = nn.functional.cross_entropy(head(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(features).argmax(1) == labels).float().mean() > 0.9


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [schedule.factor(step, 100, 10, "cosine") for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert 0 < rates[0] < 0.1
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[99] < 0.001
    assert rates[55] == pytest.approx(0.5)
    assert [schedule.factor(step, 100, 10, "constant") for step in (10, 50, 99)] == [1.0] * 3


def test_a_warm_up_takes_a_fifth_at_most() -> None:
    assert schedule.warmup_steps(Settings(epochs=1, warmup_epochs=5), 100) == 20
    assert schedule.warmup_steps(Settings(epochs=10), 100) == 50


def test_the_moving_average_follows() -> None:
    layer = nn.BatchNorm1d(2)
    average = schedule.MovingAverage(layer, 0.5)
    with torch.no_grad():
        layer.weight.fill_(3.0)
        layer.num_batches_tracked.fill_(7)
    average.update(layer)
    assert average.state["weight"].tolist() == pytest.approx([1 + 2 * (1 - 2 / 11)] * 2)
    assert int(average.state["num_batches_tracked"]) == 7


def learning(module: nn.Module) -> set[str]:
    return {name.rsplit(".", 1)[0] for name, value in module.named_parameters() if value.requires_grad}


def test_unfreezing_goes_from_the_head_to_the_front() -> None:
    module = architecture.build("resnet18", 4)
    freezing = Freezing(module, "fc", Settings(freeze="auto", unfreeze_epochs=2))
    assert [freezing.blocks(epoch) for epoch in range(10)] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]
    freezing.apply(0)
    assert learning(module) == {"fc"}
    freezing.apply(1)
    now = learning(module)
    assert "layer4.1.conv2" in now
    assert "layer1.0.conv1" not in now
    freezing.train_mode()
    assert module.training
    assert not module.layer4[1].bn2.training  # as when the head learned
    assert freezing.apply(7)
    assert not freezing.apply(8)
    assert "conv1" in learning(module)


def test_only_the_norms_of_frozen_layers_keep_their_statistics_where_no_head_came_first() -> None:
    module = architecture.build("resnet18", 4)
    freezing = Freezing(module, "fc", Settings(freeze="none", unfreeze_epochs=2))
    assert [freezing.blocks(epoch) for epoch in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    freezing.apply(0)
    freezing.train_mode()
    assert module.layer4[1].bn2.training
    assert not module.bn1.training


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vit_b_16", "convnext_tiny", "densenet121"])
def test_the_blocks_are_quarters_of_any_network(name: str) -> None:
    module = architecture.skeleton(name, 4)
    freezing = Freezing(module, architecture.head_name(module), Settings(unfreeze_epochs=1))
    sizes = [sum(parameter.ndim > 1 for parameter in block) for block in freezing._blocks]
    assert min(sizes) > 0.5 * max(sizes)


@pytest.mark.slow
def test_features_and_the_whole_network_teach_the_head_the_same(
    new_job: Callable[[str], Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.phases import Phases

    torch.manual_seed(0)
    state = architecture.build("shufflenet_v2_x0_5", 10).state_dict()
    state["conv5.1.weight"] *= 1e5  # features so large that the head's learning rate is limited
    histories = []
    for name in ("features", "network"):
        job = new_job(name).pictures()
        job.channel("weights").mkdir(parents=True)
        torch.save(state, job.channel("weights") / "backbone.pth")
        if name == "network":
            monkeypatch.setattr(Phases, "_can_use_features", lambda phases, epoch: False)
        code, output = run(job, weights="channel", freeze="backbone", augment="none", epochs=3)
        assert code == 0, output
        assert ("the backbone saw 24 pictures once" in output) is (name == "features")
        assert "the head learns with" in output
        histories.append(job.report["history"])
    for one, other in zip(*histories, strict=True):
        for key in ("train_loss", "validation_loss", "validation_accuracy"):
            assert one[key] == pytest.approx(other[key], abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05},
        {"clip_grad_norm": 1.0, "class_weights": "balanced", "schedule": "constant"},
        {"mixup": 0.2, "erase": 0.25, "augment": "rand", "sampling": "balanced"},
        {"precision": "bf16"},
        {"arch": "squeezenet1_1", "lr": 0.001},
    ],
)
def test_the_choices_train(job: Any, run: Run, settings: dict[str, object]) -> None:
    code, output = run(job.pictures(), epochs=1, **settings)
    assert code == 0, output


@pytest.mark.slow
def test_easy_pictures_are_learned(job: Any, run: Run) -> None:
    code, output = run(job.pictures(24, 6), epochs=8, lr=0.02)
    assert code == 0, output
    assert job.report["metrics"]["validation_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("setting", "device", "hardware", "size", "expected"),
    [
        ("auto", "cpu", Hardware(cpu_bf16=True), 224, "bf16"),
        ("auto", "cpu", Hardware(cpu_bf16=True), 32, "fp32"),
        ("auto", "cpu", Hardware(), 224, "fp32"),
        ("auto", "cuda", Hardware((8, 0)), 224, "bf16"),
        ("auto", "cuda", Hardware((7, 5)), 224, "fp16"),
        ("auto", "cuda", Hardware((6, 1)), 224, "fp32"),
        ("fp32", "cuda", Hardware((9, 0)), 224, "fp32"),
        ("bf16", "cpu", Hardware(), 224, "bf16"),
    ],
)
def test_precision_follows_the_hardware(
    setting: str, device: str, hardware: Hardware, size: int, expected: str
) -> None:
    chosen = precision.choose(setting, device, hardware, size)
    assert chosen.name == expected
    assert chosen.reason


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(TrainingError, match="precision=fp16 needs a GPU"):
        precision.choose("fp16", "cpu", Hardware(), 224)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of smdebug's old generated code
def test_tensorboard_files_where_the_job_asks_for_them(job: Any, run: Run, tmp_path: Path) -> None:
    job.pictures().config("tensorboardoutputconfig", {"LocalPath": str(tmp_path / "board")})
    code, output = run(job, epochs=2)
    assert code == 0, output
    (file,) = (tmp_path / "board").glob("events.out.tfevents.*")
    from smdebug.core.tfrecord.tensor_reader import TensorReader

    data = file.read_bytes()
    assert data.count(b"validation_accuracy") == 2
    reader = TensorReader(data)
    records = [reader.read_record(check="full") for _ in range(3)]
    assert records[0].endswith(b"brain.Event:2")
