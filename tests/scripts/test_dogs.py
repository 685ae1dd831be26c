"""Drawn dogs: as Udacity has its photos, and the same at every call."""

from pathlib import Path

import pytest
from PIL import Image

from contract.errors import ByocError
from scripts import dataset, dogs


def test_the_folders_are_those_of_udacity(tmp_path: Path) -> None:
    assert dogs.write(tmp_path, size=32) == 256
    assert {path.name for path in tmp_path.iterdir()} == {"train", "valid", "test"}
    assert sorted(path.name for path in (tmp_path / "valid").iterdir())[3] == "004.Akita"
    first = tmp_path / "train" / "001.Affenpinscher" / "Affenpinscher_00001.jpg"
    with Image.open(first) as picture:
        assert (picture.size, picture.mode, picture.format) == ((32, 32), "RGB", "JPEG")
    data, broken = dataset.prepare(tmp_path, validation=0.2, test=0.2, seed=0)
    assert not broken
    assert {name: data.count(name) for name in data.channels} == {"train": 160, "validation": 48, "test": 48}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    assert len(set(before.values())) == 256
    dogs.write(tmp_path, size=32)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")} == before


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "dogs").touch()
    with pytest.raises(ByocError, match="is a file"):
        dogs.write(tmp_path / "dogs")
