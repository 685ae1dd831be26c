"""The whole account: what is to be made for the settings, in the order in which it is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scripts.policies.names import Names
from scripts.setup import bucket, repositories, role

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.setup.plan import Step


def planned(names: Names, clients: Clients) -> Iterator[Step]:
    """Looks at each thing and says what is to be done to it; changes nothing."""
    yield bucket.planned(names, clients)
    for repository in dict.fromkeys(names.repositories.values()):
        yield repositories.planned(names, clients, repository)
    yield role.planned(names, clients)
