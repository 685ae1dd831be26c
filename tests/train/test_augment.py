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
from train.data import Pictures
from train.loader import Loader
from train.operations import OPERATIONS

SIZE = Preprocessing.for_size(32)


@pytest.mark.parametrize(
    ("kind", "mirrored", "operations"),
    [("crop", 0, 0), ("flip", 500, 0), ("trivial", 500, 1), ("rand", 500, 2)],
)
def test_what_happens_to_a_picture(kind: str, mirrored: int, operations: int) -> None:
    boxes, drawn = augment.draw(kind, np.tile([50, 300], (1000, 1)), augment.numbers(1000, 0, 1))
    assert int((boxes[:, 2] < 0).sum()) == pytest.approx(mirrored, abs=60)
    if not operations:
        assert drawn is None
        return
    assert drawn is not None
    assert drawn.shape == (1000, operations, 2)
    which, strength = drawn.unbind(2)
    assert set(which.flatten().tolist()) == set(range(len(OPERATIONS)))
    assert int((strength < 0).sum()) == pytest.approx(strength.numel() / 2, rel=0.1)
    assert float(strength.abs().max()) <= 1
    assert len(set(strength.abs().flatten().tolist())) == (1000 if kind == "trivial" else 1)


def test_what_is_drawn_depends_on_seed_epoch_and_picture() -> None:
    table = augment.numbers(50, 3, 1)
    assert np.array_equal(table, augment.numbers(50, 3, 1))
    assert not np.array_equal(table, augment.numbers(50, 4, 1))
    assert not np.array_equal(table, augment.numbers(50, 3, 2))
    sizes = np.tile([50, 300], (50, 1))
    whole = augment.draw("rand", sizes, table)
    some = augment.draw("rand", sizes[[7, 3]], table[[7, 3]])
    assert np.array_equal(some[0], whole[0][[7, 3]])
    assert some[1] is not None
    assert whole[1] is not None
    assert torch.equal(some[1], whole[1][[7, 3]])


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
            device = "cuda" if gpu and torch.cuda.is_available() else "cpu"
            batches = [loader.inputs(batch, device, torch.channels_last) for batch in loader.shuffled(3, 1)]
        return torch.cat(batches).cpu()

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
