import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contract.errors import ByocError
from contract.pictures import ENDINGS, FORMATS
from scripts import dataset
from tests.scripts.conftest import draw
from train import listing

SHARES = {"validation": 0.2, "test": 0.2, "seed": 0}


def prepare(folder: Path, **changes: object) -> dataset.Dataset:
    return dataset.prepare(folder, **{**SHARES, **changes})[0]  # type: ignore[arg-type]


def test_class_folders_are_split_stratified(tmp_path: Path) -> None:
    data = prepare(draw(tmp_path / "data", each=10))
    for channel, number in (("train", 6), ("validation", 2), ("test", 2)):
        assert {label: len(paths) for label, paths in data.channels[channel].items()} == {
            "cat": number,
            "dog": number,
        }
    keys = data.files()
    assert len(keys) == 20
    assert {key.split("/")[0] for key in keys} == {"train", "validation", "test"}


def test_the_split_follows_the_seed(tmp_path: Path) -> None:
    folder = draw(tmp_path / "data", each=30)
    assert prepare(folder).files() == prepare(folder).files()
    assert prepare(folder, seed=1).files() != prepare(folder).files()


def test_a_growing_data_set_keeps_its_split_mostly(tmp_path: Path) -> None:
    before = set(prepare(draw(tmp_path / "data", each=100)).files())
    after = set(prepare(draw(tmp_path / "data", each=105)).files())
    assert len(before & after) >= 0.95 * len(before)


@given(
    sizes=st.lists(st.integers(3, 40), min_size=1, max_size=4),
    validation=st.floats(0.01, 0.5),
    test=st.floats(0, 0.4),
)
def test_a_split_loses_and_doubles_nothing(sizes: list[int], validation: float, test: float) -> None:
    root = Path("root")
    classes = {str(n): [root / str(n) / f"{i}.png" for i in range(size)] for n, size in enumerate(sizes)}
    parts = dataset.split(classes, {"validation": validation, "test": test}, 0, root)
    for label, paths in classes.items():
        assert sorted(path for part in parts.values() for path in part[label]) == sorted(paths)
        assert all(part[label] for part in parts.values())


