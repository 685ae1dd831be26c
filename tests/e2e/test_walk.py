"""docs/aws.md as a reader follows it: from an empty account to a deployed model, and back to an empty one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from scripts import digits, localservice
from scripts.policies.names import Names
from scripts.policies.user import administrator, user
from scripts.settings import load
from tests.e2e.account import Account, account
from tests.e2e.conftest import BYOC, ENVIRONMENT, LITTLE
from tests.scripts.policies.calls import Where, needed
from tests.scripts.policies.evaluate import not_allowed

DOCS = Path(__file__).resolve().parents[2] / "docs"
NEEDS_DOCKER = ("make build push", "docker/build", "byoc push")
# What the reader's pictures need: digits cannot begin with weights that have to be downloaded.
SETTINGS = {"arch": "resnet18", "weights": "none", "image_size": 32, **LITTLE}

pytestmark = pytest.mark.slow


class Reader:
    """Types commands into a shell, in a project folder of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.environment = {
            **ENVIRONMENT,
            "PATH": f"{BYOC.parent}:{ENVIRONMENT['PATH']}",
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PAGER": "",
        }

    def types(self, commands: str) -> str:
        """One block of the page, as one shell has it; its output."""
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=500,
        )
        assert result.returncode == 0, commands + result.stdout + result.stderr
        return result.stdout

    def chooses_settings(self) -> None:
        """What fits the pictures, and is soon done."""
        file = self.folder / "byoc.toml"
        chosen = "".join(f"{key} = {value!r}\n" for key, value in SETTINGS.items())
        text = file.read_text().replace("[hyperparameters]\n", f"[hyperparameters]\n{chosen}")
        file.write_text(text.replace("[tune]\n", "[tune]\njobs = 2\n"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with pictures, and the local SageMaker of that folder."""
    folder = tmp_path_factory.mktemp("a reader's")
    digits.write(folder / "all")
    for label in "0147":
        kept = folder / "photos" / label
        kept.mkdir(parents=True)
        for picture in sorted((folder / "all" / label).iterdir())[:60]:
            picture.rename(kept / picture.name)
    home = folder / ".byoc" / "local"
    home.mkdir(parents=True)
    running, _ = localservice.up(home, localservice.free_port())
    yield folder, running.url
    localservice.down(home)
    for process in localservice._STARTED:
        process.wait()


@pytest.fixture
def aws(service: tuple[Path, str]) -> Iterator[tuple[Reader, Any, Account]]:
    """A reader with an empty account, and clients that look into it."""
    folder, url = service
    (folder / "byoc.toml").unlink(missing_ok=True)
    (folder / ".byoc" / "state.json").unlink(missing_ok=True)
    with account(url) as whole:

        def client(name: str) -> Any:
            return boto3.client(
                name,  # type: ignore[call-overload]
                endpoint_url=whole.moto if name in ("iam", "ecr") else url,
                region_name="us-east-1",
                aws_access_key_id="any",
                aws_secret_access_key="any",
            )

        yield Reader(folder, whole.url), client, whole


def blocks(page: str, section: str) -> list[str]:
    """Shell blocks of a section, without what is another way to the same."""
    text = (DOCS / page).read_text()
    [body] = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    found = re.findall(r"^```sh\n(.*?)^```", body, re.S | re.M)
    return [block for block in found if not block.startswith("# instead")]


def what_is_left(client: Any) -> dict[str, list[Any]]:
    iam, sagemaker = client("iam"), client("sagemaker")
    return {
        "roles": iam.list_roles()["Roles"],
        "policies": iam.list_policies(Scope="Local")["Policies"],
        "repositories": client("ecr").describe_repositories()["repositories"],
        "buckets": client("s3").list_buckets()["Buckets"],
        "endpoints": sagemaker.list_endpoints()["Endpoints"],
        "configurations": sagemaker.list_endpoint_configs()["EndpointConfigs"],
        "models": sagemaker.list_models()["Models"],
    }


def test_the_walk_ends_where_it_began(aws: tuple[Reader, Any, Account]) -> None:
    reader, client, whole = aws
    assert not any(what_is_left(client).values())
    told = []
    for block in blocks("aws.md", "From an empty account to a model and back"):
        if block.startswith(NEEDS_DOCKER):
            continue
        told.append(reader.types(block))
        if block.startswith("byoc init"):
            reader.chooses_settings()
        if block.startswith("byoc setup --yes"):
            made = what_is_left(client)
            assert len(made["roles"]) == len(made["buckets"]) == 1
            assert len(made["repositories"]) == 3
    assert any("Endpoint flowers answers" in each for each in told)
    assert "Nothing that setup made is left" in told[-1]
    assert not any(what_is_left(client).values()), "the account is not empty"
    assert not beyond_the_policies(whole.asked)


def beyond_the_policies(asked: list[tuple[str, str, dict[str, Any]]]) -> list[tuple[str, str]]:
    """What `byoc` asked of the real service and the policies do not allow (S3: tests/scripts/policies)."""
    settings = load(required=False, overrides=["project.name=flowers"], environment={})
    names = Names(settings, "aws", "us-east-1", "123456789012")
    needs = {need for each in asked for need in needed(*each, Where())}
    assert {"sagemaker:CreateHyperParameterTuningJob", "sagemaker:InvokeEndpoint"} <= {
        need[0] for need in needs
    }
    return not_allowed([*user(names), *administrator(names)], needs)


def test_the_pipeline_runs(aws: tuple[Reader, Any, Account]) -> None:
    """Each `run:` of docs/github-actions.md but for the images; what `uses:` names cannot be run here."""
    reader, client, _ = aws
    reader.types("byoc init --aws --name flowers --region us-east-1")
    reader.chooses_settings()
    reader.types("byoc setup --yes")
    for block in blocks("github-actions.md", "A role for the pipeline"):
        reader.types(block)
    policies = client("iam").list_role_policies(RoleName="byoc-pipeline")["PolicyNames"]
    assert policies == ["byoc"]
    text = (DOCS / "github-actions.md").read_text()
    [workflow] = re.findall(r"^```yaml\n(.*?)^```", text, re.S | re.M)
    document = yaml.safe_load(workflow)
    assert document["permissions"]["id-token"] == "write"
    steps = document["jobs"]["train"]["steps"]
    ran = [
        step["name"]
        for step in steps
        if "run" in step
        and not step["run"].startswith((*NEEDS_DOCKER, "pip install"))
        and reader.types(step["run"]) is not None
    ]
    assert ran == [
        "Check everything before it costs money", "Send the pictures", "Train",
        "Put the model on the endpoint", "Measure it",
    ]  # fmt: skip
    for name in ("doctor.json", "training.json", "accuracy.json"):
        assert (reader.folder / name).read_text().startswith("{")
    reader.types("byoc delete")
