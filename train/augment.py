"""Random changes to training pictures.

What happens to a picture is drawn from a generator that belongs to (seed, epoch, picture), so it is changed
in the same way whichever thread, process or restarted job gets to it. Threads crop; everything else happens
to whole batches on the network's device, and where that is a GPU so does the crop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import nn

from train import crop
from train.operations import OPERATIONS

# RandAugment (Cubuk et al., 2020): two operations of strength 9 of 30, as its paper has it for ResNet-50.
RAND_OPERATIONS: Final = 2
RAND_STRENGTH: Final = 0.3


class Change(NamedTuple):
    """What happens to one picture: a crop, then operations by their number, each with its strength."""

    box: crop.Box
    operations: tuple[tuple[int, float], ...] = ()


def draw(kind: str, height: int, width: int, random: np.random.Generator) -> Change:
    """A change for a picture of that size.

    Args:
        kind: "crop", "flip", "trivial" or "rand"; see train.interface.
        random: all randomness comes from here.
    """
    box = crop.draw(height, width, random)
    if kind == "crop":
        return Change(box)
    if random.random() < 0.5:
        box = box.mirrored
    if kind == "trivial":
        return Change(box, (_operation(float(random.random()), random),))
    if kind == "rand":
        return Change(box, tuple(_operation(RAND_STRENGTH, random) for _ in range(RAND_OPERATIONS)))
    return Change(box)


def _operation(strength: float, random: np.random.Generator) -> tuple[int, float]:
    number = int(random.integers(len(OPERATIONS)))
    return number, strength if random.random() < 0.5 else -strength


def rounds(changes: Sequence[Change]) -> torch.Tensor | None:
    """The operations of a batch as `operate` takes them; None where there are none."""
    operations = [change.operations for change in changes]
    return torch.tensor(operations, dtype=torch.float32) if any(operations) else None


def operate(pixels: torch.Tensor, operations: torch.Tensor) -> torch.Tensor:
    """Changes the pictures of a batch, in place.

    Args:
        pixels: bytes [N, 3, S, S].
        operations: float32 [N, R, 2] on the CPU: of each picture the numbers of R operations, with strengths.
    """
    for turn in operations.unbind(1):
        numbers, strengths = turn.unbind(1)
        for number in sorted(set(numbers.tolist())):
            members = (numbers == number).nonzero().flatten()
            strength = strengths[members].to(pixels.device, non_blocking=True)
            members = members.to(pixels.device, non_blocking=True)
            pixels[members] = OPERATIONS[int(number)](pixels[members], strength)
    return pixels


def mix(
    inputs: torch.Tensor, labels: torch.Tensor, classes: int, alpha: float, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup (Zhang et al., 2018): each picture blended with another one of the batch, and so its label.

    Args:
        inputs: float32 [N, ...]; labels: int64 [N].
        alpha: of the Beta distribution of the share; small values mostly leave pictures alone.

    Returns:
        The blends, and the targets float32 [N, classes].
    """
    share = float(random.beta(alpha, alpha))
    share = max(share, 1 - share)  # the first picture stays the stronger: its label is what accuracy counts
    partner = torch.from_numpy(random.permutation(len(labels))).to(labels.device)
    targets = nn.functional.one_hot(labels, classes).to(torch.float32)
    return inputs.lerp(inputs[partner], 1 - share), targets.lerp(targets[partner], 1 - share)


def erase(inputs: torch.Tensor, probability: float, random: np.random.Generator) -> torch.Tensor:
    """Random erasing (Zhong et al., 2020): a rectangle of some pictures becomes the mean colour, in place."""
    height, width = inputs.shape[-2:]
    for number in np.flatnonzero(random.random(len(inputs)) < probability):
        area = height * width * random.uniform(0.02, 1 / 3)
        aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
        rows = min(height, max(1, round(math.sqrt(area * aspect))))
        columns = min(width, max(1, round(math.sqrt(area / aspect))))
        top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
        inputs[number, :, top : top + rows, left : left + columns] = 0
    return inputs
