"""Whether the trainer's defaults are the best that one gets without trying, and what they cost.

    python -m bench.learning FOLDER --weights FILE             FOLDER of photos, a folder for each class
    python -m bench.learning FOLDER --weights FILE --set digits --json lines.jsonl

Four small sets: the photos, the photos with classes of very different sizes, digits, and made-up defects on
surfaces, which look like nothing in ImageNet. Each picture is tested once for each seed: of five folds one is
for testing, and a fifth of the others chooses the epoch. Accuracies are compared in pairs (same fold, same
seed), times are CPU seconds of a whole job with imports. FILE holds ImageNet weights of --arch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms

from model import architecture
from model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from scripts import digits

FOLDS: Final = 5
# Pictures a class and their size, by set.
SETS: Final[dict[str, tuple[list[int], int]]] = {
    "photos": ([60] * 5, 96),
    "skewed": ([100, 60, 35, 20, 12], 96),
    "digits": ([40] * 10, 64),
    "defects": ([75] * 4, 64),
}
RECIPES: Final[dict[str, dict[str, object]]] = {
    "default": {},
    "head only": {"freeze": "backbone", "augment": "none", "epochs": 30},
    "adamw": {  # all weights from the start, much regularised: how timm's and other recent recipes fine-tune
        "freeze": "none", "optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.05, "head_lr_multiplier": 1,
        "augment": "rand", "erase": 0.25, "ema": 0.99,
    },
    "tutorial": {},  # torchvision's own loop, below
}  # fmt: skip


def defects(folder: Path, size: int = 96) -> None:
    """Grey surfaces: whole, with a scratch, with a pit, with crazing."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:size, :size]
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None] * 2, np.fft.rfftfreq(size)[None])
    for number in range(4 * max(SETS["defects"][0])):
        kind = number % 4
        texture = np.fft.irfft2(np.fft.rfft2(random.normal(size=(size, size))) / (0.02 + frequencies))
        surface = 128 + 18 * texture / texture.std() + random.normal(0, 6, (size, size))
        middle = random.uniform(0.25 * size, 0.75 * size, 2)
        depth = random.choice([-1, 1]) * random.uniform(60, 110)
        for _ in range(6 if kind == 3 else 1):
            angle = random.uniform(0, math.pi)
            right, down = x - middle[0], y - middle[1]
            if kind == 3:
                right, down = right - random.normal(0, 8), down - random.normal(0, 8)
            across = right * math.sin(angle) - down * math.cos(angle)
            along = np.abs(right * math.cos(angle) + down * math.sin(angle))
            if kind == 1:
                surface += depth * np.exp(-((across / 2) ** 2)) * (along < random.uniform(12, 28))
            elif kind == 2:
                surface += depth * np.exp(-((right**2 + down**2) / random.uniform(5, 9) ** 2))
            elif kind == 3:
                surface += 0.7 * depth * np.exp(-((across / 1.3) ** 2)) * (along < 8)
        target = folder / ("whole", "scratch", "pit", "crazing")[kind] / f"{number:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(surface.clip(0, 255).astype(np.uint8)).save(target)


def split(source: Path, counts: list[int], seed: int, fold: int, target: Path) -> None:
    """Links in `target`/train, /validation and /test."""
    for label, group in enumerate(sorted(path for path in source.iterdir() if path.is_dir())):
        files = np.random.default_rng(0).permutation(sorted(group.iterdir()))[: counts[label]]
        files = np.random.default_rng(seed).permutation(files)
        folds = np.array_split(files, FOLDS)
        rest = np.concatenate([part for number, part in enumerate(folds) if number != fold])
        aside = max(1, round(len(rest) / 5))
        parts = {"test": folds[fold], "validation": rest[:aside], "train": rest[aside:]}
        for name, chosen in parts.items():
            (target / name / group.name).mkdir(parents=True)
            for file in chosen:
                (target / name / group.name / file.name).symlink_to(file.resolve())


def tutorial(base: Path, arch: str, weights: str, size: int, seed: int) -> float:
    """The transfer-learning tutorial: all weights, 25 epochs, SGD 0.001, momentum, a step schedule.

    Returns the accuracy of the epoch that validates best on the pictures in `base`/test.
    """
    torch.manual_seed(seed)
    normal = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    crop = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    whole = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]
    loaders = {
        name: torch.utils.data.DataLoader(
            torchvision.datasets.ImageFolder(
                str(base / name), transforms.Compose([*(crop if name == "train" else whole), *normal])
            ),
            32,
            shuffle=name == "train",
        )
        for name in ("train", "validation", "test")
    }
    module = architecture.build(arch, len(loaders["train"].dataset.classes))  # type: ignore[attr-defined]
    architecture.load_weights(module, arch, weights)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.1)
    criterion = nn.CrossEntropyLoss()

    def accuracy(name: str) -> float:
        module.eval()
        with torch.no_grad():
            right = sum(int((module(inputs).argmax(1) == labels).sum()) for inputs, labels in loaders[name])
        return right / len(loaders[name].dataset)  # type: ignore[arg-type]

    best, kept = -1.0, {}
    for _ in range(25):
        module.train()
        for inputs, labels in loaders["train"]:
            optimizer.zero_grad()
            criterion(module(inputs), labels).backward()
            optimizer.step()
        schedule.step()
        if (reached := accuracy("validation")) > best:
            best, kept = reached, {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(kept)
    return accuracy("test")


def job(command: list[str], environment: dict[str, str]) -> float:
    """Run it; returns its CPU seconds."""
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said.decode(errors="replace"))
    return usage.ru_utime + usage.ru_stime