def test_the_folders_own_split_is_kept(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        draw(tmp_path / "data" / part, each=3)
    data = prepare(tmp_path / "data")
    assert [data.count(channel) for channel in ("train", "validation", "test")] == [6, 6, 6]
    assert data.files()["validation/cat/0.png"] == tmp_path / "data" / "val" / "cat" / "0.png"


def test_train_and_test_only_gets_its_validation_from_train(tmp_path: Path) -> None:
    draw(tmp_path / "data" / "train", each=10)
    draw(tmp_path / "data" / "test", each=3)
    data = prepare(tmp_path / "data")
    assert [data.count(channel) for channel in ("train", "validation", "test")] == [16, 4, 6]
    assert len(data.files()) == 26


def test_nested_pictures_belong_to_the_outer_class(tmp_path: Path) -> None:
    draw(tmp_path / "data", each=5)
    draw(tmp_path / "data" / "cat", classes=("tabby",), each=5)
    data = prepare(tmp_path / "data")
    assert sum(len(channel["cat"]) for channel in data.channels.values()) == 10
    assert any("cat/tabby/" in key for key in data.files())


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    draw(tmp_path / "data")
    (tmp_path / "data" / "cat" / "notes.txt").touch()
    (tmp_path / "data" / "readme.md").touch()
    (tmp_path / "data" / ".DS_Store").touch()
    (tmp_path / "data" / "dog" / ".hidden.png").touch()
    assert [path.name for path in prepare(tmp_path / "data").ignored] == ["notes.txt", "readme.md"]


def test_hidden_folders_and_what_macos_adds_are_no_classes(tmp_path: Path) -> None:
    folder = draw(tmp_path / "data")
    draw(folder, classes=(".birds", "__MACOSX"))
    (folder / ".cache").mkdir()
    assert prepare(folder).classes == ["cat", "dog"]
    assert dataset.hidden_folders(folder) == [folder / ".birds"]
    pictures, _ = dataset.files_below(folder)
    assert {path.parent.name for path in pictures} == {"cat", "dog"}


@pytest.mark.parametrize("ending", [".jfif", ".JPE", ".avif"])
def test_every_ending_of_what_is_decoded_counts(tmp_path: Path, ending: str) -> None:
    folder = draw(tmp_path / "data")
    form = "AVIF" if ending == ".avif" else "JPEG"
    Image.new("RGB", (8, 8)).save(folder / "cat" / f"more{ending}", form)
    assert len(prepare(folder).files()) == 21


def test_the_endings_are_those_of_the_formats() -> None:
    assert {Image.registered_extensions()[ending] for ending in ENDINGS} <= set(FORMATS)


def test_many_files_of_another_kind_are_left_out_only_if_told_so(tmp_path: Path) -> None:
    folder = draw(tmp_path / "data")
    for number in range(30):
        (folder / "cat" / f"{number}.txt").touch()
    for number in range(2):
        (folder / "cat" / f"{number}.heic").touch()
    assert len(prepare(folder).ignored) == 32
    (folder / "dog" / "2.heic").touch()
    message = r"3 of 23 files have an ending that is not read: \.heic \(3\).*--skip-unreadable"
    with pytest.raises(ByocError, match=message) as caught:
        prepare(folder)
    assert len(caught.value.details["ignored"]) == 3
    assert len(prepare(folder, skip_unreadable=True).ignored) == 33


def test_a_broken_tiff_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = draw(tmp_path / "data")
    for number in range(12):
        file = folder / "cat" / f"bad{number}.tif"
        Image.new("RGB", (64, 64), "red").save(file, compression="tiff_lzw")
        content = file.read_bytes()
        file.write_bytes(content[:8] + bytes(40) + content[48:])
    with pytest.raises(
        ByocError, match=r"12 of 32 .*\n(.*\n){10}  … and 2 more; `byoc upload --json`"
    ) as caught:
        prepare(folder)
    assert len(caught.value.details["unreadable"]) == 12
    assert capfd.readouterr().err == ""
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"no folder .*byoc digits"),
        (lambda folder: [shutil.rmtree(item) for item in folder.iterdir()], "holds no pictures"),
        (lambda folder: shutil.rmtree(folder / "dog"), r"only one class \(cat\)"),
        (lambda folder: (folder / "bird").mkdir(), "Class bird has no pictures"),
        (lambda folder: draw(folder, classes=("bird",), each=2), "Class bird has 2 pictures: too few"),
        (lambda folder: (folder / "cat" / "0.png").rename(folder / "0.png"), "outside any class folder"),
        (lambda folder: (folder / "cat" / "bad.jpg").write_bytes(b"no picture"), r"1 of 21 .*\n.*bad\.jpg"),
        (lambda folder: (folder / "cat" / "void.png").touch(), "void.png: the file is empty"),
        (lambda folder: draw(folder / "test"), "no train folder"),
    ],
)
def test_what_cannot_be_trained_on_is_told(tmp_path: Path, damage: object, message: str) -> None:
    folder = draw(tmp_path / "data")
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ByocError, match=message) as caught:
        prepare(folder)
    assert "Traceback" not in str(caught.value)


def test_a_truncated_picture_is_found_and_can_be_left_out(tmp_path: Path) -> None:
    folder = draw(tmp_path / "data", size=64)
    broken = folder / "cat" / "3.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(ByocError, match=r"3\.png: .*--skip-unreadable"):
        prepare(folder)
    data, left_out = dataset.prepare(folder, validation=0.2, test=0.2, seed=0, skip_unreadable=True)
    assert [path for path, _ in left_out] == [broken]
    assert len(data.files()) == 19


