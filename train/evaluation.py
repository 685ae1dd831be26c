"""How good the network is on a split: exact over all processes, no picture counted twice."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from debugger.monitor import Monitor
from train.distributed import Process
from train.features import FeatureLoader
from train.loader import Loader
from train.precision import Precision
from train.stopping import Stopped

Matrix = np.ndarray[Any, np.dtype[np.int64]]
Counts = np.ndarray[Any, np.dtype[np.float64]]
_TOP: Final = 5
# Batches wait and are counted together, until they hold so many logits (4 MB) or are so many.
_LOGITS_TO_COUNT: Final = 1 << 20
_BATCHES_TO_COUNT: Final = 64


@dataclasses.dataclass(frozen=True)
class Result:
    """Of one split, in the order of the listing.

    Attributes:
        loss: the mean of the training criterion (with label smoothing), comparable with the training loss.
        probabilities: float32 [N, classes].
        labels, indices: int64 [N].
    """

    loss: float
    probabilities: np.ndarray[Any, np.dtype[np.float32]]
    labels: Matrix
    indices: Matrix

    @property
    def predicted(self) -> Matrix:
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def accuracy(self) -> float:
        return float((self.predicted == self.labels).mean())

    @property
    def top5(self) -> float:
        """Share of pictures whose class is among the five likeliest (all, where there are five or fewer)."""
        hits = among_likeliest(torch.from_numpy(self.probabilities), torch.from_numpy(self.labels))
        return float(hits.double().mean())

    def confusion(self) -> Matrix:
        """Counts [truth, predicted]."""
        classes = self.probabilities.shape[1]
        pairs = self.labels * classes + self.predicted
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def per_class(self) -> dict[str, Counts]:
        """support, precision, recall and f1 of each class; 0 where there is nothing to divide by."""
        right, support, named = self._counts()
        precision = right / np.maximum(named, 1)
        recall = right / np.maximum(support, 1)
        return {
            "support": support, "precision": precision, "recall": recall, "f1": _f1(right, support, named),
        }  # fmt: skip

    def _counts(self) -> tuple[Counts, Counts, Counts]:
        """For each class: its pictures that were recognised, its pictures, how often it was named."""
        classes, predicted = self.probabilities.shape[1], self.predicted
        right, support, named = (
            np.bincount(which, minlength=classes).astype(np.float64)
            for which in (self.labels[predicted == self.labels], self.labels, predicted)
        )
        return right, support, named

    @property
    def macro_f1(self) -> float:
        """The mean over the classes that have pictures here or were named."""
        return _mean_f1(*self._counts())[0]

    @property
    def absent(self) -> int:
        """Classes that neither have pictures here nor were named; macro F1 leaves them out."""
        return _mean_f1(*self._counts())[1]

    def metrics(self, split: str) -> dict[str, float]:
        return {
            f"{split}_loss": self.loss,
            f"{split}_accuracy": self.accuracy,
            f"{split}_top5": self.top5,
            f"{split}_macro_f1": self.macro_f1,
        }


def _f1(right: Counts, support: Counts, named: Counts) -> Counts:
    return np.asarray(2 * right / np.maximum(support + named, 1), dtype=np.float64)


def _mean_f1(right: Counts, support: Counts, named: Counts) -> tuple[float, int]:
    """The mean over the classes that occur, 0 where none does; and how many do not."""
    occurs = support + named > 0
    f1 = _f1(right, support, named)[occurs]
    return float(f1.mean()) if len(f1) else 0.0, int((~occurs).sum())


def among_likeliest(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether each label is among the five likeliest of its row of scores [N, classes]: bool [N].

    Of equals the first in the order of the classes counts as likelier, as for the likeliest of all. A score
    that is not a number makes its own picture no hit, and is no less likely than others.
    """
    own = scores.gather(1, labels[:, None])
    first = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    likelier = ~(scores <= own) | ((scores == own) & first)
    return (likelier.sum(dim=1) < _TOP) & ~own[:, 0].isnan()


