"""One HTML file that says how a training job went, and why. Heavy imports wait until one is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.report.inputs import Clients


def report_for_job(
    clients: Clients, job_names: list[str], output: Path, *, price: float | None = None
) -> Path:
    """Write the report on one training job, or on several side by side, to `output`; returns its path.

    Args:
        price: dollars for an hour of one machine, if what the job cost is to be said.

    Everything is read through AWS APIs. What a job did not record is said in the report and is no error.

    Raises:
        ByocError: no such job, or AWS refuses.
    """
    from scripts.report.inputs import collect
    from scripts.report.page import write

    names = list(dict.fromkeys(job_names))
    if not names:
        raise ValueError("a report needs the name of a job")
    if len(names) == 1:
        from scripts.report.job import job_page

        write(output, job_page(collect(clients, names[0], price)))
    else:
        from scripts.report.compare import compare_page

        write(output, compare_page([collect(clients, name, price) for name in names]))
    return output


def report_for_tuning_job(clients: Clients, name: str, output: Path) -> Path:
    """Write the report on a hyperparameter tuning job to `output`; returns its path.

    Raises:
        ByocError: no such job, or AWS refuses.
    """
    from scripts.report.page import write
    from scripts.report.tuning import collect_tuning, tuning_page

    write(output, tuning_page(collect_tuning(clients, name)))
    return output
