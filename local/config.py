"""Where things lie and what they are called: the service's settings, paths and ARNs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from contract import s3

DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT = "123456789012"
DEFAULT_PORT = 5757
ROLE_NAME = "byoc-sagemaker"
TRAIN_IMAGE = "byoc-train"
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}

# The resource part of an ARN, by the kind under which the store keeps the document.
ARN_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "training-job": "training-job",
        "tuning-job": "hyper-parameter-tuning-job",
        "model": "model",
        "endpoint-config": "endpoint-config",
        "endpoint": "endpoint",
        "processing-job": "processing-job",
        "transform-job": "transform-job",
    }
)


@dataclass(frozen=True)
class Config:
    """Settings of one service. `home` holds everything that it keeps; `images` maps names to launchers.

    `images`: last component of an image reference, without tag and digest → folder with the commands
    `train`, `serve`, `rules` (process mode only).
    `train_image`: the image whose `rules` command judges rules and measures the machine, of whatever job.
    `spot_interruptions`: how often a spot job loses its machine by chance, per hour of training.
    """

    home: Path
    port: int = DEFAULT_PORT
    region: str = DEFAULT_REGION
    account: str = DEFAULT_ACCOUNT
    runtime: str = "process"
    images: Mapping[str, Path] = field(default_factory=dict)
    train_image: str = TRAIN_IMAGE
    spot_interruptions: float = 0.0

    @property
    def s3_root(self) -> Path:
        """Each folder here is a bucket; objects are plain files."""
        return self.home / "s3"

    @property
    def logs_root(self) -> Path:
        """CloudWatch Logs: `log_file` says where a stream lies."""
        return self.home / "logs"

    @property
    def jobs_root(self) -> Path:
        """Private folders of running jobs and endpoints (in place of `/opt/ml`)."""
        return self.home / "jobs"

    @property
    def database(self) -> Path:
        return self.home / "state.db"

    @property
    def endpoint_url(self) -> str:
        """What clients and jobs use as `AWS_ENDPOINT_URL`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def partition(self) -> str:
        """What the region's ARNs begin with, after `arn:`."""
        return next((name for start, name in _PARTITIONS.items() if self.region.startswith(start)), "aws")

    @property
    def role_arn(self) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{ROLE_NAME}"

    def arn(self, kind: str, name: str) -> str:
        """ARN of a document of the store. SageMaker writes names in ARNs in lower case."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{ARN_TYPES[kind]}/{name.lower()}"

    def log_group_arn(self, group: str) -> str:
        return f"arn:{self.partition}:logs:{self.region}:{self.account}:log-group:{group}"

    def bucket_path(self, s3_uri: str) -> Path:
        """File or folder of `s3://bucket/key`. ValueError if it is no S3 URI or would leave `s3_root`."""
        bucket, key = s3.split(s3_uri)
        return _below(self.s3_root, [bucket, *[part for part in key.split("/") if part]], s3_uri)

    def output_path(self, s3_uri: str) -> Path:
        """The same for what a job is to write: ValueError if the bucket is not there, too."""
        path = self.bucket_path(s3_uri)
        bucket, _ = s3.split(s3_uri)
        if not (self.s3_root / bucket).is_dir():
            raise ValueError(
                f"{s3_uri}: The specified bucket does not exist (NoSuchBucket). Create {bucket!r}, or name "
                "another bucket."
            )
        return path

    def log_file(self, group: str, stream: str) -> Path:
        """File of a log stream: one `<epoch ms> <text>` per line. ValueError if it would leave `logs_root`.

        `/aws/sagemaker/TrainingJobs`, `job/algo-1-17` → `logs/aws/sagemaker/TrainingJobs/job/algo-1-17.log`
        """
        folder = self.log_folder(group)
        path = _below(folder, stream.split("/"), stream)
        return path.with_name(path.name + ".log")

    def log_folder(self, group: str) -> Path:
        """Folder of a log group. ValueError if it would leave `logs_root`."""
        return _below(self.logs_root, [part for part in group.split("/") if part], group)


def region_in(arn: str) -> str:
    """`arn:aws:sagemaker:eu-west-1:…` → `eu-west-1`."""
    return arn.split(":")[3]


def _below(root: Path, parts: list[str], what: str) -> Path:
    """`root` joined with `parts`, which come from a client."""
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise ValueError(f"{what!r} has an empty, '.' or '..' component, which cannot be a file's path.")
    path = root.joinpath(*parts)
    # A symlink in the home folder may be the user's own; following it out of the home is not.
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{what!r} leads out of {root}.")
    return path
