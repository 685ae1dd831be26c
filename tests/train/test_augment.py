from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from model.preprocess import Preprocessing
from train import augment, listing
from train.augment import erase, mix
from train.data import Loader, Pictures
from train.operations import OPERATIONS

SIZE = Preprocessing.for_size(32)


@pytest.mark.parametrize(
    ("kind", "mirrored", "operations"),
    [("crop", 0, 0), ("flip", 500, 0), ("trivial", 500, 1), ("rand", 500, 2)],
)
def test_what_happens_to_a_picture(kind: str, mirrored: int, operations: int) -> None:
    changes = [augment.draw(kind, 50, 300, np.random.default_rng(seed)) for seed in range(1000)]
    assert sum(change.box.width < 0 for change in changes) == pytest.approx(mirrored, abs=60)
    assert {len(change.operations) for change in changes} == {operations}
    drawn = {number for change in changes for number, _ in change.operations}
    assert drawn == (set(range(len(OPERATIONS))) if operations else set())


def test_each_picture_gets_its_own_operations() -> None:
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    invert, nothing = 11, 0  # a solarize of full strength turns every value around
    done = augment.operate(
        pixels.clone(), torch.tensor([[[invert, 1.0]], [[nothing, 0.5]], [[invert, -1.0]]])
    )
    assert torch.equal(done, torch.stack([255 - pixels[0], pixels[1], 255 - pixels[2]]))


@pytest.mark.parametrize("kind", ["none", "crop", "flip", "trivial", "rand"])
def test_a_gpu_shows_the_network_what_the_cpu_does(
    kind: str, tmp_path: Path, make_pictures: Callable[..., Path]
) -> None:
    folder = make_pictures(tmp_path / "train", 7)

    def inputs(gpu: bool) -> torch.Tensor:
        split = Pictures(listing.scan(folder, "train"), SIZE, augmentation=kind)
        with ThreadPoolExecutor(2) as pool:
            loader = Loader(split, 7, pool, 2, gpu=gpu)
            batches = [loader.inputs(batch, "cpu", torch.channels_last) for batch in loader.shuffled(3, 1)]
        return torch.cat(batches)

    on_cpu, on_gpu = inputs(False), inputs(True)
    assert on_cpu.shape == on_gpu.shape == (21, 3, 32, 32)
    if kind in ("none", "crop", "flip"):
        assert float((on_cpu - on_gpu).abs().max()) < 2.01 / 255 / min(SIZE.std)
    else:  # equalizing blows up a difference of 1
        assert float((on_cpu - on_gpu).abs().mean()) < 0.05


def test_mixup_blends_pictures_as_their_labels() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    inputs = labels.float().view(4, 1, 1, 1).expand(4, 3, 2, 2)
    blended, targets = mix(inputs, labels, 4, 0.4, np.random.default_rng(0))
    assert torch.allclose(targets.sum(dim=1), torch.ones(4))
    assert torch.equal(targets.argmax(dim=1), labels)
    assert torch.allclose(blended[:, 0, 0, 0], targets @ torch.arange(4.0))


def test_erasing_blanks_a_rectangle_of_some_pictures() -> None:
    erased = erase(torch.ones(200, 3, 32, 32), 0.25, np.random.default_rng(0))
    touched = (erased == 0).flatten(1).any(dim=1)
    assert 25 < int(touched.sum()) < 75
    assert math.isclose(float(erased[~touched].mean()), 1.0)
