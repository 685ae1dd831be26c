"""The evaluator following a job, and the `rules` command as the platform starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.rules import names
from debugger.evaluator import Evaluator

REPOSITORY = Path(__file__).parents[2]


def configuration(*names: str, **parameters: str) -> dict[str, Any]:
    return {
        "DebugRuleConfigurations": [
            {
                "RuleConfigurationName": f"My{name}",
                "RuleEvaluatorImage": "byoc-train:1",
                "RuleParameters": {"rule_to_invoke": name, **parameters},
            }
            for name in names
        ]
    }


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def evaluate(trial: Any, output: Path, config: dict[str, Any]) -> dict[str, Any]:
    Evaluator("job", trial.root, None, config, output).run(once=True)
    status: dict[str, Any] = read(output, "status.json")
    return status


def test_the_three_files_say_what_was_found(trial: Any, tmp_path: Path) -> None:
    for step in range(3):
        weight = np.full(4, np.nan if step == 2 else step + 1.0, dtype=np.float32)
        trial.step(step, Loss_output_0=2.0 - step, fc_weight=weight, gradient__fc_weight=weight)
    status = evaluate(
        trial, tmp_path / "out", configuration("ExplodingTensor", "VanishingGradient", "DeadRelu")
    )
    exploding, vanishing, dead = status["DebugRuleEvaluationStatuses"]
    assert exploding["RuleConfigurationName"] == "MyExplodingTensor"
    assert exploding["RuleEvaluationStatus"] == "IssuesFound"
    assert "at step 2 resulted in the condition being met" in exploding["StatusDetails"]
    assert vanishing["RuleEvaluationStatus"] == "NoIssuesFound"
    assert dead["RuleEvaluationStatus"] == "Error"
    assert dead["StatusDetails"].startswith("ClientError: Could not judge: It needs ReLU outputs")
    judged = read(tmp_path / "out", "findings.json")["rules"][2]
    assert judged["outcome"] == "CouldNotJudge"
    assert judged["summary"].startswith("It needs ReLU outputs")
    assert status["StopTrainingJob"] is False
    assert status["ProfilerRuleEvaluationStatuses"] == []

    rule = read(tmp_path / "out", "findings.json")["rules"][0]
    assert rule["rule"] == "ExplodingTensor"
    assert set(rule["findings"][0]) == {"step", "tensor", "severity", "message", "cause", "remedy"}

    series = read(tmp_path / "out", "series.json")
    assert series["complete"] is True
    assert series["losses"]["Loss_output_0"]["TRAIN"] == {"step": [0, 1, 2], "value": [2.0, 1.0, 0.0]}
    assert series["weights"]["fc_weight"]["update_ratio"] == [None, 1.0, None]
    assert series["gradients"]["fc_weight"]["mean_abs"][:2] == [1.0, 2.0]


def test_without_any_data_every_rule_says_that_no_step_came(trial: Any, tmp_path: Path) -> None:
    config = configuration(*names("debugger"))
    config["ProfilerRuleConfigurations"] = configuration(*names("profiler"))["DebugRuleConfigurations"]
    empty = tmp_path / "profiler"
    empty.mkdir()
    evaluator = Evaluator("job", trial.root, empty, config, tmp_path / "out")
    assert {str(result.outcome) for result in evaluator.results()} == {"InProgress"}
    evaluator.run(once=True)
    for result in evaluator.results():
        assert result.outcome == "CouldNotJudge", result.rule
        assert result.summary.startswith("No step was recorded"), result.rule
        assert all(part.outcome == "CouldNotJudge" for part in result.parts)


def test_a_hook_that_saved_nothing_is_told_what_to_save(trial: Any, tmp_path: Path) -> None:
    trial.collections(mine={"include_regex": ["nothing"]})
    trial.end()
    evaluator = Evaluator("job", trial.root, None, configuration("Overfit"), tmp_path / "out")
    evaluator.run()
    assert evaluator.results()[0].summary.startswith("It needs losses")


def test_a_wrong_configuration_is_an_error_of_that_rule_alone(trial: Any, tmp_path: Path) -> None:
    trial.step(0, x=1.0)
    config = configuration("ExplodingTensor")
    config["DebugRuleConfigurations"] += configuration("Exploding")["DebugRuleConfigurations"]
    config["DebugRuleConfigurations"] += [{"RuleConfigurationName": "Empty"}, "text"]
    good, wrong, empty = evaluate(trial, tmp_path / "out", config)["DebugRuleEvaluationStatuses"]
    assert good["RuleEvaluationStatus"] == "NoIssuesFound"
    assert wrong["RuleEvaluationStatus"] == empty["RuleEvaluationStatus"] == "Error"
    assert "ExplodingTensor" in wrong["StatusDetails"]


def test_a_rule_can_stop_the_job(trial: Any, tmp_path: Path) -> None:
    trial.step(0, x=np.nan)
    config = configuration("ExplodingTensor", action_json='{"name": "stoptraining"}')
    assert evaluate(trial, tmp_path / "out", config)["StopTrainingJob"] is True


def test_a_hook_that_switched_itself_off_is_reported(trial: Any, tmp_path: Path) -> None:
    (trial.root / "hook-status.json").write_text(json.dumps({"state": "disabled", "reason": "disk full"}))
    status = evaluate(trial, tmp_path / "out", configuration("VanishingGradient"))
    assert "disk full" in status["DebugRuleEvaluationStatuses"][0]["StatusDetails"]
    assert "disk full" in read(tmp_path / "out", "findings.json")["problems"][0]


def command(trial: Any, output: Path, config: dict[str, Any], tmp_path: Path) -> list[str]:
    (tmp_path / "rules.json").write_text(json.dumps(config))
    return [
        str(REPOSITORY / "docker/bin/rules"), "--job", "job", "--tensors", str(trial.root),
        "--config", str(tmp_path / "rules.json"), "--output", str(output),
    ]  # fmt: skip


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def statuses(output: Path) -> list[str]:
    if not (output / "status.json").exists():
        return []
    found = read(output, "status.json")["DebugRuleEvaluationStatuses"]
    return [entry["RuleEvaluationStatus"] for entry in found]


@pytest.mark.slow
def test_the_command_follows_a_job_to_its_end(trial: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    config = configuration("ExplodingTensor", "VanishingGradient")
    printed = tmp_path / "printed"
    with printed.open("w") as stream:
        process = subprocess.Popen(command(trial, output, config, tmp_path), stdout=stream)
    try:
        wait_for(lambda: statuses(output) == ["InProgress", "InProgress"])
        trial.step(0, gradient__a=np.array([1.0, np.inf]))
        wait_for(lambda: statuses(output) == ["IssuesFound", "InProgress"])
        trial.end()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    assert statuses(output) == ["IssuesFound", "NoIssuesFound"]
    assert "MyExplodingTensor: IssuesFound" in printed.read_text()


@pytest.mark.slow
def test_a_stopped_evaluation_says_so(trial: Any, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(command(trial, output, configuration("VanishingGradient"), tmp_path))
    try:
        wait_for(lambda: statuses(output) == ["InProgress"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
    finally:
        process.kill()
        process.wait()
    assert statuses(output) == ["Stopped"]


def test_wrong_arguments_are_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from debugger.__main__ import main

    (tmp_path / "bad.json").write_text("{")
    common = ["--job", "j", "--output", str(tmp_path / "out")]
    for arguments, message in (
        (["--config", str(tmp_path / "none.json"), "--tensors", "x"], "cannot read"),
        (["--config", str(tmp_path / "bad.json"), "--tensors", "x"], "is not JSON"),
        (["--config", str(tmp_path / "bad.json")], "nothing to judge"),
        (["--tensors", "x"], "nothing to do"),
        (["--tensors", "x", "--sample-system", "500"], "needs --profiler, the folder to write to"),
        (["--profiler", "x", "--sample-system", "0"], "takes 100 or more"),
        (["--profiler", "x", "--sample-system", "500", "--once"], "no --once"),
    ):
        with pytest.raises(SystemExit) as error:
            main([*common, *arguments])
        assert error.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_evaluator_imports_no_torch() -> None:
    code = (
        "import sys; from debugger.smdebug_files.reader import TrialReader; from pathlib import Path; "
        "import debugger.__main__; TrialReader(Path('.')); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [REPOSITORY / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.stdout.strip() == "False"
