"""Runs docs/tutorial.ipynb against a local SageMaker: `python -m tests.e2e.tutorial` renews its outputs."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial.ipynb"
CELL_SECONDS = 600
# What a machine does to outputs that are to be compared and published.
_FLEETING = (
    "execution",
    "iopub.execute_input",
    "iopub.status.busy",
    "iopub.status.idle",
    "shell.execute_reply",
)


def run(folder: Path, port: int | None = None) -> Any:
    """Execute the notebook in `folder`, and return it with its outputs.

    `port`: where the local SageMaker is to run, if not where the notebook has it.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if port:
        [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
        changed = parameters.source.replace("127.0.0.1:5757", f"127.0.0.1:{port}")
        assert changed != parameters.source
        parameters.source = changed
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    before = {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
    for key in before:
        del os.environ[key]
    try:
        client.execute()
    finally:
        os.environ.update(before)
    for cell in notebook.cells:
        for name in _FLEETING:
            cell.metadata.pop(name, None)
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        executed = run(Path(folder))
    executed.metadata = {
        "kernelspec": executed.metadata["kernelspec"],
        "language_info": {"name": "python"},
    }
    nbformat.write(executed, NOTEBOOK)
    sys.exit(0)
