"""Pictures as batches, prepared ahead of the model by threads.

Threads, not processes: Pillow decodes and resizes without holding Python's lock, the cache is shared for
nothing, and no /dev/shm is needed. Every batch is a pure function of (seed, epoch, batch number), so that a
resumed job sees the same.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from contract import container
from train import augment, crop
from train.cache import Pixels
from train.data import Pictures

_PIECE: Final = 32  # pictures of a batch that one thread prepares: the first batch should not take long
_AHEAD: Final = 2  # pieces prepared ahead for each thread
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """`inputs` uint8 [N, 3, S, S] in channels-last memory, `labels` int64 [N], `indices` int64 [N].

    Indices are those of the listing. N is smaller where unreadable pictures fell out, and may be 0.

    Attributes:
        boxes: where the pictures are still to be cropped, which ones: see crop.stack, also for `inputs`.
        operations: what is still to be done to them: see augment.operate.
        ready: when the inputs are, which are on the GPU already.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    boxes: torch.Tensor | None = None
    operations: torch.Tensor | None = None
    ready: torch.cuda.Event | None = None

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """So many batches, one after the other; `close` gives up on the rest."""

    def __init__(self, batches: Generator[Batch, None, None], count: int) -> None:
        self._batches = batches
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def close(self) -> None:
        self._batches.close()


