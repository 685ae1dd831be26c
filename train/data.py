"""Pictures, decoded once and kept within a budget."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from contract.pictures import MAX_BYTES
from model import images
from model.preprocess import INTERPOLATIONS, Preprocessing
from train.cache import Cache, Pixels
from train.errors import TrainingError
from train.listing import Listing, Skipped

# The longer side of a kept picture is cut to this many times the shorter one: no crop reaches further.
_MAX_ASPECT: Final = 2.0


class Pictures:
    """The pictures of one split, decoded when first asked for.

    Args:
        listing: what there is.
        preprocessing: what evaluation does; gives the size.
        augmentation: a value of the hyperparameter augment; "none" for evaluation.
        cache: where to keep decoded pictures.
        max_skipped_share: above this share of unreadable files, TrainingError.
    """

    def __init__(
        self,
        listing: Listing,
        preprocessing: Preprocessing,
        *,
        augmentation: str = "none",
        cache: Cache | None = None,
        max_skipped_share: float = 0.1,
    ) -> None:
        self.listing = listing
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.hashes: dict[int, bytes] = {}
        self._min_side = preprocessing.min_side if augmentation == "none" else _enough(preprocessing)
        self._cache = cache or Cache()
        self._max_skipped = max_skipped_share * len(listing)
        self._kept: dict[int, Pixels] = {}
        self._unreadable: dict[int, str] = {}
        self._new: collections.deque[int] = collections.deque()

    def __len__(self) -> int:
        return len(self.listing)

    @property
    def unreadable(self) -> int:
        """How many pictures were found unreadable so far."""
        return len(self._unreadable)

    @property
    def faults(self) -> dict[int, str]:
        """The pictures that were found unreadable so far, by index, each with the reason."""
        return dict(self._unreadable)

    def learn(self, faults: Mapping[int, str]) -> None:
        """Take over what other processes, or this job before it was interrupted, found unreadable."""
        self._unreadable.update(faults)

    @property
    def unmet(self) -> list[int]:
        """Pictures nobody asked for yet: they filled no batch, or came before the job was resumed."""
        return [
            index for index in range(len(self)) if index not in self.hashes and index not in self._unreadable
        ]

    @property
    def skipped(self) -> list[Skipped]:
        """Every file that is not used, with the reason; complete once all pictures were asked for."""
        unreadable = sorted(self._unreadable.items())
        return [
            *self.listing.skipped,
            *(Skipped(self.listing.files[index], reason) for index, reason in unreadable),
        ]

    def news(self) -> list[Skipped]:
        """Files found unreadable since the last call."""
        skipped = []
        while self._new:
            index = self._new.popleft()
            skipped.append(Skipped(self.listing.files[index], self._unreadable[index]))
        return skipped

    def check(self) -> None:
        """Raise TrainingError if too many files are unreadable, or all of a class."""
        count = len(self._unreadable)
        if count > self._max_skipped:
            index, reason = next(iter(self._unreadable.items()))
            raise TrainingError(
                f"{count} of {len(self)} pictures in {self.listing.root} are unreadable, more than "
                f"max_skipped_share allows; for example {self.listing.files[index]}: {reason}"
            )
        if not count:
            return
        labels = np.asarray(self.listing.labels)
        left = np.bincount(np.delete(labels, list(self._unreadable)), minlength=len(self.listing.classes))
        if (left == 0).any():
            name = self.listing.classes[int(np.argmin(left))]
            raise TrainingError(f"no picture of class {name!r} in {self.listing.root} is readable")

    def get(self, index: int) -> Pixels | None:
        """The picture [H, W, 3], or None if it is unreadable; of input size unless it is to be augmented."""
        kept = self._kept.get(index)
        if kept is not None or index in self._unreadable:
            return kept
        return self._decode(index)

    def _decode(self, index: int) -> Pixels | None:
        path = self.listing.root / self.listing.files[index]
        data = _read_bytes(path)
        try:
            image = images.decode(data, self._min_side)
        except images.BadImage as error:
            self._unreadable[index] = str(error)
            self._new.append(index)
            return None
        if index not in self.hashes:
            self.hashes[index] = hashlib.blake2b(data, digest_size=16).digest()
        if self.augmentation == "none":
            pixels = self.preprocessing.to_uint8(image)
        else:
            pixels = _shorten(image, self.preprocessing)
        if (kept := self._cache.keep(pixels)) is not None:
            self._kept[index] = kept
        return pixels


def _read_bytes(path: Path) -> bytes:
    # Not one bad picture among many but the storage: going on would train on something else than was listed.
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TrainingError(
            f"the picture {path} was there when the job began and cannot be read now "
            f"({error.strerror or error}); where checkpoints are kept, a job can go on from the last one"
        ) from error


def _enough(preprocessing: Preprocessing) -> int:
    """The shorter side that a JPEG is decoded to, in pixels, where it will be cropped at random anyway.

    Evaluation asks for more, so that the reduced scale leaves no trace. Here a third of the time is worth it:
    a photo of 12 megapixels takes 9 ms instead of 13.
    """
    return round(1.25 * preprocessing.resize)


def _shorten(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """To the size that evaluation resizes to, so that crops of half the area still fill the input."""
    width, height = image.size
    shorter = min(width, height)
    limit = shorter * _MAX_ASPECT
    crop_width, crop_height = min(width, limit), min(height, limit)
    scale = min(1.0, preprocessing.resize / shorter)
    if scale == 1.0 and (crop_width, crop_height) == (width, height):
        return np.asarray(image, dtype=np.uint8)
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    size = (max(1, round(crop_width * scale)), max(1, round(crop_height * scale)))
    box = (left, top, left + crop_width, top + crop_height)
    resized = image.resize(size, INTERPOLATIONS[preprocessing.interpolation], box=box, reducing_gap=3.0)
    return np.asarray(resized, dtype=np.uint8)


def same_pictures(first: Pictures, second: Pictures) -> list[tuple[str, str]]:
    """Files with the same content in both splits, as pairs; complete once all pictures were asked for."""
    first_with = {digest: index for index, digest in sorted(first.hashes.items(), reverse=True)}
    return [
        (first.listing.files[first_with[digest]], second.listing.files[index])
        for index, digest in sorted(second.hashes.items())
        if digest in first_with
    ]


def repeated_pictures(pictures: Pictures) -> list[tuple[str, str]]:
    """Files with the same content within a split, as pairs (the first, another)."""
    files, first = pictures.listing.files, dict[bytes, int]()
    return [
        (files[first[digest]], files[index])
        for index, digest in sorted(pictures.hashes.items())
        if first.setdefault(digest, index) != index
    ]
