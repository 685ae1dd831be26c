from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model import images
from model.preprocess import Preprocessing
from train import listing
from train.cache import Cache, disk_budget, memory_budget
from train.data import Loader, Order, Pictures, repeated_pictures, same_pictures, worker_count
from train.errors import TrainingError

SIZE = Preprocessing.for_size(32)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@pytest.fixture
def folder(tmp_path: Path, make_pictures: Callable[..., Path]) -> Path:
    return make_pictures(tmp_path / "train", 7)


def pictures(folder: Path, **options: Any) -> Pictures:
    return Pictures(listing.scan(folder, "train"), SIZE, **options)


def test_evaluation_sees_what_an_endpoint_sees(folder: Path, pool: ThreadPoolExecutor) -> None:
    split = pictures(folder)
    (batch, *_) = Loader(split, 4, pool, 3).in_order()
    inputs = Loader(split, 4, pool, 3).inputs(batch, "cpu", torch.contiguous_format)
    for row, index in zip(inputs, batch.indices.tolist(), strict=True):
        data = (folder / split.listing.files[index]).read_bytes()
        assert torch.equal(row, SIZE.load(data))


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


def test_the_second_epoch_does_not_decode(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cache, kept in (
        (Cache(10**9), 21),
        (Cache(0, 10**9, tmp_path / "cache"), 21),
        (Cache(0, 0), 0),
        (Cache(36 * 32 * 3 * 5, 36 * 32 * 3 * 4, tmp_path / "cache"), 9),
    ):
        split = pictures(folder, cache=cache, augmentation="flip")
        first = [split.get(index) for index in range(21)]
        decoded: list[int] = []
        original = split._decode
        monkeypatch.setattr(split, "_decode", lambda i, o=original, d=decoded: d.append(i) or o(i))  # type: ignore[func-returns-value]
        again = [split.get(index) for index in range(21)]
        assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))  # type: ignore[arg-type]
        assert 21 - len(decoded) == kept
    assert not list(tmp_path.glob("cache/*"))


def test_a_full_disk_ends_keeping_not_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    cache = Cache(0, 10**6, tmp_path)
    assert cache.keep(np.zeros((4, 4, 3), np.uint8)) is None
    assert cache.disk_bytes == 0


def test_budgets_are_shared_by_the_processes_of_a_host(tmp_path: Path) -> None:
    assert memory_budget(100, 4) == 25_000_000
    assert memory_budget(-1) == disk_budget(-1, tmp_path) == 0
    assert 0 < memory_budget(0, 2) <= memory_budget(0) * 0.6
    assert disk_budget(0, tmp_path) > 0
    assert worker_count(5, 8) == 5
    assert worker_count(0, 1000) == 1


def test_photos_are_kept_a_little_larger_than_they_are_seen(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (1600, 900)).save(tmp_path / name / "1.jpg")
    split = Pictures(
        listing.scan(tmp_path, "train"), Preprocessing.for_size(224), augmentation="flip", cache=Cache(10**9)
    )
    split.get(0)
    assert split._kept[0].shape == (256, 455, 3)


def test_evaluation_decodes_photos_at_a_larger_scale_than_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2000, 1500)).save(tmp_path / name / "1.jpg")
    found = listing.scan(tmp_path, "train")
    decoded: list[Image.Image] = []
    decode = images.decode

    def noting(data: bytes, min_side: int) -> Image.Image:
        decoded.append(decode(data, min_side))
        return decoded[-1]

    monkeypatch.setattr(images, "decode", noting)
    for kind in ("none", "flip"):
        Pictures(found, Preprocessing.for_size(224), augmentation=kind).get(0)
    assert [image.size for image in decoded] == [(1000, 750), (500, 375)]


def test_unreadable_pictures_fall_out_and_are_told_once(folder: Path, pool: ThreadPoolExecutor) -> None:
    (folder / "red/2.png").write_bytes(b"no picture")
    split = pictures(folder, max_skipped_share=0.1)
    loader = Loader(split, 4, pool, 3)
    assert sum(len(batch) for batch in loader.in_order()) == 20
    assert [one.file for one in split.news()] == ["red/2.png"]
    assert split.news() == []
    split.check()
    (folder / "red/3.png").write_bytes(b"")
    (folder / "red/4.png").write_bytes(b"")
    split = pictures(folder, max_skipped_share=0.1)
    list(Loader(split, 4, pool, 3).in_order())
    with pytest.raises(TrainingError, match=r"3 of 21 pictures .* are unreadable"):
        split.check()


def test_a_class_without_a_readable_picture_is_an_error(folder: Path, pool: ThreadPoolExecutor) -> None:
    for path in (folder / "red").iterdir():
        path.write_bytes(b"")
    split = pictures(folder, max_skipped_share=1.0)
    list(Loader(split, 4, pool, 3).in_order())
    with pytest.raises(TrainingError, match="no picture of class 'red'"):
        split.check()


def test_the_same_content_is_found_within_and_across_splits(folder: Path, pool: ThreadPoolExecutor) -> None:
    (folder / "red/copy.png").write_bytes((folder / "red/1.png").read_bytes())
    one, other = pictures(folder), pictures(folder)
    for split in (one, other):
        list(Loader(split, 4, pool, 3).in_order())
    assert repeated_pictures(one) == [("red/1.png", "red/copy.png")]
    assert len(same_pictures(one, other)) == 22
