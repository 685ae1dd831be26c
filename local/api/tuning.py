"""Hyperparameter tuning jobs: create, describe, list, stop, delete, and the list of their training jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local.api import training, warmstart
from local.api.control import Control, Request, name_taken, require_under_way, unique
from local.api.listing import page
from local.api.members import TUNING
from local.config import Config
from local.errors import ResourceLimitExceeded, ResourceNotFound, ValidationException
from local.jobs import autotune, criteria, hyperband
from local.jobs.documents import UNDER_WAY, tuning_document, tuning_summary
from local.jobs.search import SearchProblem, grid_size, ranges
from local.store import Condition

_RANGES = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")

# AWS's limits.
_MOST_PARAMETERS = 30
_MOST_JOBS = {"Bayesian": 750, "Random": 10_000, "Hyperband": 750, "Grid": 10_000}
_MOST_PARALLEL = 100


class TuningJobs(Control):
    def _find(self, name: str) -> dict[str, Any]:
        return self.find(
            "tuning-job",
            name,
            lambda _: ResourceNotFound(f"Amazon SageMaker can't find a tuning job with the name {name}."),
        )

    def CreateHyperParameterTuningJob(self, request: Request) -> dict[str, Any]:
        name = request["HyperParameterTuningJobName"]
        TUNING.check(request)
        if autotune.enabled(request):
            request = autotune.chosen(request)
        _check(self.config, request, launched=warmstart.check(self.store, request))
        arn = self.config.arn("tuning-job", name)
        taken = name_taken("Hyperparameter tuning job", "tuning job", arn)
        doc = tuning_document(self.config, request)
        self.add("tuning-job", name, doc, request, taken, launch=True)
        return {"HyperParameterTuningJobArn": arn}

    def DescribeHyperParameterTuningJob(self, request: Request) -> dict[str, Any]:
        return self._find(request["HyperParameterTuningJobName"])

    def ListHyperParameterTuningJobs(self, request: Request) -> dict[str, Any]:
        jobs = page(self.store, "tuning-job", request, sort_by="Name")
        return jobs.answer(
            "HyperParameterTuningJobSummaries",
            (
                {
                    **doc,
                    "Strategy": doc["HyperParameterTuningJobConfig"]["Strategy"],
                    "ResourceLimits": doc["HyperParameterTuningJobConfig"]["ResourceLimits"],
                }
                for doc in jobs.items
            ),
        )

    def ListTrainingJobsForHyperParameterTuningJob(self, request: Request) -> dict[str, Any]:
        arn = self._find(request["HyperParameterTuningJobName"])["HyperParameterTuningJobArn"]
        only = [Condition("parent", "equals", arn)]
        children = page(self.store, "training-job", request, sort_by="Name", only=only)
        return children.answer("TrainingJobSummaries", map(tuning_summary, children.items))

    def StopHyperParameterTuningJob(self, request: Request) -> None:
        name = request["HyperParameterTuningJobName"]
        require_under_way("tuning job", self._find(name)["HyperParameterTuningJobStatus"])
        self.engine.stop("tuning-job", name)

    def DeleteHyperParameterTuningJob(self, request: Request) -> None:
        """Its training jobs stay, as on AWS."""
        name = request["HyperParameterTuningJobName"]
        doc = self.store.get("tuning-job", name)
        if doc is None:
            return  # as on AWS
        if doc["HyperParameterTuningJobStatus"] in UNDER_WAY:
            raise ValidationException(
                f"The tuning job {name} is {doc['HyperParameterTuningJobStatus']}: stop it first."
            )
        self.remove("tuning-job", name)


# --- what AWS refuses at once --------------------------------------------------------------------------


def _check(settings: Config, request: Mapping[str, Any], *, launched: int = 0) -> None:
    """`launched`: training jobs of the parents, which count against the limit, too."""
    config = request["HyperParameterTuningJobConfig"]
    one, several = request.get("TrainingJobDefinition"), request.get("TrainingJobDefinitions")
    if (one is None) == (several is None):
        raise ValidationException("Give either TrainingJobDefinition or TrainingJobDefinitions.")
    definitions = [one] if one is not None else several or []
    if several is not None:
        for number, definition in enumerate(several, 1):
            if "DefinitionName" not in definition:
                raise ValidationException(
                    f"TrainingJobDefinitions, number {number}: DefinitionName is missing."
                )
        unique([definition["DefinitionName"] for definition in several], "definition name")
    for definition in definitions:
        training.check(settings, definition)
    parameters = [_check_definition(definition, config) for definition in definitions]
    _check_several(definitions, config)
    _check_auto_parameters(request, definitions, config)
    _check_limits(config, parameters, launched)


def _check_definition(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check the members that only a tuning job's definition has; return its parameter ranges."""
    objective = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective")
    if not objective:
        raise ValidationException(
            "HyperParameterTuningJobObjective is missing: give Type and MetricName of the metric to optimise."
        )
    metric_names = [
        metric["Name"] for metric in definition["AlgorithmSpecification"].get("MetricDefinitions", [])
    ]
    if objective["MetricName"] not in metric_names:
        raise ValidationException(
            f"The objective metric {objective['MetricName']!r} is not among the MetricDefinitions "
            f"({', '.join(metric_names) or 'there are none'})."
        )
    parameters: Mapping[str, Any] = (
        definition.get("HyperParameterRanges") or config.get("ParameterRanges") or {}
    )
    static = definition.get("StaticHyperParameters", {})
    _check_parameters(parameters, static, config["Strategy"])
    _check_hyperband(config, static)
    return parameters


