"""The CloudFormation template: judged by cfn-lint, deployed by moto, and equal to what `byoc setup` makes."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts.policies.grants import document
from scripts.policies.jobs import TRUST, jobs
from scripts.policies.names import Names
from scripts.policies.user import user
from scripts.settings import load
from scripts.setup.template import template
from tests.scripts.conftest import Run

EVERYTHING = (
    "project.name=flowers",
    "aws.bucket=flower-pictures",
    "aws.kms_key=alias/flowers",
    'aws.subnets=["subnet-0a"]',
    'aws.security_groups=["sg-0a"]',
    "aws.tags.team=pictures",
    "aws.permissions_boundary=arn:aws:iam::123456789012:policy/limits",
    "data.weights=s3://weights/resnet50/",
)


def template_of(*overrides: str) -> dict[str, Any]:
    return template(load(required=False, overrides=overrides, environment={}))


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), EVERYTHING], ids=["plain", "everything"])
def test_cfn_lint_finds_nothing(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    file = tmp_path / "byoc.json"
    file.write_text(json.dumps(template_of(*overrides)))
    told = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", "us-east-1", "eu-central-1", "--", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout + told.stderr == ""
    assert told.returncode == 0


def test_moto_deploys_it(aws: None, project: Path) -> None:
    """moto makes bucket, repositories and policies for real.

    Of a bucket it takes encryption and tags only, no bucket policy, and of a repository no lifecycle policy:
    the rest is held by `test_it_says_what_setup_sends` and cfn-lint.
    """
    cloudformation = boto3.client("cloudformation", "us-east-1")
    with pytest.warns(UserWarning, match="AWS::S3::BucketPolicy but it's not supported by moto"):
        cloudformation.create_stack(
            StackName="byoc",
            TemplateBody=json.dumps(template_of("project.name=flowers")),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
    [stack] = cloudformation.describe_stacks(StackName="byoc")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    s3, iam, ecr = boto3.client("s3"), boto3.client("iam"), boto3.client("ecr", "us-east-1")
    bucket = "sagemaker-us-east-1-123456789012"
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == [bucket]
    assert s3.get_bucket_encryption(Bucket=bucket)
    settings = load(required=False, overrides=["project.name=flowers"], environment={})
    names = Names(settings, "aws", "us-east-1", "123456789012")
    role: Any = iam.get_role(RoleName="byoc-sagemaker")["Role"]
    assert loaded(role["AssumeRolePolicyDocument"]) == TRUST
    policy = iam.get_role_policy(RoleName="byoc-sagemaker", PolicyName="byoc-flowers")["PolicyDocument"]
    assert loaded(policy) == document(jobs(names))
    [managed] = iam.list_policies(Scope="Local")["Policies"]
    version = iam.get_policy_version(PolicyArn=managed["Arn"], VersionId=managed["DefaultVersionId"])
    assert loaded(version["PolicyVersion"]["Document"]) == document(user(names))
    assert {each["repositoryName"] for each in ecr.describe_repositories()["repositories"]} == {
        "sagemaker-byoc-train", "sagemaker-byoc-serve", "sagemaker-byoc-serve-cpu"
    }  # fmt: skip


def loaded(policy: Any) -> Any:
    """moto keeps what CloudFormation makes as Python writes it."""
    return ast.literal_eval(policy) if isinstance(policy, str) else policy


def test_it_says_what_setup_sends() -> None:
    resources = template_of()["Resources"]
    bucket = resources["Bucket"]["Properties"]
    assert bucket["BucketName"] == {"Fn::Sub": "sagemaker-${AWS::Region}-${AWS::AccountId}"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert [rule["Id"] for rule in bucket["LifecycleConfiguration"]["Rules"]] == [
        "byoc-unfinished-uploads", "byoc-old-versions"
    ]  # fmt: skip
    [statement] = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert resources["TrainRepository"]["Properties"]["LifecyclePolicy"]["LifecyclePolicyText"]
    for name in ("Bucket", "TrainRepository", "ServeRepository", "ServeCpuRepository"):
        assert resources[name]["DeletionPolicy"] == "Retain"


def test_what_is_another_accounts_or_made_elsewhere_is_not_in_it() -> None:
    resources = template_of(
        "aws.bucket=theirs", "aws.bucket_owner=999999999999", "aws.role=arn:aws:iam::123456789012:role/x",
        "images.train=111122223333.dkr.ecr.eu-west-1.amazonaws.com/trainer:1", "images.serve=one",
        "images.serve_cpu=one",
    )["Resources"]  # fmt: skip
    assert set(resources) == {"ServeRepository", "UserPolicy"}


def test_it_is_printed_without_asking_anybody(project: Path, run: Run) -> None:
    run("init", "--aws", "--name", "flowers")  # there are no credentials here, and no network
    assert json.loads(run("setup", "--print", "cloudformation").stdout)["Resources"]["Role"]
    assert "changes nothing" in run("setup", "--print", "cloudformation", "--remove", code=2).stderr


def test_policies_are_printed(project: Path, aws: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("init", "--aws", "--name", "flowers", "--region", "eu-west-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")  # moves the project, which is said, but not into the file
    for what in ("user-policy", "role-policy", "setup-policy"):
        assert json.loads(run("setup", "--print", what).stdout)["Version"] == "2012-10-17"
