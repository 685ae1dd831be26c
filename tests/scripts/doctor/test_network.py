"""Subnets, security groups, and the way from them to AWS."""

from typing import Any

import boto3
import pytest

from scripts.aws import Clients
from scripts.doctor import network
from tests.scripts.conftest import Refuse
from tests.scripts.doctor.conftest import settings_of

INTERNET = {"Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}], "RouteTableId": "rtb-1"}
NAT = {"Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}], "RouteTableId": "rtb-1"}
LOCAL = {"Routes": [{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}], "RouteTableId": "rtb-1"}


def endpoint(service: str, **more: Any) -> dict[str, Any]:
    return {"ServiceName": f"com.amazonaws.us-east-1.{service}", "State": "available", **more}


INTERFACES = [endpoint(name, VpcEndpointType="Interface") for name in network.INTERFACES]
S3 = endpoint("s3", VpcEndpointType="Gateway", RouteTableIds=["rtb-1"])


@pytest.mark.parametrize(
    ("table", "endpoints", "severity", "message"),
    [
        (NAT, [], "ok", "subnet-1: nat-1"),
        (LOCAL, [S3, *INTERFACES], "ok", "endpoints for s3, ecr.api, ecr.dkr, logs"),
        (LOCAL, [], "error", "no endpoint for s3, ecr.api, ecr.dkr, logs"),
        # SageMaker's interfaces have no public address, so an internet gateway leads nowhere.
        (INTERNET, [], "error", "no endpoint for s3, ecr.api"),
        (LOCAL, [S3, *INTERFACES[1:]], "error", "no endpoint for ecr.api:"),
        (LOCAL, [{**S3, "RouteTableIds": ["rtb-2"]}, *INTERFACES], "error", "not in the route table rtb-1"),
        (LOCAL, [{**S3, "State": "deleted"}, *INTERFACES], "error", "no endpoint for s3:"),
    ],
)
def test_the_way_out(
    table: dict[str, Any], endpoints: list[dict[str, Any]], severity: str, message: str
) -> None:
    found = network.way_out("subnet-1", table, endpoints, "us-east-1")
    assert found.severity == severity
    assert message in found.message


@pytest.fixture
def vpc(clients: Clients) -> dict[str, str]:
    """A VPC with a subnet and a security group."""
    ec2 = boto3.client("ec2", "us-east-1")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]
    return {"vpc": vpc, "subnet": subnet, "group": group, "table": table["RouteTableId"]}


def chosen(vpc: dict[str, str]) -> Any:
    return settings_of(f'aws.subnets=["{vpc["subnet"]}"]', f'aws.security_groups=["{vpc["group"]}"]')


def test_a_subnet_gets_its_way_out(clients: Clients, vpc: dict[str, str]) -> None:
    there, way = network.network(chosen(vpc), clients)
    assert (there.severity, way.severity) == ("ok", "error")
    ec2 = boto3.client("ec2", "us-east-1")
    ec2.create_vpc_endpoint(
        VpcId=vpc["vpc"], ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[vpc["table"]],
        VpcEndpointType="Gateway",
    )  # fmt: skip
    for name in network.INTERFACES:
        ec2.create_vpc_endpoint(
            VpcId=vpc["vpc"], ServiceName=f"com.amazonaws.us-east-1.{name}", SubnetIds=[vpc["subnet"]],
            VpcEndpointType="Interface",
        )  # fmt: skip
    assert [each.severity for each in network.network(chosen(vpc), clients)] == ["ok", "ok"]


def test_groups_that_let_nothing_out(clients: Clients, vpc: dict[str, str]) -> None:
    ec2: Any = boto3.client("ec2", "us-east-1")
    rules = ec2.describe_security_groups(GroupIds=[vpc["group"]])["SecurityGroups"][0]["IpPermissionsEgress"]
    ec2.revoke_security_group_egress(GroupId=vpc["group"], IpPermissions=rules)
    found = list(network.network(chosen(vpc), clients))
    assert any("let nothing out" in each.message for each in found)


def test_subnets_and_groups_of_several_vpcs(clients: Clients, vpc: dict[str, str]) -> None:
    other = boto3.client("ec2", "us-east-1").describe_subnets()["Subnets"][0]["SubnetId"]
    [found] = network.network(chosen({**vpc, "subnet": other}), clients)
    assert "are of several VPCs" in found.message


def test_what_may_not_be_looked_at_is_skipped(clients: Clients, vpc: dict[str, str], refuse: Refuse) -> None:
    with refuse("DescribeSubnets", "UnauthorizedOperation"):  # EC2's word for it
        assert [each.severity for each in network.network(chosen(vpc), clients)] == ["skipped"]
    with refuse("DescribeVpcEndpoints", "UnauthorizedOperation"):
        assert [each.severity for each in network.network(chosen(vpc), clients)] == ["ok", "skipped"]
