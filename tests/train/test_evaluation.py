from __future__ import annotations

import numpy as np
import pytest
import torch

from train.distributed import Process
from train.evaluation import Result, Tally


def batches(count: int, classes: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, classes, generator=random), torch.randint(0, classes, (size,), generator=random))
        for size in torch.randint(1, 9, (count,), generator=random).tolist()
    ]


def tally_of(parts: list[tuple[torch.Tensor, torch.Tensor]], classes: int) -> Tally:
    tally = Tally(classes, "cpu")
    for logits, labels in parts:
        tally.add(logits, logits.argmax(dim=1), labels)
    return tally


@pytest.mark.parametrize("classes", [2, 5, 6, 40])
def test_batch_by_batch_the_metrics_are_those_of_all_pictures_at_once(classes: int) -> None:
    parts = batches(150, classes)  # more than are counted together
    logits, labels = (torch.cat(those) for those in zip(*parts, strict=True))
    whole = Result(0.0, logits.softmax(dim=1).numpy(), labels.numpy(), np.arange(len(labels)))
    assert tally_of(parts, classes).metrics(Process(), "validation") == pytest.approx(
        {name: whole.metrics("validation")[name] for name in ("validation_top5", "validation_macro_f1")},
        abs=1e-12,
    )


def test_a_tally_goes_on_from_its_counts_bit_for_bit() -> None:
    parts = batches(20, 7)
    rest = tally_of(parts[12:], 7)
    counts = tally_of(parts[:12], 7).counts(Process())
    resumed = Tally(7, "cpu")
    resumed.replace(counts)
    for logits, labels in parts[12:]:
        resumed.add(logits, logits.argmax(dim=1), labels)
    assert resumed.metrics(Process(), "train") == tally_of(parts, 7).metrics(Process(), "train")
    assert resumed.metrics(Process(), "train") != rest.metrics(Process(), "train")
    resumed.replace([])
    assert set(resumed.counts(Process())) == {0.0}


def test_nothing_seen_is_nothing_right() -> None:
    assert Tally(3, "cpu").metrics(Process(), "train") == {"train_top5": 0.0, "train_macro_f1": 0.0}


def test_the_counts_of_all_processes_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = batches(10, 7, seed=1), batches(10, 7, seed=2)
    theirs = tally_of(other, 7).counts(Process())
    monkeypatch.setattr(
        Process, "sum", lambda self, values: [a + b for a, b in zip(values, theirs, strict=True)]
    )
    found = tally_of(mine, 7).metrics(Process(world=2), "train")
    monkeypatch.undo()
    assert found == tally_of(mine + other, 7).metrics(Process(), "train")


def test_a_class_without_pictures_that_is_never_named_is_left_out_of_macro_f1() -> None:
    labels = np.array([0, 0, 1])
    probabilities = np.eye(3, dtype=np.float32)[labels]
    result = Result(0.0, probabilities, labels, np.arange(3))
    assert (result.macro_f1, result.absent) == (1.0, 1)
    tally = tally_of([(torch.from_numpy(probabilities), torch.from_numpy(labels))], 3)
    assert tally.metrics(Process(), "train")["train_macro_f1"] == 1.0
    named_once = Result(0.0, np.eye(3, dtype=np.float32)[[0, 2, 1]], labels, np.arange(3))
    assert named_once.absent == 0
    assert named_once.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize(
    ("scores", "label", "hit"),
    [
        ([0.0] * 10, 4, True),
        ([0.0] * 10, 5, False),
        ([9, 9, 9, 9, 9, 9, 1, 1, 1, 1], 5, False),
        ([1, 1, 1, 1, 1, 9, 1, 1, 1, 1], 5, True),
        ([float("nan")] * 10, 0, False),
        ([float("nan")] * 3, 0, False),
        ([float("nan")] * 5 + [9.0], 5, False),
    ],
)
def test_equal_scores_and_nan_count_alike_in_training_and_validation(
    scores: list[float], label: int, hit: bool
) -> None:
    logits, labels = torch.tensor([scores], dtype=torch.float32), torch.tensor([label])
    assert Result(0.0, logits.numpy(), labels.numpy(), np.arange(1)).top5 == float(hit)
    tally = tally_of([(logits, labels)], len(scores))
    assert tally.metrics(Process(), "train")["train_top5"] == float(hit)
