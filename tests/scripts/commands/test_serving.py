"""How answers are shown."""

import re

import pytest

from scripts.commands.serving import show_answers
from scripts.context import Context
from scripts.output import Output
from scripts.predict import Answer


def test_names_are_whole_and_a_reason_stands_under_reason(capsys: pytest.CaptureFixture[str]) -> None:
    long = "s3://a-bucket-with-a-long-name/and/a/long/prefix/of/folders/test/7/" + "picture" * 9 + ".png"
    answers = [
        Answer(long, "7", "7", 0.75, (("7", 0.75),)),
        Answer("text.png", "", error="415: not a picture."),
    ]
    show_answers(Context(Output()), answers, 1)
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["picture", "class", "probability", "truth", "reason"] in lines
    assert [long, "7", "75.00 %", "7 ✓"] in lines
    assert ["text.png", "refused", "415: not a picture."] in lines
    show_answers(Context(Output()), answers[:1], 1)
    assert "reason" not in capsys.readouterr().out
