"""Spot jobs lose their machine and go on from their checkpoints; jobs start again by their RetryStrategy."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.errors import ResourceNotFound, ValidationException
from local.jobs import spot
from local.jobs.channels import Downloader
from local.jobs.documents import seconds_with_machine, training_document
from tests.local.jobs.test_tuning import children, ended, limits, tune

# Counts to `steps`, keeps its place in a checkpoint that it writes piece by piece, and adds up as it goes: a
# step that is lost or made twice would show in the sum.
COUNTING = """
steps = int(config("hyperparameters").get("steps", "20"))
state = base / "checkpoints/state.json"
place = json.loads(state.read_text()) if state.exists() else {"step": 0, "sum": 0}
print("from", place["step"])
halt = int(config("hyperparameters").get("halt", "-1")) if not place["step"] else -1

def save():
    aside = base / "checkpoints/.checkpoint-state"
    with aside.open("w") as file:
        for part in json.dumps(place):
            file.write(part); file.flush()
            if config("hyperparameters").get("slow"): time.sleep(0.002)
    aside.replace(state)

def end(*_):
    save(); print("saved", place["step"]); sys.exit(0)

signal.signal(signal.SIGTERM, end)
while place["step"] < steps:
    place = {"step": place["step"] + 1, "sum": place["sum"] * 3 % 1000003 + place["step"]}
    if config("hyperparameters").get("save") or place["step"] % 5 == 0: save()
    print("step", place["step"])
    time.sleep(0.02)
    while place["step"] == halt: time.sleep(0.01)
