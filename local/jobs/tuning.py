"""One hyperparameter tuning job: its trials, their results, its end."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from local.config import region_in
from local.jobs import parents
from local.jobs.documents import Document, shortened, training_document
from local.jobs.hyperband import Climber, Ladder, ResourceProblem, make_ladder
from local.jobs.run import Cause, Run, cause_of
from local.jobs.search import Proposal, Search, SearchProblem, ranges, worse_than_median
from local.jobs.services import Services, log
from local.jobs.standing import Standing
from local.jobs.training import TrainingRun

# As on AWS, what cannot work is not tried for the whole budget.
GIVE_UP_AFTER = 5

ALL_FAILED = "All training jobs failed. Please take a look at the training jobs failures to get more details."


def no_metric(count: int, metric: str) -> str:
    return (
        f"No objective metrics found after running {count} training jobs. Please ensure that the custom "
        f"algorithm is emitting the objective metric {metric!r} as defined by the regular expression "
        "provided."
    )


@dataclass
class Definition:
    """One TrainingJobDefinition of the tuning job, its search over so many ranges, and Hyperband's ladder."""

    name: str | None
    request: dict[str, Any]
    metric: str
    maximize: bool
    search: Search
    ladder: Ladder | None = None
    ranges: int = 1


@dataclass
class Trial:
    number: int
    definition: Definition
    proposal: Proposal
    run: TrainingRun
    ended: bool = False
    value: float | None = None
    series: list[float] = field(default_factory=list)
    climber: Climber = field(default_factory=lambda: Climber(0))
    beaten: bool = False
    """Hyperband has stopped it."""


Event = tuple[Literal["metric", "end", "stop"], str]


