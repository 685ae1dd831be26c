"""Statistics of torch tensors, computed where the tensors lie: what the rules ask, in as few passes as it
takes.

On a GPU nothing here waits: numbers are collected in one small tensor, which is read a step later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from debugger.observation import HIGH, LOW, Change, Statistics

# Values of a layer's input or output that are looked at, and of a gradient for its percentiles.
MOST_ACTIVATIONS: Final = 1 << 20
SPAN_SAMPLE: Final = 1_024
PIECE: Final = 1 << 16
Row = npt.NDArray[np.float64]


class Numbers:
    """Numbers that are computed on a device and read together, later.

    `add` returns what gives its number once `fetch` has been called.
    """

    def __init__(self) -> None:
        self._parts: list[torch.Tensor] = []
        self._count = 0
        self._values: Row | None = None
        self._copied: torch.Tensor | None = None
        self._ready: torch.cuda.Event | None = None

    def add(self, *values: torch.Tensor) -> Callable[[], Row]:
        """Take numbers (each a tensor of any shape); returns what gives them flat, in order."""
        first = self._count
        for value in values:
            self._parts.append(value.detach().reshape(-1).to(torch.float32))
            self._count += value.numel()
        last = self._count

        def read() -> Row:
            assert self._values is not None, "fetch first"
            return self._values[first:last]

        return read

    def send(self) -> None:
        """Start the way to the host."""
        if not self._parts:
            return
        together = torch.cat(self._parts)
        self._parts.clear()
        if together.is_cuda:
            self._copied = torch.empty(together.shape, dtype=together.dtype, pin_memory=True)
            self._copied.copy_(together, non_blocking=True)
            self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record()  # type: ignore[no-untyped-call]
        else:
            self._copied = together

    def fetch(self) -> None:
        """Wait until the numbers are there."""
        if self._ready is not None:
            self._ready.synchronize()
        if self._copied is not None:
            self._values = self._copied.numpy().astype(np.float64)


def norms(
    tensors: Sequence[torch.Tensor], numbers: Numbers, *, absolutes: bool = False
) -> tuple[Callable[[], list[list[float]]], Sequence[torch.Tensor]]:
    """For each tensor the Euclidean norm, the largest absolute value and, with `absolutes`, the sum of the
    absolute values. Returns what gives these rows, and the norms."""
    plain = [_floating(tensor) for tensor in tensors]
    norm = torch._foreach_norm(plain, 2)
    columns: list[Sequence[torch.Tensor]] = [norm]
    if plain and plain[0].is_cuda:
        columns.append(torch._foreach_norm(plain, float("inf")))
        columns += [torch._foreach_norm(plain, 1)] if absolutes else []
    else:  # where these norms are many times slower than this
        columns.append([torch.stack(torch.aminmax(tensor)).abs().max() for tensor in plain])
        columns += [[_sum_of_absolutes(tensor) for tensor in plain]] if absolutes else []
    read = [numbers.add(*column) for column in columns]
    return lambda: [list(row) for row in zip(*(part().tolist() for part in read), strict=True)], norm


def _sum_of_absolutes(tensor: torch.Tensor) -> torch.Tensor:
    """In pieces that stay in a core's cache: a copy of the whole would cost more than all else."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)  # as it lies in memory
    pieces = torch.split(tensor.reshape(-1), PIECE)
    return pieces[0].abs().sum() if len(pieces) == 1 else torch.stack([p.abs().sum() for p in pieces]).sum()


def distances(old: list[torch.Tensor], new: list[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The Euclidean norm of each difference. `old` then holds what `new` holds: no memory is taken for it."""
    torch._foreach_sub_(old, new)
    moved = torch._foreach_norm(old, 2)
    torch._foreach_copy_(old, new)
    return moved


def parameter(
    size: int,
    row: Sequence[float],
    *,
    span: tuple[float, float] | None = None,
    change: Change | None = None,
) -> Statistics:
    """Statistics of a weight or gradient of so many values from what `norms` gave for it.

    Values that are not finite count as one: to count them, the tensor would have to be kept.
    """
    norm, largest, *absolutes = row
    nan = int(np.isnan(largest) or np.isnan(norm))
    infinite = int(not nan and np.isinf(largest))
    if nan or infinite:
        return Statistics(size=size, nan=nan, infinite=infinite, change=change)
    return Statistics(
        size=size, mean_abs=absolutes[0] / max(size, 1) if absolutes else None, norm=norm,
        minimum=-largest, maximum=largest, span=span, change=change,
    )  # fmt: skip


class Spans:
    """5th and 95th percentiles of a random sample of each tensor; the same places each time."""

    def __init__(self) -> None:
        self._random = torch.Generator().manual_seed(0)  # the training's own is left alone
        self._places: dict[int, torch.Tensor] = {}

    def of(
        self, tensors: Sequence[torch.Tensor], numbers: Numbers
    ) -> Callable[[], list[tuple[float, float]]]:
        reads = []
        for tensor in tensors:
            size = tensor.numel()
            if size > SPAN_SAMPLE:
                if size not in self._places:
                    # At random: every n-th value may be the same tap of each kernel.
                    places = torch.randint(size, (SPAN_SAMPLE,), generator=self._random)
                    self._places[size] = places.to(tensor.device)
                tensor = tensor.detach().flatten()[self._places[size]]
            reads.append(numbers.add(tensor))

        def read() -> list[tuple[float, float]]:
            spans = []
            for part in reads:
                values = part()
                values = values[np.isfinite(values)]
                low, high = np.percentile(values, [LOW, HIGH]) if values.size else (0.0, 0.0)
                spans.append((float(low), float(high)))
            return spans

        return read


def activation(tensor: torch.Tensor, numbers: Numbers, *, units: bool) -> Callable[[], Statistics]:
    """Statistics of a layer's input or output; of a large one, of evenly spaced rows and columns.

    Args:
        units: also each unit's share of values above zero. Units are the channels (axis 1).
    """
    size = tensor.numel()
    values = _floating(tensor.detach())
    total = values.sum(dtype=torch.float32)  # of all, so that no NaN is missed
    values = _thinned(values)
    parts = [total, values.mean(), values.var(correction=0), values.min(), values.max()]
    channels = 0
    if units and values.dim() >= 2:
        axes = [axis for axis in range(values.dim()) if axis != 1]
        parts.append((values > 0).float().mean(dim=axes))
        channels = values.shape[1]
    elif units:
        parts.append((values > 0).float().mean())
        channels = 1
    read = numbers.add(*parts)

    def statistics() -> Statistics:
        total, mean, variance, minimum, maximum, *active = read().tolist()
        if not np.isfinite([total, mean, variance]).all():
            nan = bool(np.isnan(total) or np.isnan(mean))
            return Statistics(size=size, nan=int(nan), infinite=int(not nan))
        return Statistics(
            size=size, mean=mean, variance=variance, minimum=minimum, maximum=maximum,
            active=np.array(active[:channels]) if units else None,
        )  # fmt: skip

    return statistics


def _thinned(values: torch.Tensor) -> torch.Tensor:
    """About `MOST_ACTIVATIONS` of the values at most: evenly spaced rows and columns of every picture."""
    places = [axis for axis in range(2, values.dim()) if values.shape[axis] > 8]
    if values.numel() <= MOST_ACTIVATIONS or not places:
        return values
    stride = math.ceil((values.numel() / MOST_ACTIVATIONS) ** (1 / len(places)))
    chosen = tuple(
        slice(stride // 2, None, stride) if axis in places else slice(None) for axis in range(values.dim())
    )
    return values[chosen]


def _floating(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.is_sparse else tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
