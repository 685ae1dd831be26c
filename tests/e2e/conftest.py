"""A project folder as a user has it, and a local SageMaker that runs the real images."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from scripts import digits, localservice

BYOC = Path(sys.executable).with_name("byoc")
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
    "COLUMNS": "200",
}
# As little training as makes a classifier that tells some digits apart.
LITTLE = {"epochs": 3, "batch_size": 8, "lr": 0.002}


@dataclass(frozen=True)
class Project:
    folder: Path
    program: Path = BYOC

    def byoc(self, *arguments: str, code: int = 0) -> str:
        """Runs a command; what it wrote to stdout, or to stderr where it was to fail."""
        result = subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result.stderr if code else result.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.byoc(*arguments, "--json"))
        return found


def client(project: Project, service: str, **config: Any) -> Any:
    """A client of the project's local SageMaker."""
    url = re.search(r'^endpoint_url = "(.*)"', (project.folder / "byoc.toml").read_text(), re.M)
    assert url
    return boto3.client(
        service,
        endpoint_url=url[1],
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(**config),
    )


@contextlib.contextmanager
def a_project(folder: Path, *runtime: str, program: Path = BYOC) -> Iterator[Project]:
    """Four classes of digits, uploaded to a local SageMaker that was started with `runtime`'s options."""
    project = Project(folder, program)
    url = f"http://127.0.0.1:{localservice.free_port()}"
    project.byoc("init", "--example", "digits", "--region", "us-east-1", "--endpoint-url", url)
    digits.write(project.folder / "all")
    for label in "0147":
        kept = project.folder / "digits" / label
        kept.mkdir(parents=True)
        for picture in sorted((project.folder / "all" / label).iterdir())[:60]:
            picture.rename(kept / picture.name)
    project.byoc("local", "up", *runtime)
    try:
        project.byoc("upload")
        yield project
    finally:
        project.byoc("local", "down")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """As plain processes."""
    with a_project(tmp_path_factory.mktemp("it's mine")) as project:
        yield project


@pytest.fixture(scope="session")
def trained(project: Project) -> dict[str, Any]:
    """What `byoc train` says of a short training."""
    flags = [part for key, value in LITTLE.items() for part in ("--set", f"{key}={value}")]
    return project.json("train", *flags)
