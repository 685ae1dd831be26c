"""SageMaker Python SDK v2 against a running local SageMaker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.runtime import optml
from tests.clients import environment

if TYPE_CHECKING:
    from conftest import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(service: Service, request: pytest.FixtureRequest) -> environment.Client:
    python = environment.make(request.config.cache, "sagemaker==2.257.7")
    script = Path(__file__).with_name("sdk_v2.py")
    return environment.Client(python, script, (service.image, service.role), service.environment)


@pytest.mark.parametrize("name", ["train", "tune", "tune_more", "serve", "rules", "analytics", "warm"])
def test_a_script(client: Any, tmp_path: Path, name: str) -> None:
    client.run(name, tmp_path)


@pytest.mark.skipif(not optml.works(), reason="no private /opt/ml on this machine")
def test_an_entrypoint(client: Any, tmp_path: Path) -> None:
    client.run("entrypoint", tmp_path)
