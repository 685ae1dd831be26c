"""`byoc setup` on moto: what it makes, what it changes, what it leaves alone, what it takes back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from contract.errors import ByocError
from scripts.aws import Clients, connect
from scripts.policies.grants import document
from scripts.policies.jobs import jobs
from scripts.policies.names import Names
from scripts.settings import Settings, load
from scripts.setup import account, bucket, removal
from scripts.setup.plan import Step, send, within
from tests.scripts.conftest import Refuse, Run

BUCKET = "sagemaker-us-east-1-123456789012"
MANIFEST = '{"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}'
BOUNDARY = "arn:aws:iam::123456789012:policy/limits"


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


@pytest.fixture
def clients(aws: None, project: object, settings: Settings) -> Clients:
    return connect(settings)


def names_of(*overrides: str) -> Names:
    return Names(settings_of(*overrides), "aws", "us-east-1", "123456789012")


def set_up(clients: Clients, *overrides: str) -> dict[str, Step]:
    """Carries the plan out; the plan."""
    steps = list(account.planned(names_of(*overrides), clients))
    for step in steps:
        send(clients, step, pytest.fail)
    return {step.what: step for step in steps}


def states(clients: Clients, *overrides: str) -> dict[str, str]:
    return {step.what: step.state for step in account.planned(names_of(*overrides), clients)}


def changed(clients: Clients, *overrides: str) -> dict[str, list[str]]:
    """Operations of a second plan, by what they are for."""
    steps = account.planned(names_of(*overrides), clients)
    return {step.what: [call.operation for call in step.calls] for step in steps if step.calls}


def test_everything_is_made_and_a_second_run_changes_nothing(clients: Clients) -> None:
    plan = set_up(clients)
    assert [step.state for step in plan.values()] == ["missing"] * 5
    assert set(states(clients).values()) == {"ready"}
    s3, iam, ecr = boto3.client("s3"), boto3.client("iam"), boto3.client("ecr", "us-east-1")
    access = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert set(access.values()) == {True}
    [statement] = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    encryption = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]
    assert within({"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}, encryption)
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert {rule["ID"] for rule in rules} == {"byoc-unfinished-uploads", "byoc-old-versions"}
    assert not any("Expiration" in rule for rule in rules), "a rule would delete what is seen in the bucket"
    role: Any = iam.get_role(RoleName="byoc-sagemaker")["Role"]
    assert "sagemaker.amazonaws.com" in str(role["AssumeRolePolicyDocument"])
    assert iam.list_attached_role_policies(RoleName="byoc-sagemaker")["AttachedPolicies"] == []
    policy = iam.get_role_policy(RoleName="byoc-sagemaker", PolicyName="byoc-pictures")["PolicyDocument"]
    assert policy == document(jobs(names_of()))
    repositories = ecr.describe_repositories()["repositories"]
    assert {each["repositoryName"] for each in repositories} == {
        "sagemaker-byoc-train", "sagemaker-byoc-serve", "sagemaker-byoc-serve-cpu"
    }  # fmt: skip
    for each in repositories:
        assert each["imageScanningConfiguration"] == {"scanOnPush": True}
        assert ecr.get_lifecycle_policy(repositoryName=each["repositoryName"])["lifecyclePolicyText"]


def test_only_what_differs_is_changed(clients: Clients) -> None:
    set_up(clients)
    s3, ecr = boto3.client("s3"), boto3.client("ecr", "us-east-1")
    s3.delete_public_access_block(Bucket=BUCKET)
    ecr.delete_lifecycle_policy(repositoryName="sagemaker-byoc-train")
    ecr.put_image_tag_mutability(repositoryName="sagemaker-byoc-serve", imageTagMutability="MUTABLE")
    assert changed(clients) == {
        f"bucket {BUCKET}": ["put_public_access_block"],
        "repository sagemaker-byoc-train": ["put_lifecycle_policy"],
        "repository sagemaker-byoc-serve": ["put_image_tag_mutability"],
    }
    assert changed(clients, "data.weights=s3://weights/resnet/")["role byoc-sagemaker"] == ["put_role_policy"]
    set_up(clients, "aws.tags.team=cats")
    assert set(states(clients, "aws.tags.team=cats").values()) == {"ready"}


def test_statements_rules_and_tags_of_others_stay(clients: Clients) -> None:
    set_up(clients)
    s3 = boto3.client("s3")
    theirs = {"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "123456789012"},
              "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}  # fmt: skip
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    rule: Any = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    tags = [*s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"], {"Key": "cost", "Value": "7"}]
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
    plan = set_up(clients, "aws.tags.team=cats")
    assert plan[f"bucket {BUCKET}"].state == "differs"
    statements = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert [each["Sid"] for each in statements] == ["Theirs", "ByocTlsOnly"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert {each["ID"] for each in rules} == {"logs", "byoc-unfinished-uploads", "byoc-old-versions"}
    tags = s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "byoc:project": "pictures", "cost": "7", "team": "cats"
    }  # fmt: skip
    assert set(states(clients, "aws.tags.team=cats").values()) == {"ready"}


def test_a_policy_with_one_statement_and_no_list_is_read() -> None:
    """As IAM's grammar allows."""
    theirs = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
    state = bucket.State(policy={"Version": "2012-10-17", "Statement": theirs})
    [call] = [call for call in bucket.changes(names_of(), state) if call.operation == "put_bucket_policy"]
    assert json.loads(call.request["Policy"])["Statement"] == [theirs, bucket.tls(names_of())]


