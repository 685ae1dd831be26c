"""Features: what the backbone hands to the head for a picture.

Those of a frozen backbone are computed once, and the head then trains on them without the backbone: exact for
pictures that are not augmented, as the backbone would say the same in every epoch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

import torch
from torch import nn

from contract.hyperparameters import Settings
from train.cache import memory_budget
from train.distributed import Process
from train.loader import Batch, Batches, Indices, Loader, Order
from train.precision import Precision
from train.stopping import Stopped

_SAMPLE: Final = 256  # pictures whose features stand for those of all


@contextlib.contextmanager
def _listening(module: nn.Module, head: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects what the head is given, float32 on the CPU, while the network is in evaluation mode."""
    caught: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].float().cpu()))
    was_training = module.training
    module.eval()
    try:
        yield caught
    finally:
        handle.remove()
        module.train(was_training)


@torch.no_grad()
def sample(
    module: nn.Module,
    head: nn.Module,
    loader: Loader,
    seed: int,
    device: str,
    precision: Precision,
    process: Process,
) -> torch.Tensor:
    """What the head is given for some pictures of the first epoch: float32 [N, D], the same in all processes.

    N is 0 where none of them could be read.

    For a head that is a convolution, the means over the picture.
    """
    rows: list[torch.Tensor] = []
    with (
        _listening(module, head) as caught,
        contextlib.closing(loader.shuffled(0, seed, 0, process.rank, process.world)) as batches,
    ):
        for _ in range(min(len(batches), _batches_to_sample(loader.order))):
            batch = next(batches)
            if len(batch):
                with precision.autocast(device):
                    module(loader.inputs(batch, device, precision.memory_format))
                rows.append(caught.pop().flatten(2).mean(2) if caught[-1].ndim > 2 else caught.pop())
    parts = [part for those in process.gather(rows) for part in those]
    return torch.cat(parts)[:_SAMPLE] if parts else torch.zeros(0, 1)


def _batches_to_sample(order: Order) -> int:
    return -(-_SAMPLE // order.batch_size)


@torch.no_grad()
def compute(
    module: nn.Module,
    head: nn.Linear,
    loader: Loader,
    device: str,
    precision: Precision,
    process: Process,
    should_stop: Callable[[], bool] = lambda: False,
) -> FeatureLoader:
    """What the head is given for each picture of a split; the processes share the work.

    In the order of the listing and in full batches, so that a resumed job computes the very same numbers.

    Raises:
        Stopped: as soon as should_stop says so.
    """
    rows, indices = [torch.empty(0, head.in_features)], [torch.empty(0, dtype=torch.int64)]
    with (
        _listening(module, head) as caught,
        contextlib.closing(loader.in_order(process.rank, process.world)) as batches,
    ):
        for batch in batches:
            if should_stop():
                break
            if len(batch):
                with precision.autocast(device):
                    module(loader.inputs(batch, device, precision.memory_format))
                rows.append(caught.pop())
                indices.append(batch.indices)
    if process.any(should_stop())[0]:
        raise Stopped
    parts = process.gather((torch.cat(rows), torch.cat(indices)))
    count = len(loader.pictures)
    features = torch.zeros(count, head.in_features)
    computed = torch.zeros(count, dtype=torch.bool)
    for values, numbers in parts:
        features[numbers] = values
        computed[numbers] = True
    return FeatureLoader(loader, features, computed)


def storable(head: nn.Module, pictures: int, settings: Settings, process: Process) -> bool:
    """Whether the features of so many pictures fit in memory, and the head learns from one vector a picture.

    Collective: all ranks must decide alike.
    """
    needed = pictures * head.in_features * 4 if isinstance(head, nn.Linear) else math.inf
    return not process.any(needed > memory_budget(settings.cache_mb, process.local_world))[0]


class FeatureLoader:
    """The same batches as a Loader's, of features float32 [N, D] instead of pictures."""

    def __init__(self, loader: Loader, features: torch.Tensor, known: torch.Tensor) -> None:
        self.pictures, self.order = loader.pictures, loader.order
        self._features, self._known = features, known
        self._labels = torch.tensor(loader.pictures.listing.labels, dtype=torch.int64)

    def sample(self, seed: int) -> torch.Tensor:
        """What `sample` finds: float32 [N, D]."""
        batches = list(self._batches(self.order.shuffled(0, seed)[: _batches_to_sample(self.order)]))
        return torch.cat([batch.inputs for batch in batches])[:_SAMPLE]

    def in_order(self, rank: int = 0, world: int = 1) -> Batches:
        chunks = self.order.in_order(rank, world)
        return Batches(self._batches(chunks), len(chunks))

    def shuffled(self, epoch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> Batches:
        chunks = self.order.share(epoch, seed, start, rank, world)
        return Batches(self._batches(chunks), len(chunks))

    def passes(self, number: int, seed: int, start: int, rank: int, world: int) -> Batches:
        """The batches of several epochs, from number `start` on."""
        chunks = [chunk for epoch in range(number) for chunk in self.order.share(epoch, seed, 0, rank, world)]
        return Batches(self._batches(chunks[start:]), len(chunks[start:]))

    def inputs(self, batch: Batch, device: str, memory_format: torch.memory_format) -> torch.Tensor:
        return batch.inputs.to(device)

    def __len__(self) -> int:
        return len(self.order)

    def _batches(self, chunks: Sequence[Indices]) -> Generator[Batch, None, None]:
        for chunk in chunks:
            indices = torch.from_numpy(chunk)
            indices = indices[self._known[indices]]
            yield Batch(self._features[indices], self._labels[indices], indices)
