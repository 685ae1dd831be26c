"""A folder of labelled pictures: found, checked and split before anything is sent.

Two layouts: class folders (`cats/1.jpg`), which are split here, or `train/`, `validation/` and `test/` with
class folders in each, which are taken as they are. What lies deeper inside a class folder belongs to it.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import ByocError
from scripts.output import count

# Endings of the formats that the trainer and the endpoint decode.
PICTURES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif",
        ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".ico", ".tga", ".pcx",
    )
)  # fmt: skip
# Endings of what lies beside pictures in a data set; a file with any other may be a picture that is lost.
NO_PICTURES = frozenset(
    (
        ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".yaml", ".yml", ".ini", ".db",
        ".log", ".pdf", ".zip", ".tar", ".gz", ".tgz", ".py",
    )
)  # fmt: skip
_MOST_LEFT_OUT = 0.1  # share of the files; the trainer's own max_skipped_share, if nothing else is set
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_SHOWN = 10  # files listed in an error

Classes = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Dataset:
    """Pictures by channel and class, and what lay beside them."""

    channels: Mapping[str, Classes]
    ignored: tuple[Path, ...] = ()
    """Files that are no pictures by their ending; hidden files are not counted."""
    was_split: bool = False
    """Whether the folder came with its own train / validation / test."""
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
    found, ignored, own_splits = find(folder)
    if not skip_unreadable:
        _check_left_out(ignored, sum(len(p) for classes in found.values() for p in classes.values()))
    broken = unreadable(
        [path for classes in found.values() for p in classes.values() for path in p], progress
    )
    if broken and not skip_unreadable:
        total = sum(len(p) for classes in found.values() for p in classes.values())
        raise ByocError(
            f"{len(broken)} of {count(total, 'picture')} cannot be read:\n{_list(broken)}",
            "Mend or remove them, or leave them out with --skip-unreadable.",
            kind="UnreadablePictures",
            details={"unreadable": [{"file": str(path), "reason": reason} for path, reason in broken]},
        )
    bad = {path for path, _ in broken}
    good: dict[str, Classes] = {
        channel: {label: [path for path in paths if path not in bad] for label, paths in classes.items()}
        for channel, classes in found.items()
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
    return Dataset(channels, tuple(ignored), bool(own_splits), roots), broken


def find(folder: Path) -> tuple[dict[str, dict[str, list[Path]]], list[Path], dict[str, Path]]:
    """Pictures by channel and class, the other files, and the folder's own splits, if it has them."""
    if not folder.is_dir():
        raise ByocError(
            f"There is no folder {folder}.",
            "Give a folder with one sub-folder per class; `byoc digits digits` writes a small one to try.",
            kind="NoData",
        )
    own = {
        _SPLITS[entry.name.lower()]: entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name.lower() in _SPLITS
    }
    if own and "train" not in own:
        raise ByocError(f"{folder} has {', '.join(sorted(own))} but no train folder.", "Add one named train.")
    found: dict[str, dict[str, list[Path]]] = {}
    ignored: list[Path] = []
    for channel, root in (own or {"train": folder}).items():
        found[channel], others = _class_folders(root)
        ignored += others
    if own:
        strange = [entry.name for entry in folder.iterdir() if entry.is_dir() and entry not in own.values()]
        if strange := [name for name in strange if not _passed_over(name)]:
            raise ByocError(
                f"{folder} has the folder {strange[0]} beside {', '.join(sorted(own))}.",
                "Put class folders inside train, validation and test, or have none of these three.",
            )
    return found, ignored, own


