"""All of SageMaker's operations that the local SageMaker has."""

from __future__ import annotations

from collections.abc import Mapping

from local.api.endpoints import Endpoints
from local.api.models import Models
from local.api.search import Search
from local.api.tags import Tags
from local.api.training import TrainingJobs
from local.api.transform import TransformJobs
from local.api.tuning import TuningJobs
from local.config import Config
from local.dispatch import operations
from local.protocol import Handler
from local.seam import EngineLike
from local.store import Store

RESOURCES = (TrainingJobs, TuningJobs, TransformJobs, Models, Endpoints, Tags, Search)


def handlers(config: Config, store: Store, engine: EngineLike) -> Mapping[str, Handler]:
    """Every operation, by AWS's name, for clients of `config.region`."""
    return operations(*(resource(config, store, engine) for resource in RESOURCES))
