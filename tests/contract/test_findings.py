import pytest

from contract.findings import (
    FindingLine,
    Findings,
    Line,
    MachineLine,
    Outcome,
    ProgressLine,
    StopLine,
    VerdictLine,
    format_line,
    parse_line,
)

LINES: list[Line] = [
    FindingLine("LossNotDecreasing", 10, "loss", "high", "The loss rises: \u201c2\u201d\n", "Lower it."),
    StopLine("LossNotDecreasing", 120, "The loss rises."),
    VerdictLine("Overfit", Outcome.COULD_NOT_JUDGE, "One evaluation.", 0),
    ProgressLine(1, 8, 12, 400, 2.3, 120.5, None),
    MachineLine(1733000000.25, 93.5, 40.0, 0.1, 88.0, None),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_a_line_is_read_back_as_it_was_written(line: Line) -> None:
    text = format_line(line)
    assert "\n" not in text
    assert text.isascii()
    assert parse_line(text) == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "progress",
        "progress 3 of 4",
        "progress [1]",
        'debugger.finding {"step": 1}',
        'debugger.finding {"rule": 1}',
        'debugger.finding {"rule": "X", "severity": "awful"}',
        'debugger.stop {"rule": "X", "step": "one"}',
        'debugger.verdict {"rule": "X", "total": 1.5}',
        ' debugger.verdict {"rule": "X"}',
        "progress " + "[" * 5000,
        f'progress {{"step": {10**400}}}',
        'progress {"seconds_left": NaN}',
        'machine {"cpu": "busy"}',
        'progress {"images_per_second": 1e999}',
    ],
)
def test_what_is_not_ours_or_damaged_is_no_line(text: str) -> None:
    assert parse_line(text) is None


def test_numbers_that_json_does_not_know_are_left_out() -> None:
    assert parse_line(format_line(ProgressLine(step=1, loss=float("nan")))) == ProgressLine(step=1)


def test_long_texts_are_cut() -> None:
    line = parse_line(format_line(FindingLine("X", message="m" * 10_000, remedy="r" * 10_000)))
    assert isinstance(line, FindingLine)
    assert len(line.message) == len(line.remedy) == 1500


@pytest.mark.parametrize("problems", [3, {"a": 1}, "text", None])
def test_a_file_from_anywhere_is_read_or_refused_in_a_sentence(problems: object) -> None:
    assert Findings.from_dict({"schema": 2, "problems": problems}) == Findings()
    with pytest.raises(ValueError, match="schema is 1"):
        Findings.from_dict({"schema": 1})


def test_steps_that_no_float_holds_are_left_out() -> None:
    finding = {"step": 10**400, "severity": "low"}
    rule = {"name": "X", "rule": "X", "kind": "debugger", "outcome": "IssuesFound", "total": 10**400}
    read = Findings.from_dict(
        {"schema": 2, "stopped_at": -(10**400), "rules": [{**rule, "findings": [finding]}]}
    )
    assert read.stopped_at is None
    assert read.rules[0].findings[0].step is None
    assert read.rules[0].total == 0
