"""The data set: what lies in S3, and what the last model makes of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract import s3
from contract.errors import REFUSED, ByocError
from report.read import pictures
from report.read.inputs import collect
from report.read.listing import of_kind
from report.read.quality import read_quality
from scripts import account, state

if TYPE_CHECKING:
    from scripts.web.session import Session


def root(session: Session) -> str:
    """Where the project's channels lie."""
    settings = session.settings
    bucket = account.bucket(settings, session.clients)
    return f"s3://{bucket}/{settings.prefix}/data"


def document(session: Session) -> dict[str, Any]:
    """Classes, counts, keys of some pictures, and groups of files with the same content."""
    where = root(session)
    found = pictures.look(session.clients, where)
    return {
        "where": where,
        "total": found.total,
        "channels": list(pictures.CHANNELS),
        "classes": [
            {"name": name, "counts": counts, "samples": found.samples[name]}
            for name, counts in found.counts.items()
        ],
        "repeated": [
            [{"channel": file.channel, "label": file.label, "key": file.key} for file in files]
            for files in found.repeated
        ],
        "repeated_count": found.repeated_count,
        "compared": found.compared,
        "truncated": found.truncated,
    }


def doubtful(session: Session) -> dict[str, Any]:
    """Pictures whose label the last model contradicts, the surest first: its worst mistakes."""
    name = _last_job(session)
    if not name:
        return {"job": "", "mistakes": [], "split": ""}
    quality = read_quality(collect(session.clients, name).report)
    mistakes = [vars(item) for item in quality.mistakes]
    return {"job": name, "split": quality.split, "mistakes": mistakes}


def _last_job(session: Session) -> str:
    settings, clients = session.settings, session.clients
    listed = of_kind(clients, "training", 100, settings.project.name)
    completed = [item["name"] for item in listed if item["status"] == "Completed"]
    last = str(state.read(settings).get("training_job", ""))
    # Trials keep no pictures where they keep no model.
    trained = [name for name in completed if name.startswith(f"{settings.project.name}-train")]
    return last if last in completed else next(iter(trained or completed), "")


def picture(session: Session, key: str) -> bytes:
    """A small PNG of one of the data set's pictures, and of nothing else in the bucket."""
    bucket, prefix = s3.split(f"{root(session)}/")
    if not key.startswith(prefix):
        raise ByocError(f"{key} is no picture of this project.", code=REFUSED, kind="NotOurs")
    return pictures.thumbnail(session.clients, bucket, key)
