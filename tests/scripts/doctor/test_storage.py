"""Bucket and data."""

import boto3
import pytest

from contract.errors import ByocError
from scripts.aws import Clients
from scripts.doctor.bucket import bucket
from scripts.doctor.data import data
from scripts.setup import bucket as made
from scripts.setup.plan import send
from tests.scripts.conftest import Refuse
from tests.scripts.doctor.conftest import names_of, settings_of


def test_a_bucket_of_setup_has_all_that_it_should(clients: Clients) -> None:
    send(clients, made.planned(names_of(), clients), pytest.fail)
    there, settings = bucket(names_of(), clients)
    assert (there.severity, settings.severity) == ("ok", "ok")
    assert "of account 123456789012, in us-east-1" in there.message


def test_rules_are_promised_only_for_a_bucket_that_setup_changes(clients: Clients) -> None:
    send(clients, made.planned(names_of(), clients), pytest.fail)
    boto3.client("s3").delete_bucket_lifecycle(Bucket=names_of().bucket)
    assert "`byoc setup` adds rules" in list(bucket(names_of(), clients))[1].message
    neighbour = list(bucket(names_of("project.name=another"), clients))[1]
    assert "`byoc setup` adds" not in neighbour.message
    assert "its owner may add rules" in neighbour.message


def test_a_bucket_without_is_used_with_a_warning(clients: Clients, refuse: Refuse) -> None:
    boto3.client("s3").create_bucket(Bucket="pictures")
    there, settings = bucket(names_of("aws.bucket=pictures"), clients)
    assert (there.severity, settings.severity) == ("ok", "warning")
    assert "blocks public access" in settings.message
    with refuse("GetBucketPolicy", "AccessDenied"):
        assert [each.severity for each in bucket(names_of("aws.bucket=pictures"), clients)] == [
            "ok",
            "skipped",
        ]


def test_a_bucket_that_is_not_there_or_not_ours(clients: Clients, refuse: Refuse) -> None:
    [found] = bucket(names_of(), clients)
    assert (found.severity, found.remedy) == ("warning", "`byoc setup` creates it.")


def test_a_bucket_of_another_region(clients: Clients) -> None:
    boto3.client("s3", "eu-west-1").create_bucket(
        Bucket="bilder", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    with pytest.raises(ByocError, match="is in eu-west-1, and the jobs are in us-east-1"):
        list(bucket(names_of("aws.bucket=bilder"), clients))


def test_channels_without_pictures_are_a_warning(clients: Clients) -> None:
    assert data(settings_of(), clients).severity == "warning"
