import csv
import json
import os
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


@pytest.mark.parametrize("part", ["", "train"])
def test_a_read_me_beside_the_folder_around_the_classes_changes_nothing(
    tmp_path: Path, make_pictures: Fill, part: str
) -> None:
    make_pictures(tmp_path / "dogImages" / part, 1)
    (tmp_path / "README.md").touch()
    assert listing.scan(tmp_path, "train").classes == ("blue", "green", "red")
    make_pictures(tmp_path / "dogImages" / "test", 1)
    if part:
        with pytest.raises(TrainingError, match="holds the folders test, train, parts of a data set"):
            listing.scan(tmp_path, "train")
    (tmp_path / "manifest.csv").write_text("file,label\nred.png,a\n")
    with pytest.raises(TrainingError, match=r"files that are not there: red\.png"):
        listing.scan(tmp_path, "train")


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


def manifest(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest.csv", "file,label\nred/0.png,warm\nblue/0.png,cold\n./green/0.png,cold\n"),
        (
            "manifest.csv",
            '\ufeffPath,x,Class\r\n"red/0.png",1,warm\r\nblue/0.png,,cold\r\ngreen/0.png,2,cold\r\n',
        ),
        (
            "manifest.jsonl",
            '{"image": "red/0.png", "class": "warm"}\n\n{"file": "blue/0.png", "label": "cold"}\n{"file": "green/0.png", "label": "cold"}\n',  # noqa: E501
        ),
    ],
)
def test_a_manifest_says_what_belongs_where(
    tmp_path: Path, make_pictures: Fill, name: str, text: str
) -> None:
    found = listing.scan(manifest(make_pictures(tmp_path, 2), text, name), "train")
    assert found.classes == ("cold", "warm")
    assert found.files == ("blue/0.png", "green/0.png", "red/0.png")
    assert found.labels == (0, 0, 1)
    assert [one.file for one in found.skipped] == ["blue/1.png", "green/1.png", "red/1.png"]
    listing.check_skipped(found, "train", 0.1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.csv", "file,label\nred/9.png,a\n", "files that are not there: red/9.png"),
        ("manifest.csv", "file,label\n../x.png,a\n", "line 2: '../x.png' must be a path relative"),
        ("manifest.csv", "file,label\n/etc/passwd,a\n", "must be a path relative"),
        ("manifest.csv", "red/0.png,a\nred/0.png,b\n", "line 2: it needs a file"),
        ("manifest.csv", "file,label\nred/0.png,\n", "line 2: it needs a file"),
        ("manifest.csv", "file,label\nred/0.png,a\nred/0.png,b\n", "labelled 'b' here and 'a' above"),
        ("manifest.csv", "file,label\n", "holds no pictures"),
        ("manifest.jsonl", "{\n", "line 1 is not JSON"),
        ("manifest.jsonl", "[1]\n", "line 1 is not a JSON object"),
    ],
)
def test_a_wrong_manifest_is_told_with_its_line(
    tmp_path: Path, make_pictures: Fill, name: str, text: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        listing.scan(manifest(make_pictures(tmp_path, 1), text, name), "train")


def test_two_manifests_are_one_too_many(tmp_path: Path, make_pictures: Fill) -> None:
    manifest(manifest(make_pictures(tmp_path, 1), ""), "", "manifest.jsonl")
    with pytest.raises(TrainingError, match="holds both"):
        listing.scan(tmp_path, "train")


def test_classes_txt_gives_the_order(tmp_path: Path, make_pictures: Fill) -> None:
    manifest(make_pictures(tmp_path, 1), "red\nblue\n\ngreen\n", "classes.txt")
    found = listing.scan(tmp_path, "train")
    assert found.classes == ("red", "blue", "green")
    assert found.files[0] == "red/0.png"
    assert not found.skipped


def test_classes_txt_that_does_not_agree_is_told(tmp_path: Path, make_pictures: Fill) -> None:
    manifest(make_pictures(tmp_path, 1), "red\nblue\nyellow\n", "classes.txt")
    with pytest.raises(TrainingError, match="no picture of yellow; not in the file: green"):
        listing.scan(tmp_path, "train")


def test_numbered_folders_have_readable_names(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 1)
    for old, new in (("red", "002.Afghan_hound"), ("blue", "010.Affenpinscher"), ("green", "100.Akita")):
        (tmp_path / old).rename(tmp_path / new)
    found = listing.scan(tmp_path, "train")
    assert found.classes == ("Afghan hound", "Affenpinscher", "Akita")
    assert found.files[0] == "002.Afghan_hound/0.png"
    assert listing.scan(tmp_path, "validation", found.classes).labels == (0, 1, 2)


def test_many_files_that_are_no_pictures_are_an_error(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 4)
    for name in ("red", "green", "blue"):
        (tmp_path / name / "readme.txt").touch()
    found = listing.scan(tmp_path, "train")
    listing.check_skipped(found, "train", 0.1)  # one in each folder is nothing to stop for
    for number in range(4):
        (tmp_path / f"red/{number}.xml").touch()
    with pytest.raises(TrainingError, match=r"7 of 19 files are passed over"):
        listing.check_skipped(listing.scan(tmp_path, "train"), "train", 0.1)


def test_links_that_go_round_and_what_is_no_file_are_survived(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 3)
    for name in ("one", "two"):
        (tmp_path / "red" / name).symlink_to(tmp_path / "red")
    (tmp_path / "red/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "blue/pipe.png")  # reading it would wait for ever
    found = listing.scan(tmp_path, "train")
    assert found.per_class() == {"blue": 3, "green": 3, "red": 3}
    assert {one.file for one in found.skipped} == {"red/gone.png", "blue/pipe.png"}
    assert all("no file" in one.reason for one in found.skipped)


def test_a_class_whose_name_cannot_be_stored_is_told(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 2)
    (tmp_path / "red").rename(tmp_path / os.fsdecode(b"r\xe9d"))
    with pytest.raises(TrainingError, match="not UTF-8"):
        listing.scan(tmp_path, "train")


def test_a_label_as_long_as_a_letter_is_told(
    tmp_path: Path, make_picture: Callable[..., Image.Image]
) -> None:
    make_picture(0, 0).save(tmp_path / "a.png")
    make_picture(0, 1).save(tmp_path / "b.png")
    (tmp_path / "manifest.csv").write_text(f"file,label\na.png,{'long ' * 100}\nb.png,short\n")
    with pytest.raises(TrainingError, match="the limit is 255"):
        listing.scan(tmp_path, "train")


def test_too_many_classes_are_told(
    tmp_path: Path, make_pictures: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_CLASSES", 2)
    with pytest.raises(TrainingError, match="3 classes, and the limit is 2"):
        listing.scan(make_pictures(tmp_path, 2), "train")


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_a_manifest_may_name_files_with_line_separators(
    tmp_path: Path, make_picture: Callable[..., Image.Image], name: str
) -> None:
    files = {"a\u2028b.png": "one", "c\x0bd.png": "two", "e, f.png": "two"}
    for number, file in enumerate(files):
        make_picture(0, number).save(tmp_path / file)
    with (tmp_path / name).open("w", newline="") as manifest:
        if name.endswith("csv"):
            writer = csv.writer(manifest)
            writer.writerows([("file", "label"), *files.items()])
        else:
            for file, label in files.items():
                manifest.write(json.dumps({"file": file, "label": label}, ensure_ascii=False) + "\n")
    assert set(listing.scan(tmp_path, "train").files) == set(files)


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path, make_pictures: Fill) -> None:
    for part in ("train", "valid", "test"):
        make_pictures(tmp_path / "dogImages" / part, 1)
    with pytest.raises(TrainingError, match=r"holds the folders test, train, valid.*begin at \.\.\./valid"):
        listing.scan(tmp_path, "validation")


def test_two_spellings_of_a_class_are_named(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path, 1)
    composed, apart = "caf\u00e9", "cafe\u0301"
    (tmp_path / "red").rename(tmp_path / apart)
    with pytest.raises(TrainingError, match=r"spelled in two ways .* channel 'test' and 'train'"):
        listing.scan(tmp_path, "test", [composed, "blue", "green"])
    (tmp_path / "blue").rename(tmp_path / composed)
    with pytest.raises(TrainingError, match="spelled in two ways"):
        listing.scan(tmp_path, "train")


def test_what_an_archiver_puts_beside_the_folder_is_no_class(tmp_path: Path, make_pictures: Fill) -> None:
    make_pictures(tmp_path / "photos", 1)
    make_pictures(tmp_path / "__MACOSX/photos", 1)
    assert listing.scan(tmp_path, "train").classes == ("blue", "green", "red")
