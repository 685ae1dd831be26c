"""A folder of labelled pictures: found, checked and split before anything is sent.

Two layouts: class folders (`cats/1.jpg`), which are split here, or `train/`, `validation/` and `test/` with
class folders in each, which are taken as they are. What lies deeper inside a class folder belongs to it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contract import folders
from contract.errors import ByocError
from contract.folders import SPLITS
from contract.pictures import ENDINGS, HEIC_REMEDY, OTHER_ENDINGS
from report.words import plural
from scripts.pictures import unreadable

_MOST_LEFT_OUT = 0.1  # share of the files; the trainer's own max_skipped_share, if nothing else is set
_LOOKED_AT = 50  # entries of a folder, when one that holds pictures is looked for
_SHOWN = 10  # files listed in an error

Classes = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Dataset:
    """Pictures by channel and class, and what lay beside them."""

    channels: Mapping[str, Classes]
    ignored: tuple[Path, ...] = ()
    """Files that are no pictures by their ending; hidden files are not counted."""
    roots: Mapping[str, Path] = field(default_factory=dict)
    """Per channel, the folder that holds the class folders."""

    @property
    def classes(self) -> list[str]:
        return sorted(self.channels["train"])

    def files(self) -> dict[str, Path]:
        """Key below the data prefix (`train/cats/1.jpg`) → file."""
        return {
            f"{channel}/{path.relative_to(self.roots[channel]).as_posix()}": path
            for channel, classes in self.channels.items()
            for paths in classes.values()
            for path in paths
        }

    def count(self, channel: str) -> int:
        return sum(len(paths) for paths in self.channels.get(channel, {}).values())


def prepare(
    folder: Path,
    *,
    validation: float,
    test: float,
    seed: int,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Dataset, list[tuple[Path, str]]]:
    """Find, check and split.

    Args:
        skip_unreadable: leave broken pictures, and any number of files of other kinds, out instead of
            refusing the data set.
        progress: called with (done, all) while pictures are decoded.

    Returns:
        The data set, and the pictures left out with the reason.

    Raises:
        ByocError: the first thing that makes the folder unfit for training, naming folder or files.
    """
    pictures, ignored, own_splits = find(folder)
    if not skip_unreadable:
        _check_left_out(ignored, sum(len(p) for classes in pictures.values() for p in classes.values()))
    broken = unreadable(
        [path for classes in pictures.values() for p in classes.values() for path in p], progress
    )
    if broken and not skip_unreadable:
        total = sum(len(p) for classes in pictures.values() for p in classes.values())
        raise ByocError(
            f"{len(broken)} of {plural(total, 'picture')} cannot be read:\n{_list(broken)}",
            "Mend or remove them, or leave them out with --skip-unreadable.",
            kind="UnreadablePictures",
            details={"unreadable": [{"file": str(path), "reason": reason} for path, reason in broken]},
        )
    bad = {path for path, _ in broken}
    good: dict[str, Classes] = {
        channel: {label: [path for path in paths if path not in bad] for label, paths in classes.items()}
        for channel, classes in pictures.items()
    }
    _check_classes(good, folder)
    roots = {channel: own_splits.get(channel, folder) for channel in ("train", "validation", "test")}
    if "validation" not in good:
        shares = {"validation": validation} if own_splits else {"validation": validation, "test": test}
        good = {**good, **split(good["train"], shares, seed, roots["train"])}
        if own_splits:
            roots["validation"] = roots["train"]
    channels: dict[str, Classes] = {name: good[name] for name in roots if name in good}
    _check_same_classes(channels)
    return Dataset(channels, tuple(ignored), roots), broken


def candidates(folder: Path) -> list[Path]:
    """`folder` itself if it holds class folders, else those folders in it that do."""
    if _holds_classes(folder):
        return [folder]
    inside = [Path(entry) for entry in folders.entries(folder) if entry.is_dir()]
    return [path for path in inside[:_LOOKED_AT] if _holds_classes(path)]


def _holds_classes(folder: Path) -> bool:
    """Whether at least two folders in it, or in its `train`, hold pictures."""
    try:
        inside = [Path(entry) for entry in folders.entries(folder) if entry.is_dir()]
        if any(SPLITS.get(path.name.lower()) == "train" and _holds_classes(path) for path in inside):
            return True
        return sum(_holds_a_picture(path) for path in inside[:_LOOKED_AT]) > 1
    except OSError:
        return False  # not ours to read


def _holds_a_picture(folder: Path) -> bool:
    return any(Path(entry.name).suffix.lower() in ENDINGS for entry in folders.entries(folder)[:_LOOKED_AT])


def find(folder: Path) -> tuple[dict[str, dict[str, list[Path]]], list[Path], dict[str, Path]]:
    """Pictures by channel and class, the other files, and the folder's own splits, if it has them."""
    if not folder.is_dir():
        raise ByocError(
            f"There is no folder {folder}.",
            "Give a folder with one sub-folder per class; `byoc digits digits` writes a small one to try.",
            kind="NoData",
        )
    own = {
        SPLITS[entry.name.lower()]: entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name.lower() in SPLITS
    }
    beside = [
        entry.name for entry in folders.entries(folder) if entry.is_dir() and Path(entry) not in own.values()
    ]
    if beside and not any(entry.is_dir() for root in own.values() for entry in folders.entries(root)):
        own, beside = {}, []  # classes that are called so, as one of CIFAR-100's is called train
    _check_not_deeper(folder, own)
    if own and "train" not in own:
        raise ByocError(f"{folder} has {', '.join(sorted(own))} but no train folder.", "Add one named train.")
    pictures: dict[str, dict[str, list[Path]]] = {}
    ignored: list[Path] = []
    for channel, root in (own or {"train": folder}).items():
        pictures[channel], others = _class_folders(root)
        ignored += others
    if own and beside:
        raise ByocError(
            f"{folder} has the folder {beside[0]} beside {', '.join(sorted(own))}.",
            "Put class folders inside train, validation and test, or have none of these three.",
        )
    return pictures, ignored, own


