"""What the hook writes, read by smdebug's own trial."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from debugger.monitor import Monitor

Train = Callable[..., None]
OFF = '{"enabled": false, "profile": false}'
EVERY = {"save_interval": "1"}


def start(job: Any, model: nn.Module, loss: nn.Module | None = None) -> Monitor:
    monitor: Monitor = job.monitor(model, loss)
    assert is_saving(monitor)
    return monitor


def is_saving(monitor: Monitor) -> bool:
    return monitor._saving is not None and monitor._saving._hook is not None


def sgd(model: nn.Module, rate: float = 0.01) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate)


def test_the_default_saves_losses_every_500_steps(job: Any, model: Any, train: Train) -> None:
    job.write("debughookconfig", {"LocalPath": str(job.tensors)})
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    train(monitor, model, loss, sgd(model))
    monitor.close()
    trial = job.trial()
    assert trial.tensor_names() == ["CrossEntropyLoss_output_0"]
    assert trial.steps() == [0]


def test_collections_intervals_and_reductions_are_obeyed(job: Any, model: Any, train: Train) -> None:
    from smdebug.core.modes import ModeKeys

    job.hook(
        ("losses", {"train.save_interval": "2", "eval.save_interval": "1"}),
        ("gradients", {"save_steps": "3", "save_interval": "100"}),
        ("weights", {"save_interval": "3", "reductions": "mean,abs_max,l2_norm"}),
        ("biases", {"start_step": "2", "end_step": "4", "save_interval": "1"}),
    )
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    before = model[0].weight.detach().clone()
    train(monitor, model, loss, sgd(model), evaluate=2)
    monitor.close()
    trial = job.trial()
    assert trial.tensor("CrossEntropyLoss_output_0").steps(ModeKeys.TRAIN) == [0, 2, 4]
    assert trial.tensor("CrossEntropyLoss_output_0").steps(ModeKeys.EVAL) == [0, 1]
    assert trial.tensor("gradient/Sequential_0.weight").steps(ModeKeys.TRAIN) == [0, 3]
    weight = trial.tensor("Sequential_0.weight")
    assert set(weight.reduction_values(0)) == {("mean", False), ("max", True), ("l2", False)}
    assert float(weight.reduction_value(0, "l2")) == pytest.approx(float(before.norm()), rel=1e-5)
    assert trial.tensor("Sequential_0.bias").steps(ModeKeys.TRAIN) == [2, 3]


def test_values_are_the_ones_that_the_step_had(job: Any, model: Any, train: Train) -> None:
    job.hook(("gradients", EVERY), ("weights", EVERY))
    optimizer = sgd(model, 0.1)
    monitor = start(job, model)
    train(monitor, model, nn.CrossEntropyLoss(), optimizer, steps=2)
    monitor.close()
    trial = job.trial()
    weight, gradient = trial.tensor("Sequential_4.weight"), trial.tensor("gradient/Sequential_4.weight")
    np.testing.assert_allclose(
        weight.value(1), weight.value(0) - 0.1 * gradient.value(0), rtol=1e-5, atol=1e-7
    )


def test_bfloat16_is_saved(job: Any, model: Any, train: Train) -> None:
    job.hook(("weights", EVERY), ("losses", EVERY), ("all_outputs", {"include_regex": "_output_", **EVERY}))
    model = model.to(torch.bfloat16)

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.inner(value.bfloat16())
            return output

    whole = Cast()
    monitor = start(job, whole)
    train(monitor, whole, nn.CrossEntropyLoss(), sgd(whole), steps=1)
    assert is_saving(monitor)
    monitor.close()
    saved = job.trial().tensor("Cast_inner.0.weight").value(0)
    assert saved.dtype == np.float32


def test_any_loss_module_matches_the_losses_collection(job: Any, model: Any) -> None:
    class Criterion(nn.Module):
        def forward(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(scores, labels)

    job.hook(("losses", EVERY))
    loss = Criterion()
    monitor = start(job, model, loss)
    with monitor.step("TRAIN", 0):
        loss(model(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1]))
    monitor.close()
    trial = job.trial()
    assert trial.tensor_names(collection="losses") == ["Criterion_loss_output_0"]


def test_the_input_of_an_in_place_relu_is_not_yet_rectified(job: Any, train: Train) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.relu = nn.ReLU(inplace=True)
            self.head = nn.Linear(192, 4)

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.head(self.relu(self.norm(value)).flatten(1))
            return output

    job.hook(("relu_input", EVERY), ("relu_output", EVERY))
    net = Net()
    monitor = start(job, net)
    train(monitor, net, nn.CrossEntropyLoss(), sgd(net), steps=1)
    monitor.close()
    trial = job.trial()
    assert trial.tensor("relu_input_0").value(0).min() < 0
    assert trial.tensor("relu_output_0").value(0).min() == 0


def test_accumulated_gradients_are_saved_whole_when_the_optimizer_steps(
    job: Any, model: Any, train: Train
) -> None:
    job.hook(("gradients", {"save_interval": "100"}))
    optimizer = sgd(model, 0.0)
    monitor = start(job, model)
    whole: list[torch.Tensor] = []

    def update(step: int) -> None:
        if step % 4 == 3:
            whole.append(model[4].weight.grad.clone())
            optimizer.step()
            optimizer.zero_grad()

    train(monitor, model, nn.CrossEntropyLoss(), optimizer, steps=8, update=update)
    monitor.close()
    gradient = job.trial().tensor("gradient/Sequential_4.weight")
    assert gradient.steps() == [3]
    np.testing.assert_allclose(gradient.value(3), whole[0].numpy())


def test_a_gradscaler_does_not_scale_what_is_saved(job: Any, model: Any, train: Train) -> None:
    job.hook(("gradients", EVERY))
    optimizer = sgd(model, 0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    monitor = start(job, model)

    def update(step: int) -> None:
        scaler.step(optimizer)
        scaler.update()

    train(
        monitor, model, nn.CrossEntropyLoss(), optimizer, steps=1,
        backward=lambda value: scaler.scale(value).backward(), update=update,
    )  # fmt: skip
    monitor.close()
    scaled = model[4].weight.grad  # unscaled in place by scaler.step
    saved = job.trial().tensor("gradient/Sequential_4.weight").value(0)
    np.testing.assert_allclose(saved, scaled.numpy())
    assert np.abs(saved).max() < 10


def test_layers_unfrozen_later_get_gradients(job: Any, model: Any, train: Train) -> None:
    job.hook(("gradients", EVERY))
    model[0].requires_grad_(False)
    monitor = start(job, model)
    train(monitor, model, nn.CrossEntropyLoss(), sgd(model), steps=2)
    model[0].requires_grad_(True)
    monitor.model_changed()
    train(monitor, model, nn.CrossEntropyLoss(), sgd(model), steps=2, first=2)
    monitor.close()
    trial = job.trial()
    assert trial.tensor("gradient/Sequential_4.weight").steps() == [0, 1, 2, 3]
    assert trial.tensor("gradient/Sequential_0.weight").steps() == [2, 3]


def test_what_is_frozen_is_saved_only_while_it_learns(job: Any, model: Any, train: Train) -> None:
    job.hook(("weights", EVERY), ("gradients", EVERY))
    monitor = start(job, model)
    optimizer = sgd(model)
    train(monitor, model, nn.CrossEntropyLoss(), optimizer, steps=2)
    model[0].requires_grad_(False)
    model[0].weight.grad = torch.zeros_like(model[0].weight)  # zero_grad(set_to_none=False) leaves this
    monitor.model_changed()
    train(monitor, model, nn.CrossEntropyLoss(), optimizer, steps=2, first=2)
    monitor.close()
    trial = job.trial()
    for prefix in ("", "gradient/"):
        assert trial.tensor(f"{prefix}Sequential_4.weight").steps() == [0, 1, 2, 3]
        assert trial.tensor(f"{prefix}Sequential_0.weight").steps() == [0, 1]


def test_layers_that_do_not_run_are_not_missed(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a backbone's features are computed once and only the head trains on them."""
    job.hook(("relu_output", EVERY), ("losses", EVERY))
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    monitor.model_changed(model[3:])
    inputs = torch.randn(8, 4, 8, 8)
    for step in range(2):
        with monitor.step("TRAIN", step):
            loss(model[3:](inputs), torch.zeros(8, dtype=torch.long))
    assert "no activations were seen" not in caplog.text
    monitor.model_changed(model)
    train(monitor, model, loss, sgd(model), steps=1, first=2)
    monitor.close()
    assert job.trial().tensor("2_output_0").steps() == [2]


