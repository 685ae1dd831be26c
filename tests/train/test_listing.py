from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from train import listing
from train.errors import TrainingError

Fill = Callable[..., Path]


def test_folders_are_classes_in_order_and_files_are_found_at_any_depth(
    tmp_path: Path, make_pictures: Fill
) -> None:
    make_pictures(tmp_path, 2)
    deep = tmp_path / "red/summer 2020/day 1"
    deep.mkdir(parents=True)
    (tmp_path / "red/0.png").rename(deep / "0.PNG")
    found = listing.scan(tmp_path, "train")
    assert found.classes == ("blue", "green", "red")
    assert found.per_class() == {"blue": 2, "green": 2, "red": 2}
    assert "red/summer 2020/day 1/0.PNG" in found.files
    assert [found.classes[label] for label in found.labels] == [Path(file).parts[0] for file in found.files]


def test_a_folder_around_the_classes_is_stepped_into(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path / "data/photos", 1)
    (tmp_path / ".DS_Store").touch()
    assert listing.scan(tmp_path, "train").classes == ("blue", "green", "red")


def test_files_that_are_no_pictures_are_listed_never_silent(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 1)
    for name in ("red/notes.txt", "red/box.xml", "README.md", "loose.png", "red/.hidden"):
        (tmp_path / name).touch()
    found = listing.scan(tmp_path, "train")
    assert {one.file for one in found.skipped} == {"red/notes.txt", "red/box.xml", "README.md", "loose.png"}
    assert all(one.reason for one in found.skipped)
    assert len(found) == 3


def test_a_gif_is_a_picture_whatever_torchvision_thinks(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 1)
    Image.new("RGB", (9, 9)).save(tmp_path / "red/moving.gif")
    assert "red/moving.gif" in listing.scan(tmp_path, "train").files


def test_an_empty_channel_and_a_single_class_are_told(tmp_path: Path, make_pictures: Fill) -> None:
    with pytest.raises(TrainingError, match="channel 'train' holds no pictures"):
        listing.scan(tmp_path, "train")
    make_pictures(tmp_path, 1)
    for name in ("blue", "green"):
        (tmp_path / name / "0.png").unlink()
    with pytest.raises(TrainingError, match="one class only, 'red'"):
        listing.scan(tmp_path, "train")


def test_validation_must_have_the_classes_of_training(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 1)
    with pytest.raises(TrainingError, match="classes that the channel 'train' lacks: red"):
        listing.scan(tmp_path, "validation", ("blue", "green"))
    with pytest.raises(TrainingError, match="no picture of yellow"):
        listing.scan(tmp_path, "validation", ("blue", "green", "red", "yellow"))


def test_names_of_any_kind(tmp_path: Path, make_picture: Callable[..., Image.Image]) -> None:
    for name in ("Äpfel & Birnen", "猫", "a'b\"c"):
        (tmp_path / name).mkdir()
        make_picture(0, 1).save(tmp_path / name / "пример 1.png")
    assert listing.scan(tmp_path, "train").classes == ("a'b\"c", "Äpfel & Birnen", "猫")


def test_a_split_is_stratified_and_depends_on_the_seed_only(tmp_path: Path, make_pictures: Fill) -> None:
    everything = listing.scan(make_pictures(tmp_path, 10), "train")
    train, validation = listing.split(everything, 0.2, seed=1)
    assert train.per_class() == {"blue": 8, "green": 8, "red": 8}
    assert validation.per_class() == {"blue": 2, "green": 2, "red": 2}
    assert sorted(train.files + validation.files) == sorted(everything.files)
    assert listing.split(everything, 0.2, seed=1)[1].files == validation.files
    assert listing.split(everything, 0.2, seed=2)[1].files != validation.files


def test_a_class_with_one_picture_cannot_be_split(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 1)
    with pytest.raises(TrainingError, match="'blue' has one picture only"):
        listing.split(listing.scan(tmp_path, "train"), 0.2, seed=1)
