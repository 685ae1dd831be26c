"""AWS's SDK for JavaScript, version 3, against a running local SageMaker."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients import environment

if TYPE_CHECKING:
    from conftest import Service

pytestmark = pytest.mark.slow

PACKAGES = (
    "@aws-sdk/client-cloudwatch-logs@3.1169.0",
    "@aws-sdk/client-s3@3.1175.0",
    "@aws-sdk/client-sagemaker@3.1142.0",
    "@aws-sdk/client-sagemaker-runtime@3.1164.0",
    "@aws-sdk/lib-storage@3.1175.0",
    "@aws-sdk/s3-presigned-post@3.1164.0",
    "@aws-sdk/s3-request-presigner@3.1169.0",
)


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Path:
    return environment.node_modules(request.config.cache, *PACKAGES)


@pytest.mark.parametrize("name", ["train", "tune", "serve", "objects", "presigned"])
def test_a_script(service: Service, modules: Path, tmp_path: Path, name: str) -> None:
    # Node.js looks for the packages of a module beside it.
    (tmp_path / "node_modules").symlink_to(modules)
    script = Path(shutil.copy(Path(__file__).with_name("sdk_js.mjs"), tmp_path))
    settings = {**service.environment, "AWS_REGION": "us-east-1"}
    node = Path(str(shutil.which("node")))
    environment.Client(node, script, (service.image, service.role), settings).run(name, tmp_path)
