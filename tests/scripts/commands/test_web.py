"""`byoc web` before it serves."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from scripts.web.server import bind
from tests.scripts.conftest import Run


def test_without_its_packages_it_says_how_to_install_them(
    project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else find(name, *more)
    )
    told = run("web", code=2).stderr
    assert "The page needs uvicorn" in told
    assert "pip install 'byoc-sagemaker[local]'" in told


def test_a_wrong_byoc_toml_is_reported_before_anything_is_served(project: Path, run: Run) -> None:
    (project / "byoc.toml").write_text("[project]\nnonsense = 1\n")
    assert "no setting project.nonsense" in run("web", code=2).stderr


def test_a_taken_port_is_an_error_with_a_remedy(project: Path, run: Run) -> None:
    with bind(None) as listener:
        listener.listen()
        told = run("web", "--port", str(listener.getsockname()[1]), code=2).stderr
    assert "--port" in told


def test_it_serves_until_it_is_interrupted(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("scripts.web.server.serve", lambda session, listener, ready: served.append(session))
    run("web", "--no-open", "--set", "project.name=flowers")
    assert served[0].settings.project.name == "flowers"
