"""Three real searches, recorded: what a training reaches after each epoch, for many settings.

    python -m bench.searching digits
    python -m bench.searching flowers5 --photos FOLDER --weights FILE
    python -m bench.searching six --photos FOLDER --weights FILE

`bench/searches/NAME.json` holds the result, and `bench.tuning` replays it. FOLDER holds a folder of photos
for each class, FILE a state dict of torchvision's mobilenet_v2. The trainings are those of `byoc train`, one
after the other in this process, on one core; a frozen backbone computes its features once for all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from bench.recorded import FOLDER, SEARCHES, Axis, Search, digits_of
from contract.hyperparameters import Settings
from model import architecture
from model.preprocess import Preprocessing
from scripts import digits
from train import features, listing, precision
from train.cache import Cache
from train.data import Pictures
from train.distributed import Process
from train.errors import TrainingError
from train.loader import Loader
from train.loop import Trainer

SEED: Final = 1
# Of each class: as many as make a training of seconds, and a validation that separates one per cent.
_TRAIN: Final = {"digits": 24, "flowers5": 60, "six": 40}
_VALIDATION: Final = {"digits": 60, "flowers5": 160, "six": 160}


def settings_of(search: Search, values: Mapping[str, float]) -> Settings:
    """`batch_size` is whole; what is not searched is the search's own."""
    whole = {name: round(value) if name == "batch_size" else value for name, value in values.items()}
    common = {"epochs": search.epochs, "augment": "none", "freeze": "none", "seed": SEED}
    return dataclasses.replace(Settings(), **common, **search.fixed, **whole)  # type: ignore[arg-type]


def few(folder: Path, name: str) -> tuple[listing.Listing, listing.Listing]:
    """The first pictures of each class to train on, and the next ones to validate with."""
    whole = listing.scan(folder, "train")
    places: dict[int, list[int]] = {}
    for place, label in enumerate(whole.labels):
        places.setdefault(label, []).append(place)
    train, both = _TRAIN[name], _TRAIN[name] + _VALIDATION[name]
    parts = [[p for own in places.values() for p in own[a:b]] for a, b in ((0, train), (train, both))]
    first, second = (
        dataclasses.replace(
            whole, files=tuple(whole.files[p] for p in part), labels=tuple(whole.labels[p] for p in part)
        )
        for part in parts
    )
    return first, second


class Recorder:
    """Trains with given settings; `curve` is the validation's accuracy after each epoch."""

    def __init__(self, search: Search, folder: Path, weights: Path | None) -> None:
        self._search, self._weights = search, weights
        self._pool = ThreadPoolExecutor(1)
        size = settings_of(search, {}).image_size
        preprocessing = Preprocessing.for_size(size)
        self._pictures = [
            Pictures(part, preprocessing, augmentation="none", cache=Cache(2_000_000_000))
            for part in few(folder, search.name)
        ]
        self._features: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._compute = features.compute
        features.compute = self._computed_once

    def _computed_once(
        self, module: nn.Module, head: nn.Linear, loader: Loader, *rest: Any
    ) -> features.FeatureLoader:
        key = id(loader.pictures)
        if key not in self._features:
            made = self._compute(module, head, loader, *rest)
            self._features[key] = made._features, made._known
        return features.FeatureLoader(loader, *self._features[key])

    def curve(self, values: Mapping[str, float]) -> list[float]:
        settings = settings_of(self._search, values)
        torch.manual_seed(SEED)
        module = architecture.build(settings.arch, len(self._pictures[0].listing.classes))
        if self._weights:
            architecture.load_weights(module, settings.arch, str(self._weights))
        train, validation = (
            Loader(pictures, settings.batch_size, self._pool, 1) for pictures in self._pictures
        )
        trainer = Trainer(
            module, architecture.head_name(module),
            nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing), train, validation, settings,
            pretrained=self._weights is not None, device="cpu", precision=precision.FULL, process=Process(),
        )  # fmt: skip
        with contextlib.suppress(TrainingError):  # it diverged: the epochs after that are as good as guessing
            trainer.run()
        reached = [epoch["validation_accuracy"] for epoch in trainer.progress.history]
        chance = 1 / len(self._pictures[0].listing.classes)
        return reached + [chance] * (settings.epochs - len(reached))


def grid(axes: tuple[Axis, ...]) -> Iterator[tuple[float, ...]]:
    """All combinations of the axes' points, as places between 0 and 1."""
    yield from np.stack(
        np.meshgrid(*(np.linspace(0, 1, axis.points) for axis in axes), indexing="ij"), axis=-1
    ).reshape(-1, len(axes))


def scattered(axes: tuple[Axis, ...], count: int, curve: Callable[[Any], list[float]]) -> Iterator[Any]:
    """Two thirds are spread evenly; a third lies near the best of those, where a search looks too."""
    from scipy.stats import qmc

    generator = np.random.default_rng(SEED)
    first = qmc.Sobol(len(axes), rng=SEED).random(count * 2 // 3)
    yield from first
    ranked = sorted(first, key=lambda place: -curve(place)[-1])[: count // 10]
    for number in range(count - len(first)):
        near = ranked[number % len(ranked)] + generator.normal(0, 0.08, len(axes))
        yield np.clip(near, 0, 1)


def record(search: Search, folder: Path, weights: Path | None) -> None:
    recorder = Recorder(search, folder, weights)
    done: dict[tuple[float, ...], list[float]] = {}
    began = time.perf_counter()

    def curve(place: Any) -> list[float]:
        key = tuple(round(float(x), 6) for x in place)
        if key not in done:
            values = {axis.name: axis.at(x) for axis, x in zip(search.axes, key, strict=True)}
            done[key] = recorder.curve(values)
            print(f"{len(done)}  {values}  {done[key][-1]:.3f}", flush=True)
        return done[key]

    places = scattered(search.axes, search.scattered, curve) if search.scattered else grid(search.axes)
    for place in places:
        curve(place)
    FOLDER.mkdir(exist_ok=True)
    made = {"seconds": round(time.perf_counter() - began), "torch": torch.__version__, "seed": SEED}
    lines = [
        json.dumps([[digits_of(x) for x in place], [digits_of(y) for y in reached]])
        for place, reached in done.items()
    ]
    text = f'{{"made": {json.dumps(made)},\n"trainings": [\n' + ",\n".join(lines) + "\n]}\n"
    (FOLDER / f"{search.name}.json").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=[search.name for search in SEARCHES])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    search = next(search for search in SEARCHES if search.name == options.name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.photos
        if folder is None:
            folder = Path(scratch)
            digits.write(folder)
        record(search, folder, options.weights)


if __name__ == "__main__":
    main()