(base / "model/sum").write_text(str(place["sum"]))
"""
SPOT: dict[str, Any] = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 600},
    "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints/job"},
}


def counted(steps: int) -> int:
    total = 0
    for step in range(steps):
        total = total * 3 % 1000003 + step
    return total


def statuses(doc: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in doc["SecondaryStatusTransitions"]]


def model(platform: Any, name: str = "job") -> str:
    return str(platform.object(f"s3://bucket/out/{name}/output/model/sum").read_text())


def uncompressed() -> dict[str, Any]:
    return {"OutputDataConfig": {"S3OutputPath": "s3://bucket/out", "CompressionType": "NONE"}}


def lines(platform: Any, name: str = "job") -> list[str]:
    """Of all attempts."""
    files = sorted((platform.config.log_folder("/aws/sagemaker/TrainingJobs") / name).glob("*.log"))
    return [line.partition(" ")[2] for file in files for line in file.read_text().splitlines()]


def wait_for_line(platform: Any, text: str, name: str = "job", count: int = 1) -> None:
    deadline = time.monotonic() + 20
    while lines(platform, name).count(text) < count:
        assert time.monotonic() < deadline, lines(platform, name)
        time.sleep(0.01)


def test_a_job_goes_on_where_it_was_interrupted(platform: Any) -> None:
    platform.command("train", COUNTING)
    platform.put("s3://bucket/data/a.txt", "a")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}
    platform.train(
        HyperParameters={"halt": "7"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        **SPOT,
        **uncompressed(),
    )
    wait_for_line(platform, "step 7")
    platform.engine.interrupt("job", wait=0.5)
    platform.status("job", "Interrupted")
    [saved] = platform.object("s3://bucket/checkpoints/job").iterdir()
    assert json.loads(saved.read_text())["step"] == 7
    doc = platform.ended()
    assert statuses(doc) == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert [line for line in lines(platform) if line.startswith(("from", "saved"))] == [
        *("from 0", "saved 7", "from 7"),
    ]
    assert model(platform) == str(counted(20))
    interrupted = doc["SecondaryStatusTransitions"][3]
    assert interrupted["EndTime"] - interrupted["StartTime"] >= 0.5
    assert doc["TrainingJobStatus"] == "Completed"
    assert doc["BillableTimeInSeconds"] <= doc["TrainingTimeInSeconds"]


@pytest.mark.slow
def test_ten_interruptions_at_random_moments(platform: Any) -> None:
    """Some with a warning and some without, so that a checkpoint is cut off in its middle."""
    platform.command("train", COUNTING)
    dice = random.Random(7)
    platform.train(HyperParameters={"steps": "150", "save": "1", "slow": "1"}, **SPOT, **uncompressed())
    for number in range(10):
        platform.wait("training-job", "job", lambda doc, n=number: statuses(doc).count("Training") > n)
        time.sleep(dice.uniform(0, 0.4))
        platform.engine.interrupt("job", wait=dice.uniform(0, 0.1), grace=dice.choice((0, 5)))
        platform.wait("training-job", "job", lambda doc, n=number: statuses(doc).count("Interrupted") > n)
    doc = platform.wait("training-job", "job", lambda doc: "TrainingEndTime" in doc, 60)
    assert doc["TrainingJobStatus"] == "Completed"
    assert statuses(doc).count("Interrupted") == 10
    assert model(platform) == str(counted(150))


def test_a_job_that_ignores_the_warning_is_killed(platform: Any) -> None:
    platform.command(
        "train",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + COUNTING.replace("signal.signal(signal.SIGTERM, end)", ""),
    )
    platform.train(HyperParameters={"halt": "12"}, **SPOT, **uncompressed())
    wait_for_line(platform, "step 12")
    platform.engine.interrupt("job", wait=0, grace=0.2)
    assert platform.ended()["TrainingJobStatus"] == "Completed"
    assert [line for line in lines(platform) if line.startswith("from")] == ["from 0", "from 10"]
    assert model(platform) == str(counted(20))


def test_without_checkpoints_a_job_begins_again(platform: Any) -> None:
    platform.command("train", COUNTING)
    members = {key: value for key, value in SPOT.items() if key != "CheckpointConfig"}
    platform.train(HyperParameters={"halt": "7"}, **members, **uncompressed())
    wait_for_line(platform, "step 7")
    platform.engine.interrupt("job", wait=0)
    wait_for_line(platform, "from 0", count=2)
    platform.engine.stop("training-job", "job")
    assert platform.ended()["TrainingJobStatus"] == "Stopped"


def test_the_time_without_a_machine_is_not_billed(platform: Any) -> None:
    doc = training_document(platform.config, platform.request(**SPOT))
    times = ((0, "Starting"), (10, "Downloading"), (20, "Training"), (110, "Interrupted"), (200, "Starting"))
    times += ((210, "Downloading"), (215, "Training"), (300, "Uploading"), (310, "Completed"))
    doc["SecondaryStatusTransitions"] = [
        {"Status": status, "StartTime": start, "EndTime": end}
        for (start, status), (end, _) in zip(times, (*times[1:], times[-1]), strict=True)
    ]
    assert seconds_with_machine(doc) == 200


def test_a_wait_that_is_too_long_ends_the_job(platform: Any) -> None:
    platform.command("train", COUNTING)
    condition = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 2}
    platform.train(HyperParameters={"steps": "10000"}, **{**SPOT, "StoppingCondition": condition})
    platform.status("job", "Training")
    platform.engine.interrupt("job", wait=100)
    doc = platform.ended()
    assert statuses(doc)[-3:] == ["Interrupted", "Stopping", "MaxWaitTimeExceeded"]
    assert doc["TrainingJobStatus"] == "Stopped"
    assert doc["TrainingEndTime"] - doc["CreationTime"] >= 2


def test_all_attempts_share_the_longest_time(platform: Any) -> None:
    platform.command("train", COUNTING)
    condition = {"MaxRuntimeInSeconds": 2, "MaxWaitTimeInSeconds": 60}
    platform.train(HyperParameters={"steps": "10000"}, **{**SPOT, "StoppingCondition": condition})
    platform.status("job", "Training")
    time.sleep(1)
    platform.engine.interrupt("job", wait=0)
    doc = platform.ended()
    assert doc["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert 1.8 < seconds_with_machine(doc) < 4


def test_a_stop_while_there_is_no_machine(platform: Any) -> None:
    platform.command("train", COUNTING)
    platform.train(HyperParameters={"halt": "7"}, **SPOT)
    wait_for_line(platform, "step 7")
    platform.engine.interrupt("job", wait=100)
    platform.status("job", "Interrupted")
    with pytest.raises(ValidationException, match="no machine at the moment"):
        platform.engine.interrupt("job")
    platform.engine.stop("training-job", "job")
    doc = platform.ended()
    assert statuses(doc)[-3:] == ["Interrupted", "Stopping", "Stopped"]
    # What the job kept is still there for the next one.
    assert platform.object("s3://bucket/checkpoints/job/state.json").exists()


def test_what_cannot_be_interrupted(platform: Any) -> None:
    platform.command("train", COUNTING)
    platform.train(HyperParameters={"halt": "2"})
    wait_for_line(platform, "step 2")
    with pytest.raises(ValidationException, match="job does not run on spot capacity"):
        platform.engine.interrupt("job")
    with pytest.raises(ResourceNotFound, match="no training job 'other'"):
        platform.engine.interrupt("other")
    platform.engine.stop("training-job", "job")
    platform.ended()
    platform.engine.close()
    with pytest.raises(ValidationException, match="job does not run"):
        platform.engine.interrupt("job")


def test_a_second_interruption_in_the_first(platform: Any) -> None:
    platform.command("train", "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    platform.train(**SPOT)
    platform.status("job", "Training")
    platform.engine.interrupt("job", grace=60)
    with pytest.raises(ValidationException, match="being interrupted already"):
        platform.engine.interrupt("job")


def test_by_chance(stopped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped.config = replace(stopped.config, spot_interruptions=60)
    stopped.faster(spot_wait=0.1)
    moments = [0.3, 0.3, None, None]
    asked: list[float] = []

    def fall(per_hour: float) -> float | None:
        asked.append(per_hour)
        return moments.pop(0)

    monkeypatch.setattr("local.jobs.training.next_interruption", fall)
    stopped.start()
    stopped.command("train", COUNTING)
    stopped.train(HyperParameters={"steps": "60"}, **SPOT, **uncompressed())
    doc = stopped.ended()
    assert statuses(doc).count("Interrupted") == 2
    assert model(stopped) == str(counted(60))
    stopped.train("other", HyperParameters={"steps": "1"})
    assert stopped.ended("other")["TrainingJobStatus"] == "Completed"
    assert asked == [60, 60, 60, 0]


def test_chance_is_as_often_as_it_was_set_to() -> None:
    assert spot.next_interruption(0) is None
    moments = [spot.next_interruption(120) or 0 for _ in range(4000)]
    assert 25 < sum(moments) / len(moments) < 35


def test_trials_keep_checkpoints_of_their_own(platform: Any) -> None:
    """As the trainer does: each in the folder of its name, below the address that all of them have."""
    platform.command(
        "train",
        COUNTING.replace('"checkpoints', "f\"checkpoints/{os.environ['TRAINING_JOB_NAME']}").replace(
            "state = ",
            "(base / f\"checkpoints/{os.environ['TRAINING_JOB_NAME']}\").mkdir(exist_ok=True)\nstate = ",
        ),
    )
    names = ("a", "b")
    for name in names:
        platform.train(name, HyperParameters={"halt": "7"}, **SPOT, **uncompressed())
    for name in names:
        wait_for_line(platform, "step 7", name)
        platform.engine.interrupt(name, wait=0)
    for name in names:
        assert platform.ended(name)["TrainingJobStatus"] == "Completed"
        assert [line for line in lines(platform, name) if line.startswith("from")] == ["from 0", "from 7"]
        assert model(platform, name) == str(counted(20))


def test_rules_go_on_through_an_interruption(platform: Any) -> None:
    platform.command(
        "train",
        COUNTING.replace(
            'print("step"',
            'pathlib.Path(base / "output/tensors" / f"{place[\'step\']}").touch(); print("step"',
        ),
    )
    platform.rules(
        "while not ended(): time.sleep(0.02)\nverdict('NoIssuesFound')\n"
        "print('seen', len(list(pathlib.Path(options.tensors).iterdir())))"
    )
    rule = {"RuleConfigurationName": "LossNotDecreasing", "RuleEvaluatorImage": "x"}
    platform.train(
        HyperParameters={"halt": "7"},
        DebugHookConfig={"S3OutputPath": "s3://bucket/out"},
        DebugRuleConfigurations=[rule],
        **SPOT,
    )
    wait_for_line(platform, "step 7")
    platform.engine.interrupt("job", wait=0)
    assert platform.ended()["TrainingJobStatus"] == "Completed"
    doc = platform.wait(
        "training-job",
        "job",
        lambda doc: doc["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] != "InProgress",
    )
    assert doc["DebugRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] == "NoIssuesFound"
    # Its steps before the interruption and after it, and the end file: one evaluation saw them all.
    assert platform.log_line("seen", "job-rules", "/aws/sagemaker/ProcessingJobs") == "seen 21"


# --- RetryStrategy ------------------------------------------------------------------------------------


def failing(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service fails in a job's download so many times."""
    download = Downloader.download
    left = [times]

    def fail(*args: Any, **members: Any) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("a fault of the service")
        return download(*args, **members)

    monkeypatch.setattr(Downloader, "download", fail)