def _class_folders(root: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    classes: dict[str, list[Path]] = {}
    ignored: list[Path] = []
    loose: list[Path] = []
    for entry in sorted(root.iterdir()):
        if _passed_over(entry.name):
            continue
        if entry.is_dir():
            pictures, others = files_below(entry)
            classes[entry.name] = pictures
            ignored += others
        elif entry.suffix.lower() in PICTURES:
            loose.append(entry)
        else:
            ignored.append(entry)
    if loose:
        raise ByocError(
            f"{root} holds {count(len(loose), 'picture')} outside any class folder, e.g. {loose[0].name}.",
            "Put each picture into a folder that is named like its class.",
        )
    return classes, ignored


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures at any depth, by their endings, and the other files; hidden ones are passed over."""
    pictures: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if any(map(_passed_over, path.relative_to(folder).parts)) or not path.is_file():
            continue
        (pictures if path.suffix.lower() in PICTURES else others).append(path)
    return pictures, others


def hidden_folders(folder: Path) -> list[Path]:
    """The hidden folders at any depth that hold pictures; none of these is used."""
    found = []
    for here, names, _ in os.walk(folder):
        hidden = [Path(here, name) for name in names if name.startswith(".")]
        found += [path for path in hidden if files_below(path)[0]]
        names[:] = [name for name in names if not _passed_over(name)]
    return sorted(found)


def _passed_over(name: str) -> bool:
    """Hidden, or what macOS puts beside the content of a ZIP file."""
    return name.startswith(".") or name == "__MACOSX"


def _check_left_out(others: Sequence[Path], pictures: int) -> None:
    lost = [path for path in others if path.suffix.lower() not in NO_PICTURES]
    if len(lost) <= _MOST_LEFT_OUT * (len(lost) + pictures):
        return
    endings = Counter(path.suffix.lower() or "none" for path in lost)
    listed = ", ".join(f"{ending} ({number})" for ending, number in endings.most_common(5))
    raise ByocError(
        f"{len(lost)} of {len(lost) + pictures} files have an ending that is not read: {listed}; "
        f"e.g. {lost[0]}.",
        "Convert them to JPEG or PNG, or leave them out with --skip-unreadable.",
        kind="OtherFiles",
        details={"ignored": [str(path) for path in lost]},
    )


def unreadable(
    paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> list[tuple[Path, str]]:
    """The pictures that Pillow cannot decode to the end, with the reason; and names that S3 cannot hold."""
    broken: list[tuple[Path, str]] = []
    with warnings.catch_warnings(), _quiet_libraries(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # a warning about odd EXIF data does not make a picture unreadable
        for done, (path, reason) in enumerate(zip(paths, pool.map(_why_unreadable, paths), strict=True), 1):
            if reason:
                broken.append((path, reason))
            if progress:
                progress(done, len(paths))
    return broken


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """libtiff writes what it thinks of a file to the process's standard error, past Python."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _why_unreadable(path: Path) -> str:
    from PIL import Image

    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if any(unicodedata.category(letter) == "Cc" for letter in str(path)):
        return "its name has a control character (tab, newline, …)"
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        with Image.open(path) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError, NotImplementedError, Image.DecompressionBombError) as error:
        return str(error).split(":", 1)[0].replace(f" '{path}'", "").replace("\n", " ") or "cannot be decoded"
    return ""


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
                f"Class {label} has {count(len(paths), 'picture')}: too few to be split into "
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


def _check_classes(found: Mapping[str, Classes], folder: Path) -> None:
    train = found["train"]
    if not any(train.values()):
        raise ByocError(
            f"{folder} holds no pictures.",
            f"It needs a folder per class with pictures in it ({', '.join(sorted(PICTURES))}).",
            kind="NoData",
        )
    for label, paths in train.items():
        if not paths:
            raise ByocError(f"Class {label} has no pictures in {folder}.", "Add some or remove the folder.")
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


def _classes(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"Class {listed} is" if len(names) == 1 else f"{len(names)} classes ({listed}) are"


def _list(broken: Iterable[tuple[Path, str]]) -> str:
    items = list(broken)
    lines = [f"  {path}: {reason}" for path, reason in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  … and {len(items) - _SHOWN} more; `byoc upload --json` names them all")
    return "\n".join(lines)
