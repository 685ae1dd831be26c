"""The rules as a processing job: they ask SageMaker about the job that they watch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.rules import job as watched
from train.rules.__main__ import main
from train.rules.job import SageMakerJob


class Client:
    """SageMaker's client; `answers` are statuses or errors."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.stopped: list[str] = []

    def describe_training_job(self, TrainingJobName: str) -> dict[str, str]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"TrainingJobStatus": answer}

    def stop_training_job(self, TrainingJobName: str) -> None:
        self.stopped.append(TrainingJobName)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.0)


def test_the_end_is_seen_and_errors_are_not_taken_for_it() -> None:
    found = SageMakerJob("job", Client("InProgress", OSError("no network"), "Failed"))
    assert [found.ended(), found.ended(), found.ended(), found.ended()] == [False, False, True, True]


def test_sagemaker_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOOK_SECONDS", 1000.0)
    found = SageMakerJob("job", Client("InProgress"))  # one answer only
    assert not found.ended()
    assert not found.ended()


def test_a_job_is_stopped_once_and_a_refusal_is_survived() -> None:
    client = Client()
    found = SageMakerJob("job", client)
    found.stop()
    found.stop()
    assert client.stopped == ["job"]
    client.stop_training_job = lambda **_: 1 / 0  # type: ignore[assignment,method-assign,return-value]
    SageMakerJob("job", client).stop()


def test_the_command_takes_its_rules_as_arguments_and_stops_the_job(
    trial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(0, 200, 5):
        trial.step(step, Loss_output_0=2.3)
    client = Client(*["InProgress"] * 2, *["Stopped"] * 9)
    monkeypatch.setattr("train.rules.__main__.SageMakerJob", lambda name: SageMakerJob(name, client))
    parameters = {"rule_to_invoke": "LossNotDecreasing", "stop_training_on_fire": "True"}
    rule = json.dumps({"RuleConfigurationName": "Loss", "RuleParameters": parameters})
    output = tmp_path / "out"
    arguments = ["--job", "job", "--sagemaker-job", "--tensors", str(trial.root), "--debug-rule", rule]
    assert main([*arguments, "--output", str(output)]) == 0
    (status,) = json.loads((output / "status.json").read_text())["DebugRuleEvaluationStatuses"]
    assert status["RuleEvaluationStatus"] == "IssuesFound"
    assert client.stopped == ["job"]


def test_rules_are_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra, said in (([], "no rule to evaluate"), (["--debug-rule", "{"], "is not JSON")):
        with pytest.raises(SystemExit):
            main(["--job", "j", "--tensors", str(tmp_path), "--output", str(tmp_path), *extra])
        assert said in capsys.readouterr().err
