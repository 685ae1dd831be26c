"""The handwritten digits that scikit-learn ships, as a folder of pictures: 1,797 of 8×8, enlarged."""

from __future__ import annotations

from pathlib import Path

from contract.errors import ByocError


def write(folder: Path, size: int = 32) -> int:
    """Write `folder`/<digit>/<number>.png, `size` × `size` grey; returns how many there are.

    The pictures are the same at every call, so writing twice changes nothing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ByocError(
            "The digits come with scikit-learn, which is not installed.", "Run `pip install scikit-learn`."
        ) from None
    from PIL import Image

    if folder.exists() and not folder.is_dir():
        raise ByocError(f"{folder} is a file.", "Name a folder.")
    digits = load_digits()
    for number, (grey, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        target = folder / str(label) / f"{number:04}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((grey * (255 / 16)).round().astype("uint8"))  # values are 0 to 16
        picture.resize((size, size), Image.Resampling.BICUBIC).save(target)
    return len(digits.images)
