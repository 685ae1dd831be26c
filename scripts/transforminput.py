"""The pictures that a transform job reads: found in S3, or sent there from this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from contract import s3
from contract.errors import ByocError
from contract.folders import is_passed_over
from contract.pictures import ENDINGS
from report.read.aws import objects
from scripts import upload
from scripts.dataset import files_below
from scripts.policies.names import Names
from scripts.predict import folder_of, name_of, no_file, no_pictures
from scripts.settings import Settings
from scripts.setup.bucket import ensure
from scripts.tags import Warn

if TYPE_CHECKING:
    from scripts.aws import Clients

MB = 1024**2
MANIFEST = "input.manifest"


@dataclass(frozen=True)
class Item:
    """One picture of a job's input."""

    source: str
    """S3 address."""
    key: str
    """Key below the input's prefix; the output has the same, and `.out`."""
    size: int
    """Bytes."""
    file: str = ""
    """Where it was sent from, if it was."""

    @property
    def shown(self) -> str:
        return self.file or self.source

    @property
    def folder(self) -> str:
        """Its folders below the input's prefix, as predict.Picture has them."""
        return folder_of(PurePosixPath(self.key), PurePosixPath(self.source).parent.name)


@dataclass(frozen=True)
class Input:
    """The pictures that a job reads: all objects below a prefix, or those that a manifest names."""

    uri: str
    items: tuple[Item, ...]
    kind: Literal["S3Prefix", "ManifestFile"] = "S3Prefix"
    whole: bool = True
    """Whether nothing else lies below the prefix."""


def find(clients: Clients, uri: str) -> tuple[Input, list[str]]:
    """The pictures below an S3 address, and the addresses of objects there that are none by their name."""
    bucket, key = s3.split(uri)
    there = sizes(clients, bucket, key)
    if key in there and not key.endswith("/"):  # the address of one object
        folder = key.rpartition("/")[0]
        prefix, there, whole = f"{folder}/" if folder else "", {key: there[key]}, False
    else:
        prefix, whole = key if not key or key.endswith("/") else f"{key}/", True
    pictures, others = [], []
    for name, size in there.items():
        if not name.startswith(prefix):
            continue  # `dogs` is not `dogs2`
        below = PurePosixPath(name[len(prefix) :])
        passed_over = any(map(is_passed_over, below.parts))
        if below.suffix.lower() in ENDINGS and not passed_over:
            pictures.append(Item(f"s3://{bucket}/{name}", name[len(prefix) :], size))
            continue
        whole = False
        if not name.endswith("/") and not passed_over:  # what consoles make for an empty folder
            others.append(f"s3://{bucket}/{name}")
    if not pictures:
        raise no_pictures(uri)
    return Input(f"s3://{bucket}/{prefix}", tuple(pictures), whole=whole), others


def check_there(sources: Sequence[str]) -> None:
    """ByocError for a source on this machine that does not exist."""
    for source in sources:
        if not source.startswith("s3://") and not Path(source).exists():
            raise no_file(source)


def gather(sources: Sequence[str], target: str) -> Input:
    """Files and the pictures of folders, as they will lie below `target` in S3, which ends with a slash.

    The folder that a picture lies in keeps its name, as it may be the picture's class. A file that is named
    is taken whatever its ending.
    """
    files: dict[str, Path] = {}
    for source in sources:
        for key, file in _files(Path(source), alone=len(sources) == 1):
            unique, number = key, 2
            while unique in files:
                unique, number = f"copy-{number}/{key}", number + 1  # a number alone may be a class
            files[unique] = file
    items = (Item(f"{target}{key}", key, file.stat().st_size, str(file)) for key, file in files.items())
    return Input(target, tuple(items))


def _files(path: Path, *, alone: bool) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        below = files_below(path)[0]
        if not below:
            raise no_pictures(path)
        # A folder of pictures may be a class itself; one of folders is not.
        flat = any(item.parent == path for item in below)
        for item in below:
            key = item.relative_to(path).as_posix()
            yield key if alone and not flat else f"{name_of(path)}/{key}", item
    else:
        yield f"{name_of(path.parent)}/{path.name}", path


def send(
    clients: Clients, settings: Settings, job_input: Input, progress: Callable[[int, int], None], warn: Warn
) -> None:
    """Send to S3 what `gather` has found, and beside it which file each picture was."""
    bucket, prefix = s3.split(job_input.uri)
    files = {item.key: Path(item.file) for item in job_input.items}
    key = settings.aws.kms_key
    ensure(clients.s3, Names.of(settings, clients), warn)
    upload.send(clients.s3, bucket, prefix, files, {}, progress, key)
    names = json.dumps({item.key: item.file for item in job_input.items}).encode()
    clients.s3.put_object(Bucket=bucket, Key=_names_key(prefix), Body=names, **upload.encryption(key))


def check_sizes(settings: Settings, job_input: Input) -> None:
    """SageMaker would find a picture that is too large only after the machine was started."""
    limit = settings.transform.max_payload_mb
    large = max(job_input.items, key=lambda item: item.size)
    if large.size > limit * MB:
        raise ByocError(
            f"{large.shown} has {large.size / MB:.1f} MB; transform.max_payload_mb is {limit}.",
            f"Raise it, up to 100: --set transform.max_payload_mb={min(100, -(-large.size // MB))}.",
        )


def write_manifest(clients: Clients, settings: Settings, job_input: Input, target: str) -> Input:
    """The same pictures by a manifest, which leaves out what else lies beside them."""
    uri = f"{target}{MANIFEST}"
    bucket, key = s3.split(uri)
    content = json.dumps([{"prefix": job_input.uri}, *(item.key for item in job_input.items)])
    encrypted = upload.encryption(settings.aws.kms_key)
    clients.s3.put_object(Bucket=bucket, Key=key, Body=content.encode(), **encrypted)
    return Input(uri, job_input.items, "ManifestFile")


def given_of(clients: Clients, job: dict[str, Any]) -> Input:
    """The input of a job that was started before, with the names of the files that were sent for it."""
    source = job["TransformInput"]["DataSource"]["S3DataSource"]
    uri = source["S3Uri"]
    bucket, key = s3.split(uri)
    if source["S3DataType"] == "ManifestFile":
        first, *keys = json.loads(clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        items = (Item(f"{first['prefix']}{key}", key, 0) for key in keys)
        return Input(uri, tuple(items), "ManifestFile")
    if not uri.endswith("/" + sent_folder(job["TransformJobName"])):
        return find(clients, uri)[0]
    try:
        names = json.loads(clients.s3.get_object(Bucket=bucket, Key=_names_key(key))["Body"].read())
    except clients.s3.exceptions.NoSuchKey:
        return find(clients, uri)[0]
    return Input(uri, tuple(Item(f"{uri}{key}", key, 0, file) for key, file in names.items()))


def sent_folder(job: str) -> str:
    """Where the pictures lie that are sent for a job, beside its output."""
    return f"{job}-input/"


def _names_key(prefix: str) -> str:
    """Beside the pictures: what lies among them, the job would read."""
    return f"{prefix.rstrip('/')}.json"


def sizes(clients: Clients, bucket: str, prefix: str) -> dict[str, int]:
    """Sizes of the objects whose keys begin with `prefix`."""
    return {item["Key"]: item["Size"] for item in objects(clients.s3, bucket, prefix)}
