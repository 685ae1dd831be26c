"""docs/local.md names every operation of SageMaker's model, done or refused.

Delete the table's lines between its two marks, and this test writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from local.api.registry import handlers

VERBS = ("Create", "Describe", "List", "Update", "Stop", "Delete")
PAGE = Path(__file__).parents[3] / "docs" / "local.md"
MARKED = re.compile(r"(?<=<!-- operations -->\n)(.*?)(?=<!-- end of operations -->)", re.DOTALL)


def table() -> str:
    """A line for each frequent verb: what it is done to, and what not. The rest is in the last line."""
    nothing: Any = None
    done = set(handlers(nothing, nothing, nothing))
    model = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))
    rows: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in (*VERBS, "others")}
    for operation in sorted(model.operation_names):
        verb = next((verb for verb in VERBS if operation.startswith(verb)), "")
        rows[verb or "others"][operation not in done].append(operation.removeprefix(verb))
    lines = ["", "| | done | refused |", "|---|---|---|"]
    lines += [f"| {name} | {', '.join(have)} | {', '.join(lack)} |" for name, (have, lack) in rows.items()]
    return "\n".join([*lines, "", ""])


def test_the_page_names_every_operation() -> None:
    page = PAGE.read_text()
    [written] = MARKED.findall(page)
    if not written.strip():
        PAGE.write_text(MARKED.sub(lambda _: table(), page))
        pytest.fail("docs/local.md had no table of operations; it has one now")
    assert written == table()