def test_a_class_that_is_missing_from_validation(tmp_path: Path) -> None:
    draw(tmp_path / "data" / "train", classes=("cat", "dog", "bird"))
    draw(tmp_path / "data" / "validation")
    with pytest.raises(ByocError, match="Class bird is missing from validation"):
        prepare(tmp_path / "data")


def test_a_class_that_only_test_has(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        draw(tmp_path / "data" / part)
    draw(tmp_path / "data" / "test", classes=("cat", "dog", "bird"))
    with pytest.raises(ByocError, match="Class bird is in test but not in train"):
        prepare(tmp_path / "data")


def test_a_stray_folder_beside_train(tmp_path: Path) -> None:
    for part in ("train", "validation", "cat"):
        draw(tmp_path / "data" / part)
    with pytest.raises(ByocError, match="has the folder cat beside"):
        prepare(tmp_path / "data")


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_class_may_be_called_like_a_part_of_a_data_set(tmp_path: Path, name: str) -> None:
    folder = draw(tmp_path / "data", classes=(name, "bus", "streetcar"))
    found = prepare(folder)
    assert found.classes == list(listing.scan(folder, "train").classes) == sorted((name, "bus", "streetcar"))
    assert dataset.candidates(tmp_path) == [folder]


def test_a_name_with_a_control_character_is_refused(project: Path) -> None:
    folder = draw(project / "data")
    (folder / "cat" / "0.png").rename(folder / "cat" / "a\tb.png")
    with pytest.raises(ByocError, match="control character"):
        dataset.prepare(folder, validation=0.2, test=0.2, seed=0)


def test_linked_folders_are_followed_and_none_is_entered_twice(tmp_path: Path) -> None:
    folder = draw(tmp_path / "data")
    draw(tmp_path / "elsewhere", classes=("more",), each=3)
    (folder / "cat" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (folder / "cat" / "round").symlink_to(folder / "cat")
    (folder / "cat" / "nothing.png").symlink_to(tmp_path / "nothing")
    found, ignored, _ = dataset.find(folder)
    assert len(found["train"]["cat"]) == 13
    assert [path.name for path in ignored] == ["nothing.png"]
    assert len(listing.scan(folder, "train")) == 23


@pytest.mark.parametrize("name", ["__MACOSX", ".ipynb_checkpoints", "@eaDir", "lost+found", "__pycache__"])
def test_system_folders_are_passed_over_by_all(tmp_path: Path, name: str) -> None:
    folder = draw(tmp_path / "data")
    draw(folder, classes=(name,), each=2)
    draw(folder / "cat", classes=(name,), each=2)
    assert set(dataset.find(folder)[0]["train"]) == {"cat", "dog"}
    assert listing.scan(folder, "train").classes == ("cat", "dog")
    assert len(listing.scan(folder, "validation", ["cat", "dog"])) == 20


@pytest.mark.parametrize("inner", ["train", "cat"])
def test_one_folder_around_all_is_named(tmp_path: Path, inner: str) -> None:
    for part in {"train", "valid"} if inner == "train" else {"cat", "dog"}:
        draw(tmp_path / "data" / "dogImages" / part)
    with pytest.raises(ByocError, match="holds the one folder dogImages, and that holds") as caught:
        prepare(tmp_path / "data")
    assert caught.value.remedy.endswith("data/dogImages")


def test_two_spellings_of_a_class_are_named(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    draw(tmp_path / "data" / "train", classes=(composed, "tea"))
    draw(tmp_path / "data" / "test", classes=(apart, "tea"))
    with pytest.raises(ByocError, match=r"spelled in two ways .* 'caf\\xe9' and 'cafe\\u0301'"):
        prepare(tmp_path / "data")
    draw(tmp_path / "both", classes=(composed, apart))
    with pytest.raises(ByocError, match="spelled in two ways"):
        prepare(tmp_path / "both")
