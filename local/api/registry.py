"""All of SageMaker's operations that the local SageMaker has."""

from __future__ import annotations

from collections.abc import Mapping

from local.api import endpoints, models, tags, training, transform, tuning
from local.api.control import Control
from local.protocol import Handler


def handlers(control: Control) -> Mapping[str, Handler]:
    """Every operation that the local SageMaker has, by AWS's name."""
    found: dict[str, Handler] = {}
    for module in (training, tuning, transform, models, endpoints, tags):
        found.update(module.handlers(control))
    return found
