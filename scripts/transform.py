"""Batch transform: a job that answers for all pictures of a folder, without an endpoint."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from contract import s3
from contract.errors import FAILED, ByocError
from contract.names import TRANSFORM_LOGS
from report.read import aws
from report.read.jobs import UNDER_WAY, Event, failure
from report.read.logs import LogTail
from report.read.pace import Pace
from scripts import creation, endpoints, requests
from scripts.aws import unless_gone
from scripts.endpoints import Say, whole_or_nothing
from scripts.predict import Answer, answers_of, parse_answer, precision_of
from scripts.requests import Place
from scripts.settings import Settings
from scripts.transforminput import Input, Item, sizes

if TYPE_CHECKING:
    from scripts.aws import Clients

_THREADS = 16
# What SageMaker says of an object in the data log: `… [sagemaker logs]: bucket/key: text`.
_LOGGED = re.compile(r"\[sagemaker logs\]: (.+?): (.*)")
_ERROR_LIMIT = 300


def start(
    clients: Clients, settings: Settings, place: Place, name: str, artifact: str, job_input: Input, say: Say
) -> None:
    """Create the model `name` and the job `name`; the model is deleted again if the job cannot be made."""
    sagemaker = clients.sagemaker
    model = requests.model(settings, place, name, artifact)
    request = requests.transform_job(settings, place, name, name, job_input.uri, job_input.kind)
    with whole_or_nothing(say) as undo:
        creation.create(
            place, lambda: sagemaker.create_model(**model), lambda: endpoints.find_model(clients, name)
        )
        undo.steps.append((f"model {name}", lambda: sagemaker.delete_model(ModelName=name)))
        undo.in_use_by = lambda: f"the transform job {name}" if exists(clients, name) else ""
        creation.create(place, lambda: sagemaker.create_transform_job(**request), lambda: find(clients, name))


def describe(clients: Clients, name: str) -> dict[str, Any]:
    """DescribeTransformJob; an error where there is no such job."""
    return aws.describe("transform job", name, lambda: _ask(clients, name))


def find(clients: Clients, name: str) -> dict[str, Any] | None:
    """The transform job, if there is one."""
    return aws.find(lambda: _ask(clients, name))


def _ask(clients: Clients, name: str) -> Mapping[str, Any]:
    return clients.sagemaker.describe_transform_job(TransformJobName=name)


def exists(clients: Clients, name: str) -> bool:
    return find(clients, name) is not None


@dataclass
class Watch:
    """A transform job under way: its events, and what its log says of single pictures."""

    clients: Clients
    name: str
    problems: dict[str, str] = field(default_factory=dict)
    """What went wrong, by S3 address."""

    def follow(self) -> Iterator[Event]:
        """Statuses and log lines as they come, until the job has ended; a look at each round."""
        tail = LogTail(self.clients, TRANSFORM_LOGS, f"{self.name}/")
        pace, before = Pace(), ""
        while True:
            status = describe(self.clients, self.name)["TransformJobStatus"]
            news = status != before
            if news:
                yield Event("status", status)
            before = status
            for line in tail.read():
                news = True
                self._note(line)
                yield Event("line", line)
            if status not in UNDER_WAY:
                for line in tail.rest():
                    self._note(line)
                    yield Event("line", line)
                return
            yield Event("look")
            pace.wait(news=news)

    def _note(self, line: str) -> None:
        if match := _LOGGED.search(line):
            address = f"s3://{match[1]}"
            text = f"{self.problems.get(address, '')} {match[2]}".strip()
            self.problems[address] = text[:_ERROR_LIMIT]


def outputs(clients: Clients, job: dict[str, Any]) -> dict[str, str]:
    """A job's outputs so far: key below its output path → key in the bucket."""
    bucket, prefix = s3.split(job["TransformOutput"]["S3OutputPath"].rstrip("/") + "/")
    return {key[len(prefix) :]: key for key in sizes(clients, bucket, prefix) if key.endswith(".out")}


def collect(
    clients: Clients,
    job: dict[str, Any],
    items: Sequence[Item],
    problems: dict[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Every picture's answer, in order; an error instead where the job has none.

    Args:
        problems: what the log says of pictures without an answer, by S3 address.
    """
    there = outputs(clients, job)
    bucket = s3.split(job["TransformOutput"]["S3OutputPath"])[0]

    def read(item: Item) -> Answer:
        key = there.get(f"{item.key}.out")
        if key is None:
            return Answer(item.shown, item.folder, error=_readable(problems.get(item.source, "")))
        body = clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        ranked = parse_answer(body)
        return Answer(item.shown, item.folder, *ranked[0], ranked, precision=precision_of(body))

    return answers_of(read, items, _THREADS, progress)


def _readable(text: str) -> str:
    """What the log says of a picture; of our serving image's answer, the sentence."""
    before, brace, body = text.partition("{")
    try:
        return f"{before}{json.loads(brace + body)['message']}"
    except (ValueError, KeyError, TypeError):
        return text or "no answer"


def delete_model(clients: Clients, job: dict[str, Any]) -> None:
    """The model that `start` made for the job; another's stays. No error if it is gone."""
    name = job["ModelName"]
    if name == job["TransformJobName"]:
        unless_gone(clients.sagemaker.delete_model, ModelName=name)


def require_completed(job: dict[str, Any]) -> None:
    """An error with the job's own reason, unless it completed."""
    status, name = job["TransformJobStatus"], job["TransformJobName"]
    if status == "Completed":
        return
    if status == "Failed":
        raise failure(name, job)
    raise ByocError(
        f"{name} was stopped, and has left no answers.",
        "`byoc transform` starts another one.",
        code=FAILED,
        kind="JobStopped",
    )


# --- what is kept -----------------------------------------------------------------------------------


def table(answers: Sequence[Answer], form: Literal["csv", "jsonl"]) -> str:
    """The answers as CSV (the best class of each picture) or as JSON Lines (all that the model named)."""
    if form == "jsonl":
        return "".join(
            json.dumps(
                {
                    "picture": answer.source,
                    "truth": answer.truth or None,
                    "predictions": [{"class": label, "probability": p} for label, p in answer.top],
                    **({"error": answer.error} if answer.error else {}),
                },
                ensure_ascii=False,
            )
            + "\n"
            for answer in answers
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "class", "probability", "truth", "error"])
    for answer in answers:
        probability = "" if answer.error else repr(answer.probability)
        writer.writerow([answer.source, answer.predicted, probability, answer.truth, answer.error])
    return text.getvalue()
