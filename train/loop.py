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

from contract.findings import format_line
from contract.hyperparameters import Settings
from debugger.monitor import Monitor
from train import schedule
from train.augment import erase, mix
from train.checkpoints import Saver
from train.distributed import Process
from train.errors import TrainingError
from train.evaluation import Result, Tally, evaluate
from train.loader import Batch, Loader
from train.log import log_metrics
from train.phases import Phases
from train.precision import Precision
from train.progress import ProgressLog
from train.stopping import Stopped

log = logging.getLogger("train")


@dataclasses.dataclass
class Progress:
    """How far the job is. These values and the tensors of Trainer make up a checkpoint.

    Attributes:
        epoch, batch: the next batch to train on, counted from 0. A batch past the end of the epoch: validate
        next. step, eval_step: batches so far, for the debugger.
        sums: of the running epoch: loss times pictures, right answers, pictures.
        best: metrics of the best epoch so far, with its number as "epoch".
        stale: epochs since.
        history: the metrics of each epoch.
        complete: nothing is left to train, whatever ended it.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    eval_step: int = 0
    sums: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    stale: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    complete: bool = False


# loss, right answers, pictures, number, learning rate
_Step = tuple[torch.Tensor, torch.Tensor, int, int, float]


class Trainer:
    """Trains `module` and remembers the best weights.

    Args:
        module: on its device already.
        head: name of its last layer.
        criterion: loss of (logits, labels).
        pretrained: whether the backbone starts from pretrained weights.
        train, validation: the pictures.
        should_stop: asked between batches.
        saver: writes checkpoints when they are due.
        on_epoch: gets the metrics of each epoch, in the first process.
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
        self._scaler = torch.amp.grad_scaler.GradScaler(device, enabled=precision.name == "fp16")
        self._tally = Tally(len(train.pictures.listing.classes), device)  # of the running epoch
        self._pictures = self._train, self._validation = train, validation
        self._phases = Phases(
            module, head, self.optimizer, train, validation, settings,
            limits_head=pretrained and settings.optimizer == "sgd",
            device=device, precision=precision, process=process, should_stop=should_stop,
        )  # fmt: skip
        # Steps and epochs of the head alone; 0 where all learn from the start.
        self._head_steps = self._phases.head_passes * len(train)
        self._head_epochs = int(self._head_steps > 0)
        self.steps = self._head_steps + (settings.epochs - self._head_epochs) * len(train)
        self.warmup = schedule.warmup_steps(settings, len(train))
        self.joins = self._head_steps if settings.epochs > 1 else 0  # the step at which the backbone joins
        self._should_stop = should_stop
        self._saver = saver
        self._on_epoch = on_epoch
        self._rate = 0.0
        self._unread: _Step | None = None
        self._log = ProgressLog(self.steps, settings.epochs, self.joins)
        self._initial: dict[str, torch.Tensor] | None = None
        self._lost = False  # the loss or the weights are no longer finite

    def run(self) -> None:
        """Train the remaining epochs, or fewer if early stopping or a debugger rule ends the training.

        Afterwards `best_state` holds the best weights.

        Raises:
            Stopped: the job was asked to end; `progress` is the position to resume from.
            TrainingError: the loss is not finite and no rule may end the training, or too many pictures are
                unreadable.
        """
        progress = self.progress
        if self.monitor.may_stop:
            self._initial = {
                name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()
            }
        while not progress.complete and progress.epoch < self.settings.epochs and not self._is_stale():
            speed = self._epoch()
            self._log_skipped(self._train)
            loss, right, seen = self.process.sum(progress.sums)
            lost, hopeless = self.process.any(self._lost, self._is_hopeless())
            result = None if lost else self._validate()
            if result is None or not math.isfinite(result.loss):
                self._give_up("the loss is not finite" if lost else "the validation loss is not finite")
                break
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
            if hopeless:
                break
        progress.complete = True
        if stop := self.monitor.stop:
            log.info("%s", format_line(stop))

    def _is_hopeless(self) -> bool:
        """Whether a rule asks for the end, or the loss or the weights are no longer finite."""
        return self._lost or self.monitor.stop is not None

    def _give_up(self, reason: str) -> None:
        """End with weights that are finite: the best ones, or else those that the training began with.

        Raises:
            TrainingError: no rule may end the training, so it fails.
        """
        if not self.monitor.may_stop or self._initial is None:
            raise self._diverged(reason, self.progress.step, self._rate)
        log.warning(
            "%s from epoch %d on: the best weights before that are kept", reason, self.progress.epoch + 1
        )
        if self.progress.best:
            return
        self.module.load_state_dict(self._initial)
        if self._average:
            for name, tensor in self._initial.items():
                self._average.state[name].copy_(tensor)
        result = self._validate()
        if not math.isfinite(result.loss):
            raise TrainingError(
                f"{reason} from epoch {self.progress.epoch + 1} on, and the validation loss is not finite "
                "with the weights that the training began with either: check these weights"
            )
        self._finish_epoch({**result.metrics("validation"), "learning_rate": self._rate})

    def _is_stale(self) -> bool:
        # A head that has stopped improving does not end a job whose backbone has yet to join.
        stale = min(self.progress.stale, self.progress.epoch - self._head_epochs)
        if not 0 < self.settings.patience <= stale:
            return False
        log.info("no better validation accuracy for %d epochs: stopping early", self.progress.stale)
        return True

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to continue exactly, as tensors and plain values.

        All processes must call it: it contains collectives. It holds no random state, because each step is
        seeded with (seed, step, rank).
        """
        self._add_up_last()
        self._share()
        # Of a complete training only the best weights are still used.
        if not self.progress.complete and not self._is_finite():
            raise self._diverged("a weight is not finite", self.progress.step, self._rate)
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
            "debugger": torch.frombuffer(bytearray(self.monitor.state() or b"\0"), dtype=torch.uint8),
            "unreadable": [self._faults(loader) for loader in self._pictures],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        # A checkpoint holds the sums over all processes: the first one continues them.
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
        self.monitor.restore(state["debugger"].numpy().tobytes())
        progress = self.progress
        if progress.complete and progress.epoch < self.settings.epochs and self._ended_by_patience():
            progress.complete = self._is_stale()  # it may have been given more patience

    def _ended_by_patience(self) -> bool:
        """Of a training that is complete before its last epoch."""
        return self.monitor.stop is None and self._is_finite()

    def _epoch(self) -> dict[str, float]:
        """Train the rest of the current epoch. Returns images_per_second and data_wait_share."""
        progress, process, seed = self.progress, self.process, self.settings.seed
        started, waited, seen_before = time.perf_counter(), 0.0, progress.sums[2]
        self._phases.begin(progress.epoch, progress.step, self.monitor)
        self._log.begin_epoch()
        batches = self._phases.batches(progress.epoch, seed, progress.batch)
        with contextlib.closing(batches):
            for _ in range(len(batches)):
                if self._save_or_stop():
                    break
                with self.monitor.step("TRAIN", progress.step):
                    with self.monitor.phase("data_wait"):
                        before = time.perf_counter()
                        batch = next(batches)
                        waited += time.perf_counter() - before
                    if len(batch) > 1 or process.world > 1:  # batch norm cannot learn from a single picture
                        self._step(batch)
                progress.batch += 1
                progress.step += 1
        self._add_up_last()
        elapsed = max(time.perf_counter() - started, 1e-9)
        seen = process.sum([progress.sums[2] - seen_before])[0]
        return {"images_per_second": seen / elapsed, "data_wait_share": waited / elapsed}

    def _save_or_stop(self) -> bool:
        """Write a checkpoint if one is due; return whether a rule ends the training here."""
        due = self._saver is not None and self._saver.due(self.progress.step)
        save, stop, hopeless = self.process.any(due, self._should_stop(), self._is_hopeless())
        if hopeless:
            return True
        if save and self._saver is not None:
            self._add_up_last()
            if self.monitor.may_stop and self.process.any(self._lost or not self._is_finite())[0]:
                self._lost = True
                return True
            self._saver.save(self.progress.step, self.state())
        if stop:
            raise Stopped
        return False

    def _is_finite(self) -> bool:
        return all(bool(parameter.isfinite().all()) for parameter in self._parameters)

    def _step(self, batch: Batch) -> None:
        progress, settings, process = self.progress, self.settings, self.process
        network, source = self._phases.network, self._phases.train
        assert network is not None
        self._rate = settings.lr * self._share_of_rate(progress.step)
        schedule.set_learning_rate(self.optimizer, self._rate)
        torch.manual_seed((settings.seed * 1_000_003 + progress.step) * process.world + process.rank)
        count = len(batch) if len(batch) > 1 else 0
        with self.monitor.phase("host_to_device"):
            inputs = source.inputs(batch, self.device, self.precision.memory_format)
            labels = batch.labels.to(self.device, non_blocking=True)
            inputs, labels = _at_least_two(inputs, labels)
            targets = labels
            if (settings.mixup or settings.erase) and not self._phases.on_features:
                inputs, targets = self._blend(inputs, labels)
        with self.monitor.phase("forward"), self._phases.autocast():
            logits = network(inputs).float()
            loss = self.criterion(logits, targets)
            # Averaged over the processes, this is the mean over the pictures of all of them.
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
        self._add_up(before)

    def _share_of_rate(self, step: int) -> float:
        """Of the highest learning rate. A head that learns first has a schedule of its own."""
        if step < self._head_steps:
            return schedule.factor(step, self._head_steps, 0, "cosine")
        steps = self.steps - self._head_steps
        return schedule.factor(step - self._head_steps, steps, self.warmup, self.settings.schedule)

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

    def _add_up(self, step: _Step | None) -> None:
        """Add up a finished step. Steps are read one step late, so that the loop never waits for a GPU."""
        if step is None:
            return
        loss, right, count, number, rate = float(step[0]), float(step[1]), step[2], step[3], step[4]
        self.monitor.trained(number, loss, count)
        if not math.isfinite(loss):
            if not self.monitor.may_stop:
                raise self._diverged(f"the loss became {loss}", number + 1, rate)
            self._lost = True
            return
        if not count:
            return
        if self.process.is_first:
            self._log.step(self.progress.epoch, number, loss, count * self.process.world)
        self.progress.sums = [
            old + new for old, new in zip(self.progress.sums, (loss * count, right, count), strict=True)
        ]

    def _diverged(self, what: str, step: int, rate: float) -> TrainingError:
        saved = self._saver.newest if self._saver else None
        return TrainingError(
            f"{what} at epoch {self.progress.epoch + 1}, step {step}, with learning rate {rate:.3g}: take a "
            f"tenth of your lr, or set clip_grad_norm=1; last good checkpoint: {saved or 'none'}"
        )

    def _add_up_last(self) -> None:
        last, self._unread = self._unread, None
        self._add_up(last)

    def _validate(self) -> Result:
        phases = self._phases
        with self._averaged():
            self.process.share_buffers(phases.learner)  # all use the first one's statistics
            result = evaluate(
                phases.learner, self.criterion, phases.validation, self.device, phases.evaluation_precision,
                process=self.process, monitor=self.monitor, first_step=self.progress.eval_step,
                should_stop=self._should_stop,
            )  # fmt: skip
        self._log_skipped(self._validation)
        right = int((result.probabilities.argmax(axis=1) == result.labels).sum())
        self.monitor.evaluated(self.progress.step, result.loss, len(result.labels), right)
        self.progress.eval_step += self.evaluation_steps
        return result

    @property
    def evaluation_steps(self) -> int:
        """The steps of an evaluation, of all processes together."""
        validation = self._pictures[1]
        return -(-len(validation.pictures) // validation.order.batch_size)

    def _finish_epoch(self, metrics: dict[str, float]) -> None:
        progress = self.progress
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, [0.0, 0.0, 0.0]
        self._tally.replace([])
        self._share()
        metrics = {"epoch": progress.epoch, "step": progress.step, **metrics}
        progress.history.append(metrics)
        if self.process.is_first:
            log_metrics(**metrics)
            self._on_epoch(metrics)
        if _quality(metrics) > _quality(progress.best):
            progress.best, progress.stale = metrics, 0
            source = self._average.state if self._average else self.module.state_dict()
            self.best_state = {name: tensor.detach().clone() for name, tensor in source.items()}
        else:
            progress.stale += 1

    def _share(self) -> None:
        """Gather the debugger's measurements of all processes in the first one."""
        if self.process.world > 1:
            self.monitor.share(self.process.gather_to_first)

    @contextlib.contextmanager
    def _averaged(self) -> Any:
        """Put the moving average in place of the weights while the context is open."""
        if not self._average:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self._average.state)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

    def _log_skipped(self, loader: Loader) -> None:
        for skipped in loader.pictures.news():
            log.warning("skipped %s: %s", skipped.file, skipped.reason)
        loader.pictures.learn(self._faults(loader))
        loader.pictures.check()

    def _faults(self, loader: Loader) -> dict[int, str]:
        """The unreadable pictures of all processes: each process reads only its own share."""
        parts = self.process.gather(loader.pictures.faults)
        return {index: reason for part in parts for index, reason in part.items()}


def _at_least_two(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad a batch that has fewer than two readable pictures: every rank must run the step, and batch norm
    needs two pictures. The padding has weight 0."""
    if len(labels) > 1:
        return inputs, labels
    return inputs.new_zeros(2, *inputs.shape[1:]), labels.new_zeros(2)


def _quality(metrics: dict[str, float]) -> tuple[float, float]:
    """Sorts epochs: higher validation accuracy is better, among equals the lower loss."""
    if not metrics:
        return (-1.0, 0.0)
    return (metrics["validation_accuracy"], -metrics["validation_loss"])
