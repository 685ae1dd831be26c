"""A trained model and its archive take some hundred megabytes each."""

from __future__ import annotations

import shutil

from scripts.doctor.finding import Finding

_FREE_GB = 5


def disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    if free < _FREE_GB:
        return Finding("disk", "warning", f"{free:.1f} GB free here", f"Free at least {_FREE_GB} GB.")
    return Finding("disk", "ok", f"{free:.0f} GB free here")
