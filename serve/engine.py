"""What every engine offers: it holds one network in memory and computes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Probabilities = np.ndarray[Any, np.dtype[np.float32]]
Heat = np.ndarray[Any, np.dtype[np.float32]]


class Engine(Protocol):
    """OpenVINO's is in `serve.openvino_engine`, torch's in `serve.torch_engine`."""

    @property
    def name(self) -> str:
        """As an answer gives it: openvino or torch."""

    @property
    def precision(self) -> str:
        """The numbers that it computes with, as an answer gives them: fp32, bf16, fp16 or int8."""

    @property
    def reason(self) -> str:
        """The precision and why it was chosen, for the log."""

    @property
    def about(self) -> str:
        """Version and device, for the log."""

    def probabilities(self, pictures: Sequence[Pixels]) -> Probabilities:
        """Class probabilities [N, classes] of N pictures, each [input_size, input_size, 3] bytes."""

    def heat(self, picture: Pixels, index: int) -> Heat:
        """How much each place spoke for class `index`: [h, w] in [0, 1]. Raises explain.CannotExplain."""