def channels(platform: Any) -> list[dict[str, Any]]:
    platform.put("s3://bucket/data/a.txt", "a")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}
    return [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}]


def test_a_failure_of_the_service_is_tried_again(platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.command("train", "(base / 'model/sum').write_text('x')")
    failing(2, monkeypatch)
    platform.train(InputDataConfig=channels(platform), RetryStrategy={"MaximumRetryAttempts": 2})
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Completed"
    assert statuses(doc) == [
        *("Starting", "Downloading", "Starting", "Downloading", "Starting", "Downloading"),
        *("Training", "Uploading", "Completed"),
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.exit(3)", "AlgorithmError"),
        ("", "InternalServerError: The local SageMaker failed: RuntimeError('a fault of the service')"),
    ],
)
def test_what_is_not_tried_again(
    platform: Any, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    platform.command("train", script)
    failing(0 if script else 9, monkeypatch)
    platform.train(InputDataConfig=channels(platform), RetryStrategy={"MaximumRetryAttempts": 1})
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Failed"
    assert reason in doc["FailureReason"]
    assert statuses(doc).count("Starting") == (1 if script else 2)


def test_a_job_survives_the_end_of_the_service(stopped: Any) -> None:
    """A service that was killed left it; the next one goes on from its checkpoints."""
    stopped.command("train", COUNTING)
    members: dict[str, Any] = {"CheckpointConfig": SPOT["CheckpointConfig"], **uncompressed()}
    request = stopped.request(RetryStrategy={"MaximumRetryAttempts": 1}, **members)
    stopped.store.put("training-job", "job", training_document(stopped.config, request))
    stopped.put("s3://bucket/checkpoints/job/state.json", json.dumps({"step": 7, "sum": counted(7)}))
    stopped.start()
    assert stopped.ended()["TrainingJobStatus"] == "Completed"
    assert lines(stopped)[0] == "from 7"
    assert model(stopped) == str(counted(20))
    stopped.store.mutate("training-job", "job", lambda doc: doc.update({"TrainingJobStatus": "InProgress"}))
    stopped.engine.close()
    stopped.start()
    assert stopped.store.get("training-job", "job")["TrainingJobStatus"] == "Failed"


def test_a_trial_is_interrupted(platform: Any) -> None:
    """The tuning job sees one trial, which takes longer."""
    platform.command("train", COUNTING + "\nprint('score=%d' % place['sum'])")
    tune(
        platform,
        config={"ResourceLimits": limits(2, 1)},
        StaticHyperParameters={"halt": "7"},
        **{**SPOT, "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"}},
    )
    for number in (1, 2):
        platform.wait("tuning-job", "tune", lambda _, n=number: len(children(platform)) == n, 30)
        name = children(platform)[-1]["TrainingJobName"]
        wait_for_line(platform, "step 7", name)
        platform.engine.interrupt(name, wait=0)
        assert "Interrupted" in statuses(platform.ended(name))
        platform.object("s3://bucket/checkpoints/state.json").unlink()  # this counter's, not a trial's own
    doc = ended(platform)
    assert doc["HyperParameterTuningJobStatus"] == "Completed"
    assert doc["TrainingJobStatusCounters"]["Completed"] == 2
    values = [child["_FinalObjectiveMetric"]["Value"] for child in children(platform)]
    assert values == [counted(20)] * 2


