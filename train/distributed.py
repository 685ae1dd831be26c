"""One process for each GPU, started by torchrun; without it, a world of one, in which all this does
nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Process:
    """This process among those of the job; ranks count from 0.

    `local_world` is how many share the host. `control` is where plain values travel: over the CPU, so that
    asking the others never waits for a GPU.
    """

    rank: int = 0
    local_rank: int = 0
    world: int = 1
    local_world: int = 1
    control: dist.ProcessGroup | None = None

    @classmethod
    def start(cls, environment: Mapping[str, str], device: str) -> Process:
        """Join the others, if torchrun set RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE."""
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        rank, local_rank, world, local_world = (
            int(environment.get(name, default)) for name, default in zip(names, (0, 0, 1, 1), strict=True)
        )
        if device == "cuda":
            torch.cuda.set_device(local_rank)
        if world == 1:
            return cls(rank, local_rank, world, local_world)
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        control = dist.new_group(backend="gloo")
        return cls(rank, local_rank, world, local_world, control)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and prints metrics."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes."""
        if self.world == 1:
            return module
        # Batch norm's running statistics are those of rank 0, as everywhere. Broadcasting them in each step
        # costs: `share_buffers` does it where they are used.
        wrapped = nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)
        return cast(nn.Module, wrapped)

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the buffers of the first, such as batch norm's running statistics."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over the processes, for every one of them."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self.control)
        return cast("list[float]", tensor.tolist())

    def gather(self, value: T) -> list[T]:
        """The values of all processes in order of rank, for every one of them."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value, group=self.control)
        return cast("list[T]", values)

    def gather_to_first(self, value: T) -> list[T]:
        """The values of all processes in order of rank, for the first one; nothing for the others."""
        if self.world == 1:
            return [value]
        values: list[T | None] | None = [None] * self.world if self.is_first else None
        dist.gather_object(value, values, dst=0, group=self.control)
        return cast("list[T]", values or [])

    def broadcast(self, value: T) -> T:
        """The first process's value, for every one of them."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process sets it: all have to do the same at the same step."""
        return tuple(total > 0 for total in self.sum([float(flag) for flag in flags]))

    def end(self) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
