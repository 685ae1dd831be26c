import re
from pathlib import Path

import pytest

from contract.hyperparameters import HYPERPARAMETERS, parse
from scripts import template
from scripts.settings import Settings, load


def loaded(text: str, path: Path) -> Settings:
    path.write_text(text)
    return load(path, environment={})


def test_a_fresh_file_means_the_defaults(tmp_path: Path) -> None:
    fresh = loaded(template.render({}), tmp_path / "byoc.toml")
    (tmp_path / "empty.toml").touch()
    assert fresh == load(tmp_path / "empty.toml", environment={})


def test_every_commented_line_is_valid_and_shows_the_default(tmp_path: Path) -> None:
    everything = loaded(re.sub(r"(?m)^#(?! )", "", template.render({})), tmp_path / "byoc.toml")
    (tmp_path / "empty.toml").touch()
    plain = load(tmp_path / "empty.toml", environment={})
    for section in vars(plain):
        if section != "hyperparameters":
            assert getattr(everything, section) == getattr(plain, section)
    assert set(everything.hyperparameters) == {item.name for item in HYPERPARAMETERS}
    assert parse({key: str(value) for key, value in everything.hyperparameters.items()}) == parse({})


def test_the_digits_example_is_valid(tmp_path: Path) -> None:
    settings = loaded(template.render(template.DIGITS), tmp_path / "byoc.toml")
    assert settings.project.name == "digits"
    assert settings.tune.hyperparameters["epochs"] < settings.hyperparameters["epochs"]  # type: ignore[operator]
    parse({key: str(value) for key, value in settings.hyperparameters.items()})


def test_lines_stay_readable() -> None:
    assert max(map(len, template.render(template.DIGITS).splitlines())) <= 110


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("flowers", "flowers"),
        ("My Flowers (new)", "My-Flowers-new"),
        ("flowers_2024.v2", "flowers-2024-v2"),
        ("Äpfel", "Apfel"),
        ("-x-", "x"),
        ("a-name-that-is-longer-than-jobs-may-begin-with", "a-name-that-is-longe"),
        ("花", "pictures"),
        ("", "pictures"),  # of /
    ],
)
def test_a_project_is_called_after_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    assert template.project_name(folder) == name
    assert loaded(template.render({"project": {"name": name}}), tmp_path / "byoc.toml").project.name == name
