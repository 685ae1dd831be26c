"""What jobs of all kinds share: a document that follows the job, and a thread in which it lives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar, Literal

from local.errors import DISK_FULL, is_disk_full
from local.jobs.documents import UNDER_WAY, Document
from local.jobs.services import Services, log

Cause = Literal["user", "rule", "runtime", "wait", "early", "hyperband", "service"]
"""Who or what stops a job: `runtime` is MaxRuntimeInSeconds, `wait` MaxWaitTimeInSeconds, `early` and
`hyperband` are a tuning job's."""


class JobFailure(Exception):
    """The job cannot go on; the text is its FailureReason."""


def cause_of(error: Exception) -> str:
    """What a FailureReason says of an error that nobody foresaw."""
    return DISK_FULL if is_disk_full(error) else f"The local SageMaker failed: {error!r}"


class Run:
    """One job from its start to its end; subclasses do the work in `_run`.

    `kind` is the store's word for it, `noun` what the members of its document begin with.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]

    def __init__(self, services: Services, name: str) -> None:
        """KeyError unless the job's document is in the store."""
        doc = services.store.get(self.kind, name)
        if doc is None:
            raise KeyError(name)
        self.name = name
        self._services = services
        self._doc = doc
        self._thread = threading.Thread(target=self._run, name=f"{self.kind} {name}", daemon=True)

    def _run(self) -> None:
        raise NotImplementedError

    def stop(self, cause: Cause = "user", grace: float | None = None) -> None:
        """Asks the job to stop; its document says Stopping when this returns, unless it is over.

        `grace`: seconds that its containers have, where it is less than usual.
        """
        raise NotImplementedError

    @staticmethod
    def fail(doc: Document, reason: str) -> None:
        """Ends a document as Failed, in place."""
        raise NotImplementedError

    @classmethod
    def under_way(cls, doc: Document) -> bool:
        return doc[f"{cls.noun}Status"] in UNDER_WAY

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _change(self, change: Callable[[Document], object]) -> None:
        """Changes the job's document in the store; one that was deleted is only a line in the log.

        A job that was created with the deleted one's name has a document of its own, which stays as it is.
        """

        def apply(doc: Document) -> None:
            if doc.get("CreationTime") != self._doc.get("CreationTime"):
                raise KeyError(self.name)
            change(doc)

        try:
            self._services.store.mutate(self.kind, self.name, apply)
        except KeyError:
            log.warning("%s %s: its document is gone", self.kind, self.name)