def test_what_others_have_made_is_left_as_it_is(clients: Clients) -> None:
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    boto3.client("iam").create_role(RoleName="byoc-sagemaker", AssumeRolePolicyDocument="{}")
    boto3.client("ecr", "us-east-1").create_repository(repositoryName="sagemaker-byoc-train")
    steps = {step.what: step for step in account.planned(names_of(), clients)}
    for what in (f"bucket {BUCKET}", "role byoc-sagemaker", "repository sagemaker-byoc-train"):
        assert (steps[what].state, steps[what].calls) == ("foreign", ())
    assert "refuses requests without TLS" in " ".join(steps[f"bucket {BUCKET}"].notes)
    assert "byoc setup --print role-policy" in " ".join(steps["role byoc-sagemaker"].notes)
    assert [step.what for step in removal.planned(names_of(), clients) if step.calls] == []


def test_projects_share_role_bucket_and_repositories(clients: Clients) -> None:
    set_up(clients)
    dogs = ("project.name=dogs", "aws.kms_key=alias/dogs")
    plan = set_up(clients, *dogs)
    assert [call.operation for step in plan.values() for call in step.calls] == ["put_role_policy"]
    iam = boto3.client("iam")
    assert sorted(iam.list_role_policies(RoleName="byoc-sagemaker")["PolicyNames"]) == [
        "byoc-dogs", "byoc-pictures"
    ]  # fmt: skip
    # The one that made them leaves first: what the other one needs stays.
    left = {step.what: step for step in removal.planned(names_of(), clients)}
    assert left["role byoc-sagemaker"].notes == ("others use it: it has byoc-dogs",)
    for step in removal.planned(names_of(*dogs), clients):
        send(clients, step, pytest.fail)
    assert iam.list_role_policies(RoleName="byoc-sagemaker")["PolicyNames"] == ["byoc-pictures"]
    assert states(clients)[f"bucket {BUCKET}"] == "ready"


