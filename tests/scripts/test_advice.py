"""What is said about the settings after a look at the pictures, and how it gets into byoc.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from contract.errors import ByocError
from contract.networks import NETWORKS
from model.architecture import WeightsError, check_size
from scripts.advice import _OWN_SIZE, Advice, Facts, advise, apply, look
from scripts.dataset import prepare
from scripts.settings import load
from scripts.template import render


def advised(facts: Facts, *overrides: str) -> dict[str, Any]:
    return {
        item.setting: item.value for item in advise(facts, load(required=False, overrides=list(overrides)))
    }


def facts(pictures: int = 2000, side: int = 400, **classes: int) -> Facts:
    return Facts(classes or {"cat": pictures // 2, "dog": pictures - pictures // 2}, side)


AWS = "aws.endpoint_url="


def test_settings_that_suit_get_no_advice() -> None:
    assert advised(facts()) == {}


@pytest.mark.parametrize(("side", "size"), [(28, 32), (50, 64), (100, 128), (112, None), (300, None)])
def test_small_pictures_are_not_blown_up_without_pretrained_weights(side: int, size: int | None) -> None:
    found = advised(facts(side=side), "hyperparameters.weights=none", "hyperparameters.image_size=224")
    assert found.get("hyperparameters.image_size") == size
    assert advised(facts(side=side)) == {}


@pytest.mark.parametrize("arch", ["alexnet", "inception_v3", "maxvit_t", "vit_b_16"])
def test_networks_that_take_no_small_pictures_get_no_other_size(arch: str) -> None:
    with pytest.raises(WeightsError):
        check_size(arch, 32)
    chosen = (
        "hyperparameters.weights=none",
        "hyperparameters.image_size=224",
        f"hyperparameters.arch={arch}",
    )
    assert advised(facts(side=28), *chosen) == {}


@pytest.mark.slow
def test_all_other_networks_take_the_least_size_that_is_advised() -> None:
    for arch in NETWORKS:
        if not arch.startswith(_OWN_SIZE):
            check_size(arch, 32)


def test_few_pictures_get_smaller_batches_and_more_epochs() -> None:
    open_ = ("hyperparameters.batch_size=32", "hyperparameters.epochs=5")
    assert advised(facts(100), *open_) == {}  # with pretrained weights the trainer chooses
    chosen = (*open_, "hyperparameters.freeze=none")
    assert advised(facts(100), *chosen) == {"hyperparameters.batch_size": 8, "hyperparameters.epochs": 16}
    assert advised(facts(10), *chosen) == {"hyperparameters.batch_size": 4, "hyperparameters.epochs": 50}
    assert advised(facts(1600), *chosen) == {}
    assert "hyperparameters.batch_size" not in advised(facts(252), *chosen)  # 7.9 batches are 8 steps


def test_skewed_classes_are_to_be_balanced() -> None:
    [advice] = advise(facts(cat=1500, dog=200), load(required=False))
    assert (advice.setting, advice.value) == ("hyperparameters.sampling", "balanced")
    assert advice.reason == "cat has 1500 pictures and dog 200."
    assert advised(facts(cat=1500, dog=200), "hyperparameters.class_weights=balanced") == {}
    assert advised(facts(cat=900, dog=200)) == {}


def test_many_pictures_want_a_gpu_on_aws_only() -> None:
    many, large = facts(200_000), "train.instance_type=ml.m5.xlarge"
    assert advised(many, AWS, large) == {"train.instance_type": "ml.g5.xlarge"}
    assert advised(many, AWS, "train.instance_type=ml.g4dn.xlarge") == {}
    assert advised(many, "aws.endpoint_url=http://127.0.0.1:4566", large) == {}
    assert advised(facts(5_000), AWS, large) == {}
    frozen = ("hyperparameters.freeze=backbone", "hyperparameters.augment=none")
    assert advised(facts(60_000), AWS, large) == {"train.instance_type": "ml.g5.xlarge"}
    assert advised(facts(60_000), AWS, large, *frozen) == {}


def draw(path: Path, colour: str, size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_sizes_and_pictures_that_are_there_twice_are_seen(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        for label, colour in (("cat", "red"), ("dog", "blue")):
            draw(tmp_path / split / label / f"{split}.png", colour, (60 + len(split), 40))
    twin = tmp_path / "test/cat/train.png"
    twin.write_bytes((tmp_path / "train/cat/train.png").read_bytes())
    data, _ = prepare(tmp_path, validation=0.1, test=0.1, seed=1)
    seen = look(data)
    assert seen.side == 40
    assert seen.train == {"cat": 1, "dog": 1}
    assert [{copy.channel for copy in group} for group in seen.twice] == [{"train", "test"}]
    assert seen.across == 1
    assert seen.contradicting == []
    (tmp_path / "train/dog/blue cat.png").write_bytes(twin.read_bytes())
    [group] = look(prepare(tmp_path, validation=0.1, test=0.1, seed=1)[0]).contradicting
    assert {copy.label for copy in group} == {"cat", "dog"}


WHOLE = [
    Advice("hyperparameters.epochs", 20, ""),
    Advice("hyperparameters.sampling", "balanced", ""),
    Advice("train.instance_type", "ml.g5.xlarge", ""),
]


@pytest.mark.parametrize(
    "text",
    [
        render({"project": {"name": "flowers"}, "hyperparameters": {"epochs": 3}}),
        "[hyperparameters]\nepochs = 3 # so few\nlr = 0.1\n[train]\n",
        "[train]\ninstance_type = 'ml.m5.xlarge'\n",
        "",
    ],
)
def test_advice_is_written_into_the_file_and_nothing_else_changes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "byoc.toml"
    path.write_text(text)
    apply(path, WHOLE)
    before, after = tomllib.loads(text), tomllib.loads(path.read_text())
    before.setdefault("hyperparameters", {}).update(epochs=20, sampling="balanced")
    before.setdefault("train", {})["instance_type"] = "ml.g5.xlarge"
    assert after == before
    assert path.read_text().count("# ") == text.count("# ")
    apply(path, WHOLE)
    assert tomllib.loads(path.read_text()) == after


def test_a_link_its_files_mode_and_line_ends_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "shared.toml", tmp_path / "byoc.toml"
    file.write_bytes(b"[hyperparameters]\r\nepochs = 3\r\n")
    file.chmod(0o600)
    link.symlink_to(file.name)
    apply(link, [Advice("hyperparameters.epochs", 20, "")])
    assert link.is_symlink()
    assert file.read_bytes() == b"[hyperparameters]\r\nepochs = 20\r\n"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["hyperparameters.epochs = 3\n", "hyperparameters = {epochs = 3}\n"])
def test_a_file_that_is_written_otherwise_stays_and_the_lines_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "byoc.toml"
    path.write_text(text)
    with pytest.raises(ByocError, match=r"automatically\. Set there: hyperparameters\.epochs = 20, hyper"):
        apply(path, WHOLE)
    assert path.read_text() == text
