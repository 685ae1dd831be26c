"""The page in a real browser, where the machine has one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import ByocError
from report import pdf
from report.pages.job import job_page
from report.pages.tuning import tuning_page
from tests.report import samples


@pytest.fixture
def browser() -> str:
    try:
        return pdf.find_browser()
    except ByocError:
        pytest.skip("no Chrome, Chromium or Edge")


def test_without_a_browser_the_remedy_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "BROWSERS", ())
    monkeypatch.delenv(pdf.VARIABLE, raising=False)
    with pytest.raises(ByocError, match="no Chrome") as caught:
        pdf.find_browser()
    assert pdf.VARIABLE in caught.value.remedy


def test_a_browser_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pdf.VARIABLE, "false")
    with pytest.raises(ByocError, match="did not print"):
        pdf.print_pdf(tmp_path / "a.html", tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", [lambda: job_page(samples.healthy()), lambda: tuning_page(samples.tuning())])
def test_all_charts_are_drawn_under_the_pages_policy(
    tmp_path: Path, browser: str, page: Callable[[], str]
) -> None:
    file = tmp_path / "it's a report.html"
    file.write_text(page())
    command = [browser, "--headless", "--disable-gpu", "--no-sandbox", f"--user-data-dir={tmp_path}/profile"]
    command += ["--virtual-time-budget=20000", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert 'data-charts="done"' in done.stdout
    drawn = re.findall(r'<div class="chart-place([^"]*)"', done.stdout)
    assert drawn
    assert all("drawn" in classes for classes in drawn)
    assert "Refused to" not in done.stderr


@pytest.mark.slow
def test_it_prints(tmp_path: Path, browser: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(job_page(samples.diverging()))
    pdf.print_pdf(file, tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
