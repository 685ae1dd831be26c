"""Which pictures there are and which class each belongs to, before any of them is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from contract.folders import (
    SPLITS,
    class_names,
    describe_spelling,
    entries,
    files_below,
    look_like_splits,
    spelled_twice,
)
from contract.pictures import OTHER_ENDINGS
from train import manifest
from train.errors import TrainingError

MAX_CLASSES: Final = 20_000  # about as many as ImageNet has in all
_MAX_NAME: Final = 255  # characters of a class's name; a folder's cannot be longer
_OUTSIDE: Final = "lies outside the class folders"
_NO_FILE: Final = "no file, or a link to nothing"
_NO_PICTURE: Final = "no picture by its ending"


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that is not used; `file` is relative to its channel."""

    file: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """The pictures of one split, in a fixed order.

    Attributes:
        root: the folder of the channel.
        files: paths relative to root.
        labels: for each file the index of its class.
        classes: names in order.
        skipped: files that are no pictures by their ending or place.
    """

    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def digest(self) -> str:
        """A digest of files, labels and classes: the same where two processes would train on the same."""
        content = json.dumps([self.files, self.labels, self.classes])
        return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()

    def per_class(self) -> dict[str, int]:
        """How many files of each class; every class is named."""
        counts = Counter(self.labels)
        return {name: counts[index] for index, name in enumerate(self.classes)}


@dataclasses.dataclass(frozen=True)
class View:
    """What one process sees: of each split a digest and the number of pictures, or why it sees none."""

    host: str
    splits: Mapping[str, tuple[str, int]]
    problem: str = ""

    @classmethod
    def of(cls, listings: Mapping[str, Listing], environment: Mapping[str, str], problem: str = "") -> View:
        splits = {name: (those.digest(), len(those)) for name, those in listings.items()}
        return cls(environment.get("SM_CURRENT_HOST", "this host"), splits, problem)


def check_same(views: Sequence[View], rank: int) -> None:
    """Raise TrainingError, in every process, where one sees no pictures or others than the first.

    Args:
        views: of all processes, in order of rank.
        rank: this process's, whose own problem comes first.
    """
    for view in (views[rank], *views):
        if view.problem:
            raise TrainingError(view.problem if view is views[rank] else f"{view.host}: {view.problem}")
    for name in views[0].splits:
        if len({view.splits.get(name) for view in views}) > 1:
            counts = {view.host: view.splits.get(name, ("", 0))[1] for view in views}
            shown = ", ".join(f"{count} on {host}" for host, count in list(counts.items())[:8])
            raise TrainingError(
                f"the hosts see different pictures in '{name}' ({shown}): every host needs all of them; give "
                "the channels S3DataDistributionType=FullyReplicated (ShardedByS3Key gives each host a part)"
            )


def scan(folder: Path, channel: str, classes: Sequence[str] | None = None) -> Listing:
    """List the pictures of a channel.

    A folder for each class with pictures at any depth below, or a manifest (see train.manifest) with any
    folders. A single folder around all that is stepped into. `classes.txt` gives the order of the classes.
    Where every folder is numbered (`001.Affenpinscher`), the number is no part of the name. Hidden files are
    passed over.

    Args:
        folder: of the channel.
        channel: its name, for messages.
        classes: those of the training channel; None to take those found, sorted.

    Raises:
        TrainingError: nothing there, one class only, or classes that the training channel does not have.
    """
    root = _class_root(folder)
    listed = manifest.find(root)
    files_of, skipped = _from_manifest(listed) if listed else _from_folders(root)
    filled = [name for name in files_of if files_of[name]]
    if not filled:
        raise TrainingError(
            f"channel '{channel}' holds no pictures: it needs a folder for each class, with pictures in it, "
            f"or a manifest ({len(skipped)} other files were found in {folder})"
        )
    if look_like_splits(filled):
        inner = next((name for name in filled if SPLITS[name.lower()] == channel), filled[0])
        raise TrainingError(
            f"channel '{channel}' holds the folders {', '.join(filled)}, parts of a data set and no classes: "
            f"let the channel '{channel}' begin at .../{inner}"
        )
    if pair := spelled_twice([*filled, *(classes or ())]):
        where = f"channel '{channel}'" + (" and 'train'" if classes is not None else "")
        raise TrainingError(f"{describe_spelling(pair, where)}: rename the folders alike")
    if classes is None:
        if len(filled) < 2:
            raise TrainingError(
                f"channel '{channel}' holds one class only, {filled[0]!r}: a classifier needs at least two, "
                "each in a folder of its own"
            )
        classes = _in_order_of_classes_txt(root, filled) or filled
        _check_names(channel, classes)
    _check_classes(channel, filled, classes)
    pairs = [(file, index) for index, name in enumerate(classes) for file in files_of[name]]
    return Listing(
        root,
        tuple(file for file, _ in pairs),
        tuple(label for _, label in pairs),
        tuple(classes),
        tuple(skipped),
    )


Found = tuple[dict[str, list[str]], list[Skipped]]


def _from_folders(root: Path) -> Found:
    there = [entry for entry in entries(root) if entry.name != manifest.CLASSES]
    folders = [entry.name for entry in there if entry.is_dir()]
    files_of: dict[str, list[str]] = {name: [] for name in class_names(folders)}
    skipped = [Skipped(entry.name, _OUTSIDE) for entry in there if not entry.is_dir()]
    for name, folder in zip(files_of, folders, strict=True):
        for file, regular in sorted(files_below(root / folder)):
            relative = str(file.relative_to(root))
            if not regular:
                skipped.append(Skipped(relative, _NO_FILE))
            elif file.suffix.lower() in OTHER_ENDINGS:
                skipped.append(Skipped(relative, f"{_NO_PICTURE} {file.suffix}"))
            else:
                files_of[name].append(relative)
    return files_of, skipped


