"""The statistics of a training's tensors, against the tensors themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from debugger import reduce
from debugger.observation import Observation, Statistics, active_share, percentiles, statistics
from debugger.recorder import Recorder

EVERY: dict[str, Any] = {"save_interval": 1}
ALL: dict[str, Any] = {
    "losses": EVERY, "gradients": EVERY, "weights": EVERY, "biases": EVERY,
    "relu_input": {**EVERY, "include_regex": ".*relu_input"},
    "relu_output": {**EVERY, "include_regex": ".*relu_output"},
    "loss_inputs": {**EVERY, "include_regex": ".*Loss_input"},
}  # fmt: skip


class Training:
    """A few steps by hand, with the tensors at hand."""

    def __init__(
        self, model: nn.Module, collections: dict[str, Any] = ALL, steps: int = 10, **options: Any
    ) -> None:
        self.model, self.loss = model, nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1)
        self.recorder = Recorder(model, self.loss, collections, steps, **options)
        self.inputs = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        self.labels = torch.arange(8) % 4

    def step(self, number: int, update: Callable[[], None] | None = None) -> Observation | None:
        self.recorder.begin(number)
        value = self.loss(self.model(self.inputs), self.labels)
        value.backward()
        self.gradients = {
            name: parameter.grad.clone()
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
        (update or self.optimizer.step)()
        self.optimizer.zero_grad()
        self.recorder.end()
        return self.recorder.take(number, value.item(), 8)


def close(found: Statistics, expected: Statistics, *more: str) -> None:
    for name in ("size", "norm", "largest", *more):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4), name


def test_weights_and_gradients_have_the_statistics_of_their_values(model: Any) -> None:
    training = Training(model)
    before = copy.deepcopy(dict(model.named_parameters()))
    seen = training.step(0)
    assert seen is not None
    for name, parameter in before.items():
        close(seen.tensors[f"Sequential_{name}"], statistics(parameter.detach().numpy()))
        gradient = training.gradients[name].numpy()
        close(seen.tensors[f"gradient/Sequential_{name}"], statistics(gradient), "mean_abs")
        assert seen.tensors[f"gradient/Sequential_{name}"].span == pytest.approx(
            percentiles(gradient), rel=1e-4
        )
    assert seen.losses() == {"CrossEntropyLoss_output_0": pytest.approx(1.5, abs=1.0)}
    assert seen.pictures == 8
    assert seen.collections["weights"] == {
        "Sequential_0.weight",
        "Sequential_1.weight",
        "Sequential_4.weight",
    }
    assert "Sequential_0.bias" in seen.collections["biases"]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_sum_of_a_large_tensor_is_that_of_its_pieces(memory_format: torch.memory_format) -> None:
    tensor = torch.randn(70, 60, 5, 5).to(memory_format=memory_format)
    assert tensor.numel() > reduce.PIECE
    numbers = reduce.Numbers()
    read, _ = reduce.norms([tensor], numbers, absolutes=True)
    numbers.send()
    numbers.fetch()
    close(reduce.parameter(tensor.numel(), read()[0]), statistics(tensor.numpy()), "mean_abs")


def test_a_change_is_that_since_the_look_before(model: Any) -> None:
    training = Training(model, {"weights": {"save_interval": 2}})
    old = model[4].weight.detach().clone()
    first = training.step(0)
    assert training.step(1) is None
    new = model[4].weight.detach().clone()
    second = training.step(2)
    assert first is not None
    assert second is not None
    assert first.tensors["Sequential_4.weight"].change is None
    change = second.tensors["Sequential_4.weight"].change
    assert change is not None
    assert change.step == 0
    assert change.norm == pytest.approx(float((new - old).norm()), rel=1e-4)
    assert change.before == pytest.approx(float(old.norm()), rel=1e-4)


def test_a_change_over_a_distance_waits_for_it(model: Any) -> None:
    training = Training(model, {"weights": EVERY}, distance=3)
    changes = []
    for number in range(7):
        seen = training.step(number)
        assert seen is not None
        changes.append(seen.tensors["Sequential_4.weight"].change)
    assert [change.step if change else None for change in changes] == [None, None, None, 0, None, None, 3]


def test_activations_labels_and_what_the_network_made_of_them(model: Any) -> None:
    outputs: list[torch.Tensor] = []
    scores: list[torch.Tensor] = []
    model[1].register_forward_hook(lambda module, inputs, output: outputs.append(output.detach().clone()))
    model[4].register_forward_hook(lambda module, inputs, output: scores.append(output.detach().clone()))
    training = Training(model)
    seen = training.step(0)
    assert seen is not None
    before = seen.tensors["2_input_0"]
    assert before.variance == pytest.approx(float(outputs[0].var(correction=0)), rel=1e-4)
    assert before.minimum is not None  # before the in-place ReLU has rewritten it
    assert before.minimum < 0
    active = seen.tensors["2_output_0"].active
    np.testing.assert_allclose(active, active_share(outputs[0].relu().numpy()), rtol=1e-5)
    np.testing.assert_array_equal(seen.tensors["CrossEntropyLoss_input_1"].values, training.labels)
    np.testing.assert_array_equal(seen.tensors["CrossEntropyLoss_input_0"].values, scores[0].argmax(dim=1))
    assert seen.collections["relu_output"] == {"2_output_0"}


def test_a_large_activation_is_thinned_and_not_mistaken() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)
    )
    with torch.no_grad():
        net[0].bias[:4] = -100.0  # type: ignore[index, union-attr]
    training = Training(net, {"relu_output": ALL["relu_output"]})
    training.inputs = torch.randn(8, 3, 96, 96)
    seen = training.step(0)
    assert seen is not None
    active = seen.tensors["1_output_0"].active
    assert active is not None
    exact = active_share(net[0](training.inputs).relu().detach().numpy())
    np.testing.assert_allclose(active, exact, atol=0.02)
    assert (active[:4] == 0).all()


@pytest.mark.parametrize(("value", "nan", "infinite"), [(float("nan"), 1, 0), (float("inf"), 0, 1)])
def test_values_that_are_not_finite_are_seen(model: Any, value: float, nan: int, infinite: int) -> None:
    training = Training(model, {"weights": EVERY, "relu_input": ALL["relu_input"]})
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = value
    seen = training.step(0)
    assert seen is not None
    weight = seen.tensors["Sequential_0.weight"]
    assert (weight.nan, weight.infinite) == (nan, infinite)
    assert not seen.tensors["2_input_0"].finite


def test_huge_but_finite_values_are_not_called_infinite(model: Any) -> None:
    training = Training(model, {"weights": EVERY})
    with torch.no_grad():
        model[4].weight.fill_(1e25)
    seen = training.step(0)
    assert seen is not None
    assert seen.tensors["Sequential_4.weight"].finite
    assert seen.tensors["Sequential_4.weight"].largest == pytest.approx(1e25, rel=1e-3)


def test_frozen_layers_are_not_looked_at(model: Any) -> None:
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    seen = Training(model).step(0)
    assert seen is not None
    assert not [name for name in seen.tensors if "Sequential_0" in name]


def test_only_the_running_part_is_hooked(model: Any) -> None:
    training = Training(model)
    training.recorder.forget_modules(model[4])
    seen = training.step(0)
    assert seen is not None
    assert "2_output_0" not in seen.tensors
    training.recorder.forget_modules()
    seen = training.step(1)
    assert seen is not None
    assert "2_output_0" in seen.tensors


def test_accumulated_gradients_are_seen_when_the_optimizer_steps(model: Any) -> None:
    training = Training(model, {"gradients": {"save_interval": 100}})
    assert not (training.step(0, update=lambda: None) or Observation(0, "TRAIN")).tensors
    seen = training.step(1)
    assert seen is not None
    close(seen.tensors["gradient/Sequential_4.weight"], statistics(training.gradients["4.weight"].numpy()))


def test_a_collection_of_ones_own(model: Any) -> None:
    mine = {"save_interval": 1, "include_regex": "gradient/.*4.weight,^Sequential_0.weight,^3_output"}
    seen = Training(model, {"mine": mine}).step(0)
    assert seen is not None
    assert set(seen.tensors) == {"gradient/Sequential_4.weight", "Sequential_0.weight", "3_output_0"}
    assert seen.collections == {"mine": frozenset(seen.tensors)}


def test_a_training_is_the_same_with_and_without(model: Any) -> None:
    plain, watched = Training(model, {}), Training(copy.deepcopy(model))
    watched.optimizer = torch.optim.SGD(watched.model.parameters(), 0.1)
    for number in range(4):
        plain.step(number)
        watched.step(number)
    for one, other in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in watched.model.modules())


def test_a_compiled_model_is_left_alone(model: Any) -> None:
    model.compile(backend="eager")
    seen = Training(model).step(0)
    assert seen is not None
    assert "2_output_0" not in seen.tensors
    assert "gradient/Sequential_4.weight" in seen.tensors
