"""The training image's `rules` command beside a job: judges its rules, measures this machine, or both."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contract.files import write_atomically
from contract.names import PROCESSING_LOGS, RULE_OUTPUT
from local.jobs.contract import Host
from local.jobs.documents import UNDER_WAY, Document, rules_job
from local.jobs.files import open_below
from local.jobs.logfile import LogFile
from local.jobs.mirror import Mirror, Syncer
from local.jobs.run import cause_of
from local.jobs.services import Services, log
from local.runtime.container import Container, ContainerSpec, RuntimeProblem

KINDS = ("Debug", "Profiler")
_DEFAULT_INTERVAL_MS = 500  # SageMaker's
# What the command reads of the job: option, configuration block, where its container has the folder.
_INPUTS = (
    ("--tensors", "DebugHookConfig", "/opt/ml/processing/input/tensors"),
    ("--profiler", "ProfilerConfig", "/opt/ml/processing/input/profiler"),
)


def wants_rules(doc: Mapping[str, Any]) -> bool:
    return any(doc.get(f"{kind}RuleConfigurations") for kind in KINDS)


def sampling_interval(doc: Mapping[str, Any]) -> int | None:
    """Milliseconds between two samples of the machine; None where the job does not ask for profiling."""
    profiler = doc.get("ProfilerConfig", {})
    if profiler.get("DisableProfiler", False) or not profiler.get("S3OutputPath"):
        return None
    return int(profiler.get("ProfilingIntervalInMilliseconds", _DEFAULT_INTERVAL_MS))


class RulesRun:
    """The `rules` command beside one training job, from before its start until the rules have their verdicts.

    One process does it all, with the training image that this service is configured with: the job's own may
    be any, and AWS's evaluator, which clients name in RuleEvaluatorImage, is closed.
    `folder` is private to the command, `scratch` one on the buckets' disk. `stop_training` is called when a
    rule's action asks for it, `report` takes a line for the job's log, `change` applies a change to the job's
    document.
    """

    def __init__(
        self,
        services: Services,
        doc: Document,
        host: Host,
        folder: Path,
        scratch: Path,
        *,
        stop_training: Callable[[], None],
        report: Callable[[str], None],
        change: Callable[[Callable[[Document], object]], None],
    ) -> None:
        self._services = services
        self._job = str(doc["TrainingJobName"])
        self._rules = (
            {f"{kind}RuleConfigurations": doc.get(f"{kind}RuleConfigurations", []) for kind in KINDS}
            if wants_rules(doc)
            else None
        )
        self._interval = sampling_interval(doc)
        self._inputs = [
            (option, inside, outside)
            for option, block, inside in _INPUTS
            if (outside := host.local(services.runtime, doc, block)) is not None
        ]
        self._folder = folder
        self._scratch = scratch
        uri = output_uri(doc) if self._rules else None
        self._target = services.config.bucket_path(uri) if uri else None
        self._stop_training = stop_training
        self._report = report
        self._change = change
        self._training_over = threading.Event()
        self._closing = threading.Event()
        self._status_stamp: tuple[int, int] | None = None
        self._output: LogFile | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the command; what keeps it from starting is said in the logs and in the rules' statuses.

        To be called before the job's containers run: from then on a job may put a link in the place of a
        folder that the command reads, and Docker would mount what the link leads to.
        """
        try:
            stream = f"{rules_job(self._job)}/algo-1-{int(time.time())}"
            output = self._output = LogFile(self._services.config.log_file(PROCESSING_LOGS, stream))
            container = self._launch(output)
        except RuntimeProblem as problem:
            config = self._services.config
            reason = (
                f"{problem} The image {config.train_image} judges the rules and measures the machine; after "
                f"`byoc local down`, `byoc local up --runtime {config.runtime} --train-image NAME` names "
                "another."
            )
        except Exception as error:
            log.exception("rules of %s", self._job)
            reason = cause_of(error)
        else:
            self._thread = threading.Thread(
                target=self._run, args=(container, output), name=f"rules {self._job}", daemon=True
            )
            self._thread.start()
            return
        self._give_up(reason)
        if self._output is not None:
            self._output.close()

    def training_over(self) -> None:
        """The job has ended, and its end files are written now: the command is to come to an end."""
        self._training_over.set()

    def close(self) -> None:
        """Ends it now; unfinished rules become Stopped."""
        self._closing.set()

    def join(self, timeout: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def _launch(self, output: LogFile) -> Container:
        runtime = self._services.runtime
        base = self._folder / "ml"
        (base / "output").mkdir(parents=True, exist_ok=True)
        arguments = ["--job", self._job, "--output", runtime.inside(base, "/opt/ml/output")]
        for option, inside, _ in self._inputs:
            arguments += [option, inside]
        if self._rules is not None:
            write_atomically(base / "config" / "rules.json", json.dumps(self._rules))
            arguments += ["--config", runtime.inside(base, "/opt/ml/config/rules.json")]
        if self._interval is not None:
            arguments += ["--sample-system", str(self._interval)]
        return runtime.start(
            ContainerSpec(
                name=rules_job(self._job),
                image=self._services.config.train_image,
                command="rules",
                base=base,
                arguments=tuple(arguments),
                mounts={inside: outside for _, inside, outside in self._inputs},
                cores=1,
                measures=self._interval is not None,
            ),
            output.write,
        )

    def _run(self, container: Container, output: LogFile) -> None:
        try:
            self._evaluate(container, output)
        except Exception as error:
            log.exception("rules of %s", self._job)
            self._give_up(cause_of(error))
        finally:
            output.close()

    def _evaluate(self, container: Container, output: LogFile) -> None:
        base = self._folder / "ml"
        results = base / "output"
        mirrors = []
        if self._target is not None:
            mirrors.append(Mirror(results, self._target, self._scratch, skip=_unfinished, base=base))
        syncer = Syncer(mirrors, output.write)
        try:
            stopping = self._follow(container, results / "status.json")
        finally:
            container.kill()
            container.wait(10)
            syncer.finish()
        self._mirror_status(results / "status.json")
        code = container.exit_code
        if stopping:
            self._settle("Stopped", "The evaluation was ended before it came to a verdict.")
        elif code or not self._training_over.is_set():
            last = " ".join(output.tail()) or "no output"
            self._give_up(f"The rules command ended with exit code {code}: {last}")
        else:
            self._settle("Error", "The rules command ended without a verdict on this rule.")

    def _give_up(self, reason: str) -> None:
        """From now on nobody judges and nobody measures: the rules end as Error, and the logs say so."""
        self._settle("Error", reason)
        if self._interval is not None and not self._training_over.is_set():
            reason = f"The machine is not measured{' any longer' if self._thread else ''}: {reason}"
            self._report(reason)
        if self._output is not None:
            self._output.write(reason)

    def _follow(self, container: Container, status: Path) -> bool:
        """Takes over what the command finds until it ends; whether it had to be ended."""
        deadline = kill_at = float("inf")
        stopping = False
        while container.wait(self._services.timing.tick) is None:
            now = time.monotonic()
            self._mirror_status(status)
            if self._training_over.is_set() and deadline == float("inf"):
                # Without rules there is nothing to wait for.
                deadline = now + (self._services.timing.rules_limit if self._rules else 0)
            if not stopping and (self._closing.is_set() or now >= deadline):
                stopping = True
                container.terminate()
                kill_at = now + (5 if self._closing.is_set() or not self._rules else 30)
            if now > kill_at:
                container.kill()
        return stopping

    def _mirror_status(self, path: Path) -> None:
        """Takes over what the rules say so far."""
        try:
            with os.fdopen(open_below(self._folder, path)) as file:
                stat = os.fstat(file.fileno())
                if (stat.st_ino, stat.st_mtime_ns) == self._status_stamp:
                    return
                self._status_stamp = (stat.st_ino, stat.st_mtime_ns)
                status = json.load(file)
            verdicts = {kind: _by_name(status, kind) for kind in KINDS}
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            log.warning("rules of %s: %s: %s", self._job, path, error)
            return

        def change(doc: Document) -> None:
            for kind in KINDS:
                for entry in doc.get(f"{kind}RuleEvaluationStatuses", []):
                    verdict = verdicts[kind].get(entry["RuleConfigurationName"], {})
                    for member in ("RuleEvaluationStatus", "StatusDetails", "LastModifiedTime"):
                        if member in verdict:
                            entry[member] = verdict[member]

        self._change(change)
        if status.get("StopTrainingJob") is True and not self._training_over.is_set():
            self._stop_training()

    def _settle(self, verdict: str, details: str) -> None:
        """Gives a verdict to the rules that have none."""

        def change(doc: Document) -> None:
            settle_rules(doc, verdict, details)

        self._change(change)


def _by_name(status: Any, kind: str) -> dict[str, dict[str, Any]]:
    """What a status file says of the rules of one kind, by their names. ValueError if it is none."""
    entries = status.get(f"{kind}RuleEvaluationStatuses", []) if isinstance(status, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not an object of lists")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("RuleConfigurationName"), str):
            raise ValueError("an entry without RuleConfigurationName")
        if not isinstance(entry.get("RuleEvaluationStatus", ""), str):
            raise ValueError("a RuleEvaluationStatus that is no text")
    return {entry["RuleConfigurationName"]: entry for entry in entries}


def unsettled_rules(doc: Document) -> list[dict[str, Any]]:
    """The entries of a training document's rules that have no verdict yet."""
    return [
        entry
        for kind in KINDS
        for entry in doc.get(f"{kind}RuleEvaluationStatuses", [])
        if entry["RuleEvaluationStatus"] in UNDER_WAY
    ]


def settle_rules(doc: Document, verdict: str, details: str) -> None:
    """Gives `verdict` to the rules of a training document that have none yet, in place."""
    for entry in unsettled_rules(doc):
        entry["RuleEvaluationStatus"] = verdict
        entry["StatusDetails"] = details[:1024]
        entry["LastModifiedTime"] = time.time()


def output_uri(doc: Mapping[str, Any]) -> str | None:
    """Where the rules' findings go in S3: beside the tensors, or else beside the profiler's output."""
    for block in ("DebugHookConfig", "ProfilerConfig"):
        uri = doc.get(block, {}).get("S3OutputPath")
        if uri:
            return f"{uri.rstrip('/')}/{doc['TrainingJobName']}/{RULE_OUTPUT}"
    return None


def _unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".tmp"
