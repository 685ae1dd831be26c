"""The tutorial runs as it is, on the real images, and its words are true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from scripts.localservice import free_port
from tests.e2e import tutorial
from tests.e2e.test_interrupt import processes_of

LIMIT = 1_000_000  # bytes, pictures included
# A path of the machine that ran it, or somebody's name: outputs are published.
MACHINE = re.compile(r"/(?:home|root|Users|tmp|work|var|private)/|\x1b|Traceback")


def cell_with(notebook: Any, source: str) -> Any:
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    return cell


def text_of(cell: Any) -> str:
    parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(parts)


def test_the_committed_outputs_are_small_and_anybodys() -> None:
    raw = tutorial.NOTEBOOK.read_text(encoding="utf-8")
    assert len(raw) < LIMIT
    notebook = nbformat.reads(raw, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "renew the outputs"
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            shown = {key: value for key, value in output.get("data", {}).items() if "image" not in key}
            assert not MACHINE.search(json.dumps(shown) + output.get("text", ""))
    assert_story(notebook)


def assert_story(notebook: Any) -> None:
    """What the notebook's words claim."""
    assert "LossNotDecreasing   Issues found" in text_of(cell_with(notebook, "dogs.findings("))
    assert "Lower the learning rate" in text_of(cell_with(notebook, "dogs.findings("))
    bad, good = (text_of(cell_with(notebook, f"dogs.curves({job})")) for job in ('tuned["training_job"]', ""))
    assert "Training loss did not fall" in bad
    assert "Training loss fell from" in good
    evaluated = text_of(cell_with(notebook, "dogs.evaluate("))
    [accuracy] = re.findall(r"all +\d+ +48 +([\d.]+) %", evaluated)
    assert float(accuracy) >= 95
    assert "Training computed the same" in evaluated
    assert "004.Akita is taken for: Akita" in text_of(cell_with(notebook, "dogs.predict("))
    end = text_of(cell_with(notebook, "dogs.delete("))
    assert "deleted endpoint dogs" in end
    assert "endpoint" not in end.partition("kind")[2]
    assert "The local SageMaker is stopped" in end
    for name in ('dogs.curves(tuned["training_job"])', "dogs.curves()"):
        pictures = [output.get("data", {}).get("image/png") for output in cell_with(notebook, name).outputs]
        assert any(pictures)


@pytest.mark.slow
def test_the_tutorial_tells_the_truth_and_leaves_nothing(tmp_path: Path) -> None:
    executed = tutorial.run(tmp_path, free_port())
    assert_story(executed)
    assert not processes_of(tmp_path)
    assert not (tmp_path / "dogs" / ".byoc" / "local" / "service.json").exists()
