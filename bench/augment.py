"""What augmenting costs, in milliseconds of one core for each picture: python -m bench.augment

Without a GPU, Pillow crops and the rest happens on tensors. A GPU does both, and the CPU only stacks what it
needs of each picture. They have 256 x 341 px, as photos are kept for 224 px. Nothing else should run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from model.preprocess import Preprocessing
from train import augment, crop
from train.cache import Pixels

BATCH, ROUNDS = 32, 7


def cost(work: Callable[..., object], *arguments: object) -> float:
    """Median over the rounds, in milliseconds for each picture of a batch."""
    seconds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        work(*arguments)
        seconds.append(time.process_time() - before)
    return statistics.median(seconds[1:]) / BATCH * 1000


def by_pillow(pictures: list[Pixels], boxes: list[crop.Box], size: Preprocessing) -> Pixels:
    return np.stack([crop.crop(picture, box, size) for picture, box in zip(pictures, boxes, strict=True)])


def for_a_gpu(pictures: list[Pixels], boxes: list[crop.Box], size: Preprocessing) -> object:
    return crop.stack([crop.cut(picture, box, size) for picture, box in zip(pictures, boxes, strict=True)])


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    size, random = Preprocessing.for_size(224), np.random.default_rng(0)
    pictures = [random.integers(0, 256, (256, 341, 3), dtype=np.uint8) for _ in range(BATCH)]
    print(f"{'augment':10}{'crop':>8}{'rest':>8}{'for a GPU':>12}   ms of a core for each picture")
    sizes = np.tile([256, 341], (BATCH, 1))
    for kind in ("crop", "flip", "trivial", "rand"):
        drawn, operations = augment.draw(kind, sizes, augment.numbers(BATCH, 0, 0))
        boxes = drawn.tolist()
        cropped = torch.from_numpy(by_pillow(pictures, boxes, size)).permute(0, 3, 1, 2)
        columns = [
            cost(by_pillow, pictures, boxes, size),
            0.0 if operations is None else cost(augment.operate, cropped, operations),
            cost(for_a_gpu, pictures, boxes, size),
        ]
        print(f"{kind:10}{columns[0]:8.2f}{columns[1]:8.2f}{columns[2]:12.3f}")


if __name__ == "__main__":
    main()
