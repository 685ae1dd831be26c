"""Each Debugger rule at its thresholds, on made-up tensors. Real trainings: test_sick_trainings.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from contract.findings import Outcome
from contract.rules import ParameterError
from debugger.observation import Reducer
from debugger.rules.registry import RULES, make
from debugger.rules.rule import Plan, Rule
from debugger.rules.weight_update_ratio import WeightUpdateRatio
from tests.debugger.conftest import losses, rule


def test_all_rules_of_the_documentation_exist_and_explain_themselves() -> None:
    assert len(RULES) == 21
    for made in RULES.values():
        assert made.definition.source.startswith("https://docs.aws.amazon.com/sagemaker/")
        assert made.definition.looks_for
        assert made.definition.question
        assert made.needs
        assert made({}).findings == []


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"no rule 'LossNotDecreasin'; did you mean LossNotDecreasing\?"):
        rule("LossNotDecreasin")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_step": "3"}, "no parameter 'num_step'; did you mean num_steps"),
        ({"num_steps": "ten"}, "num_steps='ten' must be a whole number"),
        ({"num_steps": "0"}, "num_steps='0' is out of bounds"),
        ({"diff_percent": "nan"}, "must be a number"),
        ({"use_losses_collection": "maybe"}, "must be True or False"),
        ({"tensor_regex": "(a+)+"}, "could take very long"),
        ({"action_json": "{"}, "is not JSON"),
    ],
)
def test_a_bad_parameter_is_told_in_a_sentence(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        rule("LossNotDecreasing", **parameters)


@pytest.mark.parametrize(
    "action", ['{"name": "StopTraining", "training_job_prefix": "x"}', '[{"name": "stoptraining"}]']
)
def test_a_rule_can_ask_to_stop_the_job(action: str) -> None:
    assert rule("ExplodingTensor", action_json=action).stops_job
    assert not rule("ExplodingTensor", action_json='{"name": "sms"}').stops_job


# Overfit and Overtraining


def rounds(checked: Rule, pairs: Any, observe: Any) -> Rule:
    for index, (train, validation) in enumerate(pairs):
        for step in range(5):
            checked.observe(observe(index * 5 + step, "TRAIN", Loss_output_0=train))
        for step in range(2):
            checked.observe(observe(index * 2 + step, "EVAL", Loss_output_0=validation))
    checked.finish()
    return checked


def test_overfit_to_the_letter_is_a_ratio(observe: Any) -> None:
    assert rounds(rule("Overfit", min_difference="0"), [(1.0, 1.11)], observe).total
    assert not rounds(rule("Overfit", min_difference="0"), [(1.0, 1.09)], observe).total


@pytest.mark.parametrize(("right", "total"), [(36, 0), (35, 1), (None, 1)])
def test_what_is_classified_correctly_is_not_overfitted(right: int | None, total: int, observe: Any) -> None:
    """Label smoothing keeps losses apart, however few mistakes there are."""
    checked = rule("Overfit")
    for index, (train, validation) in enumerate([(2.0, 1.0), (0.9, 1.2), (0.7, 1.2), (0.6, 1.2)]):
        checked.observe(observe(index, "TRAIN", Loss_output_0=train))
        evaluation = observe(index, "EVAL", Loss_output_0=validation)
        checked.observe(dataclasses.replace(evaluation, pictures=40, right=right))
    checked.finish()
    assert checked.total == total
    if not total:
        assert "as 90% of the validation pictures are classified correctly" in checked.summary()


def test_overfit_waits_for_its_patience(observe: Any) -> None:
    pairs = [(1.0, 1.0), (0.5, 1.4), (0.4, 1.0)]
    assert rounds(rule("Overfit", patience="1", min_evaluations="1"), pairs, observe).total == 1
    assert not rounds(rule("Overfit", patience="2", min_evaluations="1"), pairs, observe).total


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_overfit_fires_in_the_evaluation_that_ends_its_patience(patience: int, observe: Any) -> None:
    pairs = [(1.0, 1.0), (0.5, 1.4), (0.4, 1.6), (0.3, 1.8)]
    found = [
        rounds(rule("Overfit", patience=str(patience), min_evaluations="1"), pairs[:count], observe).total
        for count in range(1, len(pairs) + 1)
    ]
    assert found == [max(0, bad - patience + 1) for bad in range(len(pairs))]


def test_overfit_counts_its_patience_anew_after_a_better_evaluation(observe: Any) -> None:
    pairs = [(1.0, 1.0), (0.5, 1.4), (0.5, 0.5), (0.4, 1.4)]
    checked = rounds(rule("Overfit", patience="2", min_evaluations="1"), pairs, observe)
    assert not checked.total
    assert (
        rounds(rule("Overfit", patience="2", min_evaluations="1"), [*pairs, (0.3, 1.6)], observe).total == 1
    )


def test_a_learned_task_and_a_first_evaluation_are_not_overfitting(observe: Any) -> None:
    pairs = [(1.0, 2.3), (0.4, 0.9), (0.1, 0.15), (0.01, 0.08), (0.005, 0.09)]
    assert not rounds(rule("Overfit"), pairs, observe).total


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(1.0, 1.0), (0.5, 0.52)], "the ratio is within its limit"),
        ([(1.0, 1.0), (0.5, 0.7)], "the gap is smaller than the least one"),
        ([(2.5, 2.3), (2.4, 8.6)], "the training loss, 2.5 at first, has not fallen by 20%"),
        ([(2.5, 9.0), (0.5, 6.7)], "the validation loss was 9 at best before"),
    ],
)
def test_a_gap_that_is_no_overfitting_is_explained(pairs: Any, reason: str, observe: Any) -> None:
    checked = rounds(rule("Overfit"), pairs, observe)
    assert not checked.total
    assert f"No finding, as {reason}" in checked.summary()
    patient = rounds(rule("Overfit"), [(2.5, 2.3), (0.5, 0.6), (0.3, 1.4)], observe)
    assert "it takes 3 such evaluations in a row" in patient.summary()


def test_a_validation_loss_that_comes_back_was_noise(observe: Any) -> None:
    """Seen in healthy trainings whose batch normalisation settles."""
    settling = [(1.6, 1.5), (0.9, 2.4), (0.6, 2.2), (0.5, 0.6), (0.4, 0.5)]
    assert not rounds(rule("Overfit"), settling, observe).total
    by_heart = [(1.6, 1.5), (0.9, 1.8), (0.6, 2.2), (0.2, 2.6)]
    assert rounds(rule("Overfit"), by_heart, observe).total == 1
    unconfirmed = rounds(rule("Overfit"), by_heart[:3], observe)
    assert not unconfirmed.total
    assert "before 3 evaluations, and it takes 4" in unconfirmed.undecided()


def test_a_gap_early_in_a_long_training_may_still_close(observe: Any) -> None:
    def fires(evaluations: int, pairs: list[tuple[float, float]]) -> int:
        return rounds(
            make("Overfit", {}, Plan(5 * evaluations, evaluations=evaluations)), pairs, observe
        ).total

    settling = [(1.6, 0.7), (0.9, 2.4), (0.6, 2.2), (0.5, 1.8), (0.4, 0.6), (0.3, 0.5)]
    assert fires(15, settling) == 0
    assert fires(6, settling) == 1
    by_heart = [(1.6, 0.7), *((0.5 / step, 1.0 + step / 10) for step in range(1, 7))]
    assert fires(15, by_heart) == 2  # in the fifth such evaluation, and in the sixth
    assert fires(15, by_heart[:4]) == 1  # at the end, which came early


@pytest.mark.parametrize(
    ("pictures", "right", "least"),
    [(4, None, 20), (19, None, 20), (20, None, 0), (9, 3, 10), (10, 3, 0), (12, 4, 0)],
)
def test_a_handful_of_pictures_shows_no_overfitting(
    pictures: int, right: int | None, least: int, observe: Any
) -> None:
    checked = rule("Overfit")
    for index, (train, validation) in enumerate([(1.6, 1.5), (0.9, 1.8), (0.6, 2.2), (0.2, 2.6)]):
        checked.observe(observe(index, "TRAIN", pictures=8, Loss_output_0=train))
        evaluation = observe(index, "EVAL", pictures=pictures, Loss_output_0=validation)
        checked.observe(dataclasses.replace(evaluation, right=right))
    checked.finish()
    assert bool(checked.total) == (not least)
    if least:
        assert f"the validation set has {pictures} pictures, and it takes {least}" in checked.undecided()


def test_what_has_learned_nothing_overfits_nothing(observe: Any) -> None:
    diverged = [(2.5, 2.3), (2.4, 2.2), (2.4, 2.9), (2.35, 2.8)]
    assert not rounds(rule("Overfit"), diverged, observe).total
    assert rounds(
        rule("Overfit"), [(2.5, 2.3), (1.0, 1.1), (0.3, 1.4), (0.2, 1.5), (0.1, 1.7)], observe
    ).total


def test_a_single_evaluation_says_nothing_of_overfitting(observe: Any) -> None:
    once = rounds(rule("Overfit"), [(2.3, 1.1)], observe)
    assert "before 1 evaluation, and it takes 2" in once.undecided()
    assert not rounds(rule("Overfit", min_difference="0"), [(2.3, 1.1)], observe).undecided()
    assert not rounds(rule("Overfit"), [(2.3, 1.1), (1.0, 0.9)], observe).undecided()
    assert "it takes 4" in rounds(rule("Overfit", patience="3"), [(2.3, 1.1)] * 3, observe).undecided()


def test_without_losses_of_both_overfit_names_what_to_save(observe: Any) -> None:
    checked = rule("Overfit")
    checked.observe(observe(0, "TRAIN", Loss_output_0=2.3))
    checked.finish()
    assert "eval.save_interval" in checked.undecided()


def test_losses_that_are_no_numbers_compare_with_nothing(observe: Any) -> None:
    checked = rounds(rule("Overfit"), [(np.nan, np.nan)] * 3, observe)
    assert "before 0 evaluations" in checked.undecided()


def test_overtraining_is_judged_while_the_loss_improves_or_after_its_patience(observe: Any) -> None:
    for validation, undecided in (
        ([1.0], "before 1 evaluation, and it takes 2"),
        ([1.0, 0.5], ""),
        (
            [1.0, 0.5, 0.6],
            "before 3 evaluations, and it takes 11",
        ),
        ([1.0, 0.5, *[0.6] * 9], ""),
    ):
        pairs = [(1.0, value) for value in validation]
        checked = rounds(rule("Overtraining"), pairs, observe)
        assert undecided in checked.undecided()
        assert bool(undecided) == bool(checked.undecided())


def test_overtraining_counts_evaluations_without_improvement(observe: Any) -> None:
    pairs = [(1 / (index + 1), max(1.0 - 0.2 * index, 0.6)) for index in range(14)]
    checked = rounds(rule("Overtraining"), pairs, observe)
    assert checked.total == 1
    assert "since step 14" in checked.findings[0].message
    assert not rounds(rule("Overtraining", patience_validation="12"), pairs, observe).total


# Tensors


def test_vanishing_gradient_is_the_mean_of_absolute_values(observe: Any) -> None:
    checked = rule("VanishingGradient")
    checked.observe(observe(0, gradient__a=np.full(10, 2e-7), gradient__b=np.array([1e-7, -1e-7]) * 0.9))
    assert [finding.tensor for finding in checked.findings] == ["gradient/b"]


def test_small_gradients_of_a_converged_training_are_fine(observe: Any) -> None:
    checked = rule("VanishingGradient")
    checked.observe(observe(0, Loss_output_0=2.3, gradient__a=np.full(10, 1e-3)))
    checked.observe(observe(1, Loss_output_0=0.001, gradient__a=np.full(10, 1e-9)))
    assert not checked.total


def test_exploding_tensor_counts_nan_and_infinity(observe: Any) -> None:
    tensors = {"nan": np.array([1.0, np.nan]), "inf": np.array([np.inf]), "big": np.array([1e30])}
    checked = rule("ExplodingTensor")
    checked.observe(observe(3, **tensors))
    assert {finding.tensor for finding in checked.findings} == {"nan", "inf"}
    only = rule("ExplodingTensor", only_nan="True")
    only.observe(observe(3, **tensors))
    assert {finding.tensor for finding in only.findings} == {"nan"}


def test_exploding_tensor_looks_where_it_is_told_to(observe: Any) -> None:
    checked = rule("ExplodingTensor", tensor_regex="gradient")
    checked.observe(observe(0, gradient__a=np.array([1.0]), weight=np.array([np.nan])))
    assert not checked.total
    assert checked.seen == 1


def test_dead_relu_counts_channels(observe: Any) -> None:
    output = np.zeros((8, 4, 3, 3), dtype=np.float32)
    output[:, :2] = 1.0
    checked = rule("DeadRelu")
    checked.observe(observe(0, relu_output_0=output))  # half of them dead is not more than half
    assert not checked.total
    output[:, 1] = 0.0
    assert "step 0 only" in checked.undecided()
    checked.observe(observe(1, relu_output_0=output))
    assert "75 %" in checked.findings[0].message
    assert not checked.undecided()


def test_dead_relu_tells_why_it_saw_no_relu(observe: Any) -> None:
    checked = rule("DeadRelu")
    checked.observe(observe(0, gradient__ResNet_fc_dot_weight=np.ones(2)))
    assert "add the collection 'relu_output'" in checked.undecided()
    head = observe(50, gradient__ResNet_fc_dot_weight=np.ones(2), gradient__ResNet_fc_dot_bias=np.ones(2))
    head.configured = frozenset({"relu_output"})
    checked.observe(head)
    outcome, summary = checked.verdict()
    assert outcome is Outcome.DOES_NOT_APPLY
    assert summary.startswith("Only ResNet_fc learned")
    checked.observe(observe(100, gradient__ResNet_conv1_dot_weight=np.ones(2)))
    assert "'relu_output' was asked for" in checked.undecided()


def test_weight_update_ratio_finds_frozen_and_thrown_weights(observe: Any) -> None:
    start = np.ones(4, dtype=np.float32)
    checked = rule("WeightUpdateRatio")
    checked.observe(observe(0, a_weight=start, b_weight=start, c_weight=start, d_weight=start * 0))
    checked.observe(observe(10, a_weight=start, b_weight=start * 1.01, c_weight=start, d_weight=start))
    checked.observe(observe(20, a_weight=start, b_weight=start * 1.01, c_weight=start * 20, d_weight=start))
    assert [finding.tensor for finding in checked.findings] == ["a_weight", "c_weight"]
    assert "a_weight did not change at all between steps 0 and 20" in checked.findings[0].message
    assert "c_weight changed by 19 times their size between steps 10 and 20" in checked.findings[1].message
    checked.finish()
    assert checked.total == 2


@pytest.mark.parametrize(
    ("sizes", "finding"),
    [
        ((1, 20), "by 19 times their size between steps 0 and 10"),  # there is nothing else to judge by
        ((1, 20, 400), "by 19 times their size between steps 0 and 10"),
        ((1, 20, 22, 24), ""),  # a normalisation keeps the first growth from doing harm
        ((1, 2, 40), "by 19 times their size between steps 10 and 20"),
    ],
)
def test_a_first_large_update_counts_if_the_next_is_large_too(
    sizes: tuple[int, ...], finding: str, observe: Any
) -> None:
    checked = rule("WeightUpdateRatio")
    for number, size in enumerate(sizes):
        checked.observe(observe(10 * number, a_weight=np.full(4, size, dtype=np.float32)))
    checked.finish()
    assert checked.total == bool(finding)
    assert finding in "".join(one.message for one in checked.findings)


def test_weights_that_have_learned_may_stand_still(observe: Any) -> None:
    start = np.ones(4, dtype=np.float32)
    checked = rule("WeightUpdateRatio")
    for step, value in enumerate([1.0, 1.0, 1.1, 1.2, 1.2, 1.2, 1.2]):  # after a warm-up from nothing
        checked.observe(observe(step, a_weight=start * value))
    checked.finish()
    assert not checked.total


def test_a_single_comparison_is_judged_at_the_end(observe: Any) -> None:
    checked = rule("WeightUpdateRatio")
    for step in range(2):
        checked.observe(observe(step, a_weight=np.ones(4, dtype=np.float32)))
    assert not checked.total
    checked.finish()
    assert checked.total == 1


def test_weights_that_were_saved_once_show_no_update(observe: Any) -> None:
    checked = rule("WeightUpdateRatio")
    assert "collection 'weights'" in checked.undecided()
    checked.observe(observe(0, a_weight=np.ones(4, dtype=np.float32)))
    assert "looked at last in step 0" in checked.undecided()
    assert "train longer, or set a smaller save_interval for the collection 'weights'" in checked.undecided()
    checked.observe(observe(10, a_weight=np.full(4, 1.01, dtype=np.float32)))
    assert not checked.undecided()


def test_weight_update_ratio_compares_over_num_steps(observe: Any) -> None:
    checked = rule("WeightUpdateRatio", num_steps="20")
    assert isinstance(checked, WeightUpdateRatio)
    reducer = Reducer(checked.distance)
    for step in range(0, 50, 10):
        weight = np.ones(4, dtype=np.float32) + step
        checked.observe(observe(step, reducer=reducer, a_weight=weight))
    assert checked.seen == 2


def test_labels_that_mixup_made_cannot_be_counted(observe: Any) -> None:
    checked = rule("ClassImbalance")
    checked.observe(observe(0, CrossEntropyLoss_input_1=np.full((8, 4), 0.25)))
    assert "mixtures of several classes (mixup), which cannot be counted" in checked.undecided()


def test_class_imbalance_counts_labels_and_mistakes(observe: Any, noise: Any) -> None:
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    scores = np.eye(3)[np.zeros(100, dtype=int)]
    checked = rule("ClassImbalance")
    for step in range(12):
        checked.observe(observe(step, CrossEntropyLoss_input_0=scores, CrossEntropyLoss_input_1=labels))
        assert checked.total == (0 if step < 4 else 1 if step < 9 else 3)
    assert {finding.tensor for finding in checked.findings} == {None, "class 1", "class 2"}


def test_class_imbalance_waits_for_its_samples(observe: Any) -> None:
    checked = rule("ClassImbalance")
    checked.observe(observe(0, Loss_input_1=np.array([0, 1] * 100)))
    assert "of 200 pictures were saved, and it takes 500" in checked.undecided()
    checked.observe(observe(1, Loss_input_1=np.array([0, 1] * 150)))
    assert not checked.undecided()


def test_even_classes_are_fine_while_they_are_still_mistaken(observe: Any, noise: Any) -> None:
    checked = rule("ClassImbalance")
    for step in range(9):
        scores = np.eye(10)[noise.integers(0, 10, 100)]
        checked.observe(observe(step, Loss_input_0=scores, Loss_input_1=noise.integers(0, 10, 100)))
    assert not checked.total


def test_poor_initialization_needs_a_flat_loss_and_a_reason(observe: Any, noise: Any) -> None:
    for falls, wide, fires in ((False, False, True), (True, False, False), (False, True, False)):
        checked = rule("PoorWeightInitialization")
        for step in range(20):
            gradient = noise.normal(0, 1, 100) if wide else np.zeros(100)
            checked.observe(observe(step, Loss_output_0=2.3 - 0.02 * step * falls, gradient__a=gradient))
        checked.finish()
        assert bool(checked.total) == fires


def test_poor_initialization_needs_some_steps_and_where_the_loss_stays_gradients(observe: Any) -> None:
    for values, undecided in (
        ([2.3] * 3, "the losses of 3 steps were saved, and it takes 6"),
        ([2.3] * 20, "add the collection 'gradients'"),
        (np.linspace(2.3, 1.0, 20), ""),
    ):
        checked = losses(rule("PoorWeightInitialization"), values, observe)
        checked.finish()
        assert undecided in checked.undecided()
        assert bool(undecided) == bool(checked.undecided())


def test_a_warm_up_is_no_poor_initialization(observe: Any) -> None:
    checked = rule("PoorWeightInitialization")
    for step in range(60):
        loss = 2.3 if step < 20 else 2.3 - 0.02 * (step - 20)
        checked.observe(observe(step, Loss_output_0=loss, gradient__a=np.full(9, 1e-5)))
    checked.finish()
    assert not checked.total


@pytest.mark.parametrize("name", ["Overfit", "Overtraining"])
def test_what_a_head_learns_alone_in_seconds_is_not_held_against_it(observe: Any, name: str) -> None:
    def checked(joins: int, after: float) -> Any:
        rule = make(name, {}, Plan(500, joins=joins))
        for round_ in range(50):
            alone = round_ < 20
            train = 1.0 / (1 + round_) if alone else 0.8 - (round_ - 20) / 50
            for step in range(10):
                rule.observe(observe(round_ * 10 + step, "TRAIN", Loss_output_0=train))
            validation = (0.9 if alone else 0.5) + (0.01 * round_ if alone else after * (round_ - 20))
            rule.observe(observe(round_ * 10 + 9, "EVAL", Loss_output_0=validation))
        rule.finish()
        return rule

    assert checked(0, -0.01).total
    assert not checked(200, -0.01).total
    assert checked(200, 0.1).total


def test_batches_count_by_their_pictures(observe: Any) -> None:
    """Two pictures in a last batch must not weigh as much as 64."""
    checked = rule("Overfit")
    for start in (0, 100):
        for step in range(10):
            checked.observe(observe(start + step, "TRAIN", pictures=64, Loss_output_0=2.0 - start / 80))
        checked.observe(observe(start, "EVAL", pictures=64, Loss_output_0=0.5))
        checked.observe(observe(start + 1, "EVAL", pictures=2, Loss_output_0=9.0))
    checked.finish()
    assert "the mean validation loss was 0.7576" in checked.summary()
    assert not checked.findings
