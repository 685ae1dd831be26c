"""Jobs of any kind, by their name alone: which kind it is, which one is meant, stopping it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import NOT_FOUND, ByocError
from report.read import jobs, tuning
from report.read.aws import no_job
from report.read.jobs import UNDER_WAY
from scripts import transform
from scripts.aws import ask

if TYPE_CHECKING:
    from scripts.aws import Clients

_LONGEST_TUNING_NAME = 32  # a longer one is refused as wrong, and not as missing


@dataclass(frozen=True)
class Kind:
    name: str
    """`training job`, `tuning job` or `transform job`."""
    describe: Callable[[Clients, str], str]
    """Returns the status; an error with NOT_FOUND where there is no such job."""
    stop: Callable[[Clients, str], object]

    def status(self, clients: Clients, name: str) -> str:
        """The job's status; "" where no job of this kind has the name."""
        if self.name == "tuning job" and len(name) > _LONGEST_TUNING_NAME:
            return ""
        try:
            return self.describe(clients, name)
        except ByocError as error:
            if error.code != NOT_FOUND:
                raise
            return ""


_KINDS = (
    Kind(
        "training job",
        lambda clients, name: str(jobs.describe(clients, name)["TrainingJobStatus"]),
        lambda clients, name: clients.sagemaker.stop_training_job(TrainingJobName=name),
    ),
    Kind(
        "tuning job",
        lambda clients, name: tuning.look(clients, name).status,
        lambda clients, name: clients.sagemaker.stop_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        ),
    ),
    Kind(
        "transform job",
        lambda clients, name: str(transform.describe(clients, name)["TransformJobStatus"]),
        lambda clients, name: clients.sagemaker.stop_transform_job(TransformJobName=name),
    ),
)


def choose(clients: Clients, last: Mapping[str, object]) -> str:
    """Pick the job that is meant where the user names none: the one that runs, or else the newest.

    Args:
        last: the newest job of each kind that this folder created, by `training_job`, `tuning_job` and
            `transform_job`, and `newest_job`; each may be missing.

    Returns:
        Its name; "" where the folder has created no job.

    Raises:
        ByocError: several of them run.
    """
    created = [(kind, str(name)) for kind in _KINDS if (name := last.get(kind.name.replace(" ", "_")))]
    running = [(kind, name) for kind, name in created if kind.status(clients, name) in UNDER_WAY]
    if len(running) > 1:
        listed = ", ".join(f"{kind.name} {name}" for kind, name in running)
        raise ByocError(f"Which job? Several run: {listed}.", f"Name one, e.g. {running[0][1]}.")
    names = [name for _, name in running or created]
    newest = str(last.get("newest_job", ""))
    return newest if newest in names else next(iter(names), "")


def kind_of(clients: Clients, name: str) -> Kind:
    """Which kind of job has the name. ByocError where none has."""
    if kind := next((kind for kind in _KINDS if kind.status(clients, name)), None):
        return kind
    raise no_job("job", name)


def stop(clients: Clients, name: str) -> str:
    """Ask a job to stop; returns what kind it is. One that has ended is no error."""
    kind = kind_of(clients, name)
    ask(lambda: kind.stop(clients, name), "ValidationException")  # which says that it has ended
    return kind.name
