"""Do the rules accuse healthy trainings, or miss sick ones? Sixty trainings, all rules at their defaults.

    python -m bench.rules                           all of them: an hour on two cores
    python -m bench.rules --only small --seed 2     those whose name holds this, with other random numbers

Forty are healthy by construction: classes that a small network can tell apart, and a suitable learning rate.
That they are is checked without the rules: the kept weights must name 80 % of the validation pictures
rightly, or the training is undecided. Twenty are sick in a known way, and one of the rules that are named for
it must fire. One with an unfit learning rate is undecided where its weights name 80 % rightly all the same.
The table lists what fired, what could not judge, and the 95 % limits that such numbers allow.
"""

from __future__ import annotations

import argparse
import colorsys
import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from contract.findings import Findings, Outcome

ROOT = Path(__file__).resolve().parent.parent
HEALTHY_ACCURACY = 0.8
BASE: Mapping[str, object] = {
    "arch": "shufflenet_v2_x0_5", "weights": "none", "image_size": 32, "lr": 0.01,
    "quantize": "off",  # comes after the training, where no rule looks
}  # fmt: skip
_FORMS = ("disc", "square", "triangle", "ring", "cross")


@dataclasses.dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        name: says what is special.
        expected: rules of which one must fire; none for a healthy training.
        pictures, classes: of the data set; a fifth of the pictures is the validation set.
        settings: hyperparameters beside BASE.
        data: `shapes`, `digits`, `random` (labels that mean nothing), `skewed` (the last class has one
            picture of thirty) or `photos` (4 megapixels as PNG, which no decoder reads at a reduced size).
        processes: ranks.
        busy: whether the cores do something else meanwhile.
    """

    name: str
    expected: tuple[str, ...] = ()
    pictures: int = 400
    classes: int = 5
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
    data: str = "shapes"
    processes: int = 1
    busy: bool = False


def healthy() -> Iterator[Case]:
    """Forty: sizes, numbers of classes, batch sizes with all kinds of remainders, ways to learn."""
    for pictures, classes, epochs in (
        (20, 2, 40), (40, 2, 30), (60, 3, 30), (100, 5, 30), (200, 2, 15), (200, 10, 30), (400, 5, 12),
        (800, 10, 12), (1200, 20, 12), (2000, 50, 12),
    ):  # fmt: skip
        yield Case(f"small: {pictures} pictures" if pictures < 100 else f"{pictures} pictures", (), pictures,
                   classes, {"epochs": epochs, "batch_size": 8 if pictures < 200 else 32})  # fmt: skip
    for batch in (7, 10, 16, 31, 33, 64, 100, 159):
        epochs = 15 if batch < 64 else 50  # the fewer steps in one, the more of them
        yield Case(f"batch of {batch}", settings={"epochs": epochs, "batch_size": batch})
    for name, chosen in (
        ("frozen backbone", {"freeze": "backbone", "weights": "channel", "epochs": 20}),
        ("frozen, augmented", {"freeze": "backbone", "weights": "channel", "augment": "crop", "epochs": 12}),
        ("head first", {"weights": "channel", "epochs": 10}),
        ("head first, in steps", {"unfreeze_epochs": 2, "weights": "channel", "epochs": 12}),
        ("fine-tuning", {"freeze": "none", "weights": "channel", "epochs": 8, "lr": 0.003}),
        ("mixup", {"mixup": 0.2, "epochs": 20}),
        ("erase", {"erase": 0.2, "epochs": 15}),
        ("trivial augment", {"augment": "trivial", "epochs": 20}),
        ("adamw", {"optimizer": "adamw", "lr": 0.001, "epochs": 12}),
        ("moving average", {"ema": 0.9, "epochs": 15}),
        ("balanced sampling", {"sampling": "balanced", "epochs": 12}),
        ("no smoothing", {"label_smoothing": 0.0, "epochs": 12}),
        ("patience", {"patience": 5, "epochs": 40}),
    ):  # fmt: skip
        yield Case(name, settings=chosen)
    for pictures, batch in ((100, 16), (399, 32), (1700, 50)):
        yield Case(f"digits, {pictures}", (), pictures, 10,
                   {"epochs": 40 if pictures < 200 else 15, "batch_size": batch, "augment": "none"},
                   "digits")  # fmt: skip
    yield Case("ResNet-18", settings={"arch": "resnet18", "epochs": 6})
    yield Case("two processes", settings={"epochs": 15}, processes=2)
    yield Case("two processes, odd", (), 163, 4, {"epochs": 20, "batch_size": 10}, processes=2)
    yield Case("busy machine", settings={"epochs": 15}, busy=True)
    yield Case("busy machine, small", (), 60, 3, {"epochs": 30, "batch_size": 8}, busy=True)
    yield Case("busy, two processes", settings={"epochs": 12}, processes=2, busy=True)


def sick() -> Iterator[Case]:
    """Twenty, each in a way that is known."""
    # These name a rate that is too high as the cause.
    diverging = ("LossNotDecreasing", "ExplodingTensor", "DeadRelu", "WeightUpdateRatio")
    for number, (optimizer, batch) in enumerate(
        (("sgd", 10), ("sgd", 32), ("sgd", 100), ("adamw", 10), ("adamw", 32), ("adamw", 100))
    ):
        rate = 0.9 + number / 50
        chosen = {"lr": rate, "optimizer": optimizer, "batch_size": batch, "epochs": 15}
        yield Case(f"lr {rate:g}, {optimizer}, batch of {batch}", diverging, 400, 10, chosen, "digits")
    chosen = {"arch": "resnet18", "lr": 0.97, "batch_size": 20, "epochs": 6, "warmup_epochs": 0}
    yield Case("lr 0.97, ResNet-18", diverging, 400, 10, chosen, "digits")
    chosen = {"lr": 0.95, "optimizer": "adamw", "weights": "channel", "epochs": 10}
    yield Case("lr 0.95, fine-tuning", diverging, settings=chosen)
    still = ("LossNotDecreasing", "WeightUpdateRatio")
    for rate in (1e-6, 3e-7, 1e-7):
        yield Case(f"lr {rate:g}", still, settings={"lr": rate, "epochs": 12})
    by_heart = ("Overfit", "Overtraining")
    learning = {"epochs": 60, "batch_size": 10, "augment": "none", "label_smoothing": 0.0}
    for pictures, classes in ((60, 3), (100, 5), (200, 10)):
        yield Case(f"labels by chance, {pictures}", by_heart, pictures, classes, learning, "random")
    for classes in (2, 4):
        yield Case(f"a rare class of {classes}", ("ClassImbalance",), 800, classes, {"epochs": 6}, "skewed")
    uncached = {"workers": 1, "cache_mb": -1, "cache_disk_mb": -1, "epochs": 6, "batch_size": 4}
    yield Case("waits for photos", ("Dataloader",), 60, 2, uncached, "photos")
    frozen = {**uncached, "freeze": "backbone", "weights": "channel", "augment": "crop"}
    yield Case("waits for photos, frozen", ("Dataloader",), 60, 2, frozen, "photos")
    dead = {"arch": "squeezenet1_1", "image_size": 64, "lr": 1.0, "epochs": 5, "batch_size": 20}
    for optimizer in ("sgd", "adamw"):
        rules = (*diverging, "VanishingGradient")
        yield Case(f"dead network, {optimizer}", rules, 400, 10, {**dead, "optimizer": optimizer}, "digits")


def shape(draw: np.random.Generator, number: int, side: int = 48) -> Image.Image:
    """A picture of class `number` of 50: one of ten colours, one of five forms, on a noisy ground."""
    ground = draw.integers(60, 196, (side, side, 3), dtype=np.uint8)
    picture = Image.fromarray(ground)
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number % 10 / 10, 1.0, 1.0))
    pen, radius = ImageDraw.Draw(picture), int(draw.integers(side // 4, side // 3))
    x, y = draw.integers(radius, side - radius, 2)
    box = (x - radius, y - radius, x + radius, y + radius)
    form = _FORMS[number // 10 % 5]
    if form == "disc":
        pen.ellipse(box, fill=colour)
    elif form == "square":
        pen.rectangle(box, fill=colour)
    elif form == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    elif form == "ring":
        pen.ellipse(box, outline=colour, width=radius // 3)
    else:
        pen.line((box[0], y, box[2], y), fill=colour, width=radius // 2)
        pen.line((x, box[1], x, box[3]), fill=colour, width=radius // 2)
    return picture


def make_pictures(case: Case, folder: Path, seed: int) -> None:
    """The data set of a case: a folder for each class."""
    draw = np.random.default_rng([seed, case.pictures, case.classes])
    if case.data == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = draw.permutation(len(digits.images))[: case.pictures]
        pictures = [
            (int(digits.target[at]), Image.fromarray(np.uint8(digits.images[at] * 15.9))) for at in order
        ]
    else:
        numbers = [at % case.classes for at in range(case.pictures)]
        if case.data == "skewed":
            numbers = [
                case.classes - 1 if at % 30 == 0 else at % (case.classes - 1) for at in range(case.pictures)
            ]
        pictures = [(number, shape(draw, number)) for number in numbers]
        if case.data == "random":
            pictures = [
                (int(draw.integers(case.classes)), shape(draw, int(draw.integers(50)))) for _ in numbers
            ]
        if case.data == "photos":
            pictures = [(number, picture.resize((2400, 1800))) for number, picture in pictures]
    for at, (number, picture) in enumerate(pictures):
        path = folder / f"class {number:02}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, compress_level=1)


def train(case: Case, base: Path, seed: int, weights: Path | None) -> float:
    """Runs the trainer on `base`, an /opt/ml; returns seconds. RuntimeError if it failed unasked."""
    make_pictures(case, base / "input/data/train", seed)
    if case.settings.get("weights") == "channel" and weights is not None:
        (base / "input/data/weights").mkdir()
        (base / "input/data/weights/weights.safetensors").symlink_to(weights)
    (base / "input/config").mkdir(parents=True)
    settings = {key: str(value) for key, value in {**BASE, "seed": seed, **case.settings}.items()}
    (base / "input/config/hyperparameters.json").write_text(json.dumps(settings))
    (base / "model").mkdir()
    command = [sys.executable, "-m", "train.train"]
    if case.processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={case.processes}"]
        command = [sys.executable, *launcher, "-m", "train.train"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SAGEMAKER_BASE_DIR": str(base),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
    }
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=base,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode and not (case.expected and (base / "output/data/debugger/findings.json").exists()):
        raise RuntimeError(f"{case.name}: {done.stdout[-2000:]}")
    return time.monotonic() - began


def _spin(until: Any) -> None:
    while not until.is_set():
        sum(range(100_000))


def run(case: Case, seed: int, weights: Path | None) -> dict[str, Any]:
    """Trains and reads what the rules said."""
    over = multiprocessing.Event()
    others = [multiprocessing.Process(target=_spin, args=(over,)) for _ in range(os.cpu_count() or 1)]
    with tempfile.TemporaryDirectory(prefix="rules-") as scratch:
        base = Path(scratch)
        for other in others if case.busy else ():
            other.start()
        try:
            seconds = train(case, base, seed, weights)
        finally:
            over.set()
        data = base / "output/data"
        findings = Findings.from_dict(json.loads((data / "debugger/findings.json").read_text()))
        accuracy = None
        described = base / "model/model.json"
        if not case.expected or ("LossNotDecreasing" in case.expected and described.exists()):
            accuracy = json.loads(described.read_text())["metrics"].get("validation:accuracy")
    by_outcome: dict[Outcome, dict[str, str]] = {}
    for rule in findings.rules:
        # ProfilerReport fires for its parts, the profiler rules.
        for one in rule.parts or (rule,):
            by_outcome.setdefault(one.outcome, {})[one.rule] = one.summary
    return {
        "name": case.name,
        "seconds": round(seconds, 1),
        "accuracy": accuracy,
        "fired": by_outcome.get(Outcome.ISSUES_FOUND, {}),
        "could_not_judge": by_outcome.get(Outcome.COULD_NOT_JUDGE, {}),
        "failed": by_outcome.get(Outcome.ERROR, {}),
    }


def pretrain(folder: Path, seed: int) -> Path:
    """Weights for the cases that start from some: of all fifty shapes."""
    train(Case("weights", (), 3000, 50, {"epochs": 10, "batch_size": 50}), folder, seed, None)
    return folder / "model/model.safetensors"


def upper(wrong: int, of: int) -> float:
    """The upper end of the 95 % interval (Wilson) of a share."""
    z, share = 1.96, wrong / of
    middle = share + z * z / (2 * of)
    return (middle + z * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5) / (1 + z * z / of)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write all of it there")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {"healthy": [], "sick": []}
    with tempfile.TemporaryDirectory(prefix="weights-") as scratch:
        cases = [("healthy", case) for case in healthy()] + [("sick", case) for case in sick()]
        cases = [(kind, case) for kind, case in cases if options.only in case.name]
        wanted = any(case.settings.get("weights") == "channel" for _, case in cases)
        weights = pretrain(Path(scratch), options.seed) if wanted else None
        for kind, case in cases:
            result = run(case, options.seed, weights)
            good = (result["accuracy"] or 0.0) >= HEALTHY_ACCURACY
            if kind == "healthy":
                verdict = ("accused" if good else "undecided") if result["fired"] else "right"
            else:
                missed = "undecided" if good else "missed"
                verdict = "right" if set(case.expected) & set(result["fired"]) else missed
            result["verdict"] = verdict
            results[kind].append(result)
            said = ", ".join(result["fired"]) or "nothing"
            blind = ", ".join(result["could_not_judge"])
            known = "" if result["accuracy"] is None else f", accuracy {result['accuracy']:.2f}"
            print(
                f"{verdict:9} {kind:7} {case.name:28} {result['seconds']:5.0f} s{known}: {said}"
                + (f"; could not judge: {blind}" if blind else "")
                + (f"; FAILED: {', '.join(result['failed'])}" if result["failed"] else ""),
                flush=True,
            )
            for rule, message in result["fired"].items() if verdict == "accused" else ():
                print(f"          {rule}: {message}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
    for kind, wrong in (("healthy", "accused"), ("sick", "missed")):
        count, of = sum(result["verdict"] == wrong for result in results[kind]), len(results[kind])
        if of:
            print(f"{wrong}: {count} of {of} (95 %: at most {upper(count, of):.0%})")


if __name__ == "__main__":
    main()
