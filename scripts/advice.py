"""What the pictures say about the settings: advice after an upload, and how it gets into byoc.toml."""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from contract.errors import ByocError
from contract.files import write_atomically
from report.words import plural
from scripts import account
from scripts.dataset import Dataset
from scripts.machines import FAMILIES
from scripts.settings import Settings
from scripts.template import toml_value

_LOOKED_AT = 500  # pictures whose size is read
_STEPS_AN_EPOCH = 8  # with fewer, batch statistics and the loss are noise, and rules have little to judge
_STEPS = 200  # in all; a schedule with warm-up and decay needs so many
_MOST_EPOCHS = 50
# Networks that take pictures of one size only, or none that are as small as the advice may be.
_OWN_SIZE = ("alexnet", "inception_", "maxvit_", "vit_")
_SKEWED = 5  # times as many pictures in the largest class as in the smallest
# Pictures of 224 x 224 a second on a core: what a ResNet-18 trains at in fp32 (docs/training.md).
_A_CORE_AND_SECOND = 10
_LONG = 2 * 3600.0  # seconds on a CPU
_CORES = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "9xlarge": 36, "12xlarge": 48,
          "16xlarge": 64, "18xlarge": 72, "24xlarge": 96}  # fmt: skip


@dataclass(frozen=True)
class Advice:
    """`setting` (section.key) had better be `value`; `reason` is a sentence about these pictures."""

    setting: str
    value: str | int | float
    reason: str


@dataclass(frozen=True)
class Copy:
    """One of several files with the same bytes."""

    channel: str
    label: str
    path: Path


@dataclass(frozen=True)
class Facts:
    """What is known of a data set.

    Attributes:
        train: pictures by class.
        side: median of the shorter sides, in pixels; None where no size can be read.
        twice: groups of files with the same bytes.
    """

    train: Mapping[str, int]
    side: int | None
    twice: tuple[tuple[Copy, ...], ...] = ()

    @property
    def across(self) -> int:
        """How many groups lie in more than one channel."""
        return sum(len({copy.channel for copy in group}) > 1 for group in self.twice)

    @property
    def contradicting(self) -> list[tuple[Copy, ...]]:
        """The groups that lie in more than one class."""
        return [group for group in self.twice if len({copy.label for copy in group}) > 1]


def look(data: Dataset) -> Facts:
    """Counts, sizes and duplicates of a data set whose pictures can be read."""
    train = {label: len(paths) for label, paths in data.channels["train"].items()}
    paths = [path for paths in data.channels["train"].values() for path in paths]
    chosen = random.Random(0).sample(paths, min(_LOOKED_AT, len(paths)))
    sides = [side for path in chosen if (side := _shorter_side(path))]
    return Facts(train, round(median(sides)) if sides else None, tuple(_twice(data)))


def _shorter_side(path: Path) -> int | None:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except Exception:
        return None  # whatever it is, the check of the pictures has seen it


def _twice(data: Dataset) -> Iterator[tuple[Copy, ...]]:
    """Files with the same bytes. Only those of equal length are read."""
    by_size: dict[int, list[Copy]] = defaultdict(list)
    for channel, classes in data.channels.items():
        for label, paths in classes.items():
            for path in paths:
                by_size[path.stat().st_size].append(Copy(channel, label, path))
    for group in by_size.values():
        by_content: dict[bytes, list[Copy]] = defaultdict(list)
        for copy in group if len(group) > 1 else ():
            with copy.path.open("rb") as file:
                by_content[hashlib.file_digest(file, "sha256").digest()].append(copy)
        yield from (tuple(same) for same in by_content.values() if len(same) > 1)