def _check_not_deeper(folder: Path, own: Mapping[str, Path]) -> None:
    """Archives often unpack to one folder around all; guessing that would hide a folder given by mistake."""
    inside = [entry for entry in folders.entries(folder) if entry.is_dir()]
    if own or len(inside) != 1:
        return
    below = [entry.name for entry in folders.entries(Path(inside[0])) if entry.is_dir()]
    if folders.look_like_splits(below) or len(below) > 1:
        raise ByocError(
            f"{folder} holds the one folder {inside[0].name}, and that holds {', '.join(below[:_SHOWN])}.",
            f"Give the inner one: {inside[0].path}",
            kind="OneLevelDeeper",
        )


def _class_folders(root: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    classes: dict[str, list[Path]] = {}
    ignored: list[Path] = []
    loose: list[Path] = []
    for entry in sorted(root.iterdir()):
        if folders.is_passed_over(entry.name):
            continue
        if entry.is_dir():
            pictures, others = files_below(entry)
            classes[entry.name] = pictures
            ignored += others
        elif entry.suffix.lower() in ENDINGS:
            loose.append(entry)
        else:
            ignored.append(entry)
    if loose:
        raise ByocError(
            f"{root} holds {plural(len(loose), 'picture')} outside any class folder, e.g. {loose[0].name}.",
            "Put each picture into a folder that is named like its class.",
        )
    return classes, ignored


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures at any depth, by their endings, and the other files; links are followed."""
    try:
        files = sorted(folders.files_below(folder))
    except OSError as error:
        raise ByocError(
            f"{error.filename or folder} cannot be read: {error.strerror}.", "Allow it, or move it away."
        ) from error
    pictures = [path for path, regular in files if regular and path.suffix.lower() in ENDINGS]
    others = [path for path, regular in files if not (regular and path.suffix.lower() in ENDINGS)]
    return pictures, others


def hidden_folders(folder: Path) -> list[Path]:
    """The hidden folders at any depth that hold pictures; none of these is used."""
    holding_pictures = []
    for here, names, _ in os.walk(folder):
        hidden = [Path(here, name) for name in names if name.startswith(".")]
        holding_pictures += [path for path in hidden if files_below(path)[0]]
        names[:] = [name for name in names if not folders.is_passed_over(name)]
    return sorted(holding_pictures)


def _check_left_out(others: Sequence[Path], pictures: int) -> None:
    lost = [path for path in others if path.suffix.lower() not in OTHER_ENDINGS]
    if len(lost) <= _MOST_LEFT_OUT * (len(lost) + pictures):
        return
    endings = Counter(path.suffix.lower() or "none" for path in lost)
    listed = ", ".join(f"{ending} ({number})" for ending, number in endings.most_common(5))
    heic = f" HEIC: {HEIC_REMEDY}." if {".heic", ".heif"} & set(endings) else ""
    raise ByocError(
        f"{len(lost)} of {len(lost) + pictures} files have an ending that is not read: {listed}; "
        f"e.g. {lost[0]}.",
        f"Convert them to JPEG or PNG, or leave them out with --skip-unreadable.{heic}",
        kind="OtherFiles",
        details={"ignored": [str(path) for path in lost]},
    )


def split(classes: Classes, shares: Mapping[str, float], seed: int, folder: Path) -> dict[str, Classes]:
    """Cut every class into train and the channels of `shares`, each class in the same proportions.

    A picture's rank depends on the seed and its path only, so a data set that grows keeps nearly all
    pictures where they were. Every class gets at least one picture in each channel.
    """
    shares = {channel: share for channel, share in shares.items() if share > 0}
    parts: dict[str, dict[str, list[Path]]] = {channel: {} for channel in ("train", *shares)}
    for label, paths in classes.items():
        if len(paths) <= len(shares):
            raise ByocError(
                f"Class {label} has {plural(len(paths), 'picture')}: too few to be split into "
                f"{', '.join(('train', *shares))}.",
                f"Give each class at least {len(shares) + 1}, or bring your own split as sub-folders.",
            )
        rest = sorted(paths, key=lambda path: _order(seed, path.relative_to(folder)))
        for channel, share in shares.items():
            most = len(rest) - (len(shares) - list(shares).index(channel))
            number = min(max(1, round(len(paths) * share)), most)
            parts[channel][label], rest = sorted(rest[:number]), rest[number:]
        parts["train"][label] = sorted(rest)
    return dict(parts)


def _order(seed: int, path: Path) -> bytes:
    return hashlib.sha256(f"{seed}/{path.as_posix()}".encode(errors="surrogateescape")).digest()


def _check_classes(pictures: Mapping[str, Classes], folder: Path) -> None:
    train = pictures["train"]
    if not any(train.values()):
        raise ByocError(
            f"{folder} holds no pictures.",
            f"It needs a folder per class with pictures in it ({', '.join(sorted(ENDINGS))}).",
            kind="NoData",
        )
    for label, paths in train.items():
        if not paths:
            raise ByocError(f"Class {label} has no pictures in {folder}.", "Add some or remove the folder.")
    if pair := folders.spelled_twice(train):
        raise ByocError(_sentence(folders.describe_spelling(pair, str(folder))), "Rename the folders alike.")
    if len(train) < 2:
        raise ByocError(
            f"{folder} has only one class ({next(iter(train))}): there is nothing to tell apart.",
            "Training needs at least two class folders.",
        )


def _check_same_classes(channels: Mapping[str, Classes]) -> None:
    train = set(channels["train"])
    for channel in ("validation", "test"):
        if channel not in channels:
            continue
        here = {label for label, paths in channels[channel].items() if paths}
        if pair := folders.spelled_twice([*sorted(train), *sorted(here)]):
            where = f"train and {channel}"
            raise ByocError(_sentence(folders.describe_spelling(pair, where)), "Rename the folders alike.")
        if missing := sorted(train - here):
            raise ByocError(
                f"{_classes(missing)} missing from {channel}.",
                f"Every class of train needs at least one picture in {channel}.",
                kind="ClassMissing",
            )
        if strange := sorted(here - train):
            raise ByocError(
                f"{_classes(strange)} in {channel} but not in train.",
                "A model cannot learn a class without pictures to train on.",
                kind="ClassMissing",
            )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _classes(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"Class {listed} is" if len(names) == 1 else f"{len(names)} classes ({listed}) are"


def _list(broken: Iterable[tuple[Path, str]]) -> str:
    items = list(broken)
    lines = [f"  {path}: {reason}" for path, reason in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  … and {len(items) - _SHOWN} more; `byoc upload --json` names them all")
    return "\n".join(lines)
