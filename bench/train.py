"""How fast the trainer is, against the limit of the machine and against what people use instead.

    python -m bench.train                    pictures a second, the contenders taking turns
    python -m bench.train FOLDER             the same with pictures of your own: a folder for each class
    python -m bench.train FOLDER --photos    the same with the pictures enlarged to 12 megapixels

Every figure comes from one run; the machine's mood is the same for all. timm takes part where it is installed
(for example `pip install --no-deps --target DIR timm`, then PYTHONPATH=DIR).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms

from contract.hyperparameters import Settings
from model import architecture
from model.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from train import listing, precision
from train.cache import Cache
from train.data import Pictures
from train.distributed import Process
from train.loader import Loader, worker_count
from train.log import start_logging
from train.loop import Trainer

Epoch = Callable[[], float]  # trains once over the pictures, returns pictures a second


def resident(settings: Settings, number_format: precision.Precision, classes: int) -> Epoch:
    """The limit: the network alone, on one batch that is in memory already."""
    module = architecture.build(settings.arch, classes).to(settings.device)
    module.to(memory_format=number_format.memory_format)  # type: ignore[call-overload]
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, fused=True)
    criterion = nn.CrossEntropyLoss()
    inputs = torch.randn(settings.batch_size, 3, settings.image_size, settings.image_size)
    inputs = inputs.to(settings.device).contiguous(memory_format=number_format.memory_format)
    labels = torch.randint(0, classes, (settings.batch_size,)).to(settings.device)

    def epoch() -> float:
        before, steps = time.perf_counter(), 4 if settings.device == "cpu" else 16
        for _ in range(steps):
            with number_format.autocast(settings.device):
                loss = criterion(module(inputs).float(), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the GPU
        return steps * settings.batch_size / (time.perf_counter() - before)

    return epoch


class Ours:
    """This trainer; the first call decodes, the later ones find the pictures in the cache."""

    def __init__(
        self, folder: Path, settings: Settings, number_format: precision.Precision, pool: ThreadPoolExecutor
    ) -> None:
        self._make = lambda: self._trainer(folder, settings, number_format, pool)
        self._running = self._make()
        self.waits: list[float] = []

    def _trainer(
        self, folder: Path, settings: Settings, number_format: precision.Precision, pool: ThreadPoolExecutor
    ) -> Trainer:
        found = listing.scan(folder, "train")
        split = Pictures(
            found,
            Preprocessing.for_size(settings.image_size),
            augmentation=settings.augment,
            cache=Cache(2_000_000_000),
        )
        workers = worker_count(settings.workers)
        loader = Loader(split, settings.batch_size, pool, workers, gpu=settings.device == "cuda")
        module = architecture.build(settings.arch, len(found.classes)).to(settings.device)
        module.to(memory_format=number_format.memory_format)  # type: ignore[call-overload]
        return Trainer(
            module, architecture.head_name(module), nn.CrossEntropyLoss(), loader, loader, settings,
            pretrained=False, device=settings.device, precision=number_format, process=Process(),
        )  # fmt: skip

    def first(self) -> float:
        self._running = self._make()
        return self.later(note=False)

    def later(self, note: bool = True) -> float:
        speed = self._running._epoch()
        progress = self._running.progress
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, [0.0, 0.0, 0.0]
        if note:
            self.waits.append(speed["data_wait_share"])
        return speed["images_per_second"]


def plain(folder: Path, settings: Settings, workers: int) -> Epoch:
    """torchvision's reference: ImageFolder, DataLoader, SGD, float32."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(settings.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    data = torchvision.datasets.ImageFolder(str(folder), transform)
    loader = torch.utils.data.DataLoader(
        data, settings.batch_size, shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=True, pin_memory=settings.device == "cuda",
    )  # fmt: skip
    module = torchvision.models.get_model(settings.arch, num_classes=len(data.classes)).to(settings.device)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    return lambda: loop(module, loader, optimizer, nn.CrossEntropyLoss(), device=settings.device)


