"""What a project has in S3: the objects in its folder, their older versions, unfinished uploads.

Only the folders that byoc and its jobs write are emptied (`requests.FOLDERS`), each with its slash: the
bucket is shared, byoc/digits2/ is another project's, and so may be a folder inside byoc/digits/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from contract.errors import FAILED, REFUSED, ByocError
from report.words import plural, size
from scripts import prices
from scripts.cleanup.part import Found, Part, seen
from scripts.requests import FOLDERS
from scripts.tags import if_allowed

if TYPE_CHECKING:
    from scripts.aws import Clients

_MOST = 1000  # keys of a DeleteObjects, and of a page
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Folder:
    """A folder of the bucket; `prefix` ends with a slash."""

    clients: Clients
    bucket: str
    prefix: str
    versions: bool
    """Whether older versions may be listed, and so deleted."""

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """Every object and, where allowed, every version of it and every delete marker."""
        operation = "list_object_versions" if self.versions else "list_objects_v2"
        lists = ("Versions", "DeleteMarkers") if self.versions else ("Contents",)
        pages: Any = self.clients.s3.get_paginator(operation).paginate(  # type: ignore[call-overload]
            Bucket=self.bucket, Prefix=self.prefix, PaginationConfig={"PageSize": _MOST}
        )
        for page in pages:
            if items := [item for each in lists for item in page.get(each, ())]:
                yield items

    def uploads(self) -> list[Any]:
        """Uploads in parts that were begun and never ended: their parts are paid for."""
        pages = self.clients.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self.prefix
        )
        return [upload for page in pages for upload in page.get("Uploads", ())]

    def empty(self, progress: Progress) -> None:
        """Page by page, and again until nothing is listed: jobs may have written, and pages may have moved.

        ByocError names what S3 did not delete.
        """
        done, before, refused = 0, -1, list[Any]()
        while done > before and not refused:
            before = done
            for items in self.pages():
                refused += self._delete(items)
                done += len(items)
                progress(done)
        if refused:
            first = refused[0]
            raise ByocError(
                f"S3 did not delete {plural(len(refused), 'object')}, e.g. {first['Key']}: "
                f"{first.get('Code')}: {first.get('Message', '')}".rstrip(": "),
                "Ask for the permissions s3:DeleteObject and, for older versions, s3:DeleteObjectVersion.",
                code=REFUSED if "AccessDenied" in str(first.get("Code")) else FAILED,
                kind="ObjectsLeft",
            )

    def _delete(self, items: list[dict[str, Any]]) -> list[Any]:
        """Delete a page; returns S3's errors."""
        errors = []
        for start in range(0, len(items), _MOST):
            keys = [_identity(item) for item in items[start : start + _MOST]]
            answer: Any = self.clients.s3.delete_objects(
                Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True}
            )
            errors += answer.get("Errors", ())
        return errors

    def abort(self) -> None:
        for upload in self.uploads():
            self.clients.s3.abort_multipart_upload(
                Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )


def _identity(item: Any) -> Any:
    return {key: item[key] for key in ("Key", "VersionId") if key in item}


def find(clients: Clients, bucket: str, root: str, progress: Progress) -> Found:
    """What lies in the project's folder `root` of the bucket, without slashes around it."""
    if not root:
        return Found(
            stays=[f"Objects in s3://{bucket}: aws.prefix is the whole bucket, which byoc does not empty."]
        )
    return seen(lambda: _find(clients, bucket, root, progress), f"objects in s3://{bucket}")


def _find(clients: Clients, bucket: str, root: str, progress: Progress) -> Found:
    try:
        versions, unseen = _may_list_versions(clients, bucket, root)
        parts: list[Part] = []
        for name in FOLDERS:
            folder = Folder(clients, bucket, f"{root}/{name}/", versions)
            parts += _objects(folder, progress)
            uploads = _uploads(folder)
            parts += uploads.parts
            unseen += uploads.unseen
        stays = _others(clients, bucket, root)
    except clients.s3.exceptions.NoSuchBucket:
        return Found()
    return Found(parts, stays, list(dict.fromkeys(unseen)))


def _may_list_versions(clients: Clients, bucket: str, root: str) -> tuple[bool, list[str]]:
    look = partial(clients.s3.list_object_versions, Bucket=bucket, Prefix=f"{root}/", MaxKeys=1)
    if if_allowed(look) is not None:
        return True, []
    sentence = (
        f"Older versions of objects in s3://{bucket}/{root}/, if the bucket keeps any, are not seen and "
        "stay: AWS does not allow ListObjectVersions (s3:ListBucketVersions)."
    )
    return False, [sentence]


def _objects(folder: Folder, progress: Progress) -> list[Part]:
    count = total = 0
    keeps_versions = False
    for items in folder.pages():
        count += len(items)
        total += sum(item.get("Size", 0) for item in items)  # a delete marker has none
        keeps_versions |= any(item.get("VersionId", "null") != "null" for item in items)
        progress(count)
    if not count:
        return []
    what = plural(count, "version" if keeps_versions else "object")
    hourly = prices.storage(folder.clients, "S3", total)
    name = f"s3://{folder.bucket}/{folder.prefix}"
    return [Part("objects", name, lambda: folder.empty(progress), f"{what}, {size(total)}", hourly)]


def _uploads(folder: Folder) -> Found:
    uploads = if_allowed(folder.uploads)
    if uploads is None:
        sentence = (
            f"Unfinished uploads in s3://{folder.bucket} are not seen and stay: AWS does not allow "
            "ListMultipartUploads (s3:ListBucketMultipartUploads)."
        )
        return Found(unseen=[sentence])
    name = f"s3://{folder.bucket}/{folder.prefix}"
    return Found([Part("uploads", name, folder.abort, f"{len(uploads)} unfinished")] if uploads else [])


def _others(clients: Clients, bucket: str, root: str) -> list[str]:
    """What lies in the project's folder and is not byoc's."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{root}/", Delimiter="/"
    )
    ours = {f"{root}/{name}/" for name in FOLDERS}
    names = []
    for page in pages:
        names += [each["Prefix"] for each in page.get("CommonPrefixes", ()) if each["Prefix"] not in ours]
        names += [each["Key"] for each in page.get("Contents", ())]
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    sentence = (
        f"s3://{bucket}/{names[0]}{more}: byoc did not write that. "
        f"`aws s3 rm --recursive s3://{bucket}/{root}/` deletes all there."
    )
    return [sentence]


def neighbours(clients: Clients, bucket: str, root: str) -> set[str] | None:
    """Other projects' folders beside this one's in the bucket; None where AWS does not say."""

    def look() -> set[str]:
        pages = clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="byoc/", Delimiter="/"
        )
        return {each["Prefix"].strip("/") for page in pages for each in page.get("CommonPrefixes", ())}

    try:
        folders = if_allowed(look)
    except clients.s3.exceptions.NoSuchBucket:
        return set()
    return None if folders is None else folders - {root}
