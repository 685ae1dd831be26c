"""Pictures to an endpoint, as plain bytes; answers back, with the truth where the folder's name says it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from contract import s3
from contract.errors import FAILED, NOT_FOUND, ByocError
from contract.folders import is_passed_over, without_number
from contract.pictures import ENDINGS
from report.read.aws import objects
from report.words import plural
from scripts.dataset import files_below
from scripts.errors import translate

if TYPE_CHECKING:
    from scripts.aws import Clients

T = TypeVar("T")
_CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".gif": "image/gif",
}


@dataclass(frozen=True)
class Picture:
    """Where a picture lies, and in which folders, outermost first (`cats/summer`): one may be a class."""

    source: str
    folder: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Answer:
    """What the endpoint says of one picture; `error` instead of a class where it refused."""

    source: str
    truth: str
    """The picture's folders, as in Picture, until the model's classes show which of them is its class."""
    predicted: str = ""
    probability: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    """Classes with probabilities, best first."""
    milliseconds: float = 0.0
    error: str = ""
    precision: str = ""
    """What the network computed with (`fp32`, `bf16`, `int8`); empty where the answer does not say."""

    @property
    def right(self) -> bool:
        return bool(self.truth) and self.truth == self.predicted

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def gather(clients: Clients, sources: Sequence[str]) -> list[Picture]:
    """The pictures that files, folders and S3 addresses name, in order.

    A file that is named is taken whatever its ending; of a folder, only pictures are.
    """
    pictures: list[Picture] = []
    for source in sources:
        named = list(_from_s3(clients, source) if source.startswith("s3://") else _from_disk(Path(source)))
        if not named:
            raise no_pictures(source)
        pictures += named
    return pictures


def no_file(path: Path | str) -> ByocError:
    remedy = "Name a picture, a folder of pictures, or their S3 address (s3://…)."
    return ByocError(f"There is no file or folder {path}.", remedy, code=NOT_FOUND, kind="NoFile")


def no_pictures(source: Path | str) -> ByocError:
    remedy = f"Name files, or a folder with files that end in {', '.join(sorted(ENDINGS))}."
    return ByocError(f"There are no pictures in {source}.", remedy, code=NOT_FOUND, kind="NoData")


def folder_of(below: PurePath, root: str) -> str:
    """The folders of a picture at `below`, relative to a folder called `root`; directly in it: that name."""
    return below.parent.as_posix() if len(below.parts) > 1 else root


def name_of(folder: Path) -> str:
    """A link's own name: what it leads to may be called otherwise than the class."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _from_disk(path: Path) -> Iterator[Picture]:
    if path.is_dir():
        root, files = path, files_below(path)[0]
    elif path.exists():
        root, files = path.parent, [path]
    else:
        raise no_file(path)
    for file in files:
        yield Picture(str(file), folder_of(file.relative_to(root), name_of(root)), file.read_bytes)


def _from_s3(clients: Clients, uri: str) -> Iterator[Picture]:
    bucket, prefix = s3.split(uri)
    for item in objects(clients.s3, bucket, prefix):
        key = item["Key"]
        # A prefix may be a folder's name, with its slash or without, or the beginning of names.
        folder = prefix.rstrip("/")
        root = folder if key.startswith(f"{folder}/") else prefix.rpartition("/")[0]
        below = PurePosixPath(key[len(root) :].lstrip("/"))
        if below.suffix.lower() in ENDINGS and not any(map(is_passed_over, below.parts)):
            named = folder_of(below, PurePosixPath(root).name)
            yield Picture(f"s3://{bucket}/{key}", named, _reader(clients, bucket, key))


def _reader(clients: Clients, bucket: str, key: str) -> Callable[[], bytes]:
    def read() -> bytes:
        return clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    return read


def sample(pictures: Sequence[Picture], number: int) -> list[Picture]:
    """`number` pictures, evenly from all folders."""
    by_folder: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_folder.setdefault(picture.folder, []).append(picture)
    chosen: list[Picture] = []
    for depth in range(max((len(items) for items in by_folder.values()), default=0)):
        chosen += [items[depth] for items in by_folder.values() if depth < len(items)]
        if len(chosen) >= number:
            break
    return chosen[:number]


