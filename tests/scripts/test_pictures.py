"""What `byoc upload` refuses is what the trainer refuses."""

import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import fuzz
from contract import pictures as limits
from model import images
from model.images import BadImage
from scripts import pictures
from tests.model import kinds

# As model.images sets it for a process, which pytest undoes.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning"),
]
# A collection of odd pictures beside the checkout, where there is one.
ODD = Path(__file__).resolve().parents[3] / "shared/data/odd_images"


def trainer(data: bytes) -> str:
    try:
        images.decode(data, 64)
    except BadImage as error:
        return " ".join(str(error).split())
    return ""


def both(folder: Path, files: list[bytes]) -> list[tuple[str, str]]:
    """What each side says of each file; "" where it takes it."""
    paths = [folder / f"{number}.jpg" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    reasons = dict(pictures.unreadable(paths))
    return [(reasons.get(path, ""), trainer(path.read_bytes())) for path in paths]


def test_every_kind_is_judged_alike(tmp_path: Path) -> None:
    for kind, (here, there) in zip(ALL, both(tmp_path, [kind.data for kind in ALL]), strict=True):
        assert here == there, kind.name


ALL = kinds.every()


def test_damaged_files_are_judged_alike(tmp_path: Path) -> None:
    dice = random.Random(0)
    sound = [*fuzz.seeds(), *(kind.data for kind in ALL[::7])]
    files = [fuzz.mutate(dice.choice(sound), dice, sound) for _ in range(1500)]
    reasons = both(tmp_path, files)
    assert [pair for pair in reasons if pair[0] != pair[1]] == []
    assert 200 < sum(bool(here) for here, _ in reasons) < 1450


@pytest.mark.skipif(not ODD.is_dir(), reason="the odd pictures are not here")
def test_odd_files_are_judged_alike(tmp_path: Path) -> None:
    files = [path.read_bytes() for path in sorted(ODD.glob("*/*"))]
    assert len(files) > 50
    assert all(here == there for here, there in both(tmp_path, files))


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a program is started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    path = tmp_path / "trap.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    ((_, reason),) = pictures.unreadable([path])
    assert "PostScript" in reason


def test_large_files_and_pictures_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    path = tmp_path / "large.png"
    path.write_bytes(bytes(1001))
    assert dict(pictures.unreadable([path]))[path].startswith("the file is larger than")
    monkeypatch.undo()
    Image.new("1", (10_000, 9_000)).save(path)
    assert "pixels; the limit is 80,000,000" in dict(pictures.unreadable([path]))[path]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    assert dict(pictures.unreadable([tmp_path])) == {tmp_path: "cannot be read: Is a directory"}
