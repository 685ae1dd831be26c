import pytest

from scripts.metrics import Parser, describe
from train.interface import METRIC_DEFINITIONS, format_metrics

PARSER = Parser(METRIC_DEFINITIONS)


def test_the_trainers_lines_are_read_back() -> None:
    line = format_metrics(epoch=3, train_loss=0.125, validation_accuracy=0.9537, learning_rate=1e-05)
    assert PARSER.parse(line) == {
        "epoch": 3.0,
        "train:loss": 0.125,
        "validation:accuracy": 0.9537,
        "learning_rate": 1e-05,
    }


@pytest.mark.parametrize("line", ["", "loss=1", "my_train_loss=3", "train_loss=", "epoch: 3"])
def test_other_lines_have_no_metrics(line: str) -> None:
    assert PARSER.parse(line) == {}


def test_not_a_number_is_a_number_here() -> None:
    assert PARSER.parse("train_loss=inf")["train:loss"] == float("inf")


def test_a_readable_line() -> None:
    values = {"epoch": 3.0, "train:loss": 0.12345, "validation:accuracy": 0.9537, "learning_rate": 0.01}
    assert (
        describe(values)
        == "epoch 3  train loss 0.1235  ·  validation accuracy 95.37 %  ·  learning rate 0.01"
    )


def test_the_line_of_the_kept_weights_says_so() -> None:
    line = format_metrics(kept_epoch=7, validation_accuracy=0.9, test_accuracy=0.85)
    assert (
        describe(PARSER.parse(line))
        == "kept the weights of epoch 7:  validation accuracy 90.00 %  ·  test accuracy 85.00 %"
    )
