import re

import pytest

from contract.metrics import METRIC_DEFINITIONS, METRIC_KEYS, format_metrics, is_explosive


@pytest.mark.parametrize(
    "regex", [r"(\d+)+;", r"((a|ab)*)c", r"(a?){30}a{30}", r"(?=(x+)*y)", r"((?:\w+\s?)*)end"]
)
def test_a_regex_that_may_take_for_ever_is_known(regex: str) -> None:
    assert is_explosive(regex)


@pytest.mark.parametrize(
    "regex",
    [r"loss: ([0-9.]+)", r".*loss=([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?).*", r"(?<v>nan|inf|\d+)"],
)
def test_usual_ones_are_not_refused(regex: str) -> None:
    assert not is_explosive(regex)


def test_each_metric_is_read_from_its_own_key_only() -> None:
    line = format_metrics(**{key: index + 0.5 for index, key in enumerate(METRIC_KEYS)})
    for index, item in enumerate(METRIC_DEFINITIONS):
        assert re.findall(item["Regex"], line) == [str(index + 0.5)]


def test_sagemaker_takes_the_metric_definitions() -> None:
    assert len(METRIC_DEFINITIONS) <= 40
    for item in METRIC_DEFINITIONS:
        assert set(item) == {"Name", "Regex"}
        assert len(item["Name"]) <= 255
        assert len(item["Regex"]) <= 500
