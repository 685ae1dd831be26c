from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local.s3.buckets import Buckets
from local.s3.database import Database
from local.s3.errors import S3Error
from local.s3.files import Draft, Space
from local.s3.notes import Note, Notes
from local.s3.objects import Objects

Put = Callable[..., None]


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    database = Database(tmp_path / "s3.db")
    buckets = Buckets(tmp_path / "s3", database)
    buckets.create("bucket", "")
    yield Objects(buckets, Notes(database))
    database.close()


@pytest.fixture
def put(objects: Objects, tmp_path: Path) -> Put:
    space = Space(tmp_path / "incoming")

    def put(key: str, body: bytes, etag: str = "") -> None:
        draft = Draft(space, len(body))
        try:
            draft.write(body)
            objects.put("bucket", key, draft, Note(etag), None)
        finally:
            draft.discard()

    return put


def test_a_service_that_is_killed_while_it_replaces_leaves_the_old_object_and_what_is_known_of_it(
    objects: Objects, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("k", b"old", "old-etag")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("local.s3.objects.place", die)
    with pytest.raises(KeyboardInterrupt):
        put("k", b"new", "new-etag")
    assert (tmp_path / "s3/bucket/k").read_bytes() == b"old"
    assert objects.find("bucket", "k").note.etag == "old-etag"


def test_a_file_that_is_replaced_between_two_looks_is_read_anew(
    objects: Objects, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("k", b"old", "old-etag")
    get = Notes.get

    def replace_first(notes: Notes, *arguments: Any) -> Note | None:
        monkeypatch.setattr(Notes, "get", get)
        put("k", b"newer", "new-etag")
        return get(notes, *arguments)

    monkeypatch.setattr(Notes, "get", replace_first)
    found = objects.find("bucket", "k")
    assert (found.size, found.note.etag) == (5, "new-etag")


@pytest.mark.parametrize("key", ["k", "folder/"])
def test_an_object_that_is_deleted_between_two_looks_is_gone(
    objects: Objects, put: Put, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    put(key, b"", "etag")
    get = Notes.get

    def delete_first(notes: Notes, *arguments: Any) -> Note | None:
        monkeypatch.setattr(Notes, "get", get)
        objects.delete("bucket", key)
        return get(notes, *arguments)

    monkeypatch.setattr(Notes, "get", delete_first)
    with pytest.raises(S3Error) as caught:
        objects.find("bucket", key)
    assert caught.value.code == "NoSuchKey"


def test_an_object_is_not_gone_because_too_many_files_are_open(
    objects: Objects, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("k", b"x")

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("local.s3.objects.open_below", fail)
    with pytest.raises(OSError, match="Too many open files"):
        objects.find("bucket", "k")


def test_notes_do_not_pile_up(objects: Objects, put: Put, tmp_path: Path) -> None:
    database = Database(tmp_path / "s3.db")
    for number in range(5):
        put("k", b"x" * number, str(number))
    assert database.run("SELECT count(*) FROM objects") == [(1,)]
    objects.delete("bucket", "k")
    assert database.run("SELECT count(*) FROM objects") == [(0,)]
    database.close()


def test_a_note_is_not_for_a_file_that_looks_alike(objects: Objects, put: Put, tmp_path: Path) -> None:
    put("k", b"one", "noted")
    path = tmp_path / "s3/bucket/k"
    status = path.stat()
    path.write_bytes(b"two")
    assert objects.find("bucket", "k").note == Note()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert objects.find("bucket", "k").note.etag == "noted"
    copy = path.with_name("copy")
    copy.write_bytes(b"two")
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)
    assert objects.find("bucket", "k").note == Note()


def test_folders_come_and_go_under_many_hands(objects: Objects, put: Put) -> None:
    """A folder that one delete has emptied may be removed while another object is put into it."""

    def churn(number: int) -> None:
        for _ in range(60):
            put(f"a/b/{number}", b"x")
            assert objects.find("bucket", f"a/b/{number}").size == 1
            objects.delete("bucket", f"a/b/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert objects.look("bucket", "a/b/0") is None


def test_what_is_said_of_an_object_can_change(objects: Objects, put: Put) -> None:
    put("k", b"x", "etag")
    objects.annotate("bucket", "k", lambda note: dataclasses.replace(note, tags={"a": "1"}))
    found = objects.find("bucket", "k")
    assert (found.note.etag, found.note.tags) == ("etag", {"a": "1"})
    with pytest.raises(S3Error):
        objects.annotate("bucket", "none", lambda note: note)
