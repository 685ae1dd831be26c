"""What others wrote is shown as it is: no markup, and nothing that steers the terminal."""

import pytest
from rich.text import Text

from scripts.output import Output

HOSTILE = "a [red]b[/] [/INST] \x1b[2J\x1b]0;title\x07\x9b1m\ud800c"
SHOWN = "a [red]b[/] [/INST] [2J]0;title1mc"


@pytest.mark.parametrize("how", ["say", "raw", "warn", "row"])
def test_hostile_text_is_only_text(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    if how == "say":
        out.say("{value}", value=HOSTILE)
    elif how == "row":
        table = out.table("one", "two", title="[/title]")
        out.row(table, HOSTILE, Text("red", "red"))
        out.show(table)
    else:
        getattr(out, how)(HOSTILE)
    shown = capsys.readouterr().out
    assert SHOWN in shown
    assert "\x1b" not in shown


def test_nothing_is_cut_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = Output()
    table = out.table("name", "other")
    out.row(table, "x" * 300, "y" * 300)
    out.show(table)
    assert f" {'x' * 300}   {'y' * 300} " in capsys.readouterr().out


def test_in_a_narrow_terminal_a_cell_goes_on_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "30"}.items():
        monkeypatch.setenv(name, value)
    out = Output()
    table = out.table("name")
    out.row(table, "a" * 60)
    out.show(table)
    shown = capsys.readouterr().out
    assert shown.count("a") == 60 + 1
    assert "…" not in shown


def test_what_changes_is_drawn_over_in_a_terminal_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw() -> str:
        out = Output()
        with out.drawing("begun") as draw:
            out.say("a line")
            draw("half")
            draw("done")
        return capsys.readouterr().out

    assert draw() == "a line\n"
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    shown = draw()
    assert shown.index("begun") < shown.index("a line") < shown.rindex("done")
    assert "half" not in shown[shown.rindex("done") :]
    assert "\x1b[2K" in shown  # a line is wiped
