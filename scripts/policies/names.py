"""What the project's things are called on AWS: pure functions of settings, region and account.

A CloudFormation template gets the same names with AWS's pseudo parameters in place of region and account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from contract import s3
from contract.names import ENDPOINT_LOGS
from scripts.push import IMAGES, image_name
from scripts.registry import ecr_name

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.settings import Settings


def bucket_name(settings: Settings, region: str, account: str) -> str:
    """The bucket's name; SageMaker's usual one where none is set."""
    return settings.aws.bucket or f"sagemaker-{region}-{account}"


@dataclass(frozen=True)
class Names:
    """Names and ARNs of one project in one account and region."""

    settings: Settings
    partition: str
    region: str
    account: str

    @classmethod
    def of(cls, settings: Settings, clients: Clients) -> Names:
        """Asks STS for the account, once."""
        return cls(settings, clients.partition, clients.region, clients.account)

    @property
    def bucket(self) -> str:
        return bucket_name(self.settings, self.region, self.account)

    @property
    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    def objects(self, *folders: str) -> tuple[str, ...]:
        """ARNs of all objects in folders of the project, of all of its objects without any."""
        root = f"{self.bucket_arn}/{self.settings.prefix}"
        return tuple(f"{root}/{folder}/*" for folder in folders) or (f"{root}/*",)

    @property
    def role(self) -> str:
        """The role's name, without its path."""
        return self.settings.aws.role.rpartition("/")[2]

    @property
    def role_arn(self) -> str:
        role = self.settings.aws.role
        return role if role.startswith("arn:") else f"arn:{self.partition}:iam::{self.account}:role/{role}"

    @property
    def repositories(self) -> dict[str, str]:
        """Where `byoc push` sends images in this account's ECR: name in [images] → repository."""
        images = self.settings.images
        return {
            which: ecr_name(image_name(getattr(images, which), usual))
            for which, usual in IMAGES.items()
            if "/" not in getattr(images, which)
        }

    @property
    def repository_arns(self) -> tuple[str, ...]:
        return tuple(self.repository_arn(name) for name in dict.fromkeys(self.repositories.values()))

    def repository_arn(self, name: str) -> str:
        return f"arn:{self.partition}:ecr:{self.region}:{self.account}:repository/{name}"

    @property
    def own_arns(self) -> tuple[str, ...]:
        """Repositories of this account that hold the project's images: with those of earlier versions."""
        images = ((getattr(self.settings.images, which), usual) for which, usual in IMAGES.items())
        old = [self.repository_arn(image_name(name, usual)) for name, usual in images if "/" not in name]
        return tuple(dict.fromkeys((*self.repository_arns, *old)))

    @property
    def image_arns(self) -> tuple[str, ...]:
        """Repositories that jobs may pull from: this account's, and those that the settings name in full."""
        arns = list(self.own_arns)
        for which in IMAGES:
            setting: str = getattr(self.settings.images, which)
            if ".dkr.ecr." in setting:
                host, _, path = setting.partition("/")
                account, region = host.split(".")[0], host.split(".")[3]
                name = path.partition("@")[0].partition(":")[0]
                arns.append(f"arn:{self.partition}:ecr:{region}:{account}:repository/{name}")
        return tuple(dict.fromkeys(arns))

    def sagemaker(self, *kinds: str) -> tuple[str, ...]:
        """ARNs of all jobs, models or endpoints of these kinds; their names are the user's choice."""
        return tuple(
            f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{kind}/*" for kind in kinds
        )

    @property
    def logs(self) -> tuple[str, ...]:
        """Log groups of SageMaker, and the streams in them."""
        return (f"arn:{self.partition}:logs:{self.region}:{self.account}:log-group:/aws/sagemaker/*",)

    @property
    def endpoint_logs(self) -> tuple[str, ...]:
        """Log groups of endpoints. Those of jobs are everybody's."""
        return (f"arn:{self.partition}:logs:{self.region}:{self.account}:log-group:{ENDPOINT_LOGS}/*",)

    @property
    def weights(self) -> tuple[str, str] | None:
        """ARNs of the bucket and of the objects that data.weights names in S3."""
        setting = self.settings.data.weights
        if not setting.startswith("s3://"):
            return None
        bucket, prefix = s3.split(setting)
        arn = f"arn:{self.partition}:s3:::{bucket}"
        return arn, f"{arn}/{prefix.rstrip('/')}/*" if prefix.strip("/") else f"{arn}/*"

    @property
    def key(self) -> str:
        """The key's ARN; of one that is known by an alias, all keys, to which `KEY_ALIAS` is a condition."""
        key, here = self.settings.aws.kms_key, f"arn:{self.partition}:kms:{self.region}:{self.account}"
        beginning, alias, _ = key.rpartition("alias/")
        if alias:
            return f"{beginning or here + ':'}key/*"
        return key if key.startswith("arn:") else f"{here}:key/{key}"

    @property
    def key_condition(self) -> dict[str, dict[str, str]]:
        """Policies name keys, not aliases: an alias is a condition on the keys."""
        _, alias, name = self.settings.aws.kms_key.rpartition("alias/")
        return {"ForAnyValue:StringEquals": {KEY_ALIAS: alias + name}} if alias else {}


KEY_ALIAS: Final = "kms:ResourceAliases"