class Tally:
    """Top-5 and macro F1 of pictures that come in batches, as those of training do.

    Its counts lie on the device of the network, so that adding a batch waits for nothing, and are whole
    numbers, so that neither the order of the batches nor the number of processes changes a bit of the result.
    """

    def __init__(self, classes: int, device: str) -> None:
        # Of each class: its pictures, those that were recognised, how often it was named, and its pictures
        # with it among the five likeliest.
        self._counts = torch.zeros(4, classes, dtype=torch.int64, device=device)
        self._waiting: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def add(self, logits: torch.Tensor, named: torch.Tensor, labels: torch.Tensor) -> None:
        """Logits [N, classes], and int64 [N] of the likeliest classes and of the true ones."""
        self._waiting.append((logits.detach(), named, labels))
        # Where a step takes less than a millisecond, counting each one alone would be felt.
        if len(self._waiting) * logits.numel() >= _LOGITS_TO_COUNT or len(self._waiting) >= _BATCHES_TO_COUNT:
            self._count()

    @torch.no_grad()
    def _count(self) -> None:
        if not self._waiting:
            return
        logits, named, labels = (torch.cat(those) for those in zip(*self._waiting, strict=True))
        self._waiting.clear()
        top = among_likeliest(logits, labels)
        one = torch.ones_like(labels)
        what = torch.stack([one, (named == labels).to(one.dtype), one, top.to(one.dtype)])
        self._counts.scatter_add_(1, torch.stack([labels, labels, named, labels]), what)

    def counts(self, process: Process) -> list[float]:
        """Summed over ranks; collective: every rank must call it."""
        self._count()
        return process.sum(self._counts.flatten().tolist())

    def replace(self, counts: list[float]) -> None:
        """Go on from these counts; from nothing where there are none."""
        self._waiting.clear()
        self._counts.zero_()
        if counts:
            self._counts += (
                torch.tensor(counts, dtype=torch.int64).reshape(self._counts.shape).to(self._counts.device)
            )

    def metrics(self, process: Process, split: str) -> dict[str, float]:
        """Those that Result has, summed over all ranks; collective: every rank must call it."""
        support, right, named, top = np.array(self.counts(process)).reshape(tuple(self._counts.shape))
        return {
            f"{split}_top5": float(top.sum() / max(support.sum(), 1)),
            f"{split}_macro_f1": _mean_f1(right, support, named)[0],
        }


@torch.no_grad()
def evaluate(
    module: nn.Module,
    criterion: nn.Module,
    loader: Loader | FeatureLoader,
    device: str,
    precision: Precision,
    *,
    process: Process,
    monitor: Monitor,
    first_step: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Run a split through the network in evaluation mode.

    Raises:
        Stopped: as soon as should_stop says so.
    """
    was_training = module.training
    module.eval()
    losses: list[float] = []
    parts: list[tuple[np.ndarray[Any, Any], Matrix, Matrix]] = []
    with contextlib.closing(loader.in_order(process.rank, process.world)) as batches:
        for number in range(len(batches)):
            with monitor.step("EVAL", first_step + number):
                with monitor.phase("data_wait"):
                    batch = next(batches)
                if should_stop():
                    break
                if not len(batch):
                    continue
                with monitor.phase("host_to_device"):
                    inputs = loader.inputs(batch, device, precision.memory_format)
                    labels = batch.labels.to(device)
                with monitor.phase("forward"), precision.autocast(device):
                    logits = module(inputs).float()
                    loss = criterion(logits, labels)
            losses.append(float(loss) * len(batch))
            parts.append((logits.softmax(dim=1).cpu().numpy(), batch.labels.numpy(), batch.indices.numpy()))
    module.train(was_training)
    if process.any(should_stop())[0]:
        raise Stopped
    gathered = process.gather((losses, parts))
    everything = [part for _, those in gathered for part in those]
    indices = np.concatenate([part[2] for part in everything])
    order = np.argsort(indices)
    return Result(
        sum(sum(those) for those, _ in gathered) / len(indices),
        np.concatenate([part[0] for part in everything])[order],
        np.concatenate([part[1] for part in everything])[order],
        indices[order],
    )
