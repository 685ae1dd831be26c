"""Clients: for which host names, through which proxy, with whose credentials."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts import awsdebugger
from scripts.aws import Clients, connect, dns_suffix
from scripts.settings import Settings, load
from tests.scripts.failing import failing

LOCAL = "http://127.0.0.1:5757"


def settings_of(*overrides: str) -> Settings:
    return load(required=False, overrides=overrides, environment={})


@pytest.mark.parametrize(
    ("region", "partition", "suffix"),
    [
        ("eu-west-1", "aws", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
        ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
        ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
        ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
    ],
)
def test_every_partition_has_its_own_names(region: str, partition: str, suffix: str) -> None:
    clients = Clients(boto3.Session("any", "any"), region)
    clients.__dict__["account"] = "123456789012"
    assert clients.partition == partition
    assert clients.registry == f"123456789012.dkr.ecr.{region}.{suffix}"
    assert clients.sagemaker.meta.endpoint_url.endswith(suffix)


def test_the_image_of_awss_own_rules_is_in_the_regions_partition() -> None:
    assert awsdebugger.rules_image("cn-north-1", dns_suffix("aws-cn")).startswith(
        "618459771430.dkr.ecr.cn-north-1.amazonaws.com.cn/"
    )


def test_a_proxy_never_stands_between_byoc_and_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with failing() as server:
        server.after = (200, {"TrainingJobStatus": "Completed"})
        clients = connect(settings_of(f'aws.endpoint_url="{server.url}"'), own=True)
        assert (
            clients.sagemaker.describe_training_job(TrainingJobName="j")["TrainingJobStatus"] == "Completed"
        )
        assert server.seen == ["DescribeTrainingJob"]
    elsewhere = connect(settings_of("aws.region=eu-west-1"))
    assert elsewhere.sagemaker.meta.config.proxies is None  # botocore asks the environment


def test_the_local_sagemaker_asks_for_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    asked = tmp_path / "asked"
    config.write_text(f"[profile work]\nregion = eu-west-1\ncredential_process = touch {asked}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "gone")
    clients = connect(settings_of(f'aws.endpoint_url="{LOCAL}"', "aws.profile=work"), own=True)
    credentials: Any = clients.session.get_credentials()
    assert credentials.access_key == "local"
    assert clients.region == "us-east-1"
    assert not asked.exists()


def test_a_code_of_an_mfa_device_lasts_for_all_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that it bought lies where the AWS CLI keeps its own."""
    config = tmp_path / "config"
    config.write_text(
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile mfa]\nregion = eu-west-1\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n"
        "role_arn = arn:aws:iam::123456789012:role/mine\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    asked: list[str] = []
    answer = {
        "AccessKeyId": "temporary", "SecretAccessKey": "s", "SessionToken": "t",
        "Expiration": "2099-01-01T00:00:00+00:00",
    }  # fmt: skip

    def ask(_: object) -> Any:
        asked.append("code")
        return {"Credentials": dict(answer)}

    monkeypatch.setattr("botocore.credentials.AssumeRoleCredentialFetcher._get_credentials", ask)
    (tmp_path / "full").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "full"))  # cannot be written
    credentials: Any = connect(settings_of("aws.profile=mfa")).session.get_credentials()
    assert credentials.get_frozen_credentials().access_key == "temporary"
    asked.clear()
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        credentials = connect(settings_of("aws.profile=mfa")).session.get_credentials()
        assert credentials.get_frozen_credentials().access_key == "temporary"
    assert len(asked) == 1
    [kept] = (tmp_path / ".aws/cli/cache").iterdir()
    assert json.loads(kept.read_text())["Credentials"]["AccessKeyId"] == "temporary"
    assert kept.stat().st_mode & 0o077 == 0


def test_lines_of_a_log_are_late_on_aws_only() -> None:
    session = boto3.Session("any", "any")
    assert Clients(session, "us-east-1", LOCAL).log_lag == 0
