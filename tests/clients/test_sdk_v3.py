"""SageMaker Python SDK v3 against a running local SageMaker."""

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
    python = environment.make(request.config.cache, "sagemaker==3.27.0")
    script = Path(__file__).with_name("sdk_v3.py")
    role = "arn:aws:iam::123456789012:role/service-role/any-other"
    return environment.Client(python, script, (service.image, role), service.environment)


@pytest.mark.parametrize("name", ["train", "tune", "serve"])
def test_a_script(client: Any, tmp_path: Path, name: str) -> None:
    client.run(name, tmp_path)


@pytest.mark.skipif(not optml.works(), reason="no private /opt/ml on this machine")
@pytest.mark.parametrize("name", ["source_code", "source_code_on_the_training_image"])
def test_source_code(client: Any, tmp_path: Path, name: str) -> None:
    client.run(name, tmp_path)
