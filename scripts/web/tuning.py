"""A tuning job: its trials, which of them is the best, and the charts over their hyperparameters."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from report.pages import live as pages
from report.read import tuning
from report.read.values import mapping
from scripts.web.values import dump

if TYPE_CHECKING:
    from report.read.trials import Trial
    from report.read.tuning import TuningJob
    from scripts.web.session import Session

_SECONDS: Final = 1.0
TRIALS: Final = 500
"""That are listed; the charts have all of them."""


class TuningSource:
    """The tuning job as it is now; the charts are drawn anew when a trial has another value."""

    def __init__(self, session: Session, name: str) -> None:
        self.name = name
        self.ended = False
        self._session = session
        self._lock = threading.Lock()
        self._looked = -1e9
        self._drawn: Any = None
        self._documents: dict[str, str] = {}

    def look(self) -> None:
        with self._lock:
            if self.ended or time.monotonic() - self._looked < _SECONDS:
                return
            clients = self._session.clients
            job = tuning.look(clients, self.name)
            if not job.ended:
                job = tuning.with_progress(clients, job)
            machine, _ = pages.machines(mapping(job.definition.get("ResourceConfig")))
            hourly = self._session.hourly(machine, "Training") if machine else None
            self._documents["tuning"] = dump(tuning_document(job, hourly))
            if (state := _state(job)) != self._drawn:
                figures = pages.tuning_figures(job)
                kept = {"tuning": self._documents["tuning"], "figures": dump([item.id for item in figures])}
                drawn = {f"figure/{item.id}": dump(pages.figure_document(item)) for item in figures}
                self._documents = {**kept, **drawn}
                self._drawn = state
            self.ended = job.ended
            self._looked = time.monotonic()

    def documents(self) -> Mapping[str, str]:
        return dict(self._documents)

    def lines(self, since: int) -> tuple[int, list[str]]:
        return 0, []


def _state(job: TuningJob) -> tuple[Any, ...]:
    # As text, since an objective that is not there yet is NaN, which does not equal itself.
    return job.status, repr([(trial.status, trial.objective) for trial in job.trials])


def tuning_document(job: TuningJob, hourly: float | None) -> dict[str, Any]:
    """The headline and the trials; `hourly` is the price of one machine."""
    machine, count = pages.machines(mapping(job.definition.get("ResourceConfig")))
    now = datetime.now(UTC)
    seconds = sum(((trial.end or now) - trial.start).total_seconds() for trial in job.trials if trial.start)
    best, ranked = job.best, sorted(job.judged, key=job.rank)
    others = [trial for trial in job.trials if trial not in ranked]
    return {
        "name": job.name,
        "status": job.status,
        "runs": not job.ended,
        "reason": job.reason,
        "created": pages.iso(job.described.get("CreationTime")),
        "ended": pages.iso(job.described.get("HyperParameterTuningEndTime")),
        "metric": job.metric,
        "maximise": job.maximise,
        "strategy": str(job.config.get("Strategy", "")),
        "parallel": int(job.limits.get("MaxParallelTrainingJobs", 1)),
        "total": job.total,
        "done": sum(trial.end is not None for trial in job.trials),
        "machine": machine,
        "count": count,
        "seconds": seconds,
        "running": sum(trial.status == "InProgress" for trial in job.trials),
        "hourly": hourly,
        "cost": pages.cost(seconds, count, hourly),
        "best": _trial(job, best) if best else None,
        "winner": job.winner,
        "names": sorted({name for trial in job.trials for name in trial.tuned}),
        "trials": [_trial(job, trial) for trial in [*ranked, *others][:TRIALS]],
        "truncated": job.truncated or len(job.trials) > TRIALS,
    }


def _trial(job: TuningJob, trial: Trial) -> dict[str, Any]:
    progress = trial.progress
    latest = progress.latest if progress else trial.objective
    return {
        "name": trial.name,
        "number": trial.number,
        "status": trial.status,
        "objective": job.value(latest) if latest == latest else "",
        "values": trial.tuned,
        "seconds": progress.seconds if progress else trial.seconds,
        "epoch": f"epoch {progress.epoch} of {progress.epochs}" if progress else "",
        "reason": trial.reason,
    }
