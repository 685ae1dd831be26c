"""Evaluates a training job's debugger and profiler rules with the images that it names."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local.jobs.documents import Document, rules_job
from local.jobs.files import is_folder_below, open_below, write_json
from local.jobs.logfile import LogFile
from local.jobs.mirror import Mirror, Syncer
from local.jobs.run import cause_of
from local.jobs.services import Services, log
from local.runtime import Container, ContainerSpec, RuntimeProblem

KINDS = ("Debug", "Profiler")
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
_TENSORS = "/opt/ml/processing/input/tensors"
_PROFILER = "/opt/ml/processing/input/profiler"


def wants_rules(doc: Mapping[str, Any]) -> bool:
    return any(doc.get(f"{kind}RuleConfigurations") for kind in KINDS)


class RulesRun:
    """The `rules` command beside one training job, from its start until the rules have their verdicts.

    One process evaluates all rules whose images are the same; the first rule's image is taken for all.
    `stop_training` is called when a rule's action asks for it.
    """

    def __init__(
        self,
        services: Services,
        doc: Document,
        folder: Path,
        tensors: Path | None,
        profiler: Path | None,
        scratch: Path,
        stop_training: Callable[[], None],
    ) -> None:
        self._services = services
        self._job = str(doc["TrainingJobName"])
        self._rules = {
            f"{kind}RuleConfigurations": doc.get(f"{kind}RuleConfigurations", []) for kind in KINDS
        }
        self._image = str(
            next(rule for rules in self._rules.values() for rule in rules)["RuleEvaluatorImage"]
        )
        self._folder = folder
        self._inputs = {_TENSORS: tensors or folder / "none", _PROFILER: profiler or folder / "none"}
        self._scratch = scratch
        uri = output_uri(doc)
        self._target = services.config.bucket_path(uri) if uri else None
        self._stop_training = stop_training
        self._training_over = threading.Event()
        self._closing = threading.Event()
        self._status_stamp: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name=f"rules {self._job}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def training_over(self) -> None:
        """The job has ended and its end files are written: the rules are to come to an end."""
        self._training_over.set()

    def close(self) -> None:
        """Ends it now; unfinished rules become Stopped."""
        self._closing.set()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        config = self._services.config
        stream = f"{rules_job(self._job)}/algo-1-{int(time.time())}"
        output = LogFile(config.log_file(LOG_GROUP, stream))
        try:
            self._evaluate(output)
        except (RuntimeProblem, OSError) as error:
            output.write(str(error))
            self._settle("Error", str(error))
        except Exception as error:
            log.exception("rules of %s", self._job)
            self._settle("Error", cause_of(error))
        finally:
            output.close()

    def _evaluate(self, output: LogFile) -> None:
        runtime = self._services.runtime
        base = self._folder / "ml"
        write_json(base / "config" / "rules.json", self._rules)
        results = base / "output"
        results.mkdir(parents=True, exist_ok=True)
        for folder in self._inputs.values():
            folder.mkdir(parents=True, exist_ok=True)
            # The training container runs already, and the folder is a mount in another one.
            if not is_folder_below(self._folder.parent, folder):
                raise RuntimeProblem("The job has put a link in the place of a folder that its rules read.")
        container = runtime.start(
            ContainerSpec(
                name=rules_job(self._job),
                image=self._image,
                command="rules",
                base=base,
                arguments=(
                    "--job",
                    self._job,
                    "--tensors",
                    _TENSORS,
                    "--profiler",
                    _PROFILER,
                    "--config",
                    runtime.inside(base, "/opt/ml/config/rules.json"),
                    "--output",
                    runtime.inside(base, "/opt/ml/output"),
                ),
                mounts=self._inputs,
                cores=1,
                environment=self._services.aws_environment(),
            ),
            output.write,
        )
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
        if stopping:
            self._settle("Stopped", "The evaluation was ended before it came to a verdict.")
        elif container.exit_code:
            last = " ".join(output.tail()) or "no output"
            self._settle("Error", f"The rules command ended with exit code {container.exit_code}: {last}")
        else:
            self._settle("Error", "The rules command ended without a verdict on this rule.")

    def _follow(self, container: Container, status: Path) -> bool:
        """Takes over what the command finds until it ends; whether it had to be ended."""
        deadline = kill_at = float("inf")
        stopping = False
        while container.wait(self._services.timing.tick) is None:
            now = time.monotonic()
            self._mirror_status(status)
            if self._training_over.is_set() and deadline == float("inf"):
                deadline = now + self._services.timing.rules_limit
            if not stopping and (self._closing.is_set() or now > deadline):
                stopping = True
                container.terminate()
                kill_at = now + (5 if self._closing.is_set() else 30)
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
            told = {kind: _told(status, kind) for kind in KINDS}
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            log.warning("rules of %s: %s: %s", self._job, path, error)
            return

        def change(doc: Document) -> None:
            for kind in KINDS:
                for entry in doc.get(f"{kind}RuleEvaluationStatuses", []):
                    news = told[kind].get(entry["RuleConfigurationName"])
                    if news is None:
                        continue
                    for member in ("RuleEvaluationStatus", "StatusDetails", "LastModifiedTime"):
                        if member in news:
                            entry[member] = news[member]

        self._change(change)
        if status.get("StopTrainingJob") is True and not self._training_over.is_set():
            self._stop_training()

    def _settle(self, verdict: str, details: str) -> None:
        """Gives a verdict to the rules that have none."""

        def change(doc: Document) -> None:
            settle_rules(doc, verdict, details)

        self._change(change)

    def _change(self, change: Callable[[Document], None]) -> None:
        try:
            self._services.store.mutate("training-job", self._job, change)
        except KeyError:
            log.warning("rules of %s: the job's document is gone", self._job)


def _told(status: Any, kind: str) -> dict[str, dict[str, Any]]:
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
        if entry["RuleEvaluationStatus"] in ("InProgress", "Stopping")
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
            return f"{uri.rstrip('/')}/{doc['TrainingJobName']}/rule-output"
    return None


def _unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".tmp"
