"""Where the network looked, laid over the picture that it saw."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image

from serve.engine import Heat, Pixels

# Dark blue, cyan, yellow, red: cold to hot.
_STOPS: Final = np.linspace(0, 1, 5)
_COLOURS: Final = np.array([(0, 0, 96), (0, 96, 255), (0, 255, 200), (255, 220, 0), (255, 0, 0)])


class CannotExplain(ValueError):
    """This network has no layer of features with places."""


def class_activation(
    features: np.ndarray[Any, np.dtype[np.float32]], weights: np.ndarray[Any, np.dtype[np.float32]]
) -> Heat:
    """The class activation map (Zhou et al., 2016): [h, w] in [0, 1].

    Where a network averages its last features and ends in one linear layer, the gradient of a class is that
    layer's row, so this is what Grad-CAM finds, without a backward pass.

    Args:
        features: before they are averaged, [C, h, w].
        weights: the linear layer's row of the class, [C].
    """
    heat: Heat = np.maximum(np.tensordot(weights, features, axes=1), 0)
    top = float(heat.max())
    return heat / top if top > 0 else heat


def overlay(picture: Pixels, heat: Heat) -> bytes:
    """A PNG of the size of `picture` [H, W, 3]: the picture, dimmed, with `heat` as colours over it."""
    height, width = picture.shape[:2]
    smooth = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    colours = np.stack([np.interp(smooth, _STOPS, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    mixed = 0.55 * picture + 0.45 * colours
    stream = io.BytesIO()
    Image.fromarray(np.rint(mixed).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
