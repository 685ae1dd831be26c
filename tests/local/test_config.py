from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from local.config import Config, region_in


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(home=tmp_path, region="eu-central-1", account="111122223333", port=6000)


def test_a_bucket_is_a_folder(config: Config) -> None:
    assert config.bucket_path("s3://bucket/a//b/") == config.home / "s3/bucket/a/b"
    assert config.bucket_path("s3://bucket") == config.home / "s3/bucket"
    with pytest.raises(ValueError, match="is not an S3 address"):
        config.bucket_path("bucket/a")


@pytest.mark.parametrize(
    "uri", ["s3://bucket/../x", "s3://../x", "s3://b/a/../../x", "s3://b/.", "s3://b/a\0"]
)
def test_no_key_leaves_the_folder(config: Config, uri: str) -> None:
    with pytest.raises(ValueError, match="component"):
        config.bucket_path(uri)


def test_no_output_makes_a_bucket(config: Config) -> None:
    (config.s3_root / "bucket").mkdir(parents=True)
    assert config.output_path("s3://bucket/out") == config.s3_root / "bucket/out"
    with pytest.raises(
        ValueError, match=r"^s3://none/out: The specified bucket does not exist \(NoSuchBucket\)"
    ):
        config.output_path("s3://none/out")
    assert not (config.s3_root / "none").exists()


def test_no_link_leads_out(config: Config) -> None:
    (config.s3_root / "bucket").mkdir(parents=True)
    (config.s3_root / "bucket/out").symlink_to("/etc")
    (config.s3_root / "bucket/in").symlink_to(config.s3_root / "bucket")
    with pytest.raises(ValueError, match="leads out of"):
        config.bucket_path("s3://bucket/out/passwd")
    assert config.bucket_path("s3://bucket/in/x").name == "x"


def test_log_files(config: Config) -> None:
    file = config.log_file("/aws/sagemaker/TrainingJobs", "job/algo-1-17")
    assert file == config.home / "logs/aws/sagemaker/TrainingJobs/job/algo-1-17.log"
    for group, stream in (("/aws/../..", "x"), ("/aws", "../x"), ("/aws", ""), ("/aws", "a//b")):
        with pytest.raises(ValueError, match="component"):
            config.log_file(group, stream)


def test_arns(config: Config) -> None:
    assert (
        config.arn("tuning-job", "Tune")
        == "arn:aws:sagemaker:eu-central-1:111122223333:hyper-parameter-tuning-job/tune"
    )
    assert config.role_arn == "arn:aws:iam::111122223333:role/byoc-sagemaker"
    assert config.endpoint_url == "http://127.0.0.1:6000"


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("eu-central-1", "arn:aws:sagemaker:eu-central-1:111122223333:model/m"),
        ("cn-north-1", "arn:aws-cn:sagemaker:cn-north-1:111122223333:model/m"),
        ("us-gov-west-1", "arn:aws-us-gov:sagemaker:us-gov-west-1:111122223333:model/m"),
    ],
)
def test_an_arn_is_of_its_regions_partition(config: Config, region: str, expected: str) -> None:
    assert replace(config, region=region).arn("model", "M") == expected
    assert region_in(expected) == region