class TuningRun(Run):
    """Runs one tuning job in a thread of its own. Its document must be in the store.

    `launch` starts a training run and keeps track of it.
    """

    kind = "tuning-job"
    noun = "HyperParameterTuningJob"

    def __init__(self, services: Services, name: str, launch: Callable[[TrainingRun], None]) -> None:
        super().__init__(services, name)
        self._launch = launch
        self._config: dict[str, Any] = self._doc["HyperParameterTuningJobConfig"]
        limits = self._config["ResourceLimits"]
        self._parallel = int(limits["MaxParallelTrainingJobs"])
        self._most = int(limits.get("MaxNumberOfTrainingJobs", 10**9))
        self._events: queue.Queue[Event] = queue.Queue()
        self._trials: dict[str, Trial] = {}
        self._standing = Standing(maximize=True, ranges=0)  # until the definitions are read
        self._stopping: Cause | None = None

    def stop(self, cause: Cause = "user", grace: float | None = None) -> None:
        """Asks for the end: running trials are stopped, no more are started."""

        def change(doc: Document) -> None:
            if doc["HyperParameterTuningJobStatus"] == "InProgress":
                doc["HyperParameterTuningJobStatus"] = "Stopping"

        self._change(change)
        self._stopping = "service" if cause == "service" else "user"  # at once: no further trial starts
        self._events.put(("stop", cause))

    @staticmethod
    def fail(doc: Document, reason: str) -> None:
        _end(doc, "Failed", reason)
        counters = doc.get("TrainingJobStatusCounters", {})
        counters["NonRetryableError"] = counters.get("NonRetryableError", 0) + counters.get("InProgress", 0)
        counters["InProgress"] = 0
        objectives = doc.get("ObjectiveStatusCounters", {})
        objectives["Failed"] = objectives.get("Failed", 0) + objectives.get("Pending", 0)
        objectives["Pending"] = 0

    # --- the job's life ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            status, reason = self._tune()
        except (SearchProblem, ResourceProblem) as problem:
            status, reason = "Failed", f"ClientError: {problem}"
        except Exception as error:
            log.exception("tuning job %s", self.name)
            status, reason = "Failed", f"InternalServerError: {cause_of(error)}"
            self._stop_trials("user")

        self._change(lambda doc: _end(doc, status, reason))

    def _tune(self) -> tuple[str, str | None]:
        definitions = self._definitions()
        # Definitions share the objective's direction (AWS asks for that, too).
        most = max(definition.ranges for definition in definitions)
        self._standing = Standing(maximize=definitions[0].maximize, ranges=most)
        self._count()
        limit = self._config["ResourceLimits"].get("MaxRuntimeInSeconds")
        deadline = time.monotonic() + int(limit) if limit else float("inf")
        while True:
            running = self._standing.running
            reason = self._hopeless()
            over = not definitions or len(self._trials) >= self._most or self._satisfied()
            if reason or self._stopping or over or time.monotonic() >= deadline:
                if reason or (time.monotonic() >= deadline) or self._satisfied():
                    self._stop_trials("user")
                if running == 0:
                    return self._verdict(reason)
            elif running < self._parallel:
                # Definitions take turns; one whose grid has been walked through leaves.
                definition = definitions.pop(0)
                if self._start_trial(definition):
                    definitions.append(definition)
                continue
            left = deadline - time.monotonic()
            self._take_event(None if left == float("inf") or left <= 0 else left)

    def _take_event(self, timeout: float | None) -> None:
        try:
            kind, what = self._events.get(timeout=timeout)
        except queue.Empty:
            return
        if kind == "stop":
            self._stop_trials("service" if what == "service" else "user")
        elif kind == "end":
            self._end_trial(self._trials[what])
        elif self._config["Strategy"] == "Hyperband":
            self._climb(self._trials[what])
        elif self._config.get("TrainingJobEarlyStoppingType") == "Auto":
            self._consider_early_stop(self._trials[what])

    def _definitions(self) -> list[Definition]:
        definitions = self._doc.get("TrainingJobDefinitions") or [self._doc["TrainingJobDefinition"]]
        return [self._definition(definition, len(definitions)) for definition in definitions]

    def _definition(self, definition: dict[str, Any], count: int) -> Definition:
        objective = _objective(definition, self._config)
        parameter_ranges = ranges(
            definition.get("HyperParameterRanges") or self._config.get("ParameterRanges", {})
        )
        maximize = objective["Type"] == "Maximize"
        search = Search(
            self._config["Strategy"],
            parameter_ranges,
            maximize=maximize,
            seed=self._config.get("RandomSeed"),
            budget=-(-self._most // count) if self._most < 10**9 else None,
        )
        if parents.names(self._doc):
            earlier = parents.results(self._services.store, self._doc)
            search.know(earlier, identical=parents.identical(self._doc))
        ladder = None
        if self._config["Strategy"] == "Hyperband":
            ladder = make_ladder(self._config, definition["StaticHyperParameters"], maximize=maximize)
        name, metric = definition.get("DefinitionName"), objective["MetricName"]
        return Definition(name, definition, metric, maximize, search, ladder, len(parameter_ranges))

    # --- trials -----------------------------------------------------------------------------------

    def _start_trial(self, definition: Definition) -> bool:
        """Creates and starts the next training job; False if the search has nothing more to try."""
        proposal = definition.search.propose()
        if proposal is None:
            return False
        services = self._services
        number = self._standing.start()
        name = f"{self.name}-{number:03d}-{uuid.uuid4().hex[:8]}"
        request = {
            **definition.request,
            "TrainingJobName": name,
            "HyperParameters": {
                **definition.request["StaticHyperParameters"],
                **proposal.values,
            },
        }
        arn = self._doc["HyperParameterTuningJobArn"]
        config = replace(services.config, region=region_in(arn))
        child = training_document(config, request, tuning_job_arn=arn)
        child["_TuningJobName"] = self.name
        child["_TunedHyperParameters"] = proposal.values
        child["_ObjectiveStatus"] = "Pending"
        if definition.name:
            child["_DefinitionName"] = definition.name
        services.store.put("training-job", name, child)
        tags = services.store.get("tags", arn)
        if tags is not None:
            services.store.put("tags", child["TrainingJobArn"], tags)
        run = TrainingRun(
            services,
            name,
            siblings=min(self._parallel, self._most),
            on_metric=lambda metric: (
                self._events.put(("metric", name)) if metric == definition.metric else None
            ),
            on_end=lambda: self._events.put(("end", name)),
        )
        self._trials[name] = trial = Trial(number, definition, proposal, run)
        if definition.ladder is not None:
            trial.climber = definition.ladder.begin()
        self._count()
        self._launch(run)
        return True

    def _end_trial(self, trial: Trial) -> None:
        trial.ended = True
        trial.series = trial.run.metrics.series(trial.definition.metric)
        doc = self._child(trial)
        trial.beaten &= doc["TrainingJobStatus"] == "Stopped"  # it may have been over by then
        if doc["TrainingJobStatus"] != "Failed":
            trial.value = trial.run.metrics.latest(trial.definition.metric)
        # A stopped trial may print its objective once more while it ends.
        steps = trial.climber.judged if trial.beaten else len(trial.series)
        objective, ladder = trial.definition, trial.definition.ladder
        reached = ladder.reached(trial.series[:steps]) if ladder else None
        if ladder and trial.value is not None and not trial.beaten:
            ladder.finished(trial.series, trial.value)
        objective.search.learn(trial.proposal, trial.value, reached=reached, whole=not trial.beaten)

        def change(doc: Document) -> None:
            doc["_ObjectiveStatus"] = "Failed" if trial.value is None else "Succeeded"
            doc["_ObjectiveValues"] = steps
            if trial.value is not None:
                doc["_FinalObjectiveMetric"] = {
                    "Type": "Maximize" if objective.maximize else "Minimize",
                    "MetricName": objective.metric,
                    "Value": trial.value,
                }

        doc = self._services.store.mutate("training-job", trial.run.name, change)
        self._standing.end(trial.number, doc, trial.value)
        self._count()

    def _climb(self, trial: Trial) -> None:
        """Hyperband: stops a trial that is not among the best at its rung; its slot goes to the next one."""
        ladder = trial.definition.ladder
        if ladder is None or trial.ended or trial.beaten:
            return
        series = trial.run.metrics.series(trial.definition.metric)
        trial.beaten = ladder.stops(trial.climber, series)
        if trial.beaten:
            trial.run.stop("hyperband")

    def _consider_early_stop(self, trial: Trial) -> None:
        if trial.ended:
            return
        others = [
            other.series
            for other in self._trials.values()
            if other.ended and other.value is not None and other.definition is trial.definition
        ]
        own = trial.run.metrics.series(trial.definition.metric)
        if worse_than_median(own, others, maximize=trial.definition.maximize):
            trial.run.stop("early")

    def _stop_trials(self, cause: Cause) -> None:
        for trial in self._trials.values():
            if not trial.ended:
                trial.run.stop(cause)

    def _child(self, trial: Trial) -> Document:
        doc = self._services.store.get("training-job", trial.run.name)
        if doc is None:
            raise KeyError(trial.run.name)
        return doc

    # --- results ----------------------------------------------------------------------------------

    def _hopeless(self) -> str | None:
        """Why going on makes no sense; None if it does."""
        standing = self._standing
        if standing.ended < min(GIVE_UP_AFTER, self._most) or standing.best is not None or self._stopping:
            return None
        return self._without_result([trial for trial in self._trials.values() if trial.ended])

    def _without_result(self, trials: list[Trial]) -> str:
        if any(self._child(trial)["TrainingJobStatus"] != "Failed" for trial in trials):
            return no_metric(len(trials), trials[0].definition.metric)
        return ALL_FAILED

    def _satisfied(self) -> bool:
        """Whether a TuningJobCompletionCriteria is met."""
        return self._standing.objectives.satisfy(self._config.get("TuningJobCompletionCriteria", {}))

    def _verdict(self, reason: str | None) -> tuple[str, str | None]:
        if self._stopping:
            return "Stopped", None
        if reason:
            return "Failed", reason
        if self._trials and self._standing.best is None:
            return "Failed", self._without_result(list(self._trials.values()))
        return "Completed", None

    def _count(self) -> None:
        """Brings the counters and the best training job up to date."""
        members = self._standing.members()
        overall = self._overall()
        if overall is not None:
            members["OverallBestTrainingJob"] = overall
        self._change(lambda doc: doc.update({**members, "ConsumedResources": _consumed(doc)}))

    def _overall(self) -> Document | None:
        """AWS has an overall best where the parents' objectives can be compared with these."""
        if not parents.identical(self._doc):
            return None
        maximize = self._standing.objectives.maximize
        return parents.best(self._services.store, self._doc, self._standing.best, maximize=maximize)


def _objective(definition: Document, config: Document) -> Document:
    objective: Document | None = definition.get("TuningObjective") or config.get(
        "HyperParameterTuningJobObjective"
    )
    if not objective:
        raise SearchProblem("The tuning job names no HyperParameterTuningJobObjective.")
    return objective


def _end(doc: Document, status: str, reason: str | None) -> None:
    doc["HyperParameterTuningJobStatus"] = status
    doc["HyperParameterTuningEndTime"] = time.time()
    doc["ConsumedResources"] = _consumed(doc)
    if reason:
        doc["FailureReason"] = shortened(reason)


def _consumed(doc: Document) -> dict[str, int]:
    now = time.time()
    return {"RuntimeInSeconds": max(0, round(now - doc.get("CreationTime", now)))}
