"""LossNotDecreasing on made-up curves of losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from debugger.rules.registry import make
from debugger.rules.rule import Plan
from tests.debugger.conftest import losses, rule


def test_loss_to_the_letter_compares_with_the_newest_step_far_enough_back(observe: Any) -> None:
    values = [10.0 - step * 0.1 for step in range(0, 40, 3)]
    values[8] = 9.5  # step 24 is compared with step 12 (8.8): a rise of 8 %
    checked = losses(rule("LossNotDecreasing", smoothing="1"), values, observe, every=3)
    assert [finding.step for finding in checked.findings] == [24]


def test_loss_to_the_letter_tolerates_a_small_rise_and_no_standstill(observe: Any) -> None:
    letter = {"smoothing": "1", "num_steps": "1"}
    assert not losses(rule("LossNotDecreasing", **letter), [1.0, 1.04], observe).total
    assert losses(rule("LossNotDecreasing", **letter), [1.0, 1.06], observe).total
    assert losses(rule("LossNotDecreasing", **letter), [1.0, 1.0], observe).total
    assert not losses(rule("LossNotDecreasing", **letter), [1.0, 0.998], observe).total


@pytest.mark.parametrize("every", [1, 5, 10])
def test_a_noisy_loss_that_falls_to_its_floor_is_healthy(observe: Any, noise: Any, every: int) -> None:
    steps = np.arange(0, 600, every)
    values = (2.3 * np.exp(-steps / 60) + 0.05) * noise.lognormal(0, 0.5, steps.size)
    assert not losses(rule("LossNotDecreasing"), values, observe, every=every).total


def test_a_loss_that_blows_up_at_once_is_found_at_the_first_check(observe: Any, noise: Any) -> None:
    values = [2.3, *(2.3 + 50 * noise.lognormal(0, 1, 30))]
    assert losses(rule("LossNotDecreasing"), values, observe).findings[0].step == 10


def test_a_loss_that_never_falls_is_found(observe: Any, noise: Any) -> None:
    checked = losses(rule("LossNotDecreasing"), 2.3 + noise.normal(0, 0.1, 150), observe)
    assert "does not fall" in checked.findings[0].message


@pytest.mark.parametrize(("count", "total"), [(54, 0), (60, 1), (69, 1)])
def test_a_short_training_that_never_falls_is_found_at_its_end(
    count: int, total: int, observe: Any, noise: Any
) -> None:
    checked = losses(rule("LossNotDecreasing"), 2.3 + noise.normal(0, 0.1, count), observe)
    assert not checked.total
    checked.finish()
    assert checked.total == total
    assert bool(checked.undecided()) is not bool(total)


@pytest.mark.parametrize(("end", "total"), [(1.3, 0), (1.5, 1)])
def test_a_trend_is_seen_through_heavy_noise(end: float, total: int, observe: Any) -> None:
    """Batches of a few pictures: a few losses are many times the others."""
    noise = np.clip(0.1 * np.random.default_rng(0).standard_t(2, 100), -0.5, 1.4)
    checked = losses(rule("LossNotDecreasing"), [1.5, *(np.linspace(1.5, end, 100) + noise)], observe)
    checked.finish()
    assert checked.total == total


def test_a_standstill_that_ends_is_withdrawn(observe: Any, noise: Any) -> None:
    values = [*(2.3 + noise.normal(0, 0.1, 100)), *np.linspace(2.2, 0.8, 100)]
    checked = losses(rule("LossNotDecreasing"), values[:100], observe)
    assert checked.confirmed
    assert [finding.message[:22] for finding in checked.findings] == ["The loss does not fall"]
    for index, value in enumerate(values[100:], 100):
        checked.observe(observe(index, Loss_output_0=value))
    checked.finish()
    assert not checked.total
    assert not checked.findings


@pytest.mark.parametrize(("height", "end", "stays"), [(2.2, 0.5, False), (2.2, 2.0, True), (2.6, 0.5, True)])
def test_a_rise_is_withdrawn_where_the_training_succeeds(
    height: float, end: float, stays: bool, observe: Any, noise: Any
) -> None:
    values = [
        1.2,
        *(height + noise.normal(0, 0.1, 40)),
        *(np.linspace(2.2, end, 200) + noise.normal(0, 0.1, 200)),
    ]
    checked = losses(rule("LossNotDecreasing"), values, observe)
    assert checked.findings[0].message.startswith("The loss rises")
    checked.finish()
    assert bool(checked.total) == bool(checked.findings) == stays


def test_a_loss_that_exploded_and_stands_still_is_found(observe: Any, noise: Any) -> None:
    values = [2.4, 9.0, 30.0, 14.0, 8.0, 5.0, 3.5, 2.9, *(2.33 + noise.normal(0, 0.05, 60))]
    checked = losses(rule("LossNotDecreasing"), values, observe)
    checked.finish()
    assert checked.total


def test_a_loss_that_turns_is_found(observe: Any, noise: Any) -> None:
    values = np.concatenate([np.linspace(2.3, 0.5, 100), np.linspace(0.5, 3, 60)]) + noise.normal(0, 0.1, 160)
    checked = losses(rule("LossNotDecreasing"), values, observe)
    assert 100 < (checked.findings[0].step or 0) <= 140
    assert "rises" in checked.findings[0].message


def test_a_loss_of_nan_is_found(observe: Any) -> None:
    assert losses(rule("LossNotDecreasing"), [2.0] * 10 + [np.nan] * 10, observe).total


def test_a_loss_is_judged_once_it_has_fallen_or_long_enough_not(observe: Any, noise: Any) -> None:
    flat = 2.3 + noise.normal(0, 0.1, 150)
    for values, undecided in (
        (flat[:2], "the loss of 2 steps was recorded, up to step 1"),
        (flat[:40], "takes 55 steps"),
        (np.linspace(2.3, 1.0, 12), ""),
        (np.linspace(2.3, 2.0, 150) + noise.normal(0, 0.01, 150), ""),
        (flat, ""),
    ):
        checked = losses(rule("LossNotDecreasing"), values, observe)
        assert undecided in checked.undecided()
        assert bool(undecided) == bool(checked.undecided())


def test_a_loss_to_the_letter_takes_two_saved_losses_far_enough_apart(observe: Any) -> None:
    letter = {"smoothing": "1", "num_steps": "10"}
    short = losses(rule("LossNotDecreasing", **letter), [1.1, 1.1], observe, every=9)
    assert "two that are 10 steps or more apart" in short.undecided()
    long = losses(rule("LossNotDecreasing", **letter), [1.1, 0.5], observe, every=10)
    assert not long.undecided()
    assert "1 checks" in long.summary()


def test_the_evaluations_losses_are_judged_on_request_only(observe: Any) -> None:
    values = [1.0] * 200
    assert not losses(rule("LossNotDecreasing"), values, observe, mode="EVAL").seen
    assert losses(rule("LossNotDecreasing", mode="EVAL"), values, observe, mode="EVAL").total


def test_a_rise_during_the_warm_up_is_no_finding(observe: Any, noise: Any) -> None:
    values = [2.3, *(2.5 + noise.normal(0, 0.03, 12)), *np.linspace(2.4, 1, 60)]
    assert not losses(rule("LossNotDecreasing"), values, observe).total


def test_a_rise_of_moderate_size_counts_when_it_lasts(observe: Any, noise: Any) -> None:
    values = [2.3, *(3.2 + noise.normal(0, 0.05, 30))]
    assert losses(rule("LossNotDecreasing"), values[:15], observe).total == 0
    assert losses(rule("LossNotDecreasing"), values, observe).findings[0].step == 20


@pytest.mark.parametrize(
    ("steps", "warmup", "earliest"), [(0, 0, 70), (600, 0, 70), (600, 37, 90), (4000, 50, 250)]
)
def test_a_job_is_ended_for_its_loss_when_it_had_its_time(
    observe: Any, noise: Any, steps: int, warmup: int, earliest: int
) -> None:
    checked = make("LossNotDecreasing", {}, Plan(steps, warmup))
    for step, value in enumerate(2.3 + noise.normal(0, 0.1, 400)):
        checked.observe(observe(step, Loss_output_0=value))
        if checked.confirmed:
            break
    assert step == earliest


def test_a_backbone_that_joins_a_trained_head_begins_another_curve(observe: Any, noise: Any) -> None:
    head = 2.3 * np.exp(-np.arange(100) / 20) + 0.3 + noise.normal(0, 0.02, 100)
    augmented = np.linspace(1.3, 0.9, 100) + noise.normal(0, 0.05, 100)
    values = [*head, *augmented]
    assert losses(make("LossNotDecreasing", {}, Plan(200)), values, observe).total
    assert not losses(make("LossNotDecreasing", {}, Plan(200, joins=100)), values, observe).total
    lost = [*head, *np.linspace(1.3, 4, 100)]
    assert losses(make("LossNotDecreasing", {}, Plan(200, joins=100)), lost, observe).total


def test_a_training_that_blew_up_and_comes_back_is_not_ended(observe: Any, noise: Any) -> None:
    values = [2.3, *(2.3 + 40 * np.exp(-np.arange(20) / 4)), *np.linspace(2.2, 0.5, 60)]
    checked = losses(make("LossNotDecreasing", {}, Plan(600)), values, observe)
    assert checked.findings
    assert not checked.confirmed


def test_a_training_that_blew_up_and_learns_nothing_is_ended(observe: Any, noise: Any) -> None:
    values = [
        2.3,
        *(2.3 + 60 * np.exp(-np.arange(200) / 15) * noise.lognormal(0, 1, 200) + noise.random(200)),
    ]
    checked = losses(make("LossNotDecreasing", {}, Plan(600)), values[:101], observe)
    assert checked.confirmed
