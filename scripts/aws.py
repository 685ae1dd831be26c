"""boto3's clients, made once and only when they are needed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scripts.settings import Settings

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_sts import STSClient


@dataclass(frozen=True)
class Clients:
    """One client per service, all for one account, region and endpoint. Safe to share between threads."""

    session: boto3.Session
    region: str
    endpoint_url: str | None = None

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        client: SageMakerClient = self._client("sagemaker")
        return client

    @cached_property
    def runtime(self) -> SageMakerRuntimeClient:
        client: SageMakerRuntimeClient = self._client("sagemaker-runtime")
        return client

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        client: CloudWatchLogsClient = self._client("logs")
        return client

    @cached_property
    def iam(self) -> IAMClient:
        client: IAMClient = self._client("iam")
        return client

    @cached_property
    def sts(self) -> STSClient:
        client: STSClient = self._client("sts")
        return client

    @cached_property
    def ecr(self) -> ECRClient:
        client: ECRClient = self._client("ecr")
        return client

    @cached_property
    def account(self) -> str:
        """The account's number, asked from STS."""
        return self.sts.get_caller_identity()["Account"]

    @cached_property
    def registry(self) -> str:
        """Host name of the account's ECR."""
        partition = self.session.get_partition_for_region(self.region)
        suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
        return f"{self.account}.dkr.ecr.{self.region}.{suffix}"

    def service(self, name: str) -> Any:
        """A client of any other service."""
        return self._client(name)

    def _client(self, service: Any) -> Any:
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=5,
            max_pool_connections=32,  # uploads and predictions run in parallel
            user_agent_extra="byoc",
            # A custom endpoint has no host name per bucket.
            s3={"addressing_style": "path"} if self.endpoint_url else {},
        )
        return self.session.client(
            service, region_name=self.region, endpoint_url=self.endpoint_url, config=config
        )


def connect(settings: Settings) -> Clients:
    """Clients for the account, region and endpoint that the settings name; nothing is sent yet."""
    import boto3
    import botocore.session

    core = botocore.session.Session(profile=settings.aws.profile or None)
    url = settings.aws.endpoint_url or None
    if url and is_loopback(url):
        # The metadata service of a cloud machine is of no use here and takes seconds to time out.
        core.get_component("credential_provider").remove("iam-role")
        if core.get_credentials() is None:
            core.set_credentials("local", "local")
    session = boto3.Session(botocore_session=core)
    region = settings.aws.region or session.region_name or "us-east-1"
    return Clients(session, region, url)


def is_loopback(url: str) -> bool:
    """Whether the address can only be this machine's."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
