"""The `rules` command of the configured training image beside jobs whose own image is a foreign one."""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

Platform = Any  # conftest.Platform

GROUP = "/aws/sagemaker/ProcessingJobs"
# What the SDK's Rule.sagemaker(…) names: AWS's own evaluator, which nobody outside can pull.
CLOSED = "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest"
SLOW = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
print("ready")
while True: time.sleep(0.05)
"""
TRAIN_UNTIL_SAMPLED = """
while not list((base / "output/profiler").rglob("*.algo-1.json")): time.sleep(0.01)
print("measured")
"""
FOLLOW = "while not ended(): time.sleep(0.01)\n"
PROFILE = {"S3OutputPath": "s3://bucket/profile"}


def debugged(**members: Any) -> dict[str, Any]:
    rule = {
        "RuleConfigurationName": "LossNotDecreasing",
        "RuleEvaluatorImage": CLOSED,
        "RuleParameters": {"rule_to_invoke": "LossNotDecreasing"},
    }
    return {
        "DebugHookConfig": {"S3OutputPath": "s3://bucket/debug"},
        "DebugRuleConfigurations": [rule],
        **members,
    }


def verdict(doc: dict[str, Any]) -> str:
    [status] = doc["DebugRuleEvaluationStatuses"]
    return str(status["RuleEvaluationStatus"])


def details(platform: Platform) -> str:
    doc = platform.wait("training-job", "job", lambda doc: verdict(doc) != "InProgress")
    assert verdict(doc) == "Error"
    return str(doc["DebugRuleEvaluationStatuses"][0]["StatusDetails"])


def samples(platform: Platform) -> list[float]:
    """Values of the samples in the bucket."""
    folder = platform.object("s3://bucket/profile/job/profiler-output/system/incremental")
    [file] = folder.glob("*/*.algo-1.json")
    return [json.loads(line)["Value"] for line in file.read_text().splitlines()]


# --- rules ----------------------------------------------------------------------------------------------


def test_rules_settle_after_the_job_has_completed(platform: Platform, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    platform.command("train", "print('trained')")
    platform.rules(
        f"while not (ended() and pathlib.Path({str(gate)!r}).exists()): time.sleep(0.01)\n"
        "print('evaluated'); verdict('IssuesFound')"
    )
    platform.train(**debugged())
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Completed"
    assert verdict(doc) == "InProgress"
    gate.touch()
    doc = platform.wait("training-job", "job", lambda doc: verdict(doc) != "InProgress")
    [status] = doc["DebugRuleEvaluationStatuses"]
    assert (status["RuleEvaluationStatus"], status["StatusDetails"]) == ("IssuesFound", "because")
    assert status["RuleEvaluationJobArn"].endswith(":processing-job/job-rules")
    assert doc["DebugRuleConfigurations"][0]["RuleEvaluatorImage"] == CLOSED
    platform.engine.close()
    assert platform.object("s3://bucket/debug/job/rule-output/status.json").exists()
    assert platform.log("job-rules", GROUP) == ["evaluated"]


def test_both_kinds_of_rules_are_judged_by_one_process_that_measures_too(platform: Platform) -> None:
    platform.command("train", TRAIN_UNTIL_SAMPLED)
    platform.rules(f"print(sys.argv[1:]); sample()\n{FOLLOW}verdict('NoIssuesFound')")
    rule = {"RuleConfigurationName": "ProfilerReport", "RuleEvaluatorImage": CLOSED}
    platform.train(**debugged(ProfilerConfig=PROFILE, ProfilerRuleConfigurations=[rule]))
    doc = platform.wait("training-job", "job", lambda doc: verdict(doc) == "NoIssuesFound")
    assert doc["ProfilerRuleEvaluationStatuses"][0]["RuleEvaluationStatus"] == "NoIssuesFound"
    platform.engine.close()
    [line] = platform.log("job-rules", GROUP)
    options = re.findall(r"--[a-z-]+", line)
    assert sorted(options) == ["--config", "--job", "--output", "--profiler", "--sample-system", "--tensors"]


def test_a_rule_stops_the_job(platform: Platform) -> None:
    platform.command("train", f"(base / 'output/data/findings.json').write_text('{{}}')\n{SLOW}")
    home = str(platform.config.home)
    begun = f"while not list(pathlib.Path({home!r}).rglob('findings.json')): time.sleep(0.01)"
    platform.rules(f"{begun}\nverdict('IssuesFound', stop=True)\n{FOLLOW}")
    platform.train(**debugged())
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Stopped"
    assert doc["SecondaryStatusTransitions"][-1]["StatusMessage"] == "Training job stopped by a debugger rule"
    assert verdict(doc) == "IssuesFound"
    assert platform.object("s3://bucket/out/job/output/output.tar.gz").exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [("sys.exit('broken rule')", "exit code 1: broken rule"), (FOLLOW, "without a verdict")],
)
def test_rules_that_end_without_a_verdict_are_errors(platform: Platform, script: str, reason: str) -> None:
    platform.command("train", "")
    platform.rules(script)
    platform.train(**debugged())
    assert reason in details(platform)


@pytest.mark.parametrize("status", ["[]", '{"DebugRuleEvaluationStatuses": {}}', "[" * 100_000])
def test_a_status_file_that_is_none_leaves_nothing_behind(platform: Platform, status: str) -> None:
    platform.command("train", "")
    platform.rules(f"pathlib.Path(options.output, 'status.json').write_text({status!r})\n{FOLLOW}")
    platform.train(**debugged())
    platform.ended()
    assert "without a verdict" in details(platform)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("byoc-train", "Image 'byoc-train' has no command 'rules'"),
        ("elsewhere/none:1", "No image 'none' (elsewhere/none:1) on this machine"),
    ],
)
def test_an_image_that_cannot_judge_is_the_rules_error_not_the_jobs(
    stopped: Platform, image: str, reason: str
) -> None:
    stopped.config = replace(stopped.config, train_image=image)
    stopped.start()
    stopped.command("train", "print('trained')")
    stopped.train(**debugged(ProfilerConfig=PROFILE))
    said = details(stopped)
    assert reason in said
    assert "`byoc local up --runtime process --train-image NAME` names another" in said
    assert stopped.ended()["TrainingJobStatus"] == "Completed"
    stopped.engine.close()
    assert stopped.log() == [f"[local SageMaker] The machine is not measured: {said}", "trained"]
    assert stopped.log("job-rules", GROUP) == [f"The machine is not measured: {said}"]


def test_rules_of_a_job_that_never_trained_are_stopped(platform: Platform) -> None:
    platform.command("train", "")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/none"}
    platform.train(**debugged(InputDataConfig=[{"ChannelName": "a", "DataSource": {"S3DataSource": source}}]))
    doc = platform.wait("training-job", "job", lambda doc: verdict(doc) != "InProgress")
    assert verdict(doc) == "Stopped"


# --- the machine ----------------------------------------------------------------------------------------


def test_a_profiled_job_is_measured_from_its_start_to_its_end(platform: Platform) -> None:
    platform.command("train", TRAIN_UNTIL_SAMPLED)
    platform.rules(f"print(os.getpid(), sys.argv[1:]); sample(1)\n{FOLLOW}sample(2)")
    platform.train(ProfilerConfig={**PROFILE, "ProfilingIntervalInMilliseconds": 100})
    assert platform.ended()["TrainingJobStatus"] == "Completed"
    assert platform.log() == ["measured"]
    platform.engine.close()
    assert samples(platform) in ([1, 2], [1])  # SIGTERM may come before the end file is seen
    [line] = platform.log("job-rules", GROUP)
    pid, _, arguments = line.partition(" ")
    assert re.findall(r"--[a-z-]+", arguments) == ["--job", "--output", "--profiler", "--sample-system"]
    assert "'--sample-system', '100'" in arguments
    assert not Path("/proc", pid).exists()
    assert not platform.object("s3://bucket/profile/job/rule-output").exists()


def test_samples_that_come_while_rules_are_judged_reach_the_bucket(
    platform: Platform, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    platform.command("train", "")
    platform.rules(
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n"
        "sample(3); verdict('NoIssuesFound')"
    )
    platform.train(**debugged(ProfilerConfig=PROFILE))
    platform.ended()
    gate.touch()
    platform.wait("training-job", "job", lambda doc: verdict(doc) == "NoIssuesFound")
    platform.engine.close()
    assert samples(platform) == [3]


def test_the_interval_is_sagemakers_where_the_request_names_none(platform: Platform) -> None:
    platform.command("train", TRAIN_UNTIL_SAMPLED)
    platform.rules(f"print('every', options.sample_system); sample()\n{FOLLOW}")
    platform.train(ProfilerConfig=PROFILE)
    platform.ended()
    assert platform.log("job-rules", GROUP) == ["every 500"]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"ProfilerConfig": {"DisableProfiler": True}},
        {"ProfilerConfig": {**PROFILE, "DisableProfiler": True}},
        {"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 100}},
        {"DebugHookConfig": {"S3OutputPath": "s3://bucket/debug"}},
    ],
)
def test_who_asks_for_no_rules_and_no_profile_gets_no_second_process(
    platform: Platform, members: dict[str, Any]
) -> None:
    platform.command("train", "print('trained')")
    platform.rules("")
    platform.train(**members)
    assert platform.ended()["TrainingJobStatus"] == "Completed"
    assert platform.log() == ["trained"]
    assert not platform.config.log_folder(GROUP).exists()


def test_a_sampler_that_ends_early_is_said_in_the_jobs_log(platform: Platform) -> None:
    platform.command("train", SLOW)
    platform.rules("sys.exit('rules: unrecognized arguments: --sample-system')")
    platform.train(ProfilerConfig=PROFILE)
    line = platform.log_line("[local SageMaker] The machine is not measured")
    assert line.endswith(
        "any longer: The rules command ended with exit code 1: rules: unrecognized arguments: --sample-system"
    )
    platform.engine.stop("training-job", "job")
    assert platform.ended()["TrainingJobStatus"] == "Stopped"
    assert platform.log().count(line) == 1
    assert platform.log("job-rules", GROUP)[-1] == line.removeprefix("[local SageMaker] ")


@pytest.mark.parametrize("ending", ["the job", "a stop", "the service"])
def test_a_sampler_that_looks_for_no_end_file_ends_with(platform: Platform, ending: str) -> None:
    platform.command("train", TRAIN_UNTIL_SAMPLED if ending == "the job" else SLOW)
    platform.rules("print(os.getpid())\nsample()\nwhile True: time.sleep(60)")
    platform.train(ProfilerConfig=PROFILE)
    pid = int(platform.log_line("", "job-rules", GROUP))
    if ending != "the job":
        platform.log_line("ready")
        if ending == "a stop":
            platform.engine.stop("training-job", "job")
        else:
            platform.engine.close()
    platform.ended()
    platform.engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not any("not measured" in line for line in platform.log())


def test_rules_of_a_deleted_job_leave_the_files_of_a_new_one_with_its_name(
    platform: Platform, tmp_path: Path
) -> None:
    gate, trained = tmp_path / "gate", tmp_path / "trained"
    platform.command("train", "print('trained')")
    platform.rules(f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\nprint('over')")
    platform.train(**debugged())
    platform.ended()
    [run] = [thread for thread in threading.enumerate() if thread.name == "training-job job"]
    platform.store.delete("training-job", "job")
    platform.rules(FOLLOW)
    platform.command(
        "train",
        f"while not pathlib.Path({str(trained)!r}).exists(): time.sleep(0.01)\n"
        "(base / 'model' / 'name').write_text('new')",
    )
    platform.train(**debugged())
    platform.status("job", "Training")
    gate.touch()
    run.join(15)
    assert verdict(platform.store.get("training-job", "job")) == "InProgress"
    trained.touch()
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Completed", doc
