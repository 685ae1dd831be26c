from __future__ import annotations

from typing import Any

import pytest

from local.jobs.documents import training_document, tuning_document
from local.jobs.hyperband import Climber, Ladder
from local.jobs.search import Proposal, Search

Platform = Any  # conftest.Platform

# Prints an objective that is best at x = 0.3.
QUADRATIC = """
values = config("hyperparameters")
print("given", json.dumps(values, sort_keys=True), "threads", os.environ["OMP_NUM_THREADS"])
print(f"score={-(float(values.get('x', 0)) - 0.3) ** 2}")
"""
SCORE = [{"Name": "score", "Regex": r"score=(\S+)"}]


def tune(
    platform: Platform,
    name: str = "tune",
    *,
    config: dict[str, Any],
    members: dict[str, Any] | None = None,
    **definition: Any,
) -> None:
    """`config` replaces members of the tuning job's configuration, `members` those of the request."""
    full: dict[str, Any] = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]},
        "RandomSeed": 1,
        **config,
    }
    request = platform.request()
    del request["TrainingJobName"]
    request["AlgorithmSpecification"]["MetricDefinitions"] = SCORE
    job = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": full,
        "TrainingJobDefinition": {**request, "StaticHyperParameters": {"epochs": "2"}, **definition},
        **(members or {}),
    }
    platform.store.put("tuning-job", name, tuning_document(platform.config, job))
    platform.engine.submit("tuning-job", name)


def limits(most: int, parallel: int) -> dict[str, int]:
    return {"MaxNumberOfTrainingJobs": most, "MaxParallelTrainingJobs": parallel}


def ended(platform: Platform, name: str = "tune") -> dict[str, Any]:
    doc: dict[str, Any] = platform.wait(
        "tuning-job", name, lambda doc: "HyperParameterTuningEndTime" in doc, seconds=40
    )
    return doc


def children(platform: Platform) -> list[dict[str, Any]]:
    docs: list[dict[str, Any]] = list(platform.store.each("training-job"))
    return docs