class Order:
    """Which pictures make up which batch: a pure function of (seed, epoch).

    Args:
        labels: of the pictures, by their number.
        batch_size: over all processes together.
        sampling: a value of the hyperparameter: "natural" or "balanced".
    """

    def __init__(self, labels: Sequence[int], batch_size: int, sampling: str = "natural") -> None:
        self._labels = np.asarray(labels)
        self.batch_size = batch_size
        self._balanced = sampling == "balanced"

    def __len__(self) -> int:
        """Batches in a training epoch."""
        return max(1, len(self._labels) // self.batch_size)

    def shuffled(self, epoch: int, seed: int) -> list[Indices]:
        """The batches of a training epoch."""
        # The pictures that do not fill a last batch are left out, others in each epoch: a batch of two
        # pictures would weigh as much as one of 32, and batch norm cannot learn from one.
        random = np.random.default_rng([seed, epoch])
        order = self._by_class(random) if self._balanced else random.permutation(len(self._labels))
        return [order[n * self.batch_size : (n + 1) * self.batch_size] for n in range(len(self))]

    def share(self, epoch: int, seed: int, start: int, rank: int, world: int) -> list[Indices]:
        """One process's part of each batch from number `start` on; the parts are of equal size, or one apart.

        A picture goes to the process that had it before wherever the sizes allow, so that each keeps its own
        share of the pictures, and not the same ones as its neighbours.
        """
        return [_part(chunk, rank, world) for chunk in self.shuffled(epoch, seed)[start:]]

    def in_order(self, rank: int, world: int) -> list[Indices]:
        """All pictures once, this process's share of them."""
        mine = np.arange(rank, len(self._labels), world, dtype=np.int64)
        return [mine[start : start + self.batch_size] for start in range(0, len(mine), self.batch_size)]

    def _by_class(self, random: np.random.Generator) -> Indices:
        """As many pictures as there are, but the same number of each class: some twice, some not at all."""
        classes = np.unique(self._labels)
        wanted = -(-len(self._labels) // len(classes))
        chosen = []
        for label in classes:
            members = np.flatnonzero(self._labels == label)
            rounds = -(-wanted // len(members))
            chosen.append(np.concatenate([random.permutation(members) for _ in range(rounds)])[:wanted])
        return random.permutation(np.concatenate(chosen))[: len(self._labels)]


def _part(chunk: Indices, rank: int, world: int) -> Indices:
    if world == 1:
        return chunk
    sizes = [len(chunk[number::world]) for number in range(world)]
    at_home = [chunk[chunk % world == number][: sizes[number]] for number in range(world)]
    unassigned = chunk[~np.isin(np.arange(len(chunk)), _positions(chunk, world, sizes))]
    first = sum(sizes[number] - len(at_home[number]) for number in range(rank))
    return np.concatenate([at_home[rank], unassigned[first : first + sizes[rank] - len(at_home[rank])]])


def _positions(chunk: Indices, world: int, sizes: Sequence[int]) -> Indices:
    """Positions whose rank caches the picture already; a balanced batch may hold a picture twice."""
    return np.concatenate(
        [np.flatnonzero(chunk % world == number)[: sizes[number]] for number in range(world)]
    )


class _Piece(NamedTuple):
    """Some pictures of a batch: of input size, or still to be cropped by a GPU."""

    indices: list[int]
    pictures: list[Pixels]
    parts: Sequence[crop.Part] = ()
    operations: torch.Tensor | None = None


class Loader:
    """Batches of a split, prepared ahead by threads, in a fixed order.

    Args:
        pool, workers: the threads, and how many they are.
        sampling: see Order.
        gpu: whether batches go to a GPU, which then crops. They are there before the network asks for them.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch_size: int,
        pool: ThreadPoolExecutor,
        workers: int,
        *,
        sampling: str = "natural",
        gpu: bool = False,
    ) -> None:
        self.pictures = pictures
        self.order = Order(pictures.listing.labels, batch_size, sampling)
        self._pool = pool
        self._ahead = max(2, -(-workers * _AHEAD * _PIECE // batch_size))  # in batches
        self._gpu = gpu
        # Of the GPU that this process has chosen; a thread would take the first one.
        self._stream = torch.cuda.Stream() if gpu and torch.cuda.is_available() else None  # type: ignore[no-untyped-call]

    def in_order(self, rank: int = 0, world: int = 1) -> Batches:
        """All pictures once, this process's share of them, for evaluation."""
        chunks = self.order.in_order(rank, world)
        return Batches(self._batches(chunks, 0, 0), len(chunks))

    def shuffled(self, epoch: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> Batches:
        """The batches of a training epoch from number `start` on; of each, this process's share."""
        chunks = self.order.share(epoch, seed, start, rank, world)
        return Batches(self._batches(chunks, epoch, seed), len(chunks))

    def inputs(self, batch: Batch, device: str, memory_format: torch.memory_format) -> torch.Tensor:
        """What the network takes: float32 [N, 3, S, S], augmented and normalised on the device.

        To be called once for a batch: on a CPU its bytes are changed in place.
        """
        if batch.ready is None:
            pixels = self._augment(batch, device)
        else:
            pixels, stream = batch.inputs, torch.cuda.current_stream()
            stream.wait_event(batch.ready)
            pixels.record_stream(stream)  # so that its memory is not given away too soon
        return self.pictures.preprocessing.normalise(pixels).contiguous(memory_format=memory_format)

    def _augment(self, batch: Batch, device: str) -> torch.Tensor:
        pixels = batch.inputs.to(device, non_blocking=True)
        with torch.autocast(device, enabled=False):  # bf16 does not hold positions in a picture
            if batch.boxes is not None:
                boxes = batch.boxes.to(device, non_blocking=True)
                dtype = torch.float16 if device == "cuda" else torch.float32  # which CPUs are quicker with
                pixels = crop.resize(pixels, boxes, self.pictures.preprocessing, dtype)
            if batch.operations is not None:
                pixels = augment.operate(pixels, batch.operations)
        return pixels

    def __len__(self) -> int:
        """Batches in a training epoch."""
        return len(self.order)

    def _batches(self, chunks: Sequence[Indices], epoch: int, seed: int) -> Generator[Batch, None, None]:
        waiting: collections.deque[tuple[list[Future[_Piece]], Future[Batch]]] = collections.deque()
        numbers = None
        if self.pictures.augmentation != "none":
            numbers = augment.numbers(len(self.pictures), epoch, seed)
        try:
            for chunk in chunks:
                pieces = np.split(chunk, range(_PIECE, len(chunk), _PIECE))
                made = [self._pool.submit(self._prepare, piece, numbers) for piece in pieces[:-1]]
                waiting.append((made, self._pool.submit(self._finish, made, pieces[-1], numbers)))
                if len(waiting) > self._ahead:
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for made, batch in waiting:
                batch.cancel()
                for piece in made:
                    piece.cancel()

    def _prepare(self, chunk: Indices, numbers: crop.Numbers | None) -> _Piece:
        pictures, preprocessing = self.pictures, self.pictures.preprocessing
        asked = ((index, pictures.get(index)) for index in map(int, chunk))
        readable = [(index, picture) for index, picture in asked if picture is not None]
        indices = [index for index, _ in readable]
        if numbers is None or not readable:
            return _Piece(indices, [picture for _, picture in readable])
        sizes = np.array([picture.shape[:2] for _, picture in readable])
        boxes, operations = augment.draw(pictures.augmentation, sizes, numbers[indices])
        places: Any = boxes.tolist()
        pairs = [(picture, box) for (_, picture), box in zip(readable, places, strict=True)]
        if self._gpu:
            return _Piece(indices, [], [crop.cut(*pair, preprocessing) for pair in pairs], operations)
        return _Piece(indices, [crop.crop(*pair, preprocessing) for pair in pairs], [], operations)

    def _finish(self, pieces: list[Future[_Piece]], last: Indices, numbers: crop.Numbers | None) -> Batch:
        """Prepares the last piece of a batch, and joins it with the others, which were begun before."""
        own = self._prepare(last, numbers)
        made = [*(piece.result() for piece in pieces), own]
        pieces.clear()  # their pictures are copied from here on
        if self._stream is None:
            return self._batch(made)
        with torch.cuda.stream(self._stream):
            batch = self._batch(made)
            inputs = self._augment(batch, "cuda")
            ready = self._stream.record_event()  # type: ignore[no-untyped-call]
            return Batch(inputs, batch.labels, batch.indices, ready=ready)

    def _batch(self, made: Sequence[_Piece]) -> Batch:
        numbers = [index for piece in made for index in piece.indices]
        labels = torch.tensor([self.pictures.listing.labels[index] for index in numbers], dtype=torch.int64)
        indices = torch.tensor(numbers, dtype=torch.int64)
        operations = [piece.operations for piece in made if piece.operations is not None]
        changes = torch.cat(operations) if operations else None
        if self._gpu and self.pictures.augmentation != "none":
            inputs, boxes = crop.stack(
                [part for piece in made for part in piece.parts], pin=self._stream is not None
            )
            return Batch(inputs, labels, indices, boxes, changes)
        inputs = self._stack([picture for piece in made for picture in piece.pictures])
        return Batch(inputs, labels, indices, None, changes)

    def _stack(self, pictures: Sequence[Pixels]) -> torch.Tensor:
        side = self.pictures.preprocessing.input_size
        pixels = torch.empty(
            len(pictures), side, side, 3, dtype=torch.uint8, pin_memory=self._stream is not None
        )
        for number, picture in enumerate(pictures):
            pixels.numpy()[number] = picture
        return pixels.permute(0, 3, 1, 2)


def worker_count(setting: int, processes: int = 1) -> int:
    """Threads: as asked, or this process's share of the cores that it may use, at most 16."""
    return setting or min(16, max(1, container.cores() // processes))
