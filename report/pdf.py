"""The report as a PDF: printed by the Chrome, Chromium or Edge that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from contract.errors import ByocError

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
VARIABLE = "BYOC_BROWSER"
SECONDS = 120


def find_browser() -> str:
    """The browser's program.

    Raises:
        ByocError: there is none.
    """
    for name in filter(None, (os.environ.get(VARIABLE), *BROWSERS)):
        program = shutil.which(name)
        if program:
            return program
    raise ByocError(
        "There is no Chrome, Chromium or Edge here that could print the report.",
        f"Install one, name its program in {VARIABLE}, or print the HTML file from any browser.",
    )


def print_pdf(html: Path, pdf: Path) -> None:
    """Print `html` to `pdf`, whole or not at all.

    Raises:
        ByocError: no browser, or it fails.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="byoc-print-") as scratch:
        aside = Path(scratch) / "report.pdf"
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", "--no-first-run"]
        command.append("--window-size=820,1100")  # about a page: letters in the charts stay readable
        # All charts are drawn before it prints; nothing is loaded but this file.
        command += [f"--user-data-dir={scratch}/profile", "--virtual-time-budget=20000"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chrome refuses to run as root with it
        command += [f"--print-to-pdf={aside}", html.resolve().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ByocError(f"{browser} did not print within {SECONDS} s.", "Print the HTML file.") from None
        if not aside.is_file() or not aside.stat().st_size:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise ByocError(f"{browser} did not print: {last}", "Print the HTML file from a browser.")
        pdf.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(aside, pdf)
