"""The training loop: steps, epochs, early stopping, and the state that a checkpoint holds."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from train import schedule
from train.augment import erase, mix
from train.cache import memory_budget
from train.checkpoints import Saver
from train.debug import Monitor
from train.distributed import Process
from train.errors import TrainingError
from train.evaluation import Result, Tally, evaluate
from train.features import FeatureLoader, compute, sample
from train.freezing import Freezing
from train.interface import Settings
from train.loader import Batch, Loader
from train.log import tell_metrics
from train.precision import FULL, Precision
from train.stopping import Stopped

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
        head: name of its last layer.
        criterion: loss of (logits, labels).
        pretrained: whether the backbone knows something already.
        train, validation: the pictures.
        should_stop: asked between batches.
        saver: writes checkpoints when they are due.
        on_epoch: told the metrics of each epoch, in the first process.
    """

    def __init__(
        self,
        module: nn.Module,
        head: str,
        criterion: nn.Module,
        train: Loader,
        validation: Loader,
        settings: Settings,
        *,
        pretrained: bool,
        device: str,
        precision: Precision,
        process: Process,
        should_stop: Callable[[], bool] = lambda: False,
        saver: Saver | None = None,
        on_epoch: Callable[[dict[str, float]], None] = lambda metrics: None,
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.settings = settings
        self.device = device
        self.precision = precision
        self.process = process
        self.progress = Progress()
        self.best_state: dict[str, torch.Tensor] | None = None
        self.monitor = Monitor()
        groups = schedule.parameter_groups(module, head, settings, pretrained)
        self.optimizer = schedule.make_optimizer(groups, settings)
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._average = schedule.MovingAverage(module, settings.ema) if settings.ema else None
        self._tame_head = pretrained and settings.optimizer == "sgd"
        self._scaler = torch.amp.grad_scaler.GradScaler(device, enabled=precision.name == "fp16")
        self._tally = Tally(len(train.pictures.listing.classes), device)  # of the running epoch
        self._head = module.get_submodule(head)
        self._freezing = Freezing(module, head, settings)
        self._pictures = self._train, self._validation = train, validation
        self._source: tuple[Loader | FeatureLoader, Loader | FeatureLoader] = self._pictures
        self._network: nn.Module | None = None
        self._steps = settings.epochs * len(train)
        self._warmup = schedule.warmup_steps(settings, len(train))
        self._should_stop = should_stop
        self._saver = saver
        self._on_epoch = on_epoch
        self._rate = 0.0
        self._unread: _Step | None = None

    def run(self) -> None:
        """All epochs that are left, or fewer with early stopping. The best weights are in `best_state` then.

        Raises:
            Stopped: told to end. `progress` is where to go on.
            TrainingError: the loss is no number, or too many pictures are unreadable.
        """
        progress = self.progress
        while progress.epoch < self.settings.epochs and not self._is_stale():
            speed = self._epoch()
            self._tell_skipped(self._train)
            loss, right, seen = self.process.sum(progress.sums)
            result = self._validate()
            self._finish_epoch(
                {
                    "train_loss": loss / max(seen, 1),
                    "train_accuracy": right / max(seen, 1),
                    **self._tally.metrics(self.process, "train"),
                    **result.metrics("validation"),
                    "learning_rate": self._rate,
                    **speed,
                }
            )

    def _is_stale(self) -> bool:
        stale = 0 < self.settings.patience <= self.progress.stale
        if stale:
            log.info("no better validation accuracy for %d epochs: stopping early", self.progress.stale)
        return stale

    def state(self) -> dict[str, Any]:
        """Tensors and plain values: all that `restore` needs to go on as if nothing had happened.

        All processes have to call it. Random numbers are not among it: they are drawn anew in each step from
        (seed, step, rank).
        """
        self._read_last()
        if not all(bool(parameter.isfinite().all()) for parameter in self._parameters):
            raise self._diverged("a weight is no finite number", self.progress.step, self._rate)
        progress = dataclasses.asdict(self.progress)
        progress["sums"] = self.process.sum(self.progress.sums)
        return {
            "progress": progress,
            "tally": self._tally.counts(self.process),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state if self._average else None,
            "average_updates": self._average.updates if self._average else 0,
            "best": self.best_state,
            "unreadable": [self._faults(loader) for loader in self._pictures],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        # The first process has those of all.
        self._tally.replace(state["tally"] if self.process.is_first else [])
        if not self.process.is_first:
            self.progress.sums = [0.0, 0.0, 0.0]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            for name, tensor in state["average"].items():
                self._average.state[name].copy_(tensor)
            self._average.updates = state["average_updates"]
        self.best_state = state["best"]
        for loader, faults in zip(self._pictures, state["unreadable"], strict=True):
            loader.pictures.learn(faults)

    def _epoch(self) -> dict[str, float]:
        """The rest of the running epoch. Returns images_per_second and data_wait_share."""
        progress, process, seed = self.progress, self.process, self.settings.seed
        started, waited, seen_before = time.perf_counter(), 0.0, progress.sums[2]
        self._begin_phase()
        batches = self._source[0].shuffled(progress.epoch, seed, progress.batch, process.rank, process.world)
        with contextlib.closing(batches):
            for _ in range(len(batches)):
                self._save_or_stop()
                with self.monitor.step("TRAIN", progress.step):
                    with self.monitor.phase("data_wait"):
                        before = time.perf_counter()
                        batch = next(batches)
                        waited += time.perf_counter() - before
                    if len(batch) > 1 or process.world > 1:  # batch norm cannot learn from a single picture
                        self._step(batch)
                progress.batch += 1
                progress.step += 1
        self._read_last()
        elapsed = max(time.perf_counter() - started, 1e-9)
        seen = process.sum([progress.sums[2] - seen_before])[0]
        return {"images_per_second": seen / elapsed, "data_wait_share": waited / elapsed}

    def _begin_phase(self) -> None:
        """Freeze what this epoch freezes; where nothing but the head learns, spare the backbone the work."""
        changed = self._freezing.apply(self.progress.epoch)
        on_features = self._can_use_features()
        if changed or self._network is None or on_features is not self._on_features:
            self.monitor.model_changed(self._head if on_features else self.module)
            schedule.let_join(self.optimizer)
            if on_features and not self._on_features:
                # Validation in full precision costs once what it would have cost in each epoch, and is exact.
                exact = dataclasses.replace(self.precision, name="fp32")
                self._source = (
                    self._features(self._train, self.precision), self._features(self._validation, exact)
                )  # fmt: skip
            elif not on_features:
                self._source = self._pictures
            if self._tame_head and not self.progress.step:
                self._limit_head()
            self._network = self.process.wrap(self._head if on_features else self.module)
            if self.settings.compile and not on_features:
                self._network = torch.compile(self._network)  # type: ignore[assignment]
        self._freezing.train_mode()

    def _limit_head(self) -> None:
        """See that the head's learning rate fits its features; the optimizer's state remembers it."""
        source, rate = self._source[0], self.settings.lr
        found = (
            source.sample(self.settings.seed)
            if isinstance(source, FeatureLoader)
            else sample(
                self.module, self._head, source, self.settings.seed, self.device, self.precision, self.process
            )
        )
        limit = self.process.broadcast(schedule.stable_rate(found))  # to the last bit
        wanted = schedule.limit_head(self.optimizer, rate, limit)
        if wanted > limit:
            log.info(
                "the head learns with %.2g at most instead of %.2g: on what this backbone tells it, more "
                "would not settle", limit, wanted,
            )  # fmt: skip

    @property
    def _on_features(self) -> bool:
        return self._source is not self._pictures

    def _can_use_features(self) -> bool:
        settings, head = self.settings, self._head
        if self._freezing.blocks(self.progress.epoch) or not isinstance(head, nn.Linear):
            return False
        plain = settings.augment == "none" and not settings.mixup and not settings.erase
        if not plain and self.progress.epoch >= settings.head_epochs:
            return False
        pictures = len(self._train.pictures) + len(self._validation.pictures)
        budget = memory_budget(settings.cache_mb, self.process.local_world)
        return not self.process.any(pictures * head.in_features * 4 > budget)[0]  # all, or none

    def _features(self, loader: Loader, precision: Precision) -> FeatureLoader:
        assert isinstance(self._head, nn.Linear)
        before = time.perf_counter()
        found = compute(
            self.module, self._head, loader, self.device, precision, self.process, self._should_stop
        )
        log.info(
            "only the head learns: the backbone saw %d pictures once, in %.1f s",
            len(loader.pictures), time.perf_counter() - before,
        )  # fmt: skip
        return found

    def _save_or_stop(self) -> None:
        due = self._saver is not None and self._saver.due(self.progress.step)
        save, stop = self.process.any(due, self._should_stop())
        if save and self._saver is not None:
            self._saver.save(self)
        if stop:
            raise Stopped

    def _step(self, batch: Batch) -> None:
        progress, settings, process = self.progress, self.settings, self.process
        assert self._network is not None
        share = schedule.factor(progress.step, self._steps, self._warmup, settings.schedule)
        self._rate = settings.lr * share
        schedule.set_learning_rate(self.optimizer, self._rate)
        torch.manual_seed((settings.seed * 1_000_003 + progress.step) * process.world + process.rank)
        count = len(batch) if len(batch) > 1 else 0
        with self.monitor.phase("host_to_device"):
            source = self._source[0]
            inputs = source.inputs(batch, self.device, self.precision.memory_format)
            labels = batch.labels.to(self.device, non_blocking=True)
            inputs, labels = _at_least_two(inputs, labels)
            targets = labels
            if (settings.mixup or settings.erase) and not self._on_features:
                inputs, targets = self._blend(inputs, labels)
        with self.monitor.phase("forward"), self._autocast():
            logits = self._network(inputs).float()
            loss = self.criterion(logits, targets)
            # The mean of the processes is then the mean over the pictures of all of them.
            everywhere = process.sum([count])[0] if process.world > 1 else count
            weighted = loss * (count * process.world / everywhere) if everywhere != count else loss
        with self.monitor.phase("backward"):
            self._scaler.scale(weighted).backward()
        with self.monitor.phase("optimizer"):
            if self.settings.clip_grad_norm:
                self._scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_grad_norm)
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self._average:
                self._average.update(self.module)
        named = logits.detach().argmax(dim=1)
        right = (named == labels).sum()
        if count:
            self._tally.add(logits, named, labels)
        before, self._unread = self._unread, (loss.detach(), right, count, progress.step, self._rate)
        self._read(before)

    def _blend(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        settings, progress = self.settings, self.progress
        random = np.random.default_rng([settings.seed, progress.step, self.process.rank, 1])
        targets = labels
        if settings.erase:
            inputs = erase(inputs, settings.erase, random)
        if settings.mixup:
            classes = len(self._train.pictures.listing.classes)
            inputs, targets = mix(inputs, labels, classes, settings.mixup, random)
        return inputs, targets

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self._on_features else self.precision.autocast(self.device)

    def _read(self, step: _Step | None) -> None:
        """Add up a step that is over. The one before the last is read, so that a GPU is never waited for."""
        if step is None:
            return
        loss, right, count, number, rate = float(step[0]), float(step[1]), step[2], step[3], step[4]
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}", number + 1, rate)
        if not count:
            return
        self.progress.sums = [
            old + new for old, new in zip(self.progress.sums, (loss * count, right, count), strict=True)
        ]

    def _diverged(self, what: str, step: int, rate: float) -> TrainingError:
        saved = self._saver.newest if self._saver else None
        return TrainingError(
            f"{what} at epoch {self.progress.epoch + 1}, step {step}, with learning rate {rate:.3g}: take a "
            f"smaller lr than {self.settings.lr:g}, or set clip_grad_norm=1; last good checkpoint: "
            f"{saved or 'none'}"
        )

    def _read_last(self) -> None:
        last, self._unread = self._unread, None
        self._read(last)

    def _validate(self) -> Result:
        network = self._head if self._on_features else self.module
        precision = FULL if self._on_features else self.precision
        loader = self._source[1]
        with self._averaged():
            result = evaluate(
                network, self.criterion, loader, self.device, precision,
                process=self.process, monitor=self.monitor, first_step=self.progress.eval_step,
                should_stop=self._should_stop,
            )  # fmt: skip
        self._tell_skipped(self._validation)
        if not math.isfinite(result.loss):
            raise self._diverged(f"the validation loss is {result.loss}", self.progress.step, self._rate)
        self.progress.eval_step += self.evaluation_steps
        return result

    @property
    def evaluation_steps(self) -> int:
        """How many steps an evaluation has, of all processes together."""
        validation = self._pictures[1]
        return -(-len(validation.pictures) // validation.order.batch_size)

    def _finish_epoch(self, metrics: dict[str, float]) -> None:
        progress = self.progress
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, [0.0, 0.0, 0.0]
        self._tally.replace([])
        metrics = {"epoch": progress.epoch, "step": progress.step, **metrics}
        progress.history.append(metrics)
        if self.process.is_first:
            tell_metrics(**metrics)
            self._on_epoch(metrics)
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
        loader.pictures.learn(self._faults(loader))
        loader.pictures.check()

    def _faults(self, loader: Loader) -> dict[int, str]:
        """What all processes found unreadable: each meets only its own share of the pictures."""
        parts = self.process.gather(loader.pictures.faults)
        return {index: reason for part in parts for index, reason in part.items()}


def _at_least_two(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A process that is left with less by unreadable pictures still has to take part in the step: it computes
    on two empty pictures, which count nothing."""
    if len(labels) > 1:
        return inputs, labels
    return inputs.new_zeros(2, *inputs.shape[1:]), labels.new_zeros(2)


def _rank_of(metrics: dict[str, float]) -> tuple[float, float]:
    """Higher validation accuracy is better, and among equals the lower loss."""
    if not metrics:
        return (-1.0, 0.0)
    return (metrics["validation_accuracy"], -metrics["validation_loss"])
