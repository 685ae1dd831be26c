"""What there is of a project, in the order in which it is deleted.

What costs most comes first; what the rest is found by, the records of jobs, comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from report.words import plural
from scripts import account, state
from scripts.cleanup import images, logs, storage
from scripts.cleanup.part import Found, Part
from scripts.cleanup.services import Services
from scripts.tags import Owner

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.settings import Settings


def take(
    clients: Clients,
    settings: Settings,
    *,
    records: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Found:
    """Everything of the project in this account and region. Nothing is remembered from one call to the next.

    Args:
        records: also what SageMaker remembers of jobs that have ended.
        progress: is called with the number of objects that were counted, or deleted.
    """
    unseen: list[str] = []
    own_endpoints = endpoints_of_folder(settings)
    owner = Owner(clients, settings.project.name, unseen.append, own_endpoints)
    services = Services(clients, owner, unseen)
    bucket = account.bucket(settings, clients)
    everything = services.running() + services.warm_pools() + services.serving()
    made = {logs.endpoint_of(config) for config in services.configs} - {""}
    groups = {*own_endpoints, *services.endpoints, *made} - services.foreign_endpoints
    everything += logs.find(clients, services.training, services.transform, groups)
    everything += storage.find(clients, bucket, settings.prefix, progress)
    everything += images.find(clients, settings, f"s3://{bucket}/{settings.prefix}", services.models)
    ended = len(services.training) + len(services.tuning)
    if records:
        everything += services.records()
    elif ended:
        stays = f"The records of {plural(ended, 'job')}: they cost nothing, and --records deletes them."
        everything += Found(stays=[stays])
    return everything + Found(unseen=list(dict.fromkeys(unseen)))


def endpoints_of_folder(settings: Settings) -> set[str]:
    """Endpoints that this folder deployed: their logs outlive them, and nothing else says whose they are."""
    deployed = state.read(settings).get("endpoints", {})
    return {settings.endpoint_name, *deployed.get(settings.project.name, ())}


def local_state(settings: Settings) -> Part | None:
    """What byoc remembers in this folder: names and image digests that are no more.

    None where it is of another project too: `--set project.name=` or a new name in byoc.toml.
    """
    path = state.path_of(settings)
    if not path.exists() or not state.is_of_project(settings):
        return None
    return Part("file", str(path), lambda: path.unlink(missing_ok=True))
