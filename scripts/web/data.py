"""The data set: what lies in S3, and what the last model makes of its labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from contract import s3
from contract.errors import REFUSED, ByocError
from report.read import jobs, pictures
from report.read.inputs import collect
from report.read.listing import of_kind
from report.read.quality import read_quality
from scripts import account

if TYPE_CHECKING:
    from scripts.web.session import Session

GOOD: Final = 0.7
"""Accuracy of a model that may doubt labels: a worse one is wrong more often than they are."""
_ASKED: Final = 10
_TRIAL: Final = re.compile(r"-\d{3}-[0-9a-f]{8}$")


def root(session: Session) -> str:
    """Where the project's channels lie."""
    settings = session.settings
    bucket = account.bucket(settings, session.clients)
    return f"s3://{bucket}/{settings.prefix}/data"


def document(session: Session) -> dict[str, Any]:
    """Classes, counts, keys of some pictures, and groups of files with the same content."""
    where = root(session)
    seen = pictures.look(session.clients, where)
    return {
        "where": where,
        "total": seen.total,
        "channels": list(pictures.CHANNELS),
        "classes": [
            {"name": name, "counts": counts, "samples": seen.samples[name]}
            for name, counts in seen.counts.items()
        ],
        "repeated": [
            [{"channel": file.channel, "label": file.label, "key": file.key} for file in files]
            for files in seen.repeated
        ],
        "repeated_count": seen.repeated_count,
        "compared": seen.compared,
        "truncated": seen.truncated,
    }


def doubtful(session: Session) -> dict[str, Any]:
    """Pictures whose label the last good model contradicts, the surest first: its worst mistakes."""
    name, accuracy = _last_good_job(session)
    if not name or accuracy < GOOD:
        return {"job": name, "accuracy": accuracy, "good": False, "mistakes": [], "split": ""}
    quality = read_quality(collect(session.clients, name).report)
    mistakes = [vars(item) for item in quality.mistakes]
    return {"job": name, "accuracy": accuracy, "good": True, "split": quality.split, "mistakes": mistakes}


def _last_good_job(session: Session) -> tuple[str, float]:
    """The newest training job whose model may doubt labels, else the newest, and its accuracy; "" for none.

    Trials come last: they keep no pictures where they keep no model.
    """
    clients, project = session.clients, session.settings.project.name
    listed = of_kind(clients, "training", 100, project)
    completed = [item["name"] for item in listed if item["status"] == "Completed"]
    own = [name for name in completed if not _TRIAL.search(name)]
    asked = [*own, *(name for name in completed if name not in own)][:_ASKED]
    accuracies = {}
    for name in asked:
        metrics = jobs.metrics(jobs.describe(clients, name))
        accuracies[name] = metrics.get("test:accuracy", metrics.get("validation:accuracy", 0.0))
        if accuracies[name] >= GOOD:
            return name, accuracies[name]
    return next(iter(accuracies.items()), ("", 0.0))


def picture(session: Session, key: str) -> bytes:
    """A small PNG of one of the data set's pictures, and of nothing else in the bucket."""
    bucket, prefix = s3.split(f"{root(session)}/")
    if not key.startswith(prefix):
        raise ByocError(f"{key} is no picture of this project.", code=REFUSED, kind="NotOurs")
    return pictures.thumbnail(session.clients, bucket, key)
