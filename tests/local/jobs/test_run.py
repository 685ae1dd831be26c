from __future__ import annotations

import errno
import sqlite3

import pytest

from local.jobs.run import cause_of


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (sqlite3.OperationalError("database or disk is full"), "home folder is full: free some space"),
        (OSError(errno.ENOSPC, "No space left on device"), "home folder is full: free some space"),
        (sqlite3.OperationalError("database is locked"), "failed: OperationalError('database is locked')"),
        (ValueError("x"), "The local SageMaker failed: ValueError('x')"),
    ],
)
def test_a_full_disk_is_called_so(error: Exception, text: str) -> None:
    assert text in cause_of(error)
