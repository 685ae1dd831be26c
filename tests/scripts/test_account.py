"""What is judged before a job is paid for."""

from contextlib import nullcontext

import boto3
import pytest

from contract.errors import BAD_INPUT, ByocError
from scripts import account
from scripts.account import check_debugger, check_isolation
from scripts.aws import Clients, connect
from scripts.settings import Settings, load
from tests.scripts.conftest import Refuse


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            'debugger.rules=["LossNotDecresing"]',
            r"no rule 'LossNotDecresing'; did you mean LossNotDecreasing\?",
        ),
        ('debugger.rules=["Nonsense"]', r"no rule 'Nonsense'; the rules are LossNotDecreasing, "),
        ('debugger.rules=["StepOutlier"]', r"StepOutlier is a profiler rule, .* among the debugger's rules"),
        ("debugger.parameters.Overfti.patience=2", r"no rule 'Overfti'; did you mean Overfit\?"),
        ("debugger.parameters.Overtraining.delta=2", r"Overtraining: it is not among the rules that run"),
        ("debugger.parameters.Overfit.pateince=2", r"no parameter 'pateince'; did you mean patience\?"),
        ("debugger.parameters.Overfit.patience=soon", r"patience='soon' must be a whole number"),
        ("profiler.parameters.ProfilerReport.StepOutlier_stdev=2", "did you mean StepOutlier_stddev"),
        ("debugger.collections.gradients.save_interval=0", r"save_interval='0' is not a whole number from 1"),
        ("debugger.collections.mine.save_interval=5", r"collection mine has no include_regex"),
        ('debugger.collections.mine.include_regex="("', r"collection mine: "),
        ('debugger.stop=["Overtraining"]', r"Overtraining is to stop the training, but is not among"),
        ("debugger.hook.save_intervall=5", r"hook: save_intervall is not a parameter"),
        (
            f"debugger.hook.save_steps={','.join(map(str, range(1000, 3000)))}",
            r"has 10\d{3} characters, and SageMaker's",
        ),
        (
            'debugger.parameters.ExplodingTensor.tensor_regex="(a+)+$"',
            r"tensor_regex: the regex .* refused",
        ),
        ("debugger.parameters.LossNotDecreasing.mode=TRIAN", r"mode='TRIAN' is not one of TRAIN, EVAL"),
        (
            "debugger.parameters.LossNotDecreasing.collection_names=loses",
            r"LossNotDecreasing: the collection loses is not looked at",
        ),
        ("debugger.hook.save_interval=5", r"debugger\.hook says how tensors are written, but none are"),
        ("train.environment.BYOC_DEBUGGER_2=1", r"train\.environment\.BYOC_DEBUGGER_2 would replace"),
    ],
)
def test_a_misspelled_rule_is_told_with_what_was_meant(override: str, message: str) -> None:
    with pytest.raises(ByocError, match=message) as caught:
        check_debugger(load(required=False, overrides=[override], environment={}))
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["debugger.parameters.Overfit.patience=2", "debugger.parameters.Overfit.stop_training_on_fire=true"],
        ["profiler.parameters.ProfilerReport.StepOutlier_stddev=2"],
        ["debugger.collections.gradients=false", 'debugger.stop=["Overfit"]', "debugger.keep_tensors=true"],
        ["debugger.enabled=false", 'debugger.rules=["Nonsense"]'],
        ["debugger.parameters.LossNotDecreasing.mode=train"],
        ["debugger.hook.save_interval=5", "debugger.keep_tensors=true"],
        ["debugger.hook.save_interval=5", "debugger.service=sagemaker"],
        ["train.environment.BYOC_MINE=1"],
    ],
)
def test_what_the_rules_take_passes(overrides: list[str]) -> None:
    check_debugger(load(required=False, overrides=overrides, environment={}))


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ([], False),
        (["aws.network_isolation=true"], True),
        (["aws.network_isolation=true", "weights=imagenet"], True),
        (["aws.network_isolation=true", "weights=none"], False),
        (["aws.network_isolation=true", "data.weights=s3://ours/resnet/"], False),
    ],
)
def test_weights_cannot_be_fetched_without_a_network(overrides: list[str], refused: bool) -> None:
    settings = load(required=False, overrides=overrides, environment={})
    with pytest.raises(ByocError, match="would have to be downloaded") if refused else nullcontext():
        check_isolation(settings, {})
    if not refused and "weights=none" in overrides:
        with pytest.raises(ByocError, match="weights=imagenet"):
            check_isolation(settings, {"weights": "imagenet"})


