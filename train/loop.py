"""The training loop: steps, epochs, early stopping, and the state that a checkpoint holds."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from train import schedule
from train.data import Batch, Loader
from train.debug import Monitor
from train.distributed import Process
from train.errors import TrainingError
from train.evaluation import Result, Stopped, evaluate
from train.interface import Settings, format_metrics
from train.precision import Precision

log = logging.getLogger("train")


@dataclasses.dataclass
class Progress:
    """How far the job is; everything here and the tensors of Trainer make a checkpoint.

    Attributes:
        epoch, batch: the next batch to train on, counted from 0. A batch past the end of the epoch: validate
        next. step, eval_step: batches so far, for the debugger.
        sums: of the running epoch: loss times pictures, right answers, pictures.
        best: metrics of the best epoch so far, with its number as "epoch".
        stale: epochs since.
        history: the metrics of each epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    eval_step: int = 0
    sums: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    stale: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)


# loss, right answers, pictures, number, learning rate
_Step = tuple[torch.Tensor, torch.Tensor, int, int, float]


class Trainer:
    """Trains `module` and remembers the best weights.

    Args:
        module: on its device already.
        criterion: loss of (logits, labels).
        groups: from schedule.parameter_groups.
        train, validation: the pictures.
        should_stop: asked between batches.
        on_step: called after every step, to write checkpoints.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        groups: list[dict[str, Any]],
        train: Loader,
        validation: Loader,
        settings: Settings,
        *,
        device: str,
        precision: Precision,
        process: Process,
        should_stop: Callable[[], bool] = lambda: False,
        on_step: Callable[[Trainer], None] = lambda trainer: None,
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.settings = settings
        self.device = device
        self.precision = precision
        self.process = process
        self.progress = Progress()
        self.best_state: dict[str, torch.Tensor] | None = None
        self._average = schedule.MovingAverage(module, settings.ema) if settings.ema else None
        self.optimizer = schedule.make_optimizer(groups, settings)
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._scaler = torch.amp.grad_scaler.GradScaler(device, enabled=precision.name == "fp16")
        self._train, self._validation = train, validation
        self._steps = settings.epochs * len(train)
        self._warmup = schedule.warmup_steps(settings, len(train))
        self._wrapped = process.wrap(module)
        self._asked = should_stop
        self._on_step = on_step
        self.monitor = Monitor()
        self._rate = 0.0
        self._unread: _Step | None = None

    def run(self) -> None:
        """All epochs that are left, or fewer with early stopping. The best weights are in `best_state` then.

        Raises:
            Stopped: told to end. `progress` is where to go on.
            TrainingError: the loss is no number, or too many pictures are unreadable.
        """
        progress = self.progress
        while progress.epoch < self.settings.epochs:
            speed = self._epoch()
            self._tell_skipped(self._train)
            loss, right, seen = self.process.sum(progress.sums)
            result = self._validate()
            metrics = {
                "train_loss": loss / max(seen, 1),
                "train_accuracy": right / max(seen, 1),
                **result.metrics("validation"),
                "learning_rate": self._rate,
                **speed,
            }
            self._finish_epoch(metrics)
            if 0 < self.settings.patience <= progress.stale:
                log.info("no better validation accuracy for %d epochs: stopping early", progress.stale)
                break

    def _should_stop(self) -> bool:
        return self.process.any(self._asked())

    def state(self) -> dict[str, Any]:
        """Tensors and plain values: all that `restore` needs to go on as if nothing had happened."""
        self._read_last()
        return {
            "progress": dataclasses.asdict(self.progress),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state if self._average else None,
            "average_updates": self._average.updates if self._average else 0,
            "best": self.best_state,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.device == "cuda" else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            for name, tensor in state["average"].items():
                self._average.state[name].copy_(tensor)
            self._average.updates = state["average_updates"]
        self.best_state = state["best"]
        torch.set_rng_state(state["random"])
        if self.device == "cuda" and len(state["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random_cuda"])

    def _epoch(self) -> dict[str, float]:
        """The rest of the running epoch. Returns images_per_second and data_wait_share."""
        progress, process, seed = self.progress, self.process, self.settings.seed
        started, waited, seen_before = time.perf_counter(), 0.0, progress.sums[2]
        self._wrapped.train()
        if self.settings.freeze == "backbone":
            self.module.eval()  # a frozen backbone keeps the statistics that it was trained with
        batches = self._train.shuffled(progress.epoch, seed, progress.batch, process.rank, process.world)
        with contextlib.closing(batches):
            for _ in range(len(batches)):
                if self._should_stop():
                    raise Stopped
                with self.monitor.step("TRAIN", progress.step):
                    with self.monitor.phase("data_wait"):
                        before = time.perf_counter()
                        batch = next(batches)
                        waited += time.perf_counter() - before
                    if len(batch) > 1:  # batch norm cannot learn from a single picture
                        self._step(batch)
                progress.batch += 1
                progress.step += 1
                self._on_step(self)
        self._read_last()
        elapsed = max(time.perf_counter() - started, 1e-9)
        seen = (progress.sums[2] - seen_before) * process.world
        return {"images_per_second": seen / elapsed, "data_wait_share": waited / elapsed}

    def _step(self, batch: Batch) -> None:
        progress = self.progress
        share = schedule.factor(progress.step, self._steps, self._warmup, self.settings.schedule)
        self._rate = self.settings.lr * share
        schedule.set_learning_rate(self.optimizer, self._rate)
        with self.monitor.phase("host_to_device"):
            normalise = self._train.pictures.preprocessing.normalise
            inputs = normalise(batch.pixels.to(self.device, non_blocking=True))
            inputs = inputs.contiguous(memory_format=self.precision.memory_format)
            labels = batch.labels.to(self.device, non_blocking=True)
        with self.monitor.phase("forward"), self.precision.autocast(self.device):
            logits = self._wrapped(inputs).float()
            loss = self.criterion(logits, labels)
        with self.monitor.phase("backward"):
            self._scaler.scale(loss).backward()
        with self.monitor.phase("optimizer"):
            if self.settings.clip_grad_norm:
                self._scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_grad_norm)
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self._average:
                self._average.update(self.module)
        right = (logits.detach().argmax(dim=1) == labels).sum()
        before, self._unread = self._unread, (loss.detach(), right, len(batch), progress.step, self._rate)
        self._read(before)

    def _read(self, step: _Step | None) -> None:
        """Add up a step that is over. The one before the last is read, so that a GPU is never waited for."""
        if step is None:
            return
        loss, right, count, number, rate = float(step[0]), float(step[1]), step[2], step[3], step[4]
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at epoch {self.progress.epoch + 1}, step {number + 1}, with learning "
                f"rate {rate:.3g}: take a smaller lr than {self.settings.lr:g}, or set clip_grad_norm=1"
            )
        self.progress.sums = [
            old + new for old, new in zip(self.progress.sums, (loss * count, right, count), strict=True)
        ]

    def _read_last(self) -> None:
        last, self._unread = self._unread, None
        self._read(last)

    def _validate(self) -> Result:
        with self._averaged():
            result = evaluate(
                self.module,
                self.criterion,
                self._validation,
                self.device,
                self.precision,
                process=self.process,
                monitor=self.monitor,
                first_step=self.progress.eval_step,
                should_stop=self._should_stop,
            )
        self._tell_skipped(self._validation)
        self.progress.eval_step += -(-len(self._validation.pictures) // self._validation.batch_size)
        return result

    def _finish_epoch(self, metrics: dict[str, float]) -> None:
        progress = self.progress
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, [0.0, 0.0, 0.0]
        metrics = {"epoch": progress.epoch, "step": progress.step, **metrics}
        progress.history.append(metrics)
        if self.process.is_first:
            log.info(format_metrics(**metrics))
        if _rank_of(metrics) > _rank_of(progress.best):
            progress.best, progress.stale = metrics, 0
            source = self._average.state if self._average else self.module.state_dict()
            self.best_state = {name: tensor.detach().clone() for name, tensor in source.items()}
        else:
            progress.stale += 1

    @contextlib.contextmanager
    def _averaged(self) -> Any:
        """The moving average in place of the weights, for as long as it takes."""
        if not self._average:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self._average.state)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

    def _tell_skipped(self, loader: Loader) -> None:
        for skipped in loader.pictures.news():
            log.warning("skipped %s: %s", skipped.file, skipped.reason)
        loader.pictures.check()


def _rank_of(metrics: dict[str, float]) -> tuple[float, float]:
    """Higher validation accuracy is better, and among equals the lower loss."""
    if not metrics:
        return (-1.0, 0.0)
    return (metrics["validation_accuracy"], -metrics["validation_loss"])
