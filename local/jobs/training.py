"""One training job from Starting to its end."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from contract.names import TRAINING_LOGS
from local.config import region_in
from local.errors import ValidationException
from local.jobs import contract
from local.jobs.channels import DataProblem, Downloader
from local.jobs.contract import Host
from local.jobs.documents import (
    DEFAULT_MAX_RUNTIME,
    MESSAGES,
    Document,
    enter,
    fail,
    retries_left,
    seconds_with_machine,
)
from local.jobs.files import clear, remove_tree
from local.jobs.logfile import LogFile
from local.jobs.metrics import MetricReader
from local.jobs.results import failure_reason, upload
from local.jobs.rules import RulesRun, sampling_interval, settle_rules, wants_rules
from local.jobs.run import Cause, JobFailure, Run, cause_of
from local.jobs.services import Services, log
from local.jobs.spot import Alarm, Interruption, is_spot, next_interruption, wait_left
from local.jobs.streams import Streams
from local.jobs.warmpools import CACHE, VARIABLE
from local.runtime.container import Container, ContainerSpec, RuntimeProblem

WAITING = "Waiting for one of the training jobs that run on this machine to end"

_STOPPED: dict[Cause, str] = {
    "user": MESSAGES["Stopped"],
    "rule": "Training job stopped by a debugger rule",
    "early": "Training job stopped by the tuning job's early stopping",
    "hyperband": "Training job stopped by the tuning job's Hyperband strategy",
    "service": "Training job stopped because the local SageMaker was stopped",
}


class TrainingRun(Run):
    """Runs one training job in a thread of its own. Its document must be in the store.

    `siblings`: how many jobs of one tuning job run at once. `on_metric` is called with a metric's name when
    the job has printed a value, `on_end` once the document is final.
    """

    kind = "training-job"
    noun = "TrainingJob"
    fail = staticmethod(fail)

    def __init__(
        self,
        services: Services,
        name: str,
        *,
        siblings: int = 1,
        on_metric: Callable[[str], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(services, name)
        self._siblings = siblings
        self._on_metric = on_metric
        self._on_end = on_end
        self._folder = services.config.jobs_root / f"{name}-{uuid.uuid4().hex[:8]}"
        self._scratch = self._folder / "aside"
        self.metrics = MetricReader(self._doc.get("AlgorithmSpecification", {}).get("MetricDefinitions", []))
        self._lock = threading.Lock()
        self._cause: Cause | None = None
        self._kill_at = float("inf")
        self._cancelled = threading.Event()
        self._has_machine = False
        self._pooled: list[tuple[Path, Path]] = []  # base and cache folder of each host in a warm pool
        self._interruption: Interruption | None = None
        self._decided = False
        self._containers: list[Container] = []
        self._logs: list[LogFile] = []
        self._rules: RulesRun | None = None
        self._streams: Streams | None = None

    def stop(self, cause: Cause = "user", grace: float | None = None) -> None:
        """Asks the job to stop. From here on no exit code makes it a failure."""
        with self._lock:
            if cause == "service" and self._rules is not None:
                self._rules.close()
            if grace is not None:
                self._kill_at = min(self._kill_at, time.monotonic() + grace)
            if self._decided or self._cause is not None:
                return
            self._cause = cause
            self._kill_at = min(self._kill_at, time.monotonic() + self._services.timing.stop_grace)
            if cause != "runtime":
                self._change(lambda doc: enter(doc, "Stopping"))
            self._cancelled.set()
            for container in self._containers:
                container.terminate()
        self._services.slots.wake()

    def interrupt(self, *, wait: float | None = None, grace: float | None = None) -> None:
        """Takes the machine away. The job waits for `wait` seconds, and goes on from its checkpoints.

        `grace`: seconds between SIGTERM and SIGKILL, where they are not SageMaker's.
        ValidationException for a job that has no machine or is not on spot capacity.
        """
        timing = self._services.timing
        with self._lock:
            self._check_interruptible()
            interruption = Interruption(
                timing.stop_grace if grace is None else grace, timing.spot_wait if wait is None else wait
            )
            self._interruption = interruption
            self._kill_at = min(self._kill_at, time.monotonic() + interruption.grace)
            for container in self._containers:
                if interruption.grace > 0:
                    container.terminate()
                else:
                    container.kill()

    def _check_interruptible(self) -> None:
        if not is_spot(self._doc):
            why = "does not run on spot capacity (EnableManagedSpotTraining)"
        elif self._interruption is not None:
            why = "is being interrupted already"
        elif not self._has_machine or self._cause is not None or self._decided:
            why = "has no machine at the moment, or is about to end"
        elif self._containers and all(container.exit_code is not None for container in self._containers):
            why = "has just ended"
        else:
            return
        raise ValidationException(f"The training job {self.name} {why}: nothing can be taken away.")

    # --- the job's life ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with Alarm(wait_left(self._doc), lambda: self.stop("wait")):
                self._live()
        except (JobFailure, DataProblem) as problem:
            self._end_failed(str(problem))
        except RuntimeProblem as problem:
            if self._cause is None:
                self._end_failed(f"ClientError: {problem}")
            else:
                self._end_stopped()
        except Exception as error:
            log.exception("training job %s", self.name)
            self._end_failed(f"InternalServerError: {cause_of(error)}")
        finally:
            self._end_streams()
            self._close_logs()
            if self._rules is None and wants_rules(self._doc):
                self._change(lambda doc: settle_rules(doc, "Stopped", "The job ended before it trained."))
            if self._on_end is not None:
                self._on_end()
            if self._rules is not None and self._streams is not None:
                self._rules.join()
                self._streams.finish_profile()
            remove_tree(self._folder)

    def _live(self) -> None:
        """One attempt after the other, until the job is over: a spot machine may be taken away."""
        cores = 0
        while True:
            share = self._services.slots.acquire(self._siblings, self._cancelled, self._tell_waiting)
            if share is None:
                self._end_stopped()
                return
            # Later attempts get as many as the first: sums over other numbers of threads are other sums.
            cores = cores or share.cores
            with self._lock:
                self._has_machine = True
            try:
                over = self._train(cores)
            except (JobFailure, DataProblem, RuntimeProblem):
                raise
            except Exception as error:
                if not self._retry(error):
                    raise
                over = False
            finally:
                with self._lock:
                    self._has_machine = False
                self._services.slots.release()
            if over:
                return
            with self._lock:
                interruption, self._interruption = self._interruption, None
                if self._cause is None:
                    self._kill_at = float("inf")
            if interruption is not None:
                self._enter("Interrupted")
                self._cancelled.wait(interruption.wait)
            self._enter("Starting")

    def _retry(self, error: Exception) -> bool:
        """Whether the job's RetryStrategy has an attempt left after a failure of this service."""
        with self._lock:
            left = 0 if self._cause or self._decided else retries_left(self._current())
        if left > 0:
            log.warning("training job %s failed and is tried again", self.name, exc_info=error)
            self._say(f"InternalServerError: {cause_of(error)} The job is tried again.")
            self._change(lambda doc: doc.update({"_Retries": doc.get("_Retries", 0) + 1}))
        return left > 0

    def _current(self) -> Document:
        return self._services.store.get(self.kind, self.name) or self._doc

    def _tell_waiting(self) -> None:
        def change(doc: Document) -> None:
            doc["SecondaryStatusTransitions"][-1]["StatusMessage"] = WAITING

        self._change(change)

    def _train(self, cores: int) -> bool:
        """One attempt, from the data to the results; False if it was interrupted and another follows."""
        runtime = self._services.runtime
        algorithm = self._doc["AlgorithmSpecification"]
        names = contract.host_names(self._doc)
        runtime.check(algorithm["TrainingImage"], None if "ContainerEntrypoint" in algorithm else "train")
        self._check_output()
        hosts = [Host(name, self._folder / name) for name in names]
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._empty_disks(hosts)
        self._enter("Downloading")
        limit = int(self._doc.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME))
        deadline = time.monotonic() + limit - seconds_with_machine(self._current())
        environments = [self._prepare(host, names) for host in hosts]
        self._join_pool(hosts, environments)
        if not self._losing():
            self._download(hosts)
        if self._cancelled.is_set():
            self._end_stopped()
            return True
        if self._interruption is not None:
            return False
        try:
            self._streams = Streams(self._services, self._doc, hosts[0], self._scratch, self._say)
        except ValueError as error:
            raise JobFailure(f"ClientError: {error}") from error
        except OSError as error:
            raise JobFailure(f"ClientError: Checkpoints cannot be restored: {error.strerror}.") from error
        try:
            self._enter("Training")
            self._open_logs(hosts)
            self._start_rules(hosts[0])
            self._start_containers(hosts, environments, cores)
            with Alarm(next_interruption(self._interruptions_per_hour()), self._interrupt_by_chance):
                self._watch(deadline)
        finally:
            for container in self._containers:
                container.kill()
                container.wait(10)
            self._streams.pause()
        if self._interrupted():
            return False
        self._end_streams()
        self._finish(hosts)
        return True

    def _join_pool(self, hosts: list[Host], environments: list[dict[str, str]]) -> None:
        """Gives the hosts the cache folders of a warm pool, if the job has one; the first attempt only."""
        runtime = self._services.runtime
        caches = [runtime.outside(host.base, CACHE) for host in hosts]
        pools, store = self._services.pools, self._services.store
        if not self._pooled and pools.take(store, self._doc, caches, runtime):
            self._pooled = [(host.base, cache) for host, cache in zip(hosts, caches, strict=True)]
        for environment, (base, cache) in zip(environments, self._pooled, strict=False):
            cache.mkdir(parents=True, exist_ok=True)
            environment[VARIABLE] = runtime.inside(base, CACHE)

    def _leave_pool(self, *, healthy: bool = True) -> None:
        """Before the job's last status is there to be seen: whoever sees it may count on the pool."""
        folder = self._services.config.jobs_root / f"pool-{uuid.uuid4().hex}"
        services = self._services
        services.pools.keep(services.store, self._current(), self._pooled, folder, healthy=healthy)

    def _losing(self) -> bool:
        """Whether the job is asked to stop, or is about to lose its machine."""
        return self._cancelled.is_set() or self._interruption is not None

    def _interrupted(self) -> bool:
        """Whether the attempt was ended by an interruption, and by nothing that ends the job."""
        with self._lock:
            return self._interruption is not None and self._cause is None

    def _interruptions_per_hour(self) -> float:
        return self._services.config.spot_interruptions if is_spot(self._doc) else 0.0

    def _interrupt_by_chance(self) -> None:
        with contextlib.suppress(ValidationException):  # it is over, or about to be
            self.interrupt()

    def _empty_disks(self, hosts: list[Host]) -> None:
        """Remove the files of an earlier attempt: the next machine starts with an empty disk.

        What rules read stays. On AWS they read it from S3.
        """
        kept = [
            folder
            for block in ("DebugHookConfig", "ProfilerConfig")
            if self._rules is not None
            and (folder := hosts[0].local(self._services.runtime, self._doc, block)) is not None
        ]
        for host in hosts:
            clear(host.base, kept)
        self._containers = []
        self._close_logs()
        if "CheckpointConfig" not in self._doc:
            self.metrics.start_again()

    def _end_streams(self) -> None:
        """The job has trained for the last time: its rules come to an end."""
        if self._rules is not None:
            self._rules.training_over()
        if self._streams is not None:
            self._streams.finish()

    def _close_logs(self) -> None:
        for output in self._logs:
            output.close()

    def _check_output(self) -> None:
        """A job whose results have no place to go fails before it costs anything."""
        try:
            self._services.config.output_path(self._doc["OutputDataConfig"]["S3OutputPath"])
        except ValueError as error:
            raise JobFailure(f"ClientError: S3OutputPath {error}") from error

    def _prepare(self, host: Host, names: list[str]) -> dict[str, str]:
        try:
            return contract.prepare(self._services.runtime, self._doc, host, names)
        except ValueError as error:
            raise JobFailure(f"ClientError: LocalPath {error}") from error

    def _download(self, hosts: list[Host]) -> None:
        downloader = Downloader(self._services.config, self._doc.get("RoleArn", "-"), cancelled=self._losing)
        for number, host in enumerate(hosts):
            for channel in contract.channels(self._doc):
                folder = host.base / "input" / "data" / channel["ChannelName"]
                downloader.download(channel, folder, number, len(hosts))

    def _open_logs(self, hosts: list[Host]) -> None:
        stamp = int(time.time())
        self._logs = []
        for host in hosts:
            stream = f"{self.name}/{host.name}-{stamp}"
            output = LogFile(self._services.config.log_file(TRAINING_LOGS, stream))
            self._logs.append(output)
            for problem in self.metrics.problems:
                output.write(f"[local SageMaker] {problem}")

    def _start_rules(self, host: Host) -> None:
        if self._rules is not None:  # of an earlier attempt; they go on
            return
        if not wants_rules(self._doc) and sampling_interval(self._doc) is None:
            return
        rules = RulesRun(
            self._services,
            self._doc,
            host,
            self._folder / "rules",
            self._scratch,
            stop_training=lambda: self.stop("rule"),
            report=self._say,
            change=self._change,
        )
        with self._lock:
            if self._cause is not None:
                return
            self._rules = rules
        rules.start()

    def _start_containers(self, hosts: list[Host], environments: list[dict[str, str]], cores: int) -> None:
        services = self._services
        algorithm = self._doc["AlgorithmSpecification"]
        for host, output, environment in zip(hosts, self._logs, environments, strict=True):
            spec = ContainerSpec(
                name=f"{self.name}-{host.name}",
                image=algorithm["TrainingImage"],
                command="train",
                entrypoint=tuple(algorithm.get("ContainerEntrypoint", ())),
                arguments=tuple(algorithm.get("ContainerArguments", ())),
                base=host.base,
                environment={
                    **services.aws_environment(region_in(self._doc["TrainingJobArn"])),
                    **environment,
                    **self._doc.get("Environment", {}),
                },
                cores=max(1, cores // len(hosts)),
                host=host.name,
                network=services.pools.network(self.name) if len(hosts) > 1 else None,
            )
            with self._lock:
                if self._cause is not None or self._interruption is not None:
                    return
                self._containers.append(services.runtime.start(spec, self._reader(output)))

    def _reader(self, output: LogFile) -> Callable[[str], None]:
        def read(line: str) -> None:
            output.write(line)
            for name in self.metrics.read(line, leaving=self._interruption is not None):
                if self._on_metric is not None:
                    self._on_metric(name)

        return read

    def _watch(self, deadline: float) -> None:
        """Waits until all containers have ended; obeys limits on the way."""
        tick = self._services.timing.tick
        while running := [container for container in self._containers if container.exit_code is None]:
            now = time.monotonic()
            if now >= self._kill_at:
                for container in running:
                    container.kill()
            if now >= deadline:
                self.stop("runtime")
            running[0].wait(min(tick, max(0.01, deadline - now), max(0.01, self._kill_at - now)))
            if any(container.exit_code for container in self._containers):
                # A host that fails takes the job with it, as on AWS.
                for container in running:
                    container.kill()
            if self.metrics.due():
                self._write_metrics()
        self._write_metrics()

    def _finish(self, hosts: list[Host]) -> None:
        """Uploads what the job has left and gives it its last status."""
        with self._lock:
            self._decided = True
            cause = self._cause
        codes = [container.exit_code for container in self._containers]
        failed = cause is None and any(code != 0 for code in codes)
        reason = self._failure_reason(hosts, codes) if failed else ""
        if cause is None or cause == "runtime":
            self._enter("Uploading")
        # Docker's hosts share what they write; the first one's model is the job's.
        base = hosts[0].base
        uri = upload(self._services.config, self._doc, base, self._scratch, model=not failed)
        if uri is not None:
            self._change(lambda doc: doc.update({"ModelArtifacts": {"S3ModelArtifacts": uri}}))
        if failed:
            self._end_failed(reason)
        elif cause is None:
            self._leave_pool()
            self._enter("Completed")
        elif cause == "runtime":
            self._leave_pool()
            self._enter("MaxRuntimeExceeded")
        else:
            self._end_stopped()

    def _failure_reason(self, hosts: list[Host], codes: list[int | None]) -> str:
        number, code = next((number, code) for number, code in enumerate(codes) if code != 0)
        return failure_reason(hosts[number].base, code, " ".join(self._logs[number].tail()))

    # --- the document -----------------------------------------------------------------------------

    def _end_stopped(self) -> None:
        cause = self._cause or "user"
        self._leave_pool(healthy=cause != "service")
        if cause == "wait":
            self._change(lambda doc: enter(doc, "MaxWaitTimeExceeded"))
        else:
            self._change(lambda doc: enter(doc, "Stopped", _STOPPED[cause]))

    def _end_failed(self, reason: str) -> None:
        with self._lock:
            self._decided = True
        try:
            self._leave_pool(healthy=not reason.startswith("InternalServerError"))
            self._change(lambda doc: fail(doc, reason))
        except sqlite3.Error:
            # Most likely the disk is full; the job's own files make room for telling so.
            log.exception("training job %s", self.name)
            remove_tree(self._folder)
            self._change(lambda doc: fail(doc, reason))

    def _enter(self, status: str) -> None:
        def change(doc: Document) -> None:
            # A stop may have come meanwhile; its status stays.
            if doc["TrainingJobStatus"] == "InProgress":
                enter(doc, status)

        self._change(change)

    def _write_metrics(self) -> None:
        metrics = self.metrics.final_metrics()
        self._change(lambda doc: doc.update({"FinalMetricDataList": metrics}))

    def _say(self, text: str) -> None:
        for output in self._logs[:1]:
            output.write(f"[local SageMaker] {text}")
