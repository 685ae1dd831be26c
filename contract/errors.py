"""An error that the user can cause: one sentence and a remedy, and the exit code of the program.

Exit codes are part of the interface:

    0  done
    1  a job, an endpoint or an expectation failed
    2  wrong input: a setting, a hyperparameter, a data set, an argument
    3  AWS refused: credentials, permissions, quotas
    4  AWS, or the local SageMaker, does not answer
    5  something named does not exist
    130  interrupted with Ctrl-C
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FAILED: Final = 1
BAD_INPUT: Final = 2
REFUSED: Final = 3
UNREACHABLE: Final = 4
NOT_FOUND: Final = 5
INTERRUPTED: Final = 130


class ByocError(Exception):
    """Something that the user can cause, with what to do about it; `details` are for --json only."""

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        code: int = BAD_INPUT,
        kind: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
        self.kind = kind or type(self).__name__
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()
