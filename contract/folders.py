"""A folder of labelled pictures, as every side reads it: what is passed over, and what names mean."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

# What operating systems and storage boxes put beside the content; hidden names begin with a dot.
_SYSTEM: Final = frozenset(
    (
        "__macosx", "@eadir", "$recycle.bin", "@recycle", "#recycle", "system volume information",
        "lost+found", "__pycache__", "thumbs.db", "desktop.ini",
    )
)  # fmt: skip
# Parts of a data set by the names that people give their folders.
SPLITS: Final = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without what is passed over."""
    with os.scandir(folder) as inside:
        visible = [entry for entry in inside if not is_passed_over(entry.name)]
    return sorted(visible, key=lambda entry: entry.name)


def files_below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """What lies at any depth, and whether it is a regular file.

    Links are followed, but no folder is entered twice.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries(here):
            if entry.is_dir():
                waiting.append(Path(entry))
            else:
                yield Path(entry), entry.is_file()


def look_like_splits(names: Iterable[str]) -> bool:
    """Whether folders are the parts of a data set and no classes: train, and others of SPLITS only."""
    parts = [SPLITS.get(name.lower()) for name in names]
    return "train" in parts and len(parts) > 1 and None not in parts


def without_number(folder: str) -> str:
    """The class of a numbered folder: "Afghan hound" for `002.Afghan_hound`. Empty for others.

    So are the folders of Udacity's dogs and of Caltech's birds. `0.5` and `2.0 mm` are decimals.
    """
    match = re.fullmatch(r"\d+\.(?!\d)(.+)", folder)
    return match[1].replace("_", " ").strip() if match else ""


def class_names(folders: Sequence[str]) -> list[str]:
    """Names of classes from names of folders: without the number where all of them have one."""
    names = [without_number(folder) for folder in folders]
    return names if all(names) and len(set(names)) == len(folders) else list(folders)


def spelled_twice(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that look the same and are not: one has é as one character, the other as e and an accent."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            return other, name
    return None


def describe_spelling(names: tuple[str, str], where: str) -> str:
    """What to say of the two names that `spelled_twice` found."""
    written = " and ".join(ascii(name) for name in names)
    return (
        f"the class {names[0]} is spelled in two ways that look the same in {where}: {written} (composed and "
        "decomposed Unicode, as Linux and macOS write it)"
    )