def _check_hyperband(config: Mapping[str, Any], static: Mapping[str, str]) -> None:
    if config["Strategy"] != "Hyperband":
        if config.get("StrategyConfig"):
            raise ValidationException(
                f"StrategyConfig is for the Hyperband strategy only, not {config['Strategy']}: leave it out."
            )
        return
    if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        raise ValidationException(
            "TrainingJobEarlyStoppingType must be Off with the Hyperband strategy: it stops jobs by itself."
        )
    try:
        hyperband.resources(config, static)
    except hyperband.ResourceProblem as problem:
        raise ValidationException(str(problem)) from None


def _check_several(definitions: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
    if len(definitions) < 2:
        return
    if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        raise ValidationException(
            "TrainingJobEarlyStoppingType must be Off with several TrainingJobDefinitions."
        )
    kinds = {
        (each.get("TuningObjective") or config["HyperParameterTuningJobObjective"])["Type"]
        for each in definitions
    }
    if len(kinds) > 1:
        raise ValidationException(
            "TrainingJobDefinitions: their TuningObjectives must all be of one Type, Maximize or Minimize."
        )


def _check_auto_parameters(
    request: Mapping[str, Any], definitions: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> None:
    ranges = [
        config.get("ParameterRanges", {}),
        *(each.get("HyperParameterRanges", {}) for each in definitions),
    ]
    if any(each.get("AutoParameters") for each in ranges) and not autotune.enabled(request):
        raise ValidationException("AutoParameters need Autotune: give {'Mode': 'Enabled'}, or ranges.")


def _check_parameters(parameters: Mapping[str, Any], static: Mapping[str, str], strategy: str) -> None:
    names = [entry["Name"] for kind in _RANGES for entry in parameters.get(kind, [])]
    if not names:
        raise ValidationException("ParameterRanges has no range: name at least one hyperparameter to tune.")
    if len(names) > _MOST_PARAMETERS:
        raise ValidationException(
            f"ParameterRanges has {len(names)} hyperparameters; {_MOST_PARAMETERS} can be tuned at most."
        )
    unique(names, "hyperparameter")
    both = sorted(set(names) & set(static))
    if both:
        raise ValidationException(
            f"{', '.join(both)}: in ParameterRanges and in StaticHyperParameters; keep it in one of them."
        )
    for entry in parameters.get("CategoricalParameterRanges", []):
        unique(entry["Values"], f"value of {entry['Name']}")
    if strategy == "Grid" and len(names) > len(parameters.get("CategoricalParameterRanges", [])):
        raise ValidationException("The Grid strategy takes CategoricalParameterRanges only.")
    try:
        ranges(parameters)
    except SearchProblem as problem:
        raise ValidationException(str(problem)) from None


def _check_limits(config: Mapping[str, Any], parameters: list[Mapping[str, Any]], launched: int) -> None:
    limits = config["ResourceLimits"]
    strategy = config["Strategy"]
    jobs, parallel = limits.get("MaxNumberOfTrainingJobs"), limits["MaxParallelTrainingJobs"]
    if strategy == "Grid":
        size = sum(grid_size(entry) for entry in parameters)
        if jobs is not None and jobs != size:
            raise ValidationException(
                f"MaxNumberOfTrainingJobs is {jobs}, but the grid has {size} combinations: leave it out."
            )
        jobs = size
    elif (
        jobs is None
        and "MaxRuntimeInSeconds" not in limits
        and not criteria.can_end(config.get("TuningJobCompletionCriteria", {}))
    ):
        raise ValidationException(
            "ResourceLimits.MaxNumberOfTrainingJobs is missing: nothing else would end the tuning job."
        )
    if jobs is not None and parallel > jobs:
        raise ValidationException(
            f"MaxParallelTrainingJobs {parallel} is above MaxNumberOfTrainingJobs {jobs}."
        )
    if jobs is not None and jobs + launched > _MOST_JOBS[strategy]:
        with_parents = f", with the {launched} of the parent tuning jobs," if launched else ""
        raise ResourceLimitExceeded(
            f"MaxNumberOfTrainingJobs {jobs}{with_parents} is above the limit of the {strategy} strategy, "
            f"{_MOST_JOBS[strategy]}."
        )
    if parallel > _MOST_PARALLEL:
        raise ResourceLimitExceeded(
            f"MaxParallelTrainingJobs {parallel} is above the limit, {_MOST_PARALLEL}."
        )
