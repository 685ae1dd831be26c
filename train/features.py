"""Features of a frozen backbone, computed once: the head then trains on them without the backbone.

Exact for pictures that are not augmented: the backbone would say the same in every epoch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence

import torch
from torch import nn

from train.data import Batch, Batches, Indices, Loader
from train.distributed import Process
from train.precision import Precision
from train.stopping import Stopped


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
    caught: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].float().cpu()))
    was_training = module.training
    module.eval()
    rows, indices = [torch.empty(0, head.in_features)], [torch.empty(0, dtype=torch.int64)]
    try:
        with contextlib.closing(loader.in_order(process.rank, process.world)) as batches:
            for batch in batches:
                if should_stop():
                    break
                if len(batch):
                    with precision.autocast(device):
                        module(loader.inputs(batch, device, precision.memory_format))
                    rows.append(caught.pop())
                    indices.append(batch.indices)
    finally:
        handle.remove()
        module.train(was_training)
    if process.any(should_stop())[0]:
        raise Stopped
    parts = process.gather((torch.cat(rows), torch.cat(indices)))
    count = len(loader.pictures)
    features = torch.zeros(count, head.in_features)
    known = torch.zeros(count, dtype=torch.bool)
    for values, numbers in parts:
        features[numbers] = values
        known[numbers] = True
    return FeatureLoader(loader, features, known)


class FeatureLoader:
    """The same batches as a Loader's, of features float32 [N, D] instead of pictures."""

    def __init__(self, loader: Loader, features: torch.Tensor, known: torch.Tensor) -> None:
        self.pictures, self.order = loader.pictures, loader.order
        self._features, self._known = features, known
        self._labels = torch.tensor(loader.pictures.listing.labels, dtype=torch.int64)

    def in_order(self, rank: int = 0, world: int = 1) -> Batches:
        chunks = self.order.in_order(rank, world)
        return Batches(self._batches(chunks), len(chunks))

    def shuffled(self, epoch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> Batches:
        chunks = self.order.share(epoch, seed, start, rank, world)
        return Batches(self._batches(chunks), len(chunks))

    def inputs(self, batch: Batch, device: str, memory_format: torch.memory_format) -> torch.Tensor:
        return batch.inputs.to(device)

    def __len__(self) -> int:
        return len(self.order)

    def _batches(self, chunks: Sequence[Indices]) -> Generator[Batch, None, None]:
        for chunk in chunks:
            indices = torch.from_numpy(chunk)
            indices = indices[self._known[indices]]
            yield Batch(self._features[indices], self._labels[indices], indices)