# Scores after each of four epochs; stays in the second of the first attempt. Logs its best again at the end.
EPOCHS = """
values = config("hyperparameters")
state, marker = base / "checkpoints/epoch", pathlib.Path(values["marker"])
epoch = int(state.read_text()) if state.exists() else 0

def end(*_):
    print("score=0.9", flush=True); os._exit(0)

signal.signal(signal.SIGTERM, end)
while epoch < 4:
    epoch += 1
    state.parent.mkdir(exist_ok=True)
    state.write_text(str(epoch))
    print(f"score=0.{epoch}")
    if epoch == 2 and not marker.exists():
        marker.touch(); print("halted")
        while True: time.sleep(0.01)
"""


@pytest.mark.parametrize("checkpoints", [True, False])
def test_a_trial_that_loses_its_machine_has_as_many_values_as_epochs(
    platform: Any, tmp_path: Path, checkpoints: bool
) -> None:
    """Hyperband counts them, and early stopping compares them epoch by epoch."""
    platform.command("train", "import pathlib\n" + EPOCHS)
    spot_members = {key: value for key, value in SPOT.items() if checkpoints or key != "CheckpointConfig"}
    tune(
        platform,
        config={"Strategy": "Hyperband", "ResourceLimits": limits(1, 1)},
        StaticHyperParameters={"epochs": "9", "marker": str(tmp_path / "marker")},
        **spot_members,
    )
    platform.wait("tuning-job", "tune", lambda _: children(platform), 30)
    name = children(platform)[0]["TrainingJobName"]
    wait_for_line(platform, "halted", name)
    platform.engine.interrupt(name, wait=0)
    assert ended(platform)["HyperParameterTuningJobStatus"] == "Completed"
    assert lines(platform, name).count("score=0.9") == 1
    [child] = children(platform)
    assert child["_ObjectiveValues"] == 4
    assert child["_FinalObjectiveMetric"]["Value"] == 0.4
