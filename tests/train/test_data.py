from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import images
from model.preprocess import Preprocessing
from train import listing
from train.cache import Cache, disk_budget, memory_budget
from train.data import Pictures, repeated_pictures, same_pictures
from train.errors import TrainingError
from train.loader import Loader, worker_count

SIZE = Preprocessing.for_size(32)


def pictures(folder: Path, **options: Any) -> Pictures:
    return Pictures(listing.scan(folder, "train"), SIZE, **options)


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


def test_no_more_threads_decode_than_the_containers_quota_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contract.container.cores", lambda: 3)
    assert worker_count(0) == 3


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