def test_a_model_can_be_copied_and_pickled_between_steps(
    job: Any, model: Any, train: Train, tmp_path: Any
) -> None:
    job.hook(save_all="true", save_interval="1")
    monitor = start(job, model)
    train(monitor, model, nn.CrossEntropyLoss(), sgd(model), steps=2)
    twin = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    averaged = torch.optim.swa_utils.AveragedModel(model)
    train(monitor, model, nn.CrossEntropyLoss(), sgd(model), steps=2, first=2)
    twin(torch.randn(2, 3, 8, 8))
    averaged(torch.randn(2, 3, 8, 8))
    monitor.close()
    assert job.trial().steps() == [0, 1, 2, 3]


def test_a_compiled_model_is_not_broken_by_the_hook(job: Any, model: Any, train: Train) -> None:
    job.hook(("gradients", EVERY), ("losses", EVERY), ("relu_output", {"include_regex": "_output_", **EVERY}))
    breaks: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        breaks.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    loss = nn.CrossEntropyLoss()
    monitor = start(job, compiled, loss)
    train(monitor, compiled, loss, sgd(model), steps=3)
    monitor.close()
    assert len(breaks) == 1  # one graph, compiled once
    trial = job.trial()
    assert trial.tensor("gradient/Sequential_0.weight").steps() == [0, 1, 2]
    assert not trial.tensor_names(regex="Sequential_output")


