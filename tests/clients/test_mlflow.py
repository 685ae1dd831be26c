"""mlflow's SageMaker deployment client against a running local SageMaker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients import environment

if TYPE_CHECKING:
    from conftest import Service

pytestmark = pytest.mark.slow

# All that the deployment client imports of mlflow's 650 MB.
PACKAGES = ("mlflow-skinny==3.17.2", "boto3==1.44.8", "pandas==2.3.3", "scipy==1.16.3")


@pytest.fixture(scope="module")
def client(service: Service, request: pytest.FixtureRequest) -> environment.Client:
    python = environment.make(request.config.cache, *PACKAGES)
    script = Path(__file__).with_name("mlflow_deployments.py")
    settings = {**service.environment, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return environment.Client(python, script, (service.image, service.role), settings)


@pytest.mark.parametrize("name", ["deploy", "assumed_role", "refused", "transform", "command"])
def test_a_script(client: Any, tmp_path: Path, name: str) -> None:
    client.run(name, tmp_path)
