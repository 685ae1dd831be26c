from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.preprocess import Preprocessing
from train import listing
from train.data import Pictures
from train.loader import Loader, Order

SIZE = Preprocessing.for_size(32)


def pictures(folder: Path, **options: Any) -> Pictures:
    return Pictures(listing.scan(folder, "train"), SIZE, **options)


def test_evaluation_sees_what_an_endpoint_sees(folder: Path, pool: ThreadPoolExecutor) -> None:
    split = pictures(folder)
    (batch, *_) = Loader(split, 4, pool, 3).in_order()
    inputs = Loader(split, 4, pool, 3).inputs(batch, "cpu", torch.contiguous_format)
    for row, index in zip(inputs, batch.indices.tolist(), strict=True):
        data = (folder / split.listing.files[index]).read_bytes()
        assert np.array_equal(row.numpy(), SIZE.load(data))


def test_in_order_every_picture_comes_once_whatever_the_number_of_processes(
    folder: Path, pool: ThreadPoolExecutor
) -> None:
    loader = Loader(pictures(folder), 4, pool, 3)
    for world in (1, 2, 5):
        seen = [
            i
            for rank in range(world)
            for batch in loader.in_order(rank, world)
            for i in batch.indices.tolist()
        ]
        assert sorted(seen) == list(range(21))


def test_shuffled_batches_depend_on_seed_and_epoch_only(folder: Path, pool: ThreadPoolExecutor) -> None:
    def epoch(number: int, seed: int, **options: Any) -> list[torch.Tensor]:
        loader = Loader(pictures(folder, augmentation="rand"), 4, pool, 3)
        batches = loader.shuffled(number, seed, **options)
        return [loader.inputs(batch, "cpu", torch.channels_last) for batch in batches]

    first, again = epoch(0, 1), epoch(0, 1)
    assert len(first) == 5
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], epoch(1, 1)[0])
    assert not torch.equal(first[0], epoch(0, 2)[0])
    later = epoch(0, 1, start=3)
    assert all(torch.equal(one, other) for one, other in zip(first[3:], later, strict=True))


def test_processes_share_each_batch(folder: Path, pool: ThreadPoolExecutor) -> None:
    loader = Loader(pictures(folder), 8, pool, 3)
    whole = [set(batch.indices.tolist()) for batch in loader.shuffled(0, 1)]
    parts = [[set(batch.indices.tolist()) for batch in loader.shuffled(0, 1, 0, rank, 2)] for rank in (0, 1)]
    assert [one | other for one, other in zip(*parts, strict=True)] == whole
    assert not any(one & other for one, other in zip(*parts, strict=True))


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
@pytest.mark.parametrize("world", [2, 3, 8])
def test_a_process_keeps_meeting_the_same_pictures(sampling: str, world: int) -> None:
    order = Order([0] * 3000 + [1] * 1000, 256, sampling)
    seen: list[set[int]] = [set() for _ in range(world)]
    for epoch in range(2):
        parts = [order.share(epoch, 1, 0, rank, world) for rank in range(world)]
        for batch, *those in zip(order.shuffled(epoch, 1), *parts, strict=True):
            assert sorted(np.concatenate(those).tolist()) == sorted(batch.tolist())
            assert max(map(len, those)) - min(map(len, those)) <= 1
        met = [set(np.concatenate(part).tolist()) for part in parts]
        if epoch:
            known = sum(len(one & other) for one, other in zip(met, seen, strict=True))
            assert known > 0.5 * sum(map(len, met))
        seen = met


def test_balanced_sampling_shows_each_class_equally_often() -> None:
    labels = [0] * 90 + [1] * 9 + [2] * 1
    counts = np.bincount(np.asarray(labels)[np.concatenate(Order(labels, 10, "balanced").shuffled(0, 1))])
    assert counts.sum() == 100
    assert counts.min() >= 32
    seen = [i for batch in Order(labels, 10, "balanced").shuffled(0, 1) for i in batch.tolist()]
    assert len({i for i in seen if labels[i] == 1}) == 9


def test_fewer_pictures_than_a_batch_are_one_batch() -> None:
    assert [len(batch) for batch in Order([0, 1, 0], 8).shuffled(0, 1)] == [3]


@pytest.mark.parametrize("batch_size", [4, 64])
def test_all_threads_prepare_pictures(
    tmp_path: Path, make_pictures: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    split = pictures(make_pictures(tmp_path / "train", 64))
    both, get = threading.Barrier(2, timeout=30), split.get

    def meet(index: int) -> Any:
        both.wait()  # nobody comes if the other thread has nothing better to do than to wait for this one
        return get(index)

    monkeypatch.setattr(split, "get", meet)
    with ThreadPoolExecutor(2) as two:
        assert sum(len(batch) for batch in Loader(split, batch_size, two, 2).in_order()) == 192
