"""Which part of the network learns in which epoch."""

from __future__ import annotations

from typing import Final

from torch import nn

from contract.hyperparameters import Settings

QUARTERS: Final = 4


class Freezing:
    """The plan that `freeze` and `unfreeze_epochs` make.

    The backbone is cut into four blocks of as many layers, in the order in which a picture passes them. The
    block next to the head is the first to learn: what it knows is the most particular to ImageNet.
    """

    def __init__(self, module: nn.Module, head: str, settings: Settings) -> None:
        self._module = module
        self._head = module.get_submodule(head)
        self._never = settings.freeze == "backbone"
        self._head_first = int(settings.freeze == "auto")
        self._each = settings.unfreeze_epochs
        own = set(self._head.parameters())
        backbone = [parameter for parameter in module.parameters() if parameter not in own]
        layers = sum(parameter.ndim > 1 for parameter in backbone)
        self._blocks: list[list[nn.Parameter]] = [[] for _ in range(QUARTERS)]
        seen = 0
        for parameter in backbone:
            seen += parameter.ndim > 1
            self._blocks[min(QUARTERS - 1, max(0, seen - 1) * QUARTERS // max(1, layers))].append(parameter)
        self._learning = QUARTERS

    def blocks(self, epoch: int) -> int:
        """How many of the four blocks learn in an epoch, counted from the head."""
        if self._never or epoch < self._head_first:
            return 0
        if not self._each:
            return QUARTERS
        return min(QUARTERS, 1 + (epoch - self._head_first) // self._each)

    def apply(self, epoch: int) -> bool:
        """Freeze and unfreeze for an epoch; returns whether that changed anything."""
        learning = self.blocks(epoch)
        changed = learning != self._learning
        self._learning = learning
        for number, block in enumerate(self._blocks):
            for parameter in block:
                parameter.requires_grad_(number >= QUARTERS - learning)
        return changed

    def train_mode(self) -> None:
        """Training mode, but not for norms that keep the statistics that they came with.

        Those of frozen layers, and all beside a head that learned first: it learned from features that were
        computed with these statistics, and those of a few small batches are worse.
        """
        self._module.train(self._learning > 0)
        if not self._learning:
            return
        for part in self._module.modules():
            own = list(part.parameters(recurse=False))
            frozen = self._head_first or (own and not own[0].requires_grad)
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and frozen:
                part.eval()