def loop(module: nn.Module, loader: Any, optimizer: Any, criterion: nn.Module, **options: Any) -> float:
    before, seen = time.perf_counter(), 0
    autocast = options.get("autocast", contextlib.nullcontext)
    module.train()
    device = options.get("device", "cpu")
    for inputs, labels in loader:
        inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        if options.get("channels_last"):
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with autocast():
            loss = criterion(module(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is no number")
        seen += len(labels)
    return seen / (time.perf_counter() - before)


def timm_loop(folder: Path, settings: Settings, workers: int, number_format: precision.Precision) -> Epoch:
    """timm's own data set, loader, augmentation, network and optimizer, as its script has them."""
    from timm import create_model
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2

    data = create_dataset("", root=str(folder))
    loader = create_loader(
        data, (3, settings.image_size, settings.image_size), settings.batch_size, is_training=True,
        use_prefetcher=settings.device == "cuda", num_workers=workers, persistent_workers=True,
        color_jitter=0.4, pin_memory=settings.device == "cuda", device=torch.device(settings.device),
    )  # fmt: skip
    module = create_model(settings.arch, num_classes=len(data.reader.class_to_idx))
    module = module.to(settings.device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(module, opt="sgd", lr=1e-3, momentum=0.9, weight_decay=1e-4)
    autocast = lambda: number_format.autocast(settings.device)  # noqa: E731
    return lambda: loop(
        module, loader, optimizer, nn.CrossEntropyLoss(),
        autocast=autocast, channels_last=True, device=settings.device,
    )  # fmt: skip


@contextlib.contextmanager
def subset(folder: Path | None, count: int, photos: bool) -> Iterator[Path]:
    """`count` pictures, evenly from all classes, as links or enlarged to 4000 x 3000."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as made:
        found = listing.scan(folder or make_up(Path(made), count), "train")
        per_class = -(-count // len(found.classes))
        put = enlarge if photos else link
        with ThreadPoolExecutor() as pool:
            for label, group in enumerate(found.classes):
                numbers = np.flatnonzero(np.asarray(found.labels) == label)[:per_class]
                (Path(name) / group).mkdir()
                sources = [found.root / found.files[number] for number in numbers]
                list(pool.map(put, sources, [Path(name) / group / f"{number}.jpg" for number in numbers]))
        yield Path(name)


def link(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def enlarge(source: Path, target: Path) -> None:
    image = Image.open(source).convert("RGB")
    image.resize((4000, 3000), Image.Resampling.BICUBIC).save(target, quality=90)


def make_up(folder: Path, count: int) -> Path:
    """JPEGs of 500 x 375 px in two classes, smooth and as large as photos are: 107 kB."""
    random = np.random.default_rng(0)
    for number in range(count):
        target = folder / "ab"[number % 2] / f"{number}.jpg"
        target.parent.mkdir(exist_ok=True)
        blots = Image.fromarray(random.integers(0, 256, (75, 100, 3), dtype=np.uint8))
        blots.resize((500, 375), Image.Resampling.BICUBIC).save(target, quality=95)
    return folder


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(arguments.threads)
    settings = Settings(
        arch=arguments.arch, batch_size=arguments.batch_size, epochs=1000, weights="none", freeze="none",
        device=arguments.device,
    )  # fmt: skip
    formats = {"fp32": precision.Precision("fp32", "", channels_last=True)}
    if arguments.device == "cuda" or precision.probe("cpu").cpu_bf16:
        formats["bf16"] = precision.Precision("bf16", "", channels_last=True)
    workers = arguments.threads
    with (
        subset(arguments.folder, arguments.pictures, arguments.photos) as folder,
        ThreadPoolExecutor(worker_count(0)) as pool,
    ):
        classes = len(list(folder.iterdir()))
        contenders: dict[str, Epoch] = {}
        ours = {}
        for name, number_format in formats.items():
            contenders[f"limit {name}"] = resident(settings, number_format, classes)
            ours[name] = Ours(folder, settings, number_format, pool)
            contenders[f"ours {name}, first epoch"] = ours[name].first
            contenders[f"ours {name}, later epochs"] = ours[name].later
            with contextlib.suppress(ImportError):
                contenders[f"timm {name}"] = timm_loop(folder, settings, workers, number_format)
        contenders["torchvision fp32"] = plain(folder, settings, workers)
        figures: dict[str, list[float]] = {name: [] for name in contenders}
        if not arguments.photos:
            contenders["torchvision fp32"]()  # starts its workers
        for _ in range(arguments.rounds):
            for name, epoch in contenders.items():
                figures[name].append(epoch())
    middle = {name: statistics.median(values) for name, values in figures.items()}
    base = middle["torchvision fp32"]
    print(f"{'':26}{'pictures/s':>12}{'of the limit':>14}{'of torchvision':>16}")
    for name, value in middle.items():
        limit = middle[f"limit {name.split()[1].rstrip(',')}"]
        print(f"{name:26}{value:12.1f}{value / limit:14.2f}{value / base:16.2f}")
    waits = {name: statistics.median(one.waits) for name, one in ours.items()}
    for name, value in waits.items():
        print(f"share of the time that {name} waits for pictures, later epochs: {value:.4f}")
    return {"pictures_per_second": middle, "all": figures, "data_wait_share": waits}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="pictures, a folder for each class")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--pictures", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    arguments = parser.parse_args()
    start_logging(False)
    found = speed(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
