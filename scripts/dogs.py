"""Drawn dogs in the layout of Udacity's dog images, where the photos themselves are not at hand.

`FOLDER/train/001.Affenpinscher/Affenpinscher_00001.jpg`, and so for `valid` and `test`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from contract.errors import ByocError

SPLITS: Mapping[str, int] = {"train": 40, "valid": 12, "test": 12}
"""Pictures of each breed."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class _Breed:
    coat: Colour
    ears: Colour
    muzzle: Colour
    pointed: bool = False
    shaggy: bool = False


_BREEDS = {
    "001.Affenpinscher": _Breed((52, 48, 50), (38, 34, 36), (84, 76, 74), shaggy=True),
    "002.Afghan_hound": _Breed((206, 178, 128), (158, 116, 72), (116, 88, 70), shaggy=True),
    "003.Airedale_terrier": _Breed((176, 118, 62), (66, 48, 40), (188, 136, 84)),
    "004.Akita": _Breed((214, 132, 76), (178, 98, 54), (236, 228, 216), pointed=True),
}


def write(folder: Path, size: int = 96) -> int:
    """Draw all dogs, `size` × `size` pixels each; returns how many there are.

    The pictures are the same at every call, so writing twice changes nothing.
    """
    if folder.exists() and not folder.is_dir():
        raise ByocError(f"{folder} is a file.", "Name a folder.")
    for split, number in SPLITS.items():
        for name, breed in _BREEDS.items():
            target = folder / split / name
            target.mkdir(parents=True, exist_ok=True)
            for count in range(1, number + 1):
                picture = _draw(breed, random.Random(f"{split} {name} {count}"), size)
                picture.save(target / f"{name.partition('.')[2]}_{count:05}.jpg", quality=85)
    return sum(SPLITS.values()) * len(_BREEDS)


def _draw(breed: _Breed, chance: random.Random, size: int) -> Image.Image:
    """A head before a background: its place, size, tilt and light differ from picture to picture."""
    ground = tuple(chance.randint(60, 220) for _ in range(3))
    picture = Image.new("RGB", (256, 256), ground)
    draw = ImageDraw.Draw(picture)
    for _ in range(6):  # what stands behind the dog
        x, y, wide = chance.randint(-40, 256), chance.randint(-40, 256), chance.randint(20, 110)
        draw.rectangle((x, y, x + wide, y + wide), fill=tuple(chance.randint(60, 220) for _ in range(3)))
    light = chance.uniform(0.75, 1.2)

    def tone(colour: Colour) -> Colour:
        red, green, blue = (min(255, round(part * light) + chance.randint(-8, 8)) for part in colour)
        return max(red, 0), max(green, 0), max(blue, 0)

    coat, ears, muzzle = tone(breed.coat), tone(breed.ears), tone(breed.muzzle)
    for side in (-1, 1):
        if breed.pointed:
            x = 128 + side * 46
            draw.polygon([(x - 26, 100), (x + 26, 100), (x + side * 14, 26)], fill=ears)
        else:
            x = 128 + side * 68
            draw.ellipse((x - 24, 72, x + 24, 190 if breed.shaggy else 150), fill=ears)
    draw.ellipse((62, 58, 194, 206), fill=coat)
    if breed.shaggy:
        for _ in range(220):
            across, down = chance.gauss(128, 48), chance.gauss(130, 46)
            end = across + chance.randint(-10, 10), down + chance.randint(10, 34)
            hair = tone(chance.choice((breed.coat, breed.ears)))
            draw.line((across, down, *end), fill=hair, width=3)
    draw.ellipse((94, 130, 162, 204), fill=muzzle)
    for x in (102, 154):
        draw.ellipse((x - 10, 106, x + 10, 126), fill=(24, 18, 16))
        draw.ellipse((x - 1, 109, x + 5, 115), fill=(230, 230, 230))
    draw.ellipse((112, 140, 144, 162), fill=(20, 16, 18))
    part = chance.uniform(0.72, 0.98) * 256
    left, top = chance.uniform(0, 256 - part), chance.uniform(0, 256 - part)
    turned = picture.rotate(chance.uniform(-18, 18), Image.Resampling.BICUBIC, fillcolor=ground)
    cut = turned.filter(ImageFilter.GaussianBlur(1)).crop((left, top, left + part, top + part))
    return cut.resize((size, size), Image.Resampling.LANCZOS)
