"""A list of pictures and labels beside them: `manifest.csv`, `manifest.jsonl`, and `classes.txt`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from train.errors import TrainingError

NAMES: Final = ("manifest.csv", "manifest.jsonl")
CLASSES: Final = "classes.txt"
_FILE: Final = ("file", "path", "filename", "file_name", "image")
_LABEL: Final = ("label", "class", "class_name")
_SHOWN: Final = 5


def find(folder: Path) -> Path | None:
    """The manifest in a folder, or None. Raises TrainingError for two of them."""
    manifests = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(manifests) > 1:
        raise TrainingError(f"{folder} holds both {' and '.join(NAMES)}: keep one of them")
    return manifests[0] if manifests else None


def read(path: Path) -> list[tuple[str, str]]:
    """Pairs of a file, relative to the manifest's folder, and its label; in the order of the manifest.

    Raises:
        TrainingError: unreadable, a line without file or label, a file twice, outside the folder or missing.
    """
    pairs: dict[str, str] = {}
    for number, row in _rows(path):
        file, label = _pick(row, _FILE), _pick(row, _LABEL)
        if not file or not label:
            raise TrainingError(
                f"{path.name}, line {number}: it needs a file ({', '.join(_FILE)}) and a label "
                f"({', '.join(_LABEL)}), and has {', '.join(map(str, row)) or 'nothing'}"
            )
        parts = PurePosixPath(file)
        if parts.is_absolute() or ".." in parts.parts or "\\" in file or "\0" in file:
            raise TrainingError(
                f"{path.name}, line {number}: {file!r} must be a path relative to the manifest, with slashes"
            )
        name = str(parts)
        if pairs.get(name, label) != label:
            raise TrainingError(
                f"{path.name}, line {number}: {name} is labelled {label!r} here and {pairs[name]!r} above"
            )
        pairs[name] = label
    missing = [name for name in pairs if not _is_file(path.parent / name)]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise TrainingError(
            f"{path.name} names files that are not there: {', '.join(missing[:_SHOWN])}{more}; paths are "
            "relative to the manifest"
        )
    return list(pairs.items())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no disk can hold
        return False


def read_classes(folder: Path) -> list[str] | None:
    """The lines of `classes.txt`, in order; None without the file."""
    path = folder / CLASSES
    if not path.is_file():
        return None
    names = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if len(set(names)) != len(names):
        raise TrainingError(f"{CLASSES} has a name twice: {next(n for n in names if names.count(n) > 1)!r}")
    return names


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _text(path)
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            for row in reader:
                yield reader.line_num, {key: value for key, value in row.items() if key}
        except csv.Error as error:
            raise TrainingError(f"{path.name}, line {reader.line_num}: {error}") from error
        return
    for number, line in enumerate(text.split("\n"), 1):  # a JSON string may hold other line separators
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"{path.name}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise TrainingError(f"{path.name}, line {number} is not a JSON object")
        yield number, row


def _pick(row: dict[str, Any], names: tuple[str, ...]) -> str:
    lower = {str(key).strip().lower(): value for key, value in row.items()}
    value = next((lower[name] for name in names if lower.get(name) is not None), "")
    return str(value).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
