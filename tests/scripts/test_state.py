from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contract.errors import ByocError
from scripts import state
from scripts.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), folder=tmp_path)


def test_what_is_remembered_stays_until_it_is_forgotten(settings: Settings) -> None:
    state.update(settings, endpoint="flowers", training_job="one")
    state.update(settings, training_job="two")
    state.check(settings)
    jobs = {"training_job": "two", "newest_job": "two", "project": "pictures"}
    assert state.read(settings) == {"endpoint": "flowers", **jobs}
    state.update(settings, endpoint=None)
    assert state.read(settings) == jobs


@pytest.mark.parametrize("content", ["{", "[1]", b"\xff"])
def test_a_broken_file_is_put_aside_and_told_once(
    settings: Settings, capsys: pytest.CaptureFixture[str], content: str | bytes
) -> None:
    path = state.path_of(settings)
    path.parent.mkdir()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert state.read(settings) == {}
    assert f"{path} is broken" in capsys.readouterr().err
    state.update(settings, endpoint="flowers")
    assert state.read(settings) == {"endpoint": "flowers"}
    assert capsys.readouterr().err == ""
    assert path.with_name("state.json.broken").exists()


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_paid_for(settings: Settings) -> None:
    state.path_of(settings).parent.write_text("in the way")
    with pytest.raises(ByocError, match="cannot be read"):
        state.check(settings)
