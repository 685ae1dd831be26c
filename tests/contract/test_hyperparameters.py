import json
import re

import pytest
import torchvision

from contract import hyperparameters
from contract.hyperparameters import HYPERPARAMETERS, HyperparameterError, Settings, parse


def test_nothing_said_means_the_defaults() -> None:
    assert parse({}) == Settings()


def test_every_default_is_allowed_and_every_setting_has_help() -> None:
    everything = {item.name: str(item.default) for item in HYPERPARAMETERS}
    assert parse(everything) == Settings()
    assert all(len(item.help) > 20 for item in HYPERPARAMETERS)


def test_every_example_is_allowed() -> None:
    parse({item.name: item.example for item in HYPERPARAMETERS if item.example})


@pytest.mark.parametrize("name", ["batch_size", "batch-size", " batch_size "])
@pytest.mark.parametrize("value", ["64", '"64"', " 64 ", 64])
def test_hyphens_and_json_quotes_are_read(name: str, value: str) -> None:
    assert parse({name: value}).batch_size == 64


def test_what_sagemaker_adds_for_itself_is_passed_over() -> None:
    raw = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "s3://x",
        "_tuning_objective_metric": "validation:accuracy",
        "epochs": "3",
    }
    assert parse(raw).epochs == 3


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("lr", "fast", "a number from 1e-07 to 10"),
        ("lr", "nan", "a number from"),
        ("lr", "inf", "a number from"),
        ("lr", "0", "a number from"),
        ("lr", "1_0", "a number from"),
        ("lr", "", "a number from"),
        ("epochs", "2.5", "a whole number from 1 to 10000"),
        ("epochs", "0", "a whole number"),
        ("epochs", "9" * 5000, "a whole number"),
        ("batch_size", "1", "a whole number from 2"),
        ("arch", "resnet19", "one of resnet18, resnet34"),
        ("augment", "flips", "one of none"),
        ("weights", "", "text"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(HyperparameterError, match=re.escape(allowed)) as caught:
        parse({name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("learning_rate", "lr"), ("epoch", "epochs"), ("num-epochs", "epochs"), ("model", "arch")],
)
def test_an_unknown_name_is_told_with_the_likely_one(name: str, hint: str) -> None:
    with pytest.raises(HyperparameterError, match=f"did you mean {hint}\\?"):
        parse({name: "1"})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(HyperparameterError) as caught:
        parse({"lr": "x", "epochs": "y", "colour": "z"})
    assert all(word in str(caught.value) for word in ("lr=", "epochs=", "'colour'"))


def test_a_name_given_twice_is_an_error() -> None:
    with pytest.raises(HyperparameterError, match="given twice"):
        parse({"batch-size": "8", "batch_size": "8"})


def test_the_networks_are_torchvisions() -> None:
    assert set(hyperparameters.ARCHITECTURES) == set(
        torchvision.models.list_models(module=torchvision.models)
    )


def test_settings_survive_json() -> None:
    settings = parse({"lr": "0.003"})
    assert (
        parse({key: str(value) for key, value in json.loads(json.dumps(settings.to_json())).items()})
        == settings
    )
