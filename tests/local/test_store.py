from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.store import Condition, Document, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "a folder" / "state.db")
    yield store
    store.close()


def test_what_is_put_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    doc = {"Name": "é 'x'", "Nested": [{"a": 1.5}], "Nothing": None}
    first = Store(path)
    first.put("model", "m", doc)
    first.close()
    second = Store(path)
    assert second.get("model", "m") == doc
    second.close()


def test_documents_are_apart_by_kind_and_ordered_by_name(store: Store) -> None:
    for kind, name in (("model", "b"), ("model", "a"), ("endpoint", "c")):
        store.put(kind, name, {"Name": name})
    assert store.names("model") == ["a", "b"]
    assert list(store.each("model")) == [{"Name": "a"}, {"Name": "b"}]
    assert store.get("endpoint", "a") is None
    assert store.delete("model", "a")
    assert not store.delete("model", "a")
    assert store.names("model") == ["b"]


def test_insert_leaves_what_is_there(store: Store) -> None:
    assert store.insert("model", "m", {"Number": 1})
    assert not store.insert("model", "m", {"Number": 2})
    assert store.get("model", "m") == {"Number": 1}
    store.put("model", "m", {"Number": 3})
    assert store.get("model", "m") == {"Number": 3}


def test_changes_are_stamped(store: Store) -> None:
    store.put("model", "m", {"A": 1, "B": 2})
    before = time.time()
    changed = store.update("model", "m", B=3)
    assert changed == store.get("model", "m")
    assert (changed["A"], changed["B"]) == (1, 3)
    assert before <= changed["LastModifiedTime"] <= time.time()

    def replaced(doc: Document) -> Document:
        return {"C": doc["B"]}

    assert store.mutate("model", "m", replaced).keys() == {"C", "LastModifiedTime"}


def test_a_change_that_raises_changes_nothing(store: Store) -> None:
    store.put("model", "m", {"A": 1})

    def fail(doc: Document) -> None:
        doc["A"] = 2
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        store.mutate("model", "m", fail)
    assert store.get("model", "m") == {"A": 1}


def test_what_is_not_there_cannot_be_changed(store: Store) -> None:
    with pytest.raises(KeyError, match="no model 'm'"):
        store.update("model", "m", A=1)
    with pytest.raises(ValueError, match="unknown kind 'modle'; the store knows training-job"):
        store.get("modle", "m")


def test_changes_from_many_threads_add_up(store: Store) -> None:
    store.put("model", "m", {"Count": 0})

    def count(doc: Document) -> None:
        doc["Count"] += 1

    def work() -> None:
        for _ in range(50):
            store.mutate("model", "m", count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    doc = store.get("model", "m")
    assert doc is not None
    assert doc["Count"] == 200


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("not a database " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Store(tmp_path / "state.db")


def test_names_that_differ_only_by_case_are_one(store: Store) -> None:
    assert store.insert("model", "Name", {"Number": 1})
    assert not store.insert("model", "nAME", {"Number": 2})
    assert store.insert("endpoint", "nAME", {"Number": 2})


def test_pages_are_ordered_and_filtered(store: Store) -> None:
    for number, (name, status) in enumerate(
        [("Beta", "Failed"), ("alpha", "Completed"), ("gamma", "Failed")]
    ):
        doc = {"TrainingJobStatus": status, "CreationTime": 100.0 - number, "TuningJobArn": "arn:t"}
        store.put("training-job", name, doc)
    store.put("training-job", "other", {"CreationTime": 1.0, "_FinalObjectiveMetric": {"Value": 0.5}})

    def names(*conditions: Condition, **how: Any) -> list[str]:
        return [name for _, _, name in store.page("training-job", conditions, limit=9, **how)]

    assert names(sort="created", descending=True) == ["Beta", "alpha", "gamma", "other"]
    assert names(sort="created", after=(98.0, "gamma")) == ["alpha", "Beta"]
    assert names(Condition("name", "contains", "ET")) == ["Beta"]
    assert names(Condition("status", "equals", "Failed"), Condition("created", "before", 100)) == ["gamma"]
    assert names(Condition("parent", "equals", "arn:t"), sort="status") == ["alpha", "Beta", "gamma"]
    assert names(Condition("modified", "after", 99)) == ["Beta"]
    assert names(sort="objective") == ["other"]


def test_what_is_no_json_is_not_stored(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    with pytest.raises(ValueError, match="JSON"):
        store.put("model", "m", {"Value": float("nan")})
    store.close()
    Store(tmp_path / "state.db").close()
