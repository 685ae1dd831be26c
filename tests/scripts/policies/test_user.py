"""The policies of the user and of whoever sets up, against what the commands really call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name
from typer.testing import CliRunner

from scripts import state
from scripts.app import app
from scripts.policies.grants import Grant, document
from scripts.policies.names import Names
from scripts.policies.user import administrator, user
from scripts.settings import load
from tests.scripts.conftest import draw
from tests.scripts.policies.calls import Where
from tests.scripts.policies.evaluate import not_allowed
from tests.scripts.policies.recorder import Recorder, recording

BUCKET = "sagemaker-us-east-1-123456789012"
ROOT = Path(__file__).resolve().parents[3]
# What the Docker engine calls when it pushes (ECR User Guide, "IAM permissions for pushing an image").
ENGINE = {
    "ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload", "ecr:PutImage", "ecr:BatchGetImage",
}  # fmt: skip
# Where a journey without Docker, prices and lost answers does not come by.
OFF_THE_WAY = {
    "ecr:GetAuthorizationToken",
    "pricing:GetProducts",
    "sagemaker:DescribeModel",
    "sagemaker:UpdateTrainingJob",  # warm pools
    "sagemaker:DeleteHyperParameterTuningJob",  # moto's never end
}
# Tried only where AWS refuses what is in the policy: iam:GetRole, tag:GetResources.
INSTEAD = {"iam:ListRoles", "sagemaker:ListTags"}


def names_of(*overrides: str, account: str = "123456789012") -> Names:
    settings = load(required=False, overrides=overrides, environment={})
    return Names(settings, "aws", "us-east-1", account)


@pytest.fixture
def account(project: Path, aws: None) -> Iterator[tuple[Recorder, tuple[str, ...]]]:
    """An account with a key and a network, and a recorder; the settings that name them."""
    key = boto3.client("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"]
    ec2 = boto3.client("ec2", "us-east-1")
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=subnet["VpcId"])["GroupId"]
    given = (
        f"aws.kms_key={key}",
        f'aws.subnets=["{subnet["SubnetId"]}"]',
        f'aws.security_groups=["{group}"]',
    )
    draw(project / "data")
    with recording(Where(key=key)) as recorder:
        yield recorder, given


def journey(recorder: Recorder, given: tuple[str, ...]) -> None:
    """Every command that talks to AWS, in an account that `byoc setup` has prepared."""
    flags = [part for each in given for part in ("--set", each)]

    def byoc(command: str, *arguments: str) -> None:
        recorder.command = command
        CliRunner().invoke(app, [command, *arguments, *flags], catch_exceptions=False)

    CliRunner().invoke(app, ["init", "--aws", "--name", "flowers"])
    byoc("setup", "--yes")
    drift()
    byoc("setup", "--yes", "--set", "aws.tags.team=cats")
    boto3.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    boto3.client("s3").create_multipart_upload(Bucket=BUCKET, Key="byoc/flowers/data/train/large.png")
    byoc("upload")
    byoc("upload", "--seed", "9")  # deletes what another split left
    push_an_image()
    byoc("doctor")
    byoc("tune", "--no-wait")
    byoc("best")
    byoc("train", "--no-wait")
    jobs = state.read(load())
    write_logs(jobs["training_job"])
    byoc("logs")
    byoc("report")
    byoc("deploy")
    byoc("deploy", "--update")
    byoc("predict", "data/cat/0.png")
    byoc("evaluate")
    byoc("transform", "data")
    byoc("jobs")
    byoc("jobs", "--costs")
    recorder.command = "web"
    look_at_the_page(given)
    for kind in ("training_job", "tuning_job", "transform_job"):
        byoc("stop", state.read(load())[kind])
    byoc("delete")
    byoc("setup", "--remove", "--json")  # names what stays because of what it holds
    byoc("delete", "--all", "--yes", "--records")
    byoc("setup", "--remove", "--yes")


def look_at_the_page(given: tuple[str, ...]) -> None:
    """What `byoc web` reads and does: every page, and every button but those that moto cannot serve."""
    from scripts.web.app import create_app
    from scripts.web.session import Session
    from tests.scripts.web.conftest import OWN, PORT, TOKEN, TestClient

    jobs, session = state.read(load()), Session(overrides=given)
    training, tuning = jobs["training_job"], jobs["tuning_job"]
    app, web = create_app(session, TOKEN, PORT)
    with TestClient(app, base_url=OWN, headers={"origin": OWN}) as page:
        page.get(f"/?token={TOKEN}")
        keys = (f"training/{training}", f"tuning/{tuning}", f"transform/{jobs['transform_job']}")
        paths = [
            "/api/project", "/api/form/train", "/api/form/tune", "/api/form/deploy", "/api/data",
            "/api/doubtful", "/api/picture?key=byoc/flowers/data/train/cat/0.png",
            f"/report/training/{training}", f"/log/training/{training}", "/log/endpoint/flowers",
            "/api/details?job=endpoint/flowers&" + "&".join(f"job={key}" for key in keys),
        ]  # fmt: skip
        for path in paths:
            page.get(path)
        for kind, name in (("jobs", ""), ("training", training), ("tuning", tuning), ("endpoint", "flowers")):
            web._source(kind, name)().look()
        page.post("/api/predict/flowers", content=Path("data/cat/0.png").read_bytes())
        for path, body in (
            ("train", {}),
            ("tune", {}),
            ("deploy", {"job": training, "endpoint": "other"}),
            ("delete", {"endpoint": "other"}),
            *(("stop", {"name": key.partition("/")[2]}) for key in keys),
        ):
            page.post(f"/api/{path}", json=body)
            for activity in web.activities:
                activity.thread.join()


def drift() -> None:
    """Somebody changes in the console what set-up has made."""
    ecr, iam = boto3.client("ecr", "us-east-1"), boto3.client("iam")
    name = "sagemaker-byoc-train"
    ecr.put_image_scanning_configuration(
        repositoryName=name, imageScanningConfiguration={"scanOnPush": False}
    )
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(
        RoleName="byoc-sagemaker",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )


def push_an_image() -> None:
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": "sha256:" + "0" * 64, "size": 1},
        "layers": [],
    }
    ecr, name = boto3.client("ecr", "us-east-1"), "sagemaker-byoc-train"
    # moto takes the wildcards of the exclusion filters for regular expressions, and breaks.
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag="latest")


def write_logs(job: str) -> None:
    logs = boto3.client("logs", "us-east-1")
    group = "/aws/sagemaker/TrainingJobs"
    logs.create_log_group(logGroupName=group)
    logs.create_log_group(logGroupName="/aws/sagemaker/Endpoints/flowers")
    logs.create_log_stream(logGroupName=group, logStreamName=f"{job}/algo-1-1")


@pytest.mark.slow
def test_the_policies_allow_what_the_commands_call_and_nothing_else(
    account: tuple[Recorder, tuple[str, ...]],
) -> None:
    recorder, given = account
    journey(recorder, given)
    names = names_of("project.name=flowers", *given)
    used_by_user = {need for need in recorder.needs if need[0] != "setup"}
    assert {command for command, _, _ in used_by_user} >= {
        "upload", "doctor", "tune", "best", "train", "logs", "report", "deploy", "predict", "evaluate",
        "transform", "jobs", "stop", "delete", "web",
    }  # fmt: skip
    assert not not_allowed(user(names), {(action, resource) for _, action, resource in used_by_user})
    assert not not_allowed(administrator(names), recorder.of("setup"))
    # The table in docs/aws.md says which command uses what.
    for command in {command for command, _, _ in used_by_user}:
        listed = {action for each in user(names) if command in each.users for action in each.actions}
        assert {action for action, _ in recorder.of(command)} <= listed, command
    used = recorder.actions | ENGINE | OFF_THE_WAY
    unused = {action for each in user(names) for action in each.actions} - used
    assert not unused, "the user's policy allows what nothing uses"
    unused = {action for each in administrator(names) for action in each.actions} - recorder.actions
    assert not unused, "the policy for setting up allows what nothing uses"


def test_what_the_journey_does_not_come_by_is_in_the_code() -> None:
    source = "".join(path.read_text() for path in (ROOT / "scripts").rglob("*.py"))
    for action in OFF_THE_WAY:
        operation = xform_name(action.partition(":")[2])
        assert f".{operation}" in source, action


def test_no_log_group_but_endpoints_can_be_deleted() -> None:
    """The groups of jobs hold the streams of everybody's."""
    [deletion] = [each for each in user(names_of()) if "logs:DeleteLogGroup" in each.actions]
    [arn] = deletion.resources
    assert arn.endswith(":log-group:/aws/sagemaker/Endpoints/*")


