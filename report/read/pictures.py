"""The data set as it lies in S3: classes, counts, and files with the same content; no picture is opened."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from contract import s3
from contract.errors import NOT_FOUND, ByocError
from contract.folders import is_passed_over
from contract.pictures import ENDINGS, FORMATS, MAX_PIXELS
from report.read.aws import Clients, objects

CHANNELS: Final = ("train", "validation", "test")
LIMIT: Final = 200_000
"""Files that are listed at most."""
SAMPLES: Final = 8
GROUPS: Final = 200
_LARGEST: Final = 40_000_000


@dataclass(frozen=True)
class File:
    """A picture: its channel, class, key in the bucket, and what is the same for the same content."""

    channel: str
    label: str
    key: str
    content: tuple[int, str]


@dataclass
class Pictures:
    """Counts by class and channel, some keys of each class, and groups of files with the same content."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)
    repeated: list[list[File]] = field(default_factory=list)
    repeated_count: int = 0
    compared: bool = True
    """Whether S3 says what is the same: of encrypted files it does not."""
    truncated: bool = False

    @property
    def total(self) -> int:
        return sum(sum(by_channel.values()) for by_channel in self.counts.values())


def look(clients: Clients, root: str) -> Pictures:
    """The pictures in the channels below `root`, an S3 address.

    Raises:
        ByocError: there are none.
    """
    pictures, by_content = Pictures(), defaultdict[tuple[int, str], list[File]](list)
    seen = 0
    for channel in CHANNELS:
        for file in _files(clients, s3.join(root, channel), channel):
            if seen == LIMIT:
                pictures.truncated = True
                break
            seen += 1
            counts = pictures.counts.setdefault(file.label, dict.fromkeys(CHANNELS, 0))
            counts[channel] += 1
            kept = pictures.samples.setdefault(file.label, [])
            if len(kept) < SAMPLES:
                kept.append(file.key)
            if file.content[1]:
                by_content[file.content].append(file)
            else:
                pictures.compared = False
    if not seen:
        raise ByocError(
            f"There are no pictures at {root}.",
            "`byoc upload FOLDER` puts them there.",
            code=NOT_FOUND,
            kind="NoData",
        )
    groups = [files for files in by_content.values() if len(files) > 1]
    # What lies in two splits, or in two classes, is worse than what was only taken twice.
    groups.sort(
        key=lambda files: -len({file.label for file in files}) - len({file.channel for file in files})
    )
    pictures.repeated, pictures.repeated_count = groups[:GROUPS], len(groups)
    pictures.counts = dict(sorted(pictures.counts.items()))
    return pictures


def _files(clients: Clients, folder: str, channel: str) -> Iterator[File]:
    bucket, prefix = s3.split(f"{folder.rstrip('/')}/")
    try:
        for item in objects(clients.s3, bucket, prefix):
            parts = item["Key"].removeprefix(prefix).split("/")
            ending = f".{parts[-1].rpartition('.')[2].lower()}"
            if len(parts) < 2 or ending not in ENDINGS or any(map(is_passed_over, parts)):
                continue
            tag = item["ETag"].strip('"')
            same = "" if "-" in tag else tag  # of a file in several parts it is no digest of the content
            yield File(channel, parts[0], item["Key"], (item["Size"], same))
    except clients.s3.exceptions.NoSuchBucket:
        return


def thumbnail(clients: Clients, bucket: str, key: str, side: int = 128) -> bytes:
    """A small PNG of a picture in S3.

    Raises:
        ByocError: there is none, or it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        answer = clients.s3.get_object(Bucket=bucket, Key=key)
    except clients.s3.exceptions.NoSuchKey:
        raise ByocError(f"There is no {key}.", code=NOT_FOUND, kind="NoPicture") from None
    with answer["Body"] as body:
        content = body.read(_LARGEST)
    try:
        # In these formats only: the content decides, and PostScript in a .jpg would start Ghostscript.
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError("it has too many pixels")
            picture.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(picture).convert("RGB")
        small.thumbnail((side, side))
    except (OSError, ValueError, SyntaxError, NotImplementedError, Image.DecompressionBombError) as error:
        raise ByocError(f"{key} cannot be shown: {error}.", kind="NoPicture") from None
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return stream.getvalue()
