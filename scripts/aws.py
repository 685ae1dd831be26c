"""boto3's clients, made once and only when they are needed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from contract.errors import NOT_FOUND, ByocError
from report.read.aws import is_unknown_name
from scripts.patience import Patience
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

LOG_LAG = 8.0


@dataclass(frozen=True)
class Clients:
    """One client per service, all for one account, region and endpoint. Safe to share between threads."""

    session: boto3.Session
    region: str
    endpoint_url: str | None = None
    bucket: str = ""
    """The project's, where it is not SageMaker's usual one."""
    bucket_owner: str = ""
    """Its account, where that is another one."""

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        return cast("SageMakerClient", self._client("sagemaker"))

    @cached_property
    def runtime(self) -> SageMakerRuntimeClient:
        return cast("SageMakerRuntimeClient", self._client("sagemaker-runtime"))

    @cached_property
    def s3(self) -> S3Client:
        return cast("S3Client", self._client("s3"))

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return cast("CloudWatchLogsClient", self._client("logs"))

    @cached_property
    def iam(self) -> IAMClient:
        return cast("IAMClient", self._client("iam"))

    @cached_property
    def sts(self) -> STSClient:
        return cast("STSClient", self._client("sts"))

    @cached_property
    def ecr(self) -> ECRClient:
        return cast("ECRClient", self._client("ecr"))

    @cached_property
    def account(self) -> str:
        """The account's number, asked from STS."""
        return self.sts.get_caller_identity()["Account"]

    @cached_property
    def partition(self) -> str:
        """As in ARNs: aws, aws-cn, aws-us-gov, …"""
        return self.session.get_partition_for_region(self.region)

    @cached_property
    def registry(self) -> str:
        """Host name of the account's ECR."""
        return f"{self.account}.dkr.ecr.{self.region}.{dns_suffix(self.partition)}"

    @property
    def log_lag(self) -> float:
        """Seconds that a line takes at most from a container to CloudWatch; none where the log is a file."""
        return 0.0 if self._loopback else LOG_LAG

    @property
    def _loopback(self) -> bool:
        return is_loopback(self.endpoint_url or "")

    def service(self, name: str, region: str = "", *, patient: bool = True, **config: Any) -> Any:
        """A client of any other service.

        Args:
            patient: not for what a command does without where it does not answer.
            config: what its botocore Config has otherwise.
        """
        return self._client(name, region, patient=patient, **config)

    def _client(self, service: Any, region: str = "", *, patient: bool = True, **changes: Any) -> Any:
        from botocore.config import Config

        options: dict[str, Any] = {
            "retries": {"mode": "standard", "total_max_attempts": 1},  # `Patience` decides
            "connect_timeout": 5,
            # A container has 60 s to answer; the connection must not be given up a moment before it does.
            "read_timeout": 70 if service == "sagemaker-runtime" else 60,
            "max_pool_connections": 32,  # uploads and predictions run in parallel
            "user_agent_extra": "byoc",
        }
        if self.endpoint_url:
            options["s3"] = {"addressing_style": "path"}  # a custom endpoint has no host name per bucket
        if self._loopback:
            options["proxies"] = {}  # HTTP_PROXY is for what lies beyond this machine
        client = self.session.client(
            service,
            region_name=region or self.region,
            endpoint_url=self.endpoint_url,
            config=Config(**options | changes),
        )
        if patient:
            client.meta.events.register("needs-retry", Patience(loopback=self._loopback))
        if service == "s3":
            client.meta.events.register("provide-client-params.s3", self._expect_owner)
        return client

    def _expect_owner(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        """Names the bucket's owner in every request that can: names of buckets are anybody's to take.

        An address outside of the project's bucket that is only read was typed by the user, and may be
        another account's.
        """
        if model.name == "CreateBucket" and self.bucket_owner not in ("", self.account):
            raise ByocError(
                f"There is no bucket {params.get('Bucket')}; only account {self.bucket_owner} can make it.",
                "Check aws.bucket and aws.bucket_owner.",
                code=NOT_FOUND,
                kind="NoBucket",
            )
        if "ExpectedBucketOwner" not in (model.input_shape.members if model.input_shape else {}):
            return
        own = self.bucket or f"sagemaker-{self.region}-{self.account}"
        if params.get("Bucket") == own:
            params.setdefault("ExpectedBucketOwner", self.bucket_owner or self.account)
        elif not model.name.startswith(("Get", "Head", "List")):
            params.setdefault("ExpectedBucketOwner", self.account)


def ask(read: Callable[[], Any], *missing: str) -> Any:
    """What AWS answers; None for one of these error codes, which say that there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        return read()
    except ClientError as error:
        if error.response["Error"]["Code"] in missing:
            return None
        raise


def unless_gone(send: Callable[..., object], **request: Any) -> bool:
    """Send a request that deletes something; whether it was there. What is gone already is no error."""
    from botocore.exceptions import ClientError

    try:
        send(**request)
    except ClientError as error:
        if is_unknown_name(error):
            return False
        raise
    return True


def dns_suffix(partition: str) -> str:
    """What host names end with in a partition, by botocore's data: amazonaws.com, amazonaws.com.cn, …"""
    from botocore.loaders import create_loader

    partitions = create_loader().load_data("partitions")["partitions"]
    return next(str(each["outputs"]["dnsSuffix"]) for each in partitions if each["id"] == partition)


def connect(settings: Settings, *, own: bool = False) -> Clients:
    """Clients for the account, region and endpoint that the settings name; nothing is sent yet.

    Args:
        own: a local SageMaker of byoc answers. It takes any credentials, so none are asked for: no profile,
            no SSO session, no credential process.
    """
    import boto3
    import botocore.session

    url = settings.aws.endpoint_url or None
    if own:
        core = botocore.session.Session(session_vars=_NO_PROFILE)
        core.set_credentials("local", "local")
    else:
        core = botocore.session.Session(profile=settings.aws.profile or None)
        providers = core.get_component("credential_provider")
        cache = _credential_cache()
        for name in ("assume-role", "assume-role-with-web-identity", "sso"):
            providers.get_provider(name).cache = cache
        if url and is_loopback(url):
            # The metadata service of a cloud machine is of no use here and takes seconds to time out.
            providers.remove("iam-role")
            if core.get_credentials() is None:
                core.set_credentials("local", "local")
    session = boto3.Session(botocore_session=core)
    region = settings.aws.region or session.region_name or "us-east-1"
    return Clients(session, region, url, settings.aws.bucket, settings.aws.bucket_owner)


def _credential_cache() -> Any:
    """The AWS CLI's: one code of an MFA device lasts for all commands of both, until its session ends."""
    from botocore.utils import JSONFileCache

    class Cache(JSONFileCache):
        def __setitem__(self, key: str, value: Any) -> None:
            with contextlib.suppress(OSError):  # a home that cannot be written: the session is this command's
                super().__setitem__(key, value)

    return Cache(os.path.expanduser("~/.aws/cli/cache"))  # noqa: PTH111 - there may be no home at all


# botocore's session variables: where each value comes from (key in the file, environment, default, cast).
_NO_PROFILE: Any = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


def is_loopback(url: str) -> bool:
    """Whether the address can only be this machine's."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