def run(recipe: str, base: Path, size: int, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    weights = str(arguments.weights.resolve())
    environment = {"SAGEMAKER_BASE_DIR": str(base), "OMP_NUM_THREADS": "1", "SM_NUM_CPUS": "1"}
    data = base / "input/data"
    if recipe == "tutorial":
        asked = [str(data), arguments.arch, weights, str(size), str(seed)]
        seconds = job([sys.executable, "-m", "bench.learning", "--tutorial", *asked], environment)
        return {"accuracy": json.loads((data / "accuracy.json").read_text()), "seconds": seconds}
    wanted = {
        "arch": arguments.arch, "weights": weights, "image_size": size, "seed": seed, "quantize": "off",
        **RECIPES[recipe],
    }  # fmt: skip
    (base / "input/config").mkdir()
    (base / "input/config/hyperparameters.json").write_text(
        json.dumps({key: str(value) for key, value in wanted.items()})
    )
    seconds = job([sys.executable, "-m", "train.train"], environment)
    report = json.loads((base / "output/data/report.json").read_text())
    return {"accuracy": report["metrics"]["test_accuracy"], "seconds": seconds}


def compare(rows: list[dict[str, Any]]) -> None:
    """Print each recipe's accuracy and time, and its lead on the default."""
    print(f"{'set':10}{'recipe':12}{'accuracy':>9}{'CPU s':>8}{'default is ahead by':>28}")
    for name in SETS:
        by_recipe: dict[str, dict[tuple[int, int], dict[str, Any]]] = defaultdict(dict)
        for row in rows:
            if row["set"] == name:
                by_recipe[row["recipe"]][row["seed"], row["fold"]] = row
        for recipe, found in by_recipe.items():
            accuracy = statistics.mean(row["accuracy"] for row in found.values())
            seconds = statistics.mean(row["seconds"] for row in found.values())
            line = f"{name:10}{recipe:12}{accuracy:9.4f}{seconds:8.1f}"
            both = [key for key in found if key in by_recipe["default"]]
            if recipe != "default" and len(both) > 1:
                leads = [by_recipe["default"][key]["accuracy"] - found[key]["accuracy"] for key in both]
                error = statistics.stdev(leads) / math.sqrt(len(leads))
                line += f"{statistics.mean(leads):+14.4f} +- {error:.4f} ({len(leads)})"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="photos, a folder for each class")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--arch", default="mobilenet_v2")
    parser.add_argument("--set", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--recipe", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--json", type=Path, help="a file to append to; runs that it has are skipped")
    arguments = parser.parse_args()
    photos = max(SETS["photos"][0][0], SETS["skewed"][0][0])
    groups = [path for path in sorted(arguments.folder.iterdir()) if path.is_dir()]
    if len(groups) != len(SETS["photos"][0]) or any(len(list(path.iterdir())) < photos for path in groups):
        wanted = len(SETS["photos"][0])
        parser.error(f"{arguments.folder}: it takes {wanted} classes of {photos} pictures or more")
    rows: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():
        rows = [json.loads(line) for line in arguments.json.read_text().splitlines()]
    done = {(row["set"], row["seed"], row["fold"], row["recipe"]) for row in rows}
    with tempfile.TemporaryDirectory() as made:
        for name in arguments.set:
            source = arguments.folder if name in ("photos", "skewed") else Path(made) / name
            if name == "digits":
                digits.write(source, SETS[name][1])
            elif name == "defects":
                defects(source)
            for seed in arguments.seeds:
                for fold in range(FOLDS):
                    for recipe in arguments.recipe:
                        if (name, seed, fold, recipe) in done:
                            continue
                        with tempfile.TemporaryDirectory() as base:
                            split(source, SETS[name][0], seed, fold, Path(base) / "input/data")
                            row = run(recipe, Path(base), SETS[name][1], seed, arguments)
                        rows.append({"set": name, "seed": seed, "fold": fold, "recipe": recipe, **row})
                        if arguments.json:
                            with arguments.json.open("a") as lines:
                                lines.write(json.dumps(rows[-1]) + "\n")
    compare(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--tutorial"]:
        data, arch, weights, size, seed = sys.argv[2:]
        torch.set_num_threads(1)
        reached = tutorial(Path(data), arch, weights, int(size), int(seed))
        (Path(data) / "accuracy.json").write_text(json.dumps(reached))
    else:
        main()
