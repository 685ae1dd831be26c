from __future__ import annotations

import re
import time

import pytest

from train.debug.patterns import PatternError, compile_pattern


@pytest.mark.parametrize(
    "text",
    [
        ".*relu_input",
        ".*relu_output|.*ReLU_output",
        "[Ll]oss_(?!input).*output",
        "^(?!gradient).*weight",
        "^gradient",
        "CrossEntropyLoss_input_[01]$",
        r"layer[1-4]\.\d+\.relu",
    ],
)
def test_the_regexes_in_use_compile(text: str) -> None:
    name = "gradient/layer1.0.relu_input_0 CrossEntropyLoss_input_1 fc.weight loss_output relu_output"
    assert bool(compile_pattern(text).search(name)) == bool(re.search(text, name))


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(a|aa)+$",
        "(a*)*b",
        r"(a)\1+",
        ".*a.*b.*c.*d",
        "(?:a?){30}a{30}",
        "((a{1,9}){1,9}){1,9}",
        "(" * 300,
    ],
)
def test_what_could_hang_or_does_not_compile_is_refused(text: str) -> None:
    with pytest.raises(PatternError, match="regex"):
        compile_pattern(text)


def test_an_accepted_regex_is_fast_on_a_hostile_name() -> None:
    pattern = compile_pattern(".*a.*a.*b")
    started = time.perf_counter()
    pattern.search("a" * 300)
    assert time.perf_counter() - started < 5.0