def advise(facts: Facts, settings: Settings) -> list[Advice]:
    """What should be other than it is set. Pure."""
    pictures, advice = sum(facts.train.values()), []
    size = int(account.hyperparameter(settings, "image_size"))
    free = not str(account.hyperparameter(settings, "arch")).startswith(_OWN_SIZE)
    if facts.side and free and account.hyperparameter(settings, "weights") == "none":
        # Pretrained networks gain by enlarged pictures, which look more like those that they have seen.
        better = -(-facts.side // 32) * 32
        if size > 2 * facts.side and better < size:
            reason = f"The pictures have {facts.side} px; more only take time."
            advice.append(Advice("hyperparameters.image_size", better, reason))
            size = better
    batch, epochs = (int(account.hyperparameter(settings, name)) for name in ("batch_size", "epochs"))
    # With pretrained weights the trainer chooses by itself how long the head learns, see train/recipe.py.
    weights, freeze = (account.hyperparameter(settings, name) for name in ("weights", "freeze"))
    chooses = weights != "none" and freeze == "auto"
    if not chooses and -(-pictures // batch) < _STEPS_AN_EPOCH:
        better = max(4, 2 ** (max(1, pictures // _STEPS_AN_EPOCH).bit_length() - 1))
        if better < batch:
            steps = -(-pictures // batch)
            reason = f"{plural(pictures, 'picture')}: {plural(steps, 'step')} an epoch with {batch}."
            advice.append(Advice("hyperparameters.batch_size", better, reason))
            batch = better
    steps = -(-pictures // batch)
    if not chooses and steps * epochs < _STEPS and epochs < _MOST_EPOCHS:
        better = min(_MOST_EPOCHS, -(-_STEPS // steps))
        reason = f"{plural(epochs, 'epoch')} are {steps * epochs} steps; about {_STEPS} are needed."
        advice.append(Advice("hyperparameters.epochs", better, reason))
        epochs = better
    few, many = min(facts.train, key=facts.train.__getitem__), max(facts.train, key=facts.train.__getitem__)
    balanced = "balanced" in (
        account.hyperparameter(settings, "sampling"), account.hyperparameter(settings, "class_weights")
    )  # fmt: skip
    if facts.train[many] >= _SKEWED * facts.train[few] and not balanced:
        reason = f"{many} has {facts.train[many]} pictures and {few} {facts.train[few]}."
        advice.append(Advice("hyperparameters.sampling", "balanced", reason))
    # The trainer computes the features of a frozen backbone once, if the pictures are not augmented.
    once = [account.hyperparameter(settings, name) for name in ("freeze", "augment")] == ["backbone", "none"]
    return advice + _machine(settings, pictures * (1 if once else epochs) * (size / 224) ** 2)


def _machine(settings: Settings, passes: float) -> list[Advice]:
    """A GPU where a CPU would take hours. `passes`: pictures of 224 x 224 through a ResNet-18."""
    kind = settings.train.instance_type
    _, family, form = (*kind.split("."), "", "")[:3]
    if family in FAMILIES or form not in _CORES or settings.aws.endpoint_url:
        return []
    seconds = passes / (_A_CORE_AND_SECOND * _CORES[form] / 2)  # two of these are one core
    if seconds < _LONG:
        return []
    reason = f"{kind} would take about {seconds / 3600:.0f} hours for a ResNet-18."
    return [Advice("train.instance_type", "ml.g5.xlarge", reason)]


def apply(path: Path, advice: list[Advice]) -> None:
    """Write it into byoc.toml; comments and everything else stay.

    Raises:
        ByocError: the file is written in a way that this does not understand; it stays as it is.
    """
    path = path.resolve()  # a link stays one
    raw = path.read_bytes().decode()
    text = raw.replace("\r\n", "\n")
    wanted = tomllib.loads(text)
    for item in advice:
        section, key = item.setting.split(".")
        text = _set(text, section, key, toml_value(item.value))
        wanted.setdefault(section, {})[key] = item.value
    try:
        written: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        written = None
    if written != wanted:
        names = ", ".join(f"{item.setting} = {toml_value(item.value)}" for item in advice)
        raise ByocError(
            f"{path} could not be edited automatically.", f"Set there: {names}.", kind="NotApplied"
        )
    mode = path.stat().st_mode
    write_atomically(path, text.replace("\n", "\r\n") if "\r\n" in raw else text)
    path.chmod(mode)


def _set(text: str, section: str, key: str, value: str) -> str:
    """The text with `key = value` in its section, in place of the old line or of the default's."""
    header = re.search(rf"^\[{section}\][^\n]*\n", text, re.MULTILINE)
    if header is None:
        return f"{text.rstrip()}\n\n[{section}]\n{key} = {value}\n"
    following = re.search(r"^\[", text[header.end() :], re.MULTILINE)
    end = header.end() + following.start() if following else len(text)
    body = text[header.end() : end]
    for pattern in (rf"^{key}[ \t]*=[^\n#]*", rf"^#{key}[ \t]*=[^\n#]*"):
        new, count = re.subn(pattern, lambda _: f"{key} = {value}  ", body, count=1, flags=re.MULTILINE)
        if count:
            new = re.sub(rf"^({key} = [^\n#]*?)[ \t]+$", r"\1", new, flags=re.MULTILINE)
            return text[: header.end()] + new + text[end:]
    return text[: header.end()] + f"{key} = {value}\n" + text[header.end() :]