def test_a_debugger_that_is_off_stops_no_job() -> None:
    off, stop = "debugger.enabled=false", 'debugger.stop=["Overfit"]'
    with pytest.raises(ByocError, match=r"debugger\.stop names Overfit, but debugger\.enabled = false"):
        check_debugger(load(required=False, overrides=[off, stop], environment={}))


def test_hopeless_trials_are_ended_by_rules_that_run() -> None:
    stop, without = "tune.stop_hopeless=true", 'debugger.rules=["Overfit"]'
    check_debugger(load(required=False, overrides=[stop], environment={}), trial=True)
    check_debugger(load(required=False, overrides=[stop, without], environment={}))  # no trial
    for given in (without, "debugger.enabled=false"):
        with pytest.raises(ByocError, match=r"tune\.stop_hopeless needs one of the rules LossNotDecreasing"):
            check_debugger(load(required=False, overrides=[stop, given], environment={}), trial=True)


def test_the_key_behind_an_alias_is_looked_up(ready: object, refuse: Refuse) -> None:
    kms = boto3.client("kms", "us-east-1")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=key["KeyId"])
    settings = load(overrides=["aws.kms_key=alias/mine"], environment={})
    clients = connect(settings)
    assert account.place(settings, clients, data=True).key_arn == key["Arn"]
    with refuse("DescribeKey", "AccessDeniedException"):
        assert account.place(settings, clients, data=True).key_arn == ""


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


@pytest.fixture
def clients(aws: None, project: object, settings: Settings) -> Clients:
    return connect(settings)


def test_a_role_is_looked_up(clients: Clients, settings: Settings) -> None:
    boto3.client("iam").create_role(
        RoleName="byoc-sagemaker", Path="/service-role/", AssumeRolePolicyDocument="{}"
    )
    found = account.role(settings, clients)
    assert found == account.Role("arn:aws:iam::123456789012:role/service-role/byoc-sagemaker", new=True)


def test_without_the_permission_its_arn_is_built(
    clients: Clients, settings: Settings, refuse: Refuse
) -> None:
    with refuse("GetRole", "AccessDenied"), refuse("ListRoles", "AccessDenied"):
        found = account.role(settings, clients)
    assert found == account.Role("arn:aws:iam::123456789012:role/byoc-sagemaker", guessed=True)


@pytest.mark.parametrize("name", ["mine", "service-role/mine"])
def test_a_user_with_the_managed_policy_only_finds_a_role_of_the_console(
    clients: Clients, refuse: Refuse, name: str
) -> None:
    """AmazonSageMakerFullAccess has iam:ListRoles, and no iam:GetRole."""
    iam = boto3.client("iam")
    iam.create_role(RoleName="mine-too", AssumeRolePolicyDocument="{}")
    iam.create_role(RoleName="mine", Path="/service-role/", AssumeRolePolicyDocument='{"a": "ec2"}')
    expected = account.Role("arn:aws:iam::123456789012:role/service-role/mine", new=True)
    settings = settings_of(f"aws.role={name}")
    assert account.role(settings, clients) == expected
    with refuse("GetRole", "AccessDenied"):
        assert account.role(settings, clients) == expected
        with pytest.raises(ByocError, match="There is no IAM role other"):
            account.role(settings_of("aws.role=other"), clients)


def test_an_arn_is_taken_as_it_is(clients: Clients) -> None:
    arn = "arn:aws-cn:iam::123456789012:role/x/y"
    assert account.role(settings_of(f"aws.role={arn}"), clients) == account.Role(arn)
