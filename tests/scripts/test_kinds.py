"""A job of whatever kind, by its name."""

from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from contract.errors import ByocError
from report.read import jobs, tuning
from scripts import transform
from scripts.aws import Clients
from scripts.kinds import choose, stop
from tests.scripts.failing import failing

LONG = "flowers-transform-0412-093007-51x"  # 33 characters: no tuning job can have the name
MISSING = (400, {"__type": "ValidationException", "message": "Requested resource not found."})
ENDED = (400, {"__type": "ValidationException", "message": "The job is in status Completed."})
TOO_LONG = (
    400,
    {
        "__type": "ValidationException",
        "message": "1 validation error detected: Value at 'hyperParameterTuningJobName' failed to satisfy "
        "constraint: Member must have length less than or equal to 32",
    },
)


def answers(kind: str, stopped: Any = (200, {})) -> Any:
    """As AWS answers where there is one job, of that kind."""

    def answer(operation: str) -> Any:
        if "HyperParameterTuningJob" in operation and operation.startswith(("Describe", "Stop")):
            return TOO_LONG
        if operation == f"Describe{kind}":
            return 200, {f"{kind}Name": LONG, f"{kind}Status": "InProgress"}
        return stopped if operation == f"Stop{kind}" else MISSING

    return answer


@pytest.mark.parametrize("kind", ["TransformJob", "TrainingJob"])
@pytest.mark.parametrize("stopped", [(200, {}), ENDED])
def test_a_job_with_a_long_name_is_stopped(kind: str, stopped: Any) -> None:
    with failing() as server:
        server.after = answers(kind, stopped)
        found = stop(Clients(boto3.Session("a", "b"), "eu-west-1", server.url), LONG)
        assert found == {"TransformJob": "transform job", "TrainingJob": "training job"}[kind]
        assert f"Stop{kind}" in server.seen
        assert not any("Tuning" in operation for operation in server.seen)


def test_there_is_no_such_job() -> None:
    with failing() as server:
        server.after = MISSING
        with pytest.raises(ByocError, match="There is no job x"):
            stop(Clients(boto3.Session("a", "b"), "eu-west-1", server.url), "x")


@pytest.mark.parametrize(
    ("training", "tuning_", "transform_", "expected"),
    [
        ("Completed", "InProgress", "Completed", "u"),
        ("Completed", "Completed", "InProgress", "f"),
        ("Completed", "Completed", "", "t"),
        ("", "Stopping", "", "u"),
        ("", "", "", ""),
        ("InProgress", "InProgress", "", None),
    ],
)
def test_without_a_name_it_is_the_job_that_runs(
    monkeypatch: pytest.MonkeyPatch, training: str, tuning_: str, transform_: str, expected: str | None
) -> None:
    monkeypatch.setattr(jobs, "describe", lambda clients, name: {"TrainingJobStatus": training})
    monkeypatch.setattr(tuning, "look", lambda clients, name: SimpleNamespace(status=tuning_))
    monkeypatch.setattr(transform, "describe", lambda clients, name: {"TransformJobStatus": transform_})
    statuses = {"training_job": training, "tuning_job": tuning_, "transform_job": transform_}
    made = {kind: name for (kind, status), name in zip(statuses.items(), "tuf", strict=True) if status}
    clients: Any = None
    if expected is None:
        with pytest.raises(ByocError, match="Several run: training job t, tuning job u"):
            choose(clients, made)
    else:
        assert choose(clients, made) == expected
        if "InProgress" not in statuses.values() and made:
            newest = list(made.values())[-1]
            running = "Stopping" in statuses.values()
            assert choose(clients, {**made, "newest_job": newest}) == (expected if running else newest)
