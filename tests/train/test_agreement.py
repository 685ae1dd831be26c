"""When a lower precision may answer for the trained network."""

import numpy as np
import pytest

from train.agreement import LEAST_PICTURES, Judgement, Numbers, judge


def answers(classes: list[int], margin: float = 0.8) -> Numbers:
    """Probabilities of two classes whose difference is `margin`."""
    rows = [[0.5 + margin / 2, 0.5 - margin / 2][:: 1 if one == 0 else -1] for one in classes]
    return np.array(rows, dtype=np.float32)


def judged(clear: int, unclear: int, *, labels: str = "right") -> Judgement:
    """1,000 pictures, half of them clear; so many of each kind get another class."""
    truth = [0] * 1000
    full = np.concatenate([answers([0] * 500), answers([0] * 500, 0.05)])
    other = [1] * clear + [0] * (500 - clear) + [1] * unclear + [0] * (500 - unclear)
    if labels == "even":  # as many changes to the better as to the worse
        truth = [number % 2 for number in range(1000)]
    return judge(full, answers(other), np.array(truth), LEAST_PICTURES)


def test_the_same_answers_are_accepted_with_their_figures() -> None:
    found = judged(0, 0)
    assert found.accepted
    assert (found.pictures, found.agreement, found.agreement_clear) == (1000, 1.0, 1.0)
    assert (found.accuracy, found.accuracy_fp32) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("clear", "unclear", "accepted", "reason"),
    [
        (2, 0, True, "it agrees on 99.80%"),
        (3, 0, False, "99.40% of the clear pictures; it takes 99.5%"),
        (0, 20, True, "it agrees on 98.00%"),
        (0, 21, False, "97.90% of the pictures; it takes 98%"),
    ],
)
def test_clear_pictures_count_for_more(clear: int, unclear: int, accepted: bool, reason: str) -> None:
    found = judged(clear, unclear, labels="even")
    assert found.accepted is accepted
    assert reason in found.reason


def test_accuracy_must_not_fall_by_more_than_its_standard_error() -> None:
    assert judged(1, 0).accepted
    lost = judged(0, 12)
    assert not lost.accepted
    assert "accuracy falls by 1.20%" in lost.reason
    assert (lost.accuracy, lost.accuracy_fp32) == (0.988, 1.0)


def test_too_few_pictures_or_numbers_that_overflow_are_no_proof() -> None:
    few = answers([0] * 299)
    assert "299 pictures to judge it by" in judge(few, few, np.zeros(299, np.int64), LEAST_PICTURES).reason
    assert judge(few, few, np.zeros(299, np.int64)).accepted
    broken = few.copy()
    broken[3, 1] = np.nan
    assert judge(few, broken, np.zeros(299, np.int64)).reason == "it overflows"
    nothing = np.zeros((0, 2), np.float32)
    assert not judge(nothing, nothing, np.zeros(0, np.int64)).accepted
