"""Makes the HTML file: reads everything, then draws. What is heavy is imported when a report is made."""

from __future__ import annotations

from pathlib import Path

from contract.files import write_atomically
from report.read import rungs
from report.read.aws import Clients
from report.read.inputs import ReportInputs, collect
from report.read.tuning import TuningJob, look, pictures, with_findings


def report_for_job(
    clients: Clients, job_names: list[str], output: Path, *, price: float | None = None
) -> list[ReportInputs]:
    """Write the report on one training job, or on several side by side, to `output`.

    Returns what was read of each job, in their order: `findings` are the rules' results.

    Args:
        price: dollars for an hour of one machine, if what the job cost is to be said.

    Everything is read through AWS APIs. What a job did not record is said in the report and is no error.

    Raises:
        ByocError: no such job, or AWS refuses.
    """
    names = list(dict.fromkeys(job_names))
    inputs = [collect(clients, name, price) for name in names]
    if len(inputs) == 1:
        from report.pages.job import job_page

        _write(output, job_page(inputs[0]))
    else:
        from report.pages.compare import compare_page

        _write(output, compare_page(inputs))
    return inputs


def report_for_tuning_job(clients: Clients, name: str, output: Path) -> TuningJob:
    """Write the report on a hyperparameter tuning job to `output`; returns what was read of it.

    Raises:
        ByocError: no such job, or AWS refuses.
    """
    from report.pages.tuning import tuning_page

    job = with_findings(clients, look(clients, name))
    _write(output, tuning_page(job, rungs.read(clients, job), pictures(clients, job)))
    return job


def _write(path: Path, page: str) -> None:
    # Half characters, which JSON may hold, become `?`.
    write_atomically(path, page.encode("utf-8", errors="replace"))
