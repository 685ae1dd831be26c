"""What others wrote is shown as it is: no markup, and nothing that steers the terminal."""

import pytest
from rich.text import Text

from scripts.output import Output

HOSTILE = "a [red]b[/] [/INST] \x1b[2J\x1b]0;title\x07\x9b1mc"
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
