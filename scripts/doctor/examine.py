"""All checks, in the order in which problems would show up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from contract.errors import ByocError
from scripts import serving
from scripts.context import Context
from scripts.doctor.bucket import bucket
from scripts.doctor.credentials import credentials
from scripts.doctor.data import data
from scripts.doctor.disk import disk
from scripts.doctor.docker import docker
from scripts.doctor.finding import Finding, failed, guarded
from scripts.doctor.images import NAMES, image
from scripts.doctor.java import java
from scripts.doctor.key import key
from scripts.doctor.machines import machines
from scripts.doctor.network import network
from scripts.doctor.permissions import permissions
from scripts.doctor.quotas import quotas
from scripts.doctor.role import role
from scripts.doctor.settings import settings as settings_of_training
from scripts.policies.names import Names

Check = tuple[str, Callable[[], Finding | Iterable[Finding]]]


def examine(context: Context, *, offline: bool = False) -> Iterator[Finding]:
    """Without settings, or with wrong ones, only the machine's checks; offline, none that asks AWS."""
    yield from _each([("Java", java), ("Docker", docker), ("disk", disk)])
    try:
        settings = context.settings
    except ByocError as error:
        yield failed("settings", error)
        return
    yield from _each(
        [("settings", partial(settings_of_training, settings)), ("machines", partial(machines, settings))]
    )
    if offline:
        yield Finding("AWS", "skipped", "not asked (--offline)")
        return
    who = guarded("credentials", lambda: credentials(context.clients))
    yield from who
    if any(each.check == "credentials" and each.severity == "error" for each in who):
        return  # every further answer would be the same
    yield from _each(_of_account(context))


def _of_account(context: Context) -> Iterator[Check]:
    settings, clients = context.settings, context.clients
    names = Names.of(settings, clients)
    yield "permissions", partial(permissions, names, clients)
    yield "role", partial(role, settings, clients)
    if settings.aws.kms_key:
        yield "key", partial(key, settings, clients)
    if settings.aws.subnets:
        yield "network", partial(network, settings, clients)
    yield "bucket", partial(bucket, names, clients)
    yield "data", partial(data, settings, clients)
    for which in serving.needed(settings):
        yield NAMES[which], partial(image, settings, clients, which)
    yield "quota", partial(quotas, settings, clients)


def _each(checks: Iterable[Check]) -> Iterator[Finding]:
    for name, check in checks:
        yield from guarded(name, check)
