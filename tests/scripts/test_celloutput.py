"""What a cell shows: one output, redrawn; HTML and text alike; no control characters."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import IPython.display
import pytest

from scripts import celloutput
from scripts.celloutput import CellOutput, NotebookError, Result
from scripts.output import bar

HOSTILE = "a [red]b[/] <script>alert(1)</script> \x1b[2J"


class Cell:
    """The outputs of a cell; each of them holds what it showed, one after the other."""

    def __init__(self) -> None:
        self.outputs: list[list[dict[str, str]]] = []

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        shown = [bundle]
        self.outputs.append(shown)
        return SimpleNamespace(update=lambda bundle, raw: shown.append(bundle))

    @property
    def text(self) -> str:
        """What stays in the only output."""
        [shown] = self.outputs
        return shown[-1]["text/plain"]

    @property
    def history(self) -> list[str]:
        [shown] = self.outputs
        return [bundle["text/plain"] for bundle in shown]


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    cell = Cell()
    monkeypatch.setattr(IPython.display, "display", cell.display)
    return cell


def test_lines_are_added_to_one_output(cell: Cell) -> None:
    out = CellOutput(ease=0)
    out.say("[bold]{name}[/] begins", name="job")
    out.raw("epoch 1")
    out.end()
    assert cell.text == "job begins\nepoch 1\n"
    assert cell.history[0] == "job begins\n"
    assert "font-weight: bold" in cell.outputs[0][-1]["text/html"]


def test_what_others_wrote_is_only_text(cell: Cell) -> None:
    out = CellOutput(ease=0)
    out.raw(HOSTILE)
    out.end()
    assert cell.text == "a [red]b[/] <script>alert(1)</script> [2J\n"
    html = cell.outputs[0][-1]["text/html"]
    assert "<script" not in html
    assert "\x1b" not in html


def test_a_command_that_says_nothing_shows_nothing(cell: Cell) -> None:
    CellOutput(ease=0).end()
    assert cell.outputs == []


def test_the_next_command_of_the_program_is_left_out(cell: Cell) -> None:
    out = CellOutput(ease=0)
    out.say("Next: [bold]byoc deploy[/]")
    out.end()
    assert cell.outputs == []


def test_a_table_that_changes_is_drawn_below_the_lines_and_stays(cell: Cell) -> None:
    out = CellOutput(ease=0)
    out.say("tuning")
    with out.drawing() as draw:
        for status in ("InProgress", "Completed"):
            table = out.table("trial")
            out.row(table, status)
            draw(table)
    out.say("done")
    out.end()
    assert any("InProgress" in text for text in cell.history)
    assert "InProgress" not in cell.text
    lines = [line.strip() for line in cell.text.splitlines() if line.strip(" ─")]
    assert lines == ["tuning", "trial", "Completed", "done"]


def test_curves_that_grow_are_gone_at_the_end(cell: Cell) -> None:
    out, curves = CellOutput(ease=0), "a chart"
    with out.drawing(curves) as draw:
        out.raw("epoch 1")
        draw(curves)
    out.end()
    assert "epoch 1\na chart\n" in cell.history
    assert cell.text == "epoch 1\n"


def test_a_bar_shows_how_far_it_is_and_goes(cell: Cell) -> None:
    out = CellOutput(ease=0)
    with out.progress("uploading") as progress:
        advance = bar(progress)
        for done in range(1, 4):
            advance(done, 3)
    out.say("3 files sent")
    out.end()
    assert any("uploading" in text and "2/3" in text for text in cell.history)
    assert cell.text == "3 files sent\n"


def test_a_flood_of_lines_is_not_drawn_line_by_line(cell: Cell) -> None:
    out = CellOutput()
    for number in range(500):
        out.raw(f"line {number}")
    out.end()
    assert len(cell.history) < 250
    assert len(cell.text.splitlines()) == 500


def test_an_error_has_no_traceback() -> None:
    error = NotebookError("There is no endpoint dogs.", "`deploy` makes one.")
    assert error._render_traceback_() == ["Error: There is no endpoint dogs.", "→ `deploy` makes one."]
    assert NotebookError("Interrupted.")._render_traceback_() == ["Error: Interrupted."]


def test_a_result_is_a_dict_that_a_cell_does_not_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result({"status": "Completed"})
    assert result["status"] == "Completed"
    result._ipython_display_()
    assert capsys.readouterr().out == ""


def test_only_a_kernel_is_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not celloutput.in_notebook()
    for shell, expected in ((SimpleNamespace(kernel=1), True), (SimpleNamespace(), False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert celloutput.in_notebook() is expected
    monkeypatch.delitem(sys.modules, "IPython")
    assert not celloutput.in_notebook()