def classify(
    clients: Clients,
    endpoint: str,
    pictures: Sequence[Picture],
    *,
    top: int = 5,
    parallel: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Every picture's answer with its `top` classes, in order; an error instead where it was refused.

    Raises:
        ByocError: the endpoint does not exist or cannot be reached: then no further picture is sent.
    """
    return answers_of(lambda picture: _ask(clients, endpoint, picture, top), pictures, parallel, progress)


def answers_of(
    ask: Callable[[T], Answer],
    items: Sequence[T],
    parallel: int,
    progress: Callable[[int, int], None] | None,
) -> list[Answer]:
    """The answer to each, in order, several at a time; where one raises, no further is begun."""
    answers: list[Answer] = []
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        asked = [pool.submit(ask, item) for item in items]
        try:
            for each in asked:
                answers.append(each.result())
                if progress:
                    progress(len(answers), len(items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return answers


def named(answers: Sequence[Answer]) -> set[str]:
    """The classes that the answers name: of a model with many, not all."""
    return {name for answer in answers for name, _ in answer.top}


def classes(
    clients: Clients, endpoint: str, pictures: Sequence[Picture], answers: Sequence[Answer]
) -> set[str]:
    """The model's classes, as far as they matter: where a folder is named like none that the answers to
    `pictures` name, the endpoint is asked for all of them."""
    with_truth = named(answers)
    answered = [picture for picture, answer in zip(pictures, answers, strict=True) if not answer.error]
    if answered and any(not _class_of(answer.truth, with_truth) for answer in answers):
        with_truth |= named([_ask(clients, endpoint, answered[0], "all")])
    return with_truth


def _class_of(folders: str, classes: set[str]) -> str:
    """The class that the outermost of these folders is named after; empty where none is one of `classes`.

    As for the trainer: what lies deeper in a class folder belongs to it, whatever its folder is called.
    """
    names = (name for folder in folders.split("/") for name in (folder, without_number(folder)))
    return next((name for name in names if name in classes), "")


def with_classes(answers: Sequence[Answer], classes: set[str]) -> list[Answer]:
    """The answers, with the model's own class names as truths, else the outermost folder: folders may be
    numbered, and lie in others."""
    return [
        replace(answer, truth=_class_of(answer.truth, classes) or answer.truth.partition("/")[0])
        for answer in answers
    ]


def with_plausible_truth(answers: Sequence[Answer], classes: set[str]) -> list[Answer]:
    """The answers, without truths that are no classes of the model: such a folder is named otherwise."""
    return [replace(answer, truth=_class_of(answer.truth, classes)) for answer in answers]


def _ask(clients: Clients, endpoint: str, picture: Picture, top: int | Literal["all"]) -> Answer:
    from botocore.exceptions import ClientError

    begin = time.perf_counter()
    try:
        content = picture.read()
        response = clients.runtime.invoke_endpoint(
            EndpointName=endpoint,
            Body=content,
            ContentType=_content_type(picture.source),
            Accept="application/json",
            CustomAttributes=f"top_k={top}",
        )
        body = response["Body"].read()
        ranked = parse_answer(body)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        too_large = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 413
        if code == "ModelError" or too_large:  # this picture's problem, not the endpoint's
            problem = translate(error)
            return Answer(picture.source, picture.folder, error=problem.message if problem else str(error))
        if code == "ValidationError" and "not f" in str(error).lower():
            raise ByocError(
                f"There is no endpoint {endpoint} in service.",
                "`byoc jobs` shows whether it is being made, `byoc deploy` makes one, --endpoint names one.",
                code=NOT_FOUND,
                kind="NoEndpoint",
            ) from None
        raise
    elapsed = (time.perf_counter() - begin) * 1000
    return Answer(picture.source, picture.folder, *ranked[0], ranked, elapsed, precision=precision_of(body))


def _content_type(source: str) -> str:
    return _CONTENT_TYPES.get(PurePosixPath(source).suffix.lower(), "application/octet-stream")


def parse_answer(body: bytes) -> tuple[tuple[str, float], ...]:
    """The serving image's JSON: {"predictions": [{"class": …, "probability": …}, …]}, best first."""
    try:
        predictions = json.loads(body)["predictions"]
        top = tuple((str(item["class"]), float(item["probability"])) for item in predictions)
        if top:
            return top
    except (ValueError, KeyError, TypeError):
        pass
    raise ByocError(
        f"The answer is not that of our serving image: {body[:200]!r}.",
        "Was the model made by `byoc deploy` or `byoc transform`?",
        code=FAILED,
        kind="StrangeAnswer",
    )


def precision_of(body: bytes) -> str:
    """`model.precision` of an answer; empty where it has none."""
    try:
        return str(json.loads(body)["model"]["precision"])
    except (ValueError, KeyError, TypeError):
        return ""


@dataclass(frozen=True)
class Score:
    """How many of the labelled pictures were recognised."""

    pictures: int
    right: int
    refused: int
    per_class: dict[str, tuple[int, int]]
    """Class → (right, all)."""
    precision: str = ""
    """What the network computed with; empty where the answers do not say."""

    @property
    def accuracy(self) -> float:
        return self.right / self.pictures if self.pictures else 0.0


def score(answers: Sequence[Answer], classes: set[str]) -> Score:
    """The folders' names are the truth; a refused picture counts as wrong.

    Raises:
        ByocError: no folder is named like one of the model's classes.
    """
    refused = [answer for answer in answers if answer.error]
    if len(refused) == len(answers):
        raise ByocError(
            f"{plural(len(answers), 'picture')}, and none was accepted: {refused[0].error}",
            "`byoc logs ENDPOINT` shows what the container says.",
            code=FAILED,
        )
    if not any(answer.truth in classes for answer in answers):
        raise ByocError(
            f"No folder is named like a class of the model: {answers[0].truth} is not, for one.",
            "Give a folder of class folders.",
        )
    per_class: dict[str, tuple[int, int]] = {}
    for answer in sorted(answers, key=lambda answer: answer.truth):
        right, total = per_class.get(answer.truth, (0, 0))
        per_class[answer.truth] = (right + answer.right, total + 1)
    precision = next((answer.precision for answer in answers if answer.precision), "")
    return Score(len(answers), sum(answer.right for answer in answers), len(refused), per_class, precision)
