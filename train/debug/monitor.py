"""What the training loop calls; does nothing where SageMaker left no configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Mode = Literal["TRAIN", "EVAL"]
Phase = Literal["data_wait", "host_to_device", "forward", "backward", "optimizer"]


class Monitor:
    """Records steps, losses and tensors; never raises into the training loop."""

    @classmethod
    def from_environment(
        cls,
        *,
        model: torch.nn.Module,
        loss: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        rank: int = 0,
    ) -> Monitor:
        """Read the platform's configuration files; without any, every method is a no-op."""
        return cls()

    @contextmanager
    def step(self, mode: Mode, number: int) -> Iterator[None]:
        """Wrap one batch, its data wait included. `number` counts batches of that mode over the job."""
        yield

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time a part of the current step."""
        yield

    def record_loss(self, name: str, value: torch.Tensor) -> None:
        """Save a loss that no loss module computes."""

    def model_changed(self) -> None:
        """Call after freezing or unfreezing parameters."""

    def close(self) -> None:
        """Write what is left; safe to call twice."""
