"""One process for each GPU, started by torchrun; without it, a world of one, in which all this does
nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Process:
    """This process among those of the job; all fields count from 0."""

    rank: int = 0
    local_rank: int = 0
    world: int = 1
    device: str = "cpu"

    @classmethod
    def start(cls, environment: Mapping[str, str], device: str) -> Process:
        """Join the others, if torchrun set RANK, LOCAL_RANK and WORLD_SIZE."""
        process = cls(
            int(environment.get("RANK", 0)),
            int(environment.get("LOCAL_RANK", 0)),
            int(environment.get("WORLD_SIZE", 1)),
            device,
        )
        if device == "cuda":
            torch.cuda.set_device(process.local_rank)
        if process.world > 1:
            dist.init_process_group("nccl" if device == "cuda" else "gloo")
        return process

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and prints metrics."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes."""
        if self.world == 1:
            return module
        # Batch norm's running statistics are those of rank 0, as everywhere; broadcasting them each step
        # costs.
        wrapped = nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)
        return cast(nn.Module, wrapped)

    def sum(self, values: list[float]) -> list[float]:
        """The sums over the processes, for every one of them."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return cast("list[float]", tensor.tolist())

    def gather(self, value: T) -> list[T]:
        """The values of all processes in order of rank, for every one of them."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return cast("list[T]", values)

    def any(self, flag: bool) -> bool:
        """Whether any process says so: all have to stop at the same step."""
        if self.world == 1:
            return flag
        return self.sum([float(flag)])[0] > 0

    def end(self) -> None:
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