def _from_manifest(path: Path) -> Found:
    pairs = manifest.read(path)
    files_of: dict[str, list[str]] = {name: [] for name in sorted({label for _, label in pairs})}
    for file, label in pairs:
        files_of[label].append(file)
    listed = {file for file, _ in pairs} | {path.name, manifest.CLASSES}
    others = sorted(str(file.relative_to(path.parent)) for file, _ in files_below(path.parent))
    return files_of, [Skipped(file, f"not in {path.name}") for file in others if file not in listed]


def _in_order_of_classes_txt(root: Path, filled: Sequence[str]) -> list[str] | None:
    wanted = manifest.read_classes(root)
    if wanted is None:
        return None
    names = wanted if set(wanted) == set(filled) else class_names(wanted)
    if set(names) != set(filled):
        only_text, only_found = sorted(set(names) - set(filled)), sorted(set(filled) - set(names))
        raise TrainingError(
            f"{manifest.CLASSES} and the pictures do not agree: "
            + "; ".join(
                f"{what} {', '.join(which[:10])}"
                for what, which in (("no picture of", only_text), ("not in the file:", only_found))
                if which
            )
        )
    return names


def check_skipped(listing: Listing, channel: str, share: float) -> None:
    """Raise TrainingError where more than a share of the files is passed over, and more than one a class."""
    # What a manifest leaves out or lies beside the class folders was hardly meant to be trained on.
    inside = [one for one in listing.skipped if one.reason.startswith((_NO_PICTURE, _NO_FILE))]
    if len(inside) > len(listing.classes) and len(inside) > share * (len(listing) + len(inside)):
        raise TrainingError(
            f"channel '{channel}': {len(inside)} of {len(listing) + len(inside)} files are passed over, more "
            f"than max_skipped_share allows; for example {inside[0].file}: {inside[0].reason}"
        )


def split(listing: Listing, share: float, seed: int) -> tuple[Listing, Listing]:
    """Set aside `share` of every class, at least one picture; the same seed gives the same split.

    Returns:
        The rest (for training), and what was set aside (for validation).

    Raises:
        TrainingError: a class with a single picture cannot be split.
    """
    labels = np.asarray(listing.labels)
    aside: set[int] = set()
    for index, name in enumerate(listing.classes):
        members = np.flatnonzero(labels == index)
        if len(members) < 2:
            raise TrainingError(
                f"class {name!r} has one picture only, and without a channel 'validation' some are set "
                f"aside from "
                "training: add pictures, remove the class, or give a channel 'validation'"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        aside.update(np.random.default_rng([seed, index]).permutation(members)[:count].tolist())

    def part(chosen: bool) -> Listing:
        numbers = [number for number in range(len(listing)) if (number in aside) is chosen]
        return dataclasses.replace(
            listing,
            files=tuple(listing.files[number] for number in numbers),
            labels=tuple(listing.labels[number] for number in numbers),
            skipped=() if chosen else listing.skipped,
        )

    return part(False), part(True)


def _class_root(folder: Path) -> Path:
    # data/photos/<class>/...: what a zipped folder often unpacks to, perhaps with a README.md beside it.
    root = folder
    while True:
        inside = [entry for entry in entries(root) if entry.is_dir() or not _is_aside(entry.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            return root
        if not any(entry.is_dir() for entry in entries(Path(inside[0]))):
            return root
        root = Path(inside[0])


def _is_aside(name: str) -> bool:
    says_what_is_what = name in (*manifest.NAMES, manifest.CLASSES)
    return Path(name).suffix.lower() in OTHER_ENDINGS and not says_what_is_what


def _check_names(channel: str, classes: Sequence[str]) -> None:
    if len(classes) > MAX_CLASSES:
        raise TrainingError(
            f"channel '{channel}' has {len(classes):,} classes, and the limit is {MAX_CLASSES:,}: is every "
            "folder, or every label of the manifest, really a class?"
        )
    for name in classes:
        if len(name) > _MAX_NAME:
            raise TrainingError(
                f"channel '{channel}': the name of class {name[:40]!r}... has {len(name):,} characters, and "
                f"the limit is {_MAX_NAME}"
            )
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise TrainingError(
                f"channel '{channel}': the name of class {name!r} is not UTF-8, and could not be stored with "
                "the model: rename its folder"
            ) from error


def _check_classes(channel: str, filled: Sequence[str], classes: Sequence[str]) -> None:
    unknown = sorted(set(filled) - set(classes))
    if unknown:
        raise TrainingError(
            f"channel '{channel}' has classes that the channel 'train' lacks: {', '.join(unknown[:10])}; "
            "training knows only the classes of its own pictures"
        )
    # A score over some of the classes would look like one over all of them.
    missing = sorted(set(classes) - set(filled))
    if missing:
        remedy = "add some"
        if channel == "validation":
            remedy += ", or leave the channel out, and a part of 'train' is set aside instead"
        raise TrainingError(
            f"channel '{channel}' has no picture of {', '.join(missing[:10])}, and its score would say "
            f"nothing about {'it' if len(missing) == 1 else 'them'}: {remedy}"
        )