def test_a_tuning_job_finds_the_best_of_its_trials(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    tune(platform, config={"Strategy": "Bayesian", "ResourceLimits": limits(6, 2)})
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed", doc
    assert doc["TrainingJobStatusCounters"] == {
        "Completed": 6,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert doc["ObjectiveStatusCounters"] == {"Succeeded": 6, "Pending": 0, "Failed": 0}
    jobs = children(platform)
    assert [job["TrainingJobName"][:9] for job in jobs] == [f"tune-00{n}-" for n in range(1, 7)]
    assert all(len(job["TrainingJobName"]) == len("tune-001-1a2b3c4d") for job in jobs)
    for job in jobs:
        x = job["_TunedHyperParameters"]["x"]
        assert 0 <= float(x) <= 1
        assert job["HyperParameters"] == {"x": x, "epochs": "2", "_tuning_objective_metric": "score"}
        assert job["TuningJobArn"] == doc["HyperParameterTuningJobArn"]
        assert "DebugHookConfig" not in job
        metric = job["_FinalObjectiveMetric"]
        assert metric["Value"] == pytest.approx(-((float(x) - 0.3) ** 2))
    best = doc["BestTrainingJob"]
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(
        job["_FinalObjectiveMetric"]["Value"] for job in jobs
    )
    assert best["ObjectiveStatus"] == "Succeeded"
    assert set(best["TunedHyperParameters"]) == {"x"}


def test_parallel_trials_share_the_cores(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    tune(platform, config={})
    ended(platform)
    for job in children(platform):
        assert "threads 1" in platform.log(job["TrainingJobName"])[0]


def test_no_more_trials_run_at_once_than_allowed(stopped: Platform, tmp_path: Any) -> None:
    stopped.cores = 8
    stopped.start()
    running = tmp_path / "running"
    running.mkdir()
    stopped.command(
        "train",
        f"""
folder = pathlib.Path({str(running)!r})
(folder / str(os.getpid())).touch()
print("at once", len(os.listdir(folder)))
time.sleep(0.1)
(folder / str(os.getpid())).unlink()
print("score=1")
""",
    )
    tune(stopped, config={"ResourceLimits": limits(7, 3)})
    ended(stopped)
    at_once = [int(stopped.log(job["TrainingJobName"])[0].split()[-1]) for job in children(stopped)]
    assert len(at_once) == 7
    assert max(at_once) <= 3


def test_the_same_seed_gives_the_same_trials(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    for name in ("one", "two"):
        tune(platform, name, config={"ResourceLimits": limits(3, 1)})
        ended(platform, name)
    values = [job["_TunedHyperParameters"]["x"] for job in children(platform)]
    assert values[:3] == values[3:]
    assert len(set(values)) == 3


def test_a_grid_is_walked_through(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    grid = [{"Name": "a", "Values": ["1", "2"]}, {"Name": "b", "Values": ["x", "y"]}]
    tune(
        platform,
        config={
            "Strategy": "Grid",
            "ResourceLimits": {"MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"CategoricalParameterRanges": grid},
        },
    )
    assert ended(platform)["HyperParameterTuningJobStatus"] == "Completed"
    values = [job["_TunedHyperParameters"] for job in children(platform)]
    assert [tuple(value.values()) for value in values] == [("1", "x"), ("1", "y"), ("2", "x"), ("2", "y")]


def test_failed_trials_do_not_end_the_job(platform: Platform) -> None:
    platform.command(
        "train", "if '-001-' in os.environ['TRAINING_JOB_NAME']: sys.exit('broken')\nprint('score=1')"
    )
    tune(platform, config={})
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed"
    assert doc["TrainingJobStatusCounters"]["NonRetryableError"] == 1
    assert doc["ObjectiveStatusCounters"] == {"Succeeded": 2, "Pending": 0, "Failed": 1}


@pytest.mark.parametrize(
    ("script", "reason"),
    [("sys.exit(1)", "All training jobs failed"), ("", "No objective metrics found after running 5")],
)
def test_a_hopeless_job_gives_up(platform: Platform, script: str, reason: str) -> None:
    platform.command("train", script)
    tune(platform, config={"ResourceLimits": limits(20, 1)})
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Failed"
    assert reason in doc["FailureReason"]
    assert len(children(platform)) == 5


def test_ranges_that_make_no_sense_fail_the_job(platform: Platform) -> None:
    ranges = {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "abc", "MaxValue": "1"}]}
    tune(platform, config={"ParameterRanges": ranges})
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Failed"
    assert "'lr'" in doc["FailureReason"]


SLOW = "print('score=0.5'); print('ready')\nwhile True: time.sleep(60)"


def started(platform: Platform, count: int) -> list[str]:
    """Names of the children, once `count` of them run."""
    for number in range(1, count + 1):
        doc = platform.wait(
            "tuning-job",
            "tune",
            lambda doc: doc.get("TrainingJobStatusCounters", {}).get("InProgress", 0) >= number,  # noqa: B023
        )
        assert doc
    names = [job["TrainingJobName"] for job in children(platform)]
    for name in names:
        platform.log_line("ready", name)
    return names


def test_a_stop_ends_the_children(platform: Platform) -> None:
    platform.command("train", SLOW)
    tune(platform, config={})
    started(platform, 2)
    platform.engine.stop("tuning-job", "tune")
    assert platform.store.get("tuning-job", "tune")["HyperParameterTuningJobStatus"] in (
        "Stopping",
        "Stopped",
    )
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Stopped"
    assert doc["TrainingJobStatusCounters"]["Stopped"] == 2
    assert [job["TrainingJobStatus"] for job in children(platform)] == ["Stopped", "Stopped"]


def test_a_stopped_child_does_not_end_the_job(platform: Platform) -> None:
    platform.command("train", f"if '-001-' not in os.environ['TRAINING_JOB_NAME']: sys.exit()\n{SLOW}")
    tune(platform, config={"ResourceLimits": limits(2, 1)})
    [name] = started(platform, 1)
    platform.engine.stop("training-job", name)
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed"
    assert doc["BestTrainingJob"]["TrainingJobName"] == name


def test_a_target_value_ends_the_job(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    tune(
        platform,
        config={
            "ResourceLimits": limits(20, 1),
            "TuningJobCompletionCriteria": {"TargetObjectiveMetricValue": -10.0},
        },
    )
    assert ended(platform)["HyperParameterTuningJobStatus"] == "Completed"
    assert len(children(platform)) == 1


def test_early_stopping_ends_trials_that_are_worse_than_the_median(platform: Platform) -> None:
    platform.command(
        "train",
        """
good = os.environ["TRAINING_JOB_NAME"].split("-")[1] != "004"
print(f"score={1.0 if good else 0.1}")
if not good: time.sleep(60)
""",
    )
    tune(platform, config={"ResourceLimits": limits(4, 1), "TrainingJobEarlyStoppingType": "Auto"})
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed"
    assert doc["TrainingJobStatusCounters"]["Stopped"] == 1
    last = children(platform)[-1]
    assert "early stopping" in last["SecondaryStatusTransitions"][-1]["StatusMessage"]


def test_close_stops_a_tuning_job(platform: Platform) -> None:
    platform.command("train", SLOW)
    tune(platform, config={})
    started(platform, 2)
    platform.engine.close()
    assert ended(platform)["HyperParameterTuningJobStatus"] == "Stopped"
    assert {job["TrainingJobStatus"] for job in children(platform)} == {"Stopped"}


def test_a_restart_fails_an_orphaned_tuning_job(stopped: Platform) -> None:
    stopped.store.put(
        "tuning-job",
        "lost",
        {
            "HyperParameterTuningJobName": "lost",
            "HyperParameterTuningJobStatus": "InProgress",
            "TrainingJobStatusCounters": {"Completed": 1, "InProgress": 2},
            "ObjectiveStatusCounters": {"Succeeded": 1, "Pending": 2, "Failed": 0},
        },
    )
    trial = training_document(stopped.config, stopped.request(TrainingJobName="lost-001"))
    stopped.store.put("training-job", "lost-001", {**trial, "_ObjectiveStatus": "Pending"})
    stopped.start()
    assert stopped.store.get("training-job", "lost-001")["_ObjectiveStatus"] == "Failed"
    doc = stopped.store.get("tuning-job", "lost")
    assert doc["HyperParameterTuningJobStatus"] == "Failed"
    assert doc["TrainingJobStatusCounters"] == {"Completed": 1, "InProgress": 0, "NonRetryableError": 2}
    assert doc["ObjectiveStatusCounters"] == {"Succeeded": 1, "Pending": 0, "Failed": 2}


def test_the_tags_of_a_tuning_job_are_its_trials_too(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    tags = {"Tags": [{"Key": "team", "Value": "a"}]}
    platform.store.put("tags", platform.config.arn("tuning-job", "tune"), tags)
    tune(platform, config={"ResourceLimits": limits(1, 1)})
    ended(platform)
    assert [platform.store.get("tags", job["TrainingJobArn"]) for job in children(platform)] == [tags]


def test_a_deleted_tuning_job_does_not_keep_the_service_from_ending_the_others(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    tune(platform, config={"ResourceLimits": limits(1, 1)})
    ended(platform)
    platform.store.delete("tuning-job", "tune")
    platform.command("train", "print('begun'); time.sleep(60)")
    platform.train()
    platform.log_line("begun")
    platform.engine.close()
    assert platform.ended()["TrainingJobStatus"] == "Stopped"


# Prints an objective per epoch, the better the smaller x; only who is told to prints on.
EPOCHS = """
values = config("hyperparameters")
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
for epoch in range(int(values["epochs"])):
    print(f"score={1 - float(values['x']) + epoch / 100}")
    time.sleep(0.15)
"""


def test_hyperband_stops_trials_at_rungs_and_gives_their_slots_to_others(platform: Platform) -> None:
    platform.command("train", EPOCHS)
    tune(
        platform,
        config={"Strategy": "Hyperband", "ResourceLimits": limits(9, 2)},
        StaticHyperParameters={"epochs": "9"},
    )
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed", doc
    counters = doc["TrainingJobStatusCounters"]
    assert counters["Completed"] + counters["Stopped"] == 9
    assert counters["Completed"] >= 1
    assert counters["Stopped"] >= 1  # how many depends on which of two trials is the first at a rung
    assert doc["ObjectiveStatusCounters"]["Succeeded"] == 9
    jobs = children(platform)
    stopped = [job for job in jobs if job["TrainingJobStatus"] == "Stopped"]
    assert {job["_ObjectiveValues"] for job in stopped} <= {1, 3}
    for job in stopped:
        assert job["SecondaryStatusTransitions"][-1]["StatusMessage"].endswith("Hyperband strategy")
    best = min(jobs, key=lambda job: float(job["_TunedHyperParameters"]["x"]))
    assert doc["BestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]
    assert doc["ConsumedResources"]["RuntimeInSeconds"] >= 0


def test_hyperband_ends_a_job_that_goes_beyond_max_resource(platform: Platform) -> None:
    platform.command("train", EPOCHS)
    tune(
        platform,
        config={
            "Strategy": "Hyperband",
            "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 2}},
            "ResourceLimits": limits(1, 1),
        },
        StaticHyperParameters={"epochs": "1000"},
    )
    doc = ended(platform)
    assert doc["TrainingJobStatusCounters"]["Stopped"] == 1
    assert children(platform)[0]["_ObjectiveValues"] == 2


def warm(kind: str, *names: str) -> dict[str, Any]:
    parents = [{"HyperParameterTuningJobName": name} for name in names]
    return {"WarmStartConfig": {"ParentHyperParameterTuningJobs": parents, "WarmStartType": kind}}


@pytest.mark.parametrize("kind", ["IdenticalDataAndAlgorithm", "TransferLearning"])
def test_a_warm_start_knows_its_parents_after_a_restart(stopped: Platform, kind: str) -> None:
    stopped.command("train", QUADRATIC)
    engine = stopped.start()
    tune(stopped, "old", config={"Strategy": "Bayesian", "ResourceLimits": limits(8, 2)})
    old = ended(stopped, "old")
    engine.close()
    stopped.start()
    tune(
        stopped,
        "new",
        config={"Strategy": "Bayesian", "ResourceLimits": limits(2, 1)},
        members=warm(kind, "old", "deleted"),
    )
    new = ended(stopped, "new")
    assert new["HyperParameterTuningJobStatus"] == "Completed", new
    first = next(job for job in children(stopped) if job["TrainingJobName"].startswith("new-001"))
    known = old["BestTrainingJob"]
    if kind == "TransferLearning":
        assert "OverallBestTrainingJob" not in new
        assert first["_TunedHyperParameters"] == known["TunedHyperParameters"]
        return
    values = [
        job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in (known, new["BestTrainingJob"])
    ]
    overall = new["OverallBestTrainingJob"]
    assert overall["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(values)
    assert overall["TuningJobName"] == ("old" if values[0] >= values[1] else "new")


def test_a_job_that_has_converged_ends(platform: Platform) -> None:
    platform.command("train", "print('score=1')")
    enabled = {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}
    tune(platform, config={"ResourceLimits": limits(40, 2), "TuningJobCompletionCriteria": enabled})
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed"
    assert 11 <= len(children(platform)) <= 13
    assert doc["TuningJobCompletionDetails"]["NumberOfTrainingJobsObjectiveNotImproving"] >= 10
    assert doc["TuningJobCompletionDetails"]["ConvergenceDetectedTime"] >= doc["CreationTime"]


def test_definitions_take_turns_with_ranges_and_objectives_of_their_own(platform: Platform) -> None:
    platform.command(
        "train", "x = config('hyperparameters')\nprint('score=' + x.get('x', '0'), 'f1=' + x.get('y', '0'))"
    )
    f1 = [{"Name": "f1", "Regex": r"f1=(\S+)"}]

    def definition(name: str, metric: str, *values: str) -> dict[str, Any]:
        request = platform.request()
        del request["TrainingJobName"]
        request["AlgorithmSpecification"]["MetricDefinitions"] = SCORE if metric == "score" else f1
        tuned = {"Name": "x" if metric == "score" else "y", "Values": values}
        return {
            **request,
            "DefinitionName": name,
            "TuningObjective": {"Type": "Maximize", "MetricName": metric},
            "HyperParameterRanges": {"CategoricalParameterRanges": [tuned]},
        }

    definitions = [definition("a", "score", "0.1", "0.2"), definition("b", "f1", "0.3", "0.4", "0.5")]
    job = {
        "HyperParameterTuningJobName": "tune",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Grid",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        },
        "TrainingJobDefinitions": definitions,
    }
    platform.store.put("tuning-job", "tune", tuning_document(platform.config, job))
    platform.engine.submit("tuning-job", "tune")
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed", doc
    jobs = children(platform)
    assert [job["_DefinitionName"] for job in jobs] == ["a", "b", "a", "b", "b"]
    metrics = [job["HyperParameters"]["_tuning_objective_metric"] for job in jobs]
    assert metrics == ["score", "f1", "score", "f1", "f1"]
    best = doc["BestTrainingJob"]
    assert best["TrainingJobDefinitionName"] == "b"
    assert best["TunedHyperParameters"] == {"y": "0.5"}
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["MetricName"] == "f1"


def test_a_tuning_job_that_is_asked_to_stop_starts_no_more_trials(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.command("train", SLOW)
    propose = Search.propose

    def stopped_meanwhile(search: Search) -> Proposal | None:
        platform.engine.stop("tuning-job", "tune")
        return propose(search)

    monkeypatch.setattr(Search, "propose", stopped_meanwhile)
    tune(platform, config={"ResourceLimits": limits(4, 4)})
    assert ended(platform)["HyperParameterTuningJobStatus"] == "Stopped"
    assert len(children(platform)) == 1


def test_a_trial_that_is_over_before_hyperband_stops_it_has_run_to_its_end(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(_ladder: Ladder, climber: Climber, _series: list[float]) -> bool:
        name = children(platform)[0]["TrainingJobName"]
        platform.ended(name)
        climber.judged = 1
        return True

    monkeypatch.setattr(Ladder, "stops", late)
    platform.command("train", "print('score=0.1'); print('score=0.2')")
    tune(platform, config={"Strategy": "Hyperband", "ResourceLimits": limits(1, 1)})
    assert ended(platform)["TrainingJobStatusCounters"]["Completed"] == 1
    assert children(platform)[0]["_ObjectiveValues"] == 2


def test_a_warm_start_takes_the_objective_of_a_definition(platform: Platform) -> None:
    platform.command("train", QUADRATIC)
    tune(platform, "old", config={"ResourceLimits": limits(1, 1)})
    ended(platform, "old")
    config = {"ResourceLimits": limits(1, 1), "HyperParameterTuningJobObjective": None}
    objective = {"Type": "Maximize", "MetricName": "score"}
    members = warm("IdenticalDataAndAlgorithm", "old")
    tune(platform, "new", config=config, members=members, TuningObjective=objective)
    doc = ended(platform, "new")
    assert doc["HyperParameterTuningJobStatus"] == "Completed", doc
    assert "OverallBestTrainingJob" in doc