def test_the_role_of_earlier_versions_keeps_their_policy_and_says_so(
    project: object, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    managed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    with mock_aws():
        iam = boto3.client("iam")
        arn = iam.create_policy(PolicyName="AmazonSageMakerFullAccess", PolicyDocument=json.dumps(managed))[
            "Policy"
        ]["Arn"]
        iam.create_role(
            RoleName="byoc-sagemaker", AssumeRolePolicyDocument="{}",
            Tags=[{"Key": "byoc:project", "Value": "pictures"}],
        )  # fmt: skip
        iam.attach_role_policy(RoleName="byoc-sagemaker", PolicyArn=arn)
        clients = connect(settings_of())
        [step] = [each for each in account.planned(names_of(), clients) if each.what.startswith("role")]
        assert [call.operation for call in step.calls] == ["update_assume_role_policy", "put_role_policy"]
        assert "aws iam detach-role-policy --role-name byoc-sagemaker" in step.notes[0]


def test_a_boundary_and_tags_are_given_at_once(clients: Clients) -> None:
    set_up(clients, f"aws.permissions_boundary={BOUNDARY}", "aws.tags.team=cats")
    made: Any = boto3.client("iam").get_role(RoleName="byoc-sagemaker")["Role"]
    assert made["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    assert {"Key": "team", "Value": "cats"} in made["Tags"]


@pytest.mark.parametrize("name", ["arn:aws:iam::123456789012:role/x", "service-role/x"])
def test_only_a_plain_name_is_made_a_role(clients: Clients, name: str) -> None:
    steps = {step.what: step for step in account.planned(names_of(f"aws.role={name}"), clients)}
    assert steps["role x"].state == "foreign"
    assert "no plain name" in steps["role x"].notes[0]


def test_a_run_that_was_cut_short_goes_on_with_the_rest(clients: Clients, refuse: Refuse) -> None:
    with refuse("PutRolePolicy", "AccessDenied"), pytest.raises(ByocError) as caught:
        set_up(clients)
    assert caught.value.message.startswith("role byoc-sagemaker: AWS does not allow PutRolePolicy")
    assert "run the command again: it does the rest" in caught.value.remedy
    assert changed(clients) == {"role byoc-sagemaker": ["put_role_policy"]}


def test_what_a_bucket_can_do_without_is_a_warning(clients: Clients, refuse: Refuse) -> None:
    told: list[str] = []
    step = bucket.planned(names_of(), clients)
    with refuse("PutBucketLifecycleConfiguration", "NotImplemented"):
        send(clients, step, told.append)
    assert len(told) == 1
    assert "without “deletes unfinished uploads" in told[0]


def test_removal_takes_back_what_was_made_and_nothing_with_contents(clients: Clients) -> None:
    set_up(clients)
    s3, ecr = boto3.client("s3"), boto3.client("ecr", "us-east-1")
    s3.put_object(Bucket=BUCKET, Key="byoc/pictures/data/train/a.png", Body=b"12345")
    ecr.put_image_tag_mutability(repositoryName="sagemaker-byoc-train", imageTagMutability="MUTABLE")
    ecr.put_image(repositoryName="sagemaker-byoc-train", imageManifest=MANIFEST, imageTag="latest")
    for step in removal.planned(names_of(), clients):
        send(clients, step, pytest.fail)
    left = {step.what: step.notes[0] for step in removal.planned(names_of(), clients)}
    assert set(left) == {f"bucket {BUCKET}", "repository sagemaker-byoc-train"}
    assert "holds 1 object of this project (5 B); `byoc delete --all`" in left[f"bucket {BUCKET}"]
    assert "holds 1 image;" in left["repository sagemaker-byoc-train"]
    s3.put_object(Bucket=BUCKET, Key="byoc/pictures-2/data/train/a.png", Body=b"1")
    [step] = [each for each in removal.planned(names_of(), clients) if each.what.startswith("bucket")]
    assert step.notes == ("holds 1 object of this project (5 B), and others that are not",)
    boto3.resource("s3").Bucket(BUCKET).objects.all().delete()
    ecr.batch_delete_image(repositoryName="sagemaker-byoc-train", imageIds=[{"imageTag": "latest"}])
    for step in removal.planned(names_of(), clients):
        send(clients, step, pytest.fail)
    assert list(removal.planned(names_of(), clients)) == []
    assert s3.list_buckets()["Buckets"] == []
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert ecr.describe_repositories()["repositories"] == []


def test_the_bucket_is_made_once_and_in_its_region(clients: Clients) -> None:
    here = names_of("aws.bucket=bilder")
    assert bucket.ensure(clients.s3, here, pytest.fail)
    assert not bucket.ensure(clients.s3, here, pytest.fail)
    eu: Any = clients.session.client("s3", region_name="eu-west-1")
    there = replace(names_of("aws.bucket=fotos"), region="eu-west-1")
    assert bucket.ensure(eu, there, pytest.fail)
    assert eu.get_bucket_location(Bucket="fotos")["LocationConstraint"] == "eu-west-1"
    with pytest.raises(ByocError, match="is in eu-west-1, and the jobs are in us-east-1"):
        bucket.ensure(clients.s3, names_of("aws.bucket=fotos"), pytest.fail)


def test_no_bucket_is_made_here_for_another_account(clients: Clients) -> None:
    theirs = replace(clients, bucket="their-pictres", bucket_owner="999999999999")
    names = names_of("aws.bucket=their-pictres", "aws.bucket_owner=999999999999")
    with pytest.raises(ByocError, match="no bucket their-pictres"):
        bucket.ensure(theirs.s3, names, pytest.fail)
    assert bucket.planned(names, theirs).state == "foreign"


def test_a_bucket_that_upload_made_is_made_the_same_by_setup(clients: Clients, refuse: Refuse) -> None:
    told: list[str] = []
    with refuse("PutBucketTagging", "AccessDenied"):
        assert bucket.ensure(clients.s3, names_of(), told.append)
    assert "has no tags: AWS does not allow PutBucketTagging" in told[0]
    boto3.client("s3").put_bucket_tagging(
        Bucket=BUCKET, Tagging={"TagSet": [{"Key": "byoc:project", "Value": "pictures"}]}
    )
    assert set_up(clients)[f"bucket {BUCKET}"].state == "differs"
    assert states(clients)[f"bucket {BUCKET}"] == "ready"


def test_where_there_is_no_tls_none_is_demanded(clients: Clients) -> None:
    """It would lock the project out."""
    here = replace(clients, endpoint_url="http://127.0.0.1:5757")
    assert not bucket.by_tls(here)
    sent = [call.operation for call in bucket.changes(names_of(), bucket.State(), secure=False)]
    assert "put_bucket_policy" not in sent


def test_the_command_shows_asks_and_reports(project: Path, aws: None, run: Run) -> None:
    run("init", "--aws", "--name", "flowers")
    shown = run("setup", code=2)
    assert "+ role byoc-sagemaker: is missing" in shown.stdout
    assert "no terminal to ask on. → `--yes`" in " ".join(shown.stderr.split())
    plan = json.loads(run("setup", "--json").stdout)
    assert plan["applied"] is False
    assert [step["state"] for step in plan["steps"]] == ["missing"] * 5
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    assert "Next: byoc doctor" in run("setup", "--yes").stdout
    assert "Nothing to do" in run("setup").stdout
    assert "Nothing that setup made is left" in run("setup", "--remove", "--yes").stdout
    assert "Nothing to remove" in run("setup", "--remove").stdout


def test_it_goes_on_where_the_person_agrees(project: Path, aws: None, run: Run, monkeypatch: Any) -> None:
    run("init", "--aws", "--name", "flowers")
    answers = [False, True]
    monkeypatch.setattr("scripts.commands.setup.has_terminal", lambda: True)
    monkeypatch.setattr("rich.prompt.Confirm.ask", lambda *_, **__: answers.pop(0))
    run("setup")
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    run("setup")
    assert len(boto3.client("s3").list_buckets()["Buckets"]) == 1


@pytest.mark.parametrize(("pressed", "code"), [(EOFError, 0), (KeyboardInterrupt, 130)])
def test_no_answer_is_no(
    project: Path, aws: None, run: Run, monkeypatch: Any, pressed: type[BaseException], code: int
) -> None:
    def ask(*_: Any, **__: Any) -> bool:
        raise pressed

    run("init", "--aws", "--name", "flowers")
    monkeypatch.setattr("scripts.commands.setup.has_terminal", lambda: True)
    monkeypatch.setattr("rich.prompt.Confirm.ask", ask)
    run("setup", code=code)
    assert boto3.client("s3").list_buckets()["Buckets"] == []
