from scripts.metrics import describe


def test_a_line_fits_a_terminal() -> None:
    values = {
        "epoch": 10.0, "train:loss": 0.12345, "train:accuracy": 1.0, "train:top5": 1.0,
        "validation:loss": 1.23456, "validation:accuracy": 0.9537, "learning_rate": 0.01,
    }  # fmt: skip
    told = describe(values)
    assert told == "epoch 10  train loss 0.1235, acc 100.00 %  ·  validation loss 1.235, acc 95.37 %"
    assert len(told) <= 80


def test_the_line_of_the_kept_weights_says_so() -> None:
    values = {"kept_epoch": 7.0, "validation:loss": 0.5, "validation:accuracy": 0.9, "test:accuracy": 0.85}
    told = "kept the weights of epoch 7:  validation acc 90.00 %  ·  test acc 85.00 %"
    assert describe(values) == told
