"""Subnets and security groups exist, in one VPC, and lead to S3, ECR and CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scripts.doctor.finding import Finding, not_allowed
from scripts.settings import Settings
from scripts.tags import is_forbidden

if TYPE_CHECKING:
    from scripts.aws import Clients

# What a job in a VPC without a way to the internet reaches AWS by. ECR's layers lie in S3.
GATEWAY = "s3"
INTERFACES = ("ecr.api", "ecr.dkr", "logs")


def network(settings: Settings, clients: Clients) -> Iterator[Finding]:
    from botocore.exceptions import ClientError

    subnets, groups = list(settings.aws.subnets), list(settings.aws.security_groups)
    try:
        ec2: Any = clients.service("ec2")
        there = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
        allowed = ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
    except ClientError as error:
        if is_forbidden(error):
            yield not_allowed("network", error)
            return
        raise
    vpcs = {each["VpcId"] for each in [*there, *allowed]}
    if len(vpcs) > 1:
        yield Finding(
            "network",
            "error",
            f"subnets and security groups are of several VPCs: {', '.join(sorted(vpcs))}",
            "Set aws.subnets and aws.security_groups to those of one VPC.",
        )
        return
    [vpc] = vpcs
    zones = {each["AvailabilityZone"] for each in there}
    yield Finding("network", "ok", f"{vpc}, {len(there)} subnets in {', '.join(sorted(zones))}")
    yield from _outgoing(allowed)
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    try:
        tables = ec2.get_paginator("describe_route_tables").paginate(Filters=filters)
        routes = [table for page in tables for table in page["RouteTables"]]
        pages = ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=filters)
        endpoints = [each for page in pages for each in page["VpcEndpoints"]]
    except ClientError as error:
        if is_forbidden(error):
            yield not_allowed("way out", error, vpc)
            return
        raise
    for subnet in subnets:
        yield way_out(subnet, _table_of(subnet, routes), endpoints, clients.region)


def _outgoing(groups: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    closed = [each["GroupId"] for each in groups if not each.get("IpPermissionsEgress")]
    if closed and len(closed) == len(groups):
        yield Finding(
            "network",
            "error",
            f"{', '.join(closed)} let nothing out",
            "Allow outgoing HTTPS (port 443), at least to the VPC endpoints and to S3's prefix list.",
        )


def _table_of(subnet: str, tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The route table of a subnet: its own, else the VPC's main one."""

    def belongs(table: Mapping[str, Any], **wanted: Any) -> bool:
        associations = table.get("Associations", ())
        return any(all(each.get(key) == value for key, value in wanted.items()) for each in associations)

    own = [table for table in tables if belongs(table, SubnetId=subnet)]
    main = [table for table in tables if belongs(table, Main=True)]
    return next(iter([*own, *main]), {})


def way_out(
    subnet: str, table: Mapping[str, Any], endpoints: Sequence[Mapping[str, Any]], region: str
) -> Finding:
    """How jobs in the subnet reach AWS: through a NAT or transit gateway, or through endpoints in the VPC.

    A route to an internet gateway does not help: SageMaker's interfaces have no public address.
    """
    gateways = (
        "NatGatewayId",
        "TransitGatewayId",
        "InstanceId",
        "NetworkInterfaceId",
        "VpcPeeringConnectionId",
    )
    for route in table.get("Routes", ()):
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and any(route.get(key) for key in gateways):
            return Finding(
                "way out", "ok", f"{subnet}: {next(route[key] for key in gateways if route.get(key))}"
            )
    there = [each for each in endpoints if each.get("State", "available").lower() == "available"]
    services = {each["ServiceName"].partition(f".{region}.")[2]: each for each in there}
    missing = [name for name in INTERFACES if name not in services]
    bucket = services.get(GATEWAY)
    if not bucket:
        missing.insert(0, GATEWAY)
    elif bucket.get("VpcEndpointType") == "Gateway" and table.get("RouteTableId") not in bucket.get(
        "RouteTableIds", ()
    ):
        missing.insert(0, f"{GATEWAY} (its gateway is not in the route table {table.get('RouteTableId')})")
    if missing:
        return Finding(
            "way out",
            "error",
            f"{subnet} has no NAT gateway and no endpoint for {', '.join(missing)}: jobs cannot start there",
            "Make a gateway endpoint for s3 and interface endpoints for ecr.api, ecr.dkr and logs, or a "
            "route to a NAT gateway.",
        )
    return Finding("way out", "ok", f"{subnet}: endpoints for {', '.join((GATEWAY, *INTERFACES))}")