def test_no_action_is_allowed_on_everything_that_can_be_allowed_on_less() -> None:
    """By AWS's Service Authorization Reference, as cfn-lint carries it; unknown actions are found, too."""
    reference = authorization_reference()
    names = names_of("aws.kms_key=alias/flowers", 'aws.subnets=["subnet-1"]', 'aws.security_groups=["sg-1"]')
    for each in [*user(names), *administrator(names)]:
        for action in each.actions:
            service, _, name = action.partition(":")
            entry = reference[service]["Actions"][name.lower()]
            assert ("*" in each.resources) == (not entry.get("Resources")), action


def authorization_reference() -> dict[str, Any]:
    import cfnlint.data.AdditionalSpecs

    folder = Path(next(iter(cfnlint.data.AdditionalSpecs.__path__)))
    read: dict[str, Any] = json.loads((folder / "Policies.json").read_text())
    return read


@pytest.mark.parametrize("grants", [user, administrator])
def test_a_policy_fits_where_iam_puts_it(grants: Any) -> None:
    """A managed policy has 6,144 characters at most, spaces not counted (IAM, "IAM and STS quotas")."""
    names = names_of(
        "aws.bucket=" + "b" * 63,
        "aws.prefix=" + "p" * 60,
        "aws.kms_key=alias/flowers",
        'aws.subnets=["subnet-1"]',
        'aws.security_groups=["sg-1"]',
        "data.weights=s3://weights/resnet50/",
    )
    text = json.dumps(document(grants(names)), separators=(",", ":"))
    assert len(text) <= 6144


def test_a_document_has_one_statement_for_the_same_resources() -> None:
    grants = [
        Grant(("a",), ("s3:GetObject",), ("x",)),
        Grant(("b",), ("s3:PutObject", "s3:GetObject"), ("x",)),
        Grant(("b",), ("iam:PassRole",), ("x",), condition={"StringEquals": {"k": "v"}}),
    ]
    first, second = document(grants)["Statement"]
    assert first == {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "x"}
    assert second["Condition"] == {"StringEquals": {"k": "v"}}
