from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from local.s3.walk import Walk, holds_files

KEYS = [
    "A/x",
    "a",
    "a b/1",
    "a-b",
    "a.d/1",
    "b/1",
    "b/c/2",
    "b/c-d",
    "b/ü",
    "rose-hip",
    "rose/1",
    "z",
    "数/据",
    "😀",
]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    (tmp_path / "empty/deep").mkdir(parents=True)
    (tmp_path / "marked").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"not-\xff-utf8")).touch()
    return tmp_path


def walked(bucket: Path, prefix: str = "", after: str = "", markers: tuple[str, ...] = ()) -> list[str]:
    return [key for key, _ in Walk(bucket, prefix, after, set(markers))]


def utf8(keys: list[str]) -> list[str]:
    return sorted(keys, key=str.encode)


def test_the_order_is_that_of_the_keys_bytes(bucket: Path) -> None:
    assert walked(bucket) == utf8(KEYS)
    assert walked(bucket).index("rose-hip") < walked(bucket).index("rose/1")


@pytest.mark.parametrize(
    "prefix", ["", "a", "b/", "b/c", "b/c/", "rose", "none", "b/none/", "a/", "/", "../", "b//", "数/据"]
)
def test_prefixes(bucket: Path, prefix: str) -> None:
    assert walked(bucket, prefix) == utf8([key for key in KEYS if key.startswith(prefix)])


@pytest.mark.parametrize(
    "after", ["", "a", "a-", "b", "b/", "b/c", "b/c/", "b/c/2", "b/z", "rose-", "z", "数", "😀"]
)
def test_what_comes_behind_a_key(bucket: Path, after: str) -> None:
    assert walked(bucket, after=after) == utf8([key for key in KEYS if key > after])
    assert walked(bucket, "b/", after) == utf8([key for key in KEYS if key > after and key.startswith("b/")])


def test_markers_are_keys_of_folders_that_are_there(bucket: Path) -> None:
    markers = ("marked/", "b/", "gone/")
    expected = utf8([*KEYS, "marked/", "b/"])
    assert walked(bucket, markers=markers) == expected
    assert walked(bucket, "b/", markers=markers) == ["b/", "b/1", "b/c-d", "b/c/2", "b/ü"]
    assert walked(bucket, "b/", "b/", markers=markers) == ["b/1", "b/c-d", "b/c/2", "b/ü"]
    assert walked(bucket, "mark", markers=markers) == ["marked/"]


def test_what_is_to_be_skipped(bucket: Path) -> None:
    walk = Walk(bucket, "", "", set())
    seen = []
    for key, _ in walk:
        seen.append(key)
        if key == "b/1":
            walk.skip = "b/"
    assert seen == utf8([key for key in KEYS if not key.startswith("b/") or key == "b/1"])


def test_no_folder_is_looked_into_for_nothing(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: looked.append(os.path.relpath(path, bucket)) or scandir(path)
    )
    walked(bucket, "b/c/")
    assert looked == ["b/c"]
    looked.clear()
    walked(bucket, after="rose/")
    assert looked == [".", "rose", "数"]


def test_folders_that_a_delimiter_folds_are_not_sorted_out(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / "linked").mkdir()
    (bucket / "linked/only").symlink_to(bucket / "a")
    keys = [key for key, _ in Walk(bucket, "", "", {"marked/"}, "/")]
    assert keys == utf8(
        ["A/", "a", "a b/", "a-b", "a.d/", "b/", "marked/", "rose-hip", "rose/", "z", "数/", "😀"]
    )
    assert [key for key, _ in Walk(bucket, "b/c", "", set(), "/")] == ["b/c-d", "b/c/"]


def test_folders_deeper_than_pythons_stack(tmp_path: Path) -> None:
    depth = sys.getrecursionlimit() + 100
    folders = [tmp_path]
    for _ in range(depth):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    file = folders[-1] / "f"
    file.touch()
    try:
        assert walked(tmp_path) == ["d/" * depth + "f"]
    finally:
        # Nobody else could: pytest's own removal is recursive.
        file.unlink()
        for folder in reversed(folders[1:]):
            folder.rmdir()


def test_whether_a_tree_holds_files(bucket: Path, tmp_path: Path) -> None:
    assert holds_files(bucket)
    assert not holds_files(bucket / "empty")
    assert not holds_files(bucket / "none")
