"""What `byoc` remembers between commands: the last job's name, the best hyperparameters, image digests.

It lies in .byoc/state.json beside byoc.toml and can be deleted at any time: then names must be given.
Keys in use: tuning_job, training_job, transform_job, newest_job (of any kind), project (the newest job's),
endpoint, endpoints (all deployed, by project), best, images, report, verdicts, evaluation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contract.errors import ByocError
from contract.files import write_atomically
from scripts.output import Output
from scripts.settings import Settings

_JOBS = ("training_job", "tuning_job", "transform_job")


def path_of(settings: Settings) -> Path:
    return settings.folder / ".byoc" / "state.json"


def read(settings: Settings) -> dict[str, Any]:
    """Everything remembered; empty where nothing is. A file that is not ours is put aside, with a warning."""
    path = path_of(settings)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        return _put_aside(path, str(error))
    except OSError as error:
        raise ByocError(f"{path} cannot be read: {error}.", "Delete it; names must then be given.") from None
    return content if isinstance(content, dict) else _put_aside(path, "it holds no JSON object")


def _put_aside(path: Path, why: str) -> dict[str, Any]:
    aside = path.with_name(f"{path.name}.broken")
    path.replace(aside)
    Output(json=True).warn(  # to standard error
        f"{path} is broken ({why}), and was renamed to {aside.name}: byoc no longer knows what it made last; "
        "give names."
    )
    return {}


def update(settings: Settings, **changes: Any) -> None:
    """Remember `changes` (None forgets a key); the rest stays."""
    content = {**read(settings), **changes}
    if newest := next((changes[key] for key in _JOBS if changes.get(key)), None):
        content |= {"newest_job": newest, "project": settings.project.name}
    write_json(path_of(settings), {key: value for key, value in content.items() if value is not None})


def deployed(settings: Settings, endpoint: str) -> None:
    """Remember the last endpoint; and by project all that this folder deployed: their logs outlive them."""
    before = read(settings).get("endpoints", {})
    names = sorted({*before.get(settings.project.name, ()), endpoint})
    update(settings, endpoint=endpoint, endpoints={**before, settings.project.name: names})


def is_of_project(settings: Settings) -> bool:
    """Whether nothing of another project is remembered."""
    content, project = read(settings), settings.project.name
    return {content.get("project", project), *content.get("endpoints", {})} <= {project}


def check(settings: Settings) -> None:
    """Raise what `update` would raise now, while nothing is paid for that would be forgotten."""
    update(settings)


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    write_atomically(path, json.dumps(content, indent=2, default=str) + "\n")
