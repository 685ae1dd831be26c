"""Settings and clients for one check."""

from __future__ import annotations

import pytest

from scripts.aws import Clients, connect
from scripts.policies.names import Names
from scripts.settings import Settings, load


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


def names_of(*overrides: str) -> Names:
    return Names(settings_of(*overrides), "aws", "us-east-1", "123456789012")


@pytest.fixture
def clients(aws: None, project: object, settings: Settings) -> Clients:
    return connect(settings)
