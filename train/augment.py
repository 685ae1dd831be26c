"""Random changes to training pictures.

What happens to a picture is drawn for (seed, epoch, picture), so it is changed in the same way whichever
thread, process or restarted job gets to it. Threads crop; everything else happens to whole batches on the
network's device, and where that is a GPU so does the crop.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import nn

from train import crop
from train.operations import OPERATIONS

# RandAugment (Cubuk et al., 2020): two operations of strength 9 of 30, as its paper has it for ResNet-50.
RAND_OPERATIONS: Final = 2
RAND_STRENGTH: Final = 0.3


def numbers(count: int, epoch: int, seed: int) -> crop.Numbers:
    """What decides on the changes of each picture in an epoch: float32 [count, 11] from 0 to 1.

    A table, as a generator for each picture would take longer than cutting it out.
    """
    return np.random.default_rng([seed, epoch, 1]).random((count, 5 + 3 * RAND_OPERATIONS), dtype=np.float32)


def draw(kind: str, sizes: crop.Sizes, numbers: crop.Numbers) -> tuple[crop.Boxes, torch.Tensor | None]:
    """The changes of N pictures: a box for each as crop.draw has it, and what `operate` takes.

    Args:
        kind: "crop", "flip", "trivial" or "rand"; see contract.hyperparameters.
        sizes: height and width of the pictures, [N, 2].
        numbers: their rows of the table.
    """
    boxes = crop.draw(sizes, numbers[:, :4])
    if kind == "crop":
        return boxes, None
    boxes = np.where(numbers[:, 4:5] < 0.5, crop.mirror(boxes), boxes)
    if kind == "flip":
        return boxes, None
    turns = numbers[:, 5:].reshape(len(numbers), RAND_OPERATIONS, 3)[:, : 1 if kind == "trivial" else None]
    which, strength, sign = np.moveaxis(turns, 2, 0).astype(np.float64)
    if kind == "rand":
        strength = np.full_like(strength, RAND_STRENGTH)
    operations = np.stack(
        [np.floor(which * len(OPERATIONS)), np.where(sign < 0.5, strength, -strength)], axis=2
    )
    return boxes, torch.from_numpy(operations.astype(np.float32))


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
