"""The local SageMaker under everything at once, killed again and again.

    python -m bench.soak                     480 small jobs and 20 of ours, 18 and 2 endpoints, 20 kills
    python -m bench.soak --jobs 20 --ours 1 --endpoints 2 --our-endpoints 1 --kills 3

Jobs are created, endpoints asked and objects written all the time, while the service gets SIGKILL at random
moments and is started again. In the end: no job is lost or wrongly Completed, every endpoint answers, no
object that was acknowledged is lost, no process is left. Exit code 1 and a line for each that is not so.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from bench import servers
from bench.jobs import ROLE, Jobs
from bench.killable import Service
from bench.objects import Writer
from bench.serve import make_model, make_picture
from scripts import digits

_UNFINISHED = 4  # jobs at a time: some run, some wait
_PATIENCE = 180.0  # seconds until everything has ended, and answers


class Asker:
    """Asks one endpoint all the time, and notes what it gets."""

    def __init__(self, service: Service, name: str, body: bytes) -> None:
        self.name = name
        self.answers: Counter[str] = Counter()
        self._runtime = service.client("sagemaker-runtime")
        self._body = body
        self.expected = self.ask()

    def ask(self) -> bytes:
        answer = self._runtime.invoke_endpoint(
            EndpointName=self.name, Body=self._body, ContentType="image/jpeg"
        )
        return bytes(answer["Body"].read())

    def step(self) -> None:
        try:
            self.answers["right" if self.ask() == self.expected else "wrong"] += 1
        except ClientError as error:
            self.answers[error.response["Error"]["Code"]] += 1
        except BotoCoreError as error:
            self.answers[type(error).__name__] += 1
        time.sleep(0.05)

    def problems(self) -> Iterator[str]:
        if self.answers["wrong"]:
            yield f"endpoint {self.name} gave {self.answers['wrong']} wrong answers"
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if self.ask() == self.expected:
                    return
                why: object = "another answer than in the beginning"
            except (ClientError, BotoCoreError) as error:
                why = error
            if time.monotonic() > deadline:
                yield f"endpoint {self.name} does not come back: {why}"
                return
            time.sleep(0.5)


def deploy(service: Service, name: str, image: str) -> Asker:
    """An endpoint in service."""
    sagemaker = service.client("sagemaker")
    container = {"Image": image, "ModelDataUrl": f"s3://soak-jobs/{image}.tar.gz"}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "A",
        "ModelName": name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    return Asker(service, name, make_picture(0))


def prepare(service: Service, work: Path, *, ours: bool, our_endpoints: bool) -> None:
    """What jobs and endpoints read."""
    s3 = service.client("s3")
    s3.create_bucket(Bucket="soak-jobs")
    (work / "small-model").mkdir()
    if our_endpoints:
        make_model(work / "byoc-serve-model")
    for image in ("small", *(["byoc-serve"] if our_endpoints else [])):
        with tarfile.open(work / f"{image}.tar.gz", "w:gz") as tar:
            tar.add(work / f"{image}-model", ".")
        s3.upload_file(str(work / f"{image}.tar.gz"), "soak-jobs", f"{image}.tar.gz")
    if ours:
        digits.write(work / "digits")
        for label in "0147":
            pictures = sorted((work / "digits" / label).iterdir())[:16]
            for number, picture in enumerate(pictures):
                channel = "validation" if number % 4 == 0 else "train"
                s3.upload_file(str(picture), "soak-jobs", f"data/{channel}/{label}/{picture.name}")


class Kills:
    """Kills and starts the service whenever enough jobs have been created, and a little later."""

    def __init__(self, service: Service, jobs: Jobs, total: int, kills: int) -> None:
        self._service = service
        self._jobs = jobs
        self._after = sorted(random.sample(range(1, total + 1), min(kills, total)))
        self.problems: list[str] = []

    def step(self) -> None:
        if self._after and len(self._jobs.created) >= self._after[0]:
            self._after.pop(0)
            time.sleep(random.uniform(0, 2))
            self._service.kill()
            if random.random() < 0.5:  # else what is left meets the next service
                self._expect_nothing()
            self._service.start()
        time.sleep(0.1)

    @property
    def over(self) -> bool:
        return not self._after

    def _expect_nothing(self) -> None:
        deadline = time.monotonic() + 15
        while (left := self._service.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.problems += [f"15 s after kill {self._service.kills}: {command}" for command in left.values()]


class Worker(threading.Thread):
    """Does its step until `stop` is set; `error`: what ended it before."""

    def __init__(self, step: Callable[[], None], stop: threading.Event) -> None:
        super().__init__()
        self._step = step
        self._stop_asked = stop
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._step()
        except Exception as error:
            self.error = error


def soak(service: Service, work: Path, options: argparse.Namespace) -> list[str]:
    """Everything that went wrong."""
    (work / "ledger").mkdir()
    service.start()
    prepare(service, work, ours=options.ours > 0, our_endpoints=options.our_endpoints > 0)
    jobs = Jobs(service, work / "ledger")
    askers = [deploy(service, f"small-{number}", "small") for number in range(options.endpoints)]
    askers += [deploy(service, f"ours-{number}", "byoc-serve") for number in range(options.our_endpoints)]
    writers = [Writer(service.client("s3"), number) for number in range(2)]
    busy: list[Asker | Writer] = [*askers, *writers]
    names = [f"small-{number}" for number in range(options.jobs)] + [f"ours-{n}" for n in range(options.ours)]
    random.shuffle(names)
    kills = Kills(service, jobs, len(names), options.kills)
    stop = threading.Event()
    workers = [Worker(each.step, stop) for each in busy]
    killing = threading.Event()
    killer = Worker(kills.step, killing)
    problems = []
    try:
        for name in names:
            while len(jobs.unfinished()) >= _UNFINISHED:
                time.sleep(0.3)
            jobs.create(name, ours=name.startswith("ours"))
        while not kills.over and killer.error is None:
            time.sleep(0.1)
        killing.set()
        killer.join()
        deadline = time.monotonic() + _PATIENCE + 60 * options.ours
        while (left := jobs.unfinished()) and time.monotonic() < deadline:
            time.sleep(0.5)
        problems += [f"job {name} does not end" for name in left]
    finally:
        killing.set()
        stop.set()
        for worker in (killer, *workers):
            worker.join()
    problems += [f"a thread of the bench ended: {w.error!r}" for w in (killer, *workers) if w.error]
    problems += [*kills.problems, *jobs.problems()]
    for each in busy:
        problems += each.problems()
    report(service, jobs, askers, writers)
    service.stop()
    problems += [f"left after the end: {command}" for command in service.processes().values()]
    problems += [f"left after the end: {path}" for path in leftovers(service)]
    return problems


def leftovers(service: Service) -> list[Path]:
    """Files of jobs, of endpoints and of uploads that broke off."""
    folders = (service.home / "jobs", service.home / "s3-incoming/bodies")
    left = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return [*left, *service.temporary.glob("byoc-*")]


def report(service: Service, jobs: Jobs, askers: list[Asker], writers: list[Writer]) -> None:
    answers = sum((asker.answers for asker in askers), Counter())
    print(f"{service.kills} kills; {len(jobs.created)} jobs: {dict(jobs.ends)}, ours {dict(jobs.our_ends)}")
    print(f"invocations: {dict(answers)}")
    written = sum((writer.done for writer in writers), Counter())
    print(f"S3: {dict(written)}; {sum(len(writer.possible) for writer in writers)} keys checked")
    restarts = service.restarts[1:] or [0.0]
    print(f"restarts: median {statistics.median(restarts):.1f} s, at most {max(restarts):.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=480, help="of a small command")
    parser.add_argument("--ours", type=int, default=20, help="jobs of the training image")
    parser.add_argument("--endpoints", type=int, default=18, help="of a small command")
    parser.add_argument("--our-endpoints", type=int, default=2, help="of the serving image")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, help="of what is drawn; by default another one each time")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    random.seed(seed)
    servers.end_on_sigterm()
    begin = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="byoc-soak-"))
    service = Service(work)
    try:
        problems = soak(service, work, options)
    finally:
        service.stop()
    print(f"{time.monotonic() - begin:.0f} s, seed {seed}; {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    if problems:
        print(f"The home and the log are kept in {work}.")
    else:
        subprocess.run(["rm", "-rf", str(work)], check=True)  # objects' files may be read-only
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