def test_steps_go_on_where_a_resumed_job_goes_on(job: Any, model: Any, train: Train) -> None:
    job.hook(("losses", EVERY))
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    train(monitor, model, loss, sgd(model), steps=2, first=500)
    monitor.close()
    assert job.trial().steps() == [500, 501]


def test_a_second_rank_writes_nothing_unless_all_workers_are_asked_for(
    job: Any, model: Any, train: Train
) -> None:
    job.hook(("losses", EVERY))
    loss = nn.CrossEntropyLoss()
    monitor = job.monitor(model, loss, rank=1)
    train(monitor, model, loss, sgd(model), steps=2)
    monitor.close()
    assert not list(job.tensors.rglob("*.tfevents"))


def test_tensorboard_gets_the_losses(job: Any, model: Any, train: Train) -> None:
    job.hook(("losses", EVERY))
    job.write("tensorboardoutputconfig", {"LocalPath": str(job.base / "board")})
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    train(monitor, model, loss, sgd(model), steps=2)
    monitor.close()
    assert len(list((job.base / "board").rglob("*.tfevents"))) == 2


def test_a_failure_switches_the_hook_off_and_says_so(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    job.hook(("losses", EVERY))
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    train(monitor, model, loss, sgd(model), steps=2)
    monitor._saving._hook._save_for_tensor = lambda *unused: 1 / 0
    train(monitor, model, loss, sgd(model), steps=3, first=2)
    monitor.close()
    told = [record.message for record in caplog.records if "no more tensors are saved" in record.message]
    assert len(told) == 1
    assert told[0].endswith("in this job: ZeroDivisionError: division by zero")
    status = json.loads((job.tensors / "hook-status.json").read_text())
    assert status["state"] == "disabled"
    assert status["step"] == 2
    assert job.trial().tensor("CrossEntropyLoss_output_0").steps() == [0, 1]


def test_a_folder_of_a_finished_job_is_refused_without_stopping_the_training(
    job: Any, model: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    job.hook(("losses", EVERY))
    job.tensors.mkdir(parents=True)
    (job.tensors / "training_job_end.ts").touch()
    monitor = job.monitor(model)
    train(monitor, model, nn.CrossEntropyLoss(), sgd(model), steps=2)
    monitor.close()
    assert "already exists" in caplog.text
    assert (job.tensors / "hook-status.json").exists()


def test_a_leftover_claim_of_a_killed_process_does_not_silence_the_hook(
    job: Any, model: Any, train: Train
) -> None:
    job.hook(("losses", EVERY))
    job.tensors.mkdir(parents=True)
    (job.tensors / "claim.smd").touch()
    loss = nn.CrossEntropyLoss()
    monitor = start(job, model, loss)
    train(monitor, model, loss, sgd(model), steps=2)
    monitor.close()
    assert job.trial().steps() == [0, 1]


def test_the_error_of_the_training_itself_comes_through(job: Any, model: Any) -> None:
    job.hook(("losses", EVERY))
    monitor = start(job, model)
    with pytest.raises(KeyError), monitor.step("TRAIN", 0):
        raise KeyError("data")
    monitor.close()
    assert not any(module._forward_hooks for module in model.modules())


WORKER = """
import sys, torch, torch.distributed as dist
from pathlib import Path
from debugger.monitor import Monitor
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
net = torch.nn.Linear(3, 2)
model = torch.nn.parallel.DistributedDataParallel(net)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
monitor = Monitor.start(model=model, loss=None, output=Path(sys.argv[3]), rank=rank)
for step in range(2):
    with monitor.step("TRAIN", step):
        model(torch.full((4, 3), float(rank + 1))).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
monitor.close()
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_every_rank_saves_the_gradient_that_all_ranks_share(job: Any, tmp_path: Any) -> None:
    job.hook(("gradients", EVERY), include_workers="all")
    environment = {**os.environ, **job.environment, "BYOC_DEBUGGER": OFF}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "rendezvous"), str(job.output)],
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    trial = job.trial()
    assert trial.workers() == ["worker_0", "worker_1"]
    gradient = trial.tensor("gradient/Linear_weight")
    for rank in range(2):  # the mean over ranks of 4 pictures of 1 and of 2
        np.testing.assert_allclose(gradient.value(0, worker=f"worker_{rank}"), np.full((2, 3), 6.0))
