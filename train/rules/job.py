"""The training job that the rules watch, where they run apart from it: as a SageMaker processing job."""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

log = logging.getLogger("train.rules")

LOOK_SECONDS = 20.0
ENDED = frozenset({"Completed", "Failed", "Stopped"})


class Job(Protocol):
    """What the evaluator needs of a job beside its files."""

    def ended(self) -> bool:
        """Whether it is over."""

    def stop(self) -> None:
        """Ask for its end; only the first call does."""


class SageMakerJob:
    """A training job by name. What SageMaker refuses is logged: rules go on without it."""

    def __init__(self, name: str, client: Any = None) -> None:
        self._name = name
        self._looked = float("-inf")
        self._ended = self._stopped = False
        if client is None:
            import boto3

            client = boto3.client("sagemaker")
        self._client = client

    def ended(self) -> bool:
        """Asks at most every `LOOK_SECONDS`."""
        if not self._ended and time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            try:
                answer = self._client.describe_training_job(TrainingJobName=self._name)
                self._ended = answer["TrainingJobStatus"] in ENDED
            except Exception as error:
                log.warning("the job's status is not known: %s", error)
        return self._ended

    def stop(self) -> None:
        """StopTrainingJob."""
        if self._stopped:
            return
        self._stopped = True
        try:
            self._client.stop_training_job(TrainingJobName=self._name)
        except Exception as error:
            log.warning("a rule's action asks for the job's end, but it could not be stopped: %s", error)
