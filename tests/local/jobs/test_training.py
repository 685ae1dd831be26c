from __future__ import annotations

import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.jobs.documents import training_document
from local.runtime import optml

Platform = Any  # conftest.Platform


CHANNELS = (
    'channels {"train": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", '
    '"RecordWrapperType": "None", "ContentType": "application/x-image"}}'
)


def channel(name: str, uri: str, **members: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **members}


def packed(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member)) is not None}


def test_a_job_from_channel_to_artifacts(platform: Platform) -> None:
    platform.put("s3://bucket/data/train/cat/1.txt", "miau")
    platform.command(
        "train",
        """
text = (base / "input/data/train/cat/1.txt").read_text()
print("hyperparameters", json.dumps(config("hyperparameters")))
print("hosts", config("resourceconfig")["current_host"], config("resourceconfig")["hosts"])
print("channels", json.dumps(config("inputdataconfig")))
print("job", os.environ["TRAINING_JOB_NAME"], os.environ["COLOUR"], os.environ["OMP_NUM_THREADS"])
(base / "model/weights.txt").write_text(text + os.environ["AWS_ENDPOINT_URL"])
(base / "output/data/report.json").write_text("{}")
""",
    )
    platform.train(
        HyperParameters={"lr": "0.1"},
        InputDataConfig=[channel("train", "s3://bucket/data/train/", ContentType="application/x-image")],
        Environment={"COLOUR": "blue and green"},
    )
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == doc["SecondaryStatus"] == "Completed"
    statuses = [transition["Status"] for transition in doc["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(transition["EndTime"] for transition in doc["SecondaryStatusTransitions"])
    assert doc["CreationTime"] <= doc["TrainingStartTime"] <= doc["TrainingEndTime"]
    uri = doc["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://bucket/out/job/output/model.tar.gz"
    assert packed(platform.object(uri)) == {"weights.txt": b"miauhttp://127.0.0.1:5999"}
    assert packed(platform.object("s3://bucket/out/job/output/output.tar.gz")) == {"report.json": b"{}"}
    assert platform.log() == [
        'hyperparameters {"lr": "0.1"}',
        "hosts algo-1 ['algo-1']",
        CHANNELS,
        "job job blue and green 2",
    ]
    platform.engine.close()
    assert list(platform.config.jobs_root.iterdir()) == []


def test_a_stop_before_the_launch_is_not_lost(platform: Platform) -> None:
    platform.command("train", "time.sleep(60)")
    platform.store.put("training-job", "job", training_document(platform.config, platform.request()))
    platform.engine.stop("training-job", "job")
    assert platform.store.get("training-job", "job")["TrainingJobStatus"] == "Stopping"
    platform.engine.submit("training-job", "job")
    assert platform.ended()["TrainingJobStatus"] == "Stopped"


def test_log_lines_carry_the_time(platform: Platform) -> None:
    platform.command("train", "print('hello')")
    before = time.time()
    platform.train()
    platform.ended()
    [file] = (platform.config.logs_root / "aws/sagemaker/TrainingJobs/job").iterdir()
    assert file.name.startswith("algo-1-")
    stamp, text = file.read_text().split(" ", 1)
    assert before - 1 < int(stamp) / 1000 < time.time() + 1
    assert text == "hello\n"


def test_the_job_may_change_its_data_but_not_the_bucket(platform: Platform) -> None:
    kept = platform.put("s3://bucket/data/1.txt", "original")
    platform.command(
        "train",
        """
file = base / "input/data/train/1.txt"
with file.open("r+") as f: f.write("changed!")
file.chmod(0)
""",
    )
    platform.train(InputDataConfig=[channel("train", "s3://bucket/data")])
    assert platform.ended()["TrainingJobStatus"] == "Completed"
    assert kept.read_text() == "original"


def test_metrics_come_from_stdout_and_stderr(platform: Platform) -> None:
    platform.command(
        "train",
        """
print("epoch=1 loss=0.5"); print("loss=nan"); print("loss=0.25 accuracy=0.9")
print("accuracy=0.95", file=sys.stderr)
""",
    )
    definitions = [
        {"Name": "train:loss", "Regex": r"(?:^|\s)loss=([-+0-9.eEinfa]+)"},
        {"Name": "accuracy", "Regex": r"accuracy=([0-9.]+)"},
        {"Name": "never", "Regex": "never=(.*)"},
        {"Name": "broken", "Regex": "(["},
    ]
    platform.train(AlgorithmSpecification={"TrainingImage": platform.image, "MetricDefinitions": definitions})
    doc = platform.ended()
    metrics = {metric["MetricName"]: metric["Value"] for metric in doc["FinalMetricDataList"]}
    assert metrics == {"train:loss": 0.25, "accuracy": 0.95}
    assert all(abs(metric["Timestamp"] - time.time()) < 60 for metric in doc["FinalMetricDataList"])
    assert "metric 'broken': the regular expression '([' is invalid" in platform.log()[0]


def test_metrics_appear_while_the_job_runs(platform: Platform) -> None:
    platform.command("train", "print('loss=1')\nwhile True: time.sleep(60)")
    definitions = [{"Name": "loss", "Regex": "loss=(.*)"}]
    platform.train(AlgorithmSpecification={"TrainingImage": platform.image, "MetricDefinitions": definitions})
    doc = platform.wait("training-job", "job", lambda doc: bool(doc["FinalMetricDataList"]))
    assert doc["TrainingJobStatus"] == "InProgress"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("(base / 'output/failure').write_text('x' * 5000); sys.exit(2)", "x" * 900 + ", exit code: 2"),
        ("print('the last words'); sys.exit(3)", "the last words, exit code: 3"),
        ("os.kill(os.getpid(), 9)", "out of memory, exit code: 137"),
    ],
)
def test_a_failure_is_told_and_its_output_kept(platform: Platform, script: str, reason: str) -> None:
    platform.command("train", f"(base / 'output/data/trace.txt').write_text('here')\n{script}")
    platform.train()
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == doc["SecondaryStatus"] == "Failed"
    assert doc["FailureReason"].startswith("AlgorithmError: ")
    assert doc["FailureReason"].endswith(reason)
    assert len(doc["FailureReason"]) <= 1024
    assert packed(platform.object("s3://bucket/out/job/output/output.tar.gz")) == {"trace.txt": b"here"}
    assert not platform.object("s3://bucket/out/job/output/model.tar.gz").exists()
    assert "ModelArtifacts" not in doc


def test_a_missing_prefix_fails_at_downloading_and_names_it(platform: Platform) -> None:
    platform.command("train", "")
    platform.train(InputDataConfig=[channel("train", "s3://bucket/nothing/here")])
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Failed"
    assert [t["Status"] for t in doc["SecondaryStatusTransitions"]] == ["Starting", "Downloading", "Failed"]
    assert 'No S3 objects found under S3 URL "s3://bucket/nothing/here"' in doc["FailureReason"]


def test_a_job_stays_in_the_region_of_its_client(platform: Platform) -> None:
    platform.command("train", "print('region', os.environ['AWS_REGION'], os.environ['AWS_DEFAULT_REGION'])")
    abroad = replace(platform.config, region="eu-west-1")
    platform.store.put("training-job", "job", training_document(abroad, platform.request()))
    platform.engine.submit("training-job", "job")
    assert platform.ended()["TrainingJobStatus"] == "Completed"
    assert platform.log() == ["region eu-west-1 eu-west-1"]


def test_an_unknown_image_fails_with_the_remedy(platform: Platform) -> None:
    platform.train(AlgorithmSpecification={"TrainingImage": "elsewhere/other:1"})
    assert "--image other=FOLDER" in platform.ended()["FailureReason"]


@pytest.mark.skipif(not optml.works(), reason="no private /opt/ml on this machine")
def test_an_entrypoint_takes_the_place_of_train(platform: Platform) -> None:
    platform.command("train", "sys.exit('not this one')")
    platform.command("other", "print('besides', sys.argv[1:])")
    script = (
        "cat /opt/ml/input/config/hyperparameters.json; echo; other a b; echo 1 > /opt/ml/model/m; exit $0"
    )
    for name, code in (("good", "0"), ("bad", "7")):
        platform.train(
            name,
            HyperParameters={"lr": "0.1"},
            AlgorithmSpecification={
                "TrainingImage": platform.image,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["/bin/sh", "-c"],
                "ContainerArguments": [script, code],
            },
        )
        doc = platform.ended(name)
        assert platform.log(name) == ['{"lr": "0.1"}', "besides ['a', 'b']"]
        if code == "0":
            assert doc["TrainingJobStatus"] == "Completed", doc
            assert packed(platform.object(doc["ModelArtifacts"]["S3ModelArtifacts"])) == {"m": b"1\n"}
        else:
            assert doc["TrainingJobStatus"] == "Failed"
            assert doc["FailureReason"].startswith("AlgorithmError: ")
            assert doc["FailureReason"].endswith(", exit code: 7")


SLOW = """
def stop(*_):
    (base / "model/weights.txt").write_text("so far")
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
print("ready")
while True: time.sleep(0.05)  # a signal may come between a look for signals and the sleep
"""


def test_a_stop_is_never_a_failure_and_keeps_the_artifacts(platform: Platform) -> None:
    platform.command("train", SLOW)
    platform.train()
    platform.log_line("ready")
    platform.engine.stop("training-job", "job")
    doc = platform.store.get("training-job", "job")
    assert doc is not None
    assert doc["TrainingJobStatus"] in ("Stopping", "Stopped")
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == doc["SecondaryStatus"] == "Stopped"
    assert "FailureReason" not in doc
    assert [t["Status"] for t in doc["SecondaryStatusTransitions"]][-3:] == [
        "Training",
        "Stopping",
        "Stopped",
    ]
    assert packed(platform.object(doc["ModelArtifacts"]["S3ModelArtifacts"])) == {"weights.txt": b"so far"}


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace_time(stopped: Platform) -> None:
    stopped.faster(stop_grace=0.2)
    stopped.start()
    stopped.command(
        "train", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready')\nwhile True: time.sleep(60)"
    )
    stopped.train()
    stopped.log_line("ready")
    stopped.engine.stop("training-job", "job")
    assert stopped.ended()["TrainingJobStatus"] == "Stopped"


def test_the_runtime_limit_ends_a_job_as_on_aws(platform: Platform) -> None:
    platform.command("train", SLOW)
    platform.train(StoppingCondition={"MaxRuntimeInSeconds": 1})
    doc = platform.ended()
    assert (doc["TrainingJobStatus"], doc["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert doc["ModelArtifacts"]["S3ModelArtifacts"]
    assert doc["TrainingTimeInSeconds"] == 1


@pytest.mark.parametrize("heeds", [True, False], ids=["heeds SIGTERM", "is killed"])
@pytest.mark.parametrize("ending", ["stop", "limit", "service"])
def test_the_output_of_a_job_that_is_ended_is_kept(stopped: Platform, ending: str, heeds: bool) -> None:
    stopped.faster(stop_grace=0.2, close_grace=0.2)
    stopped.start()
    stopped.command(
        "train",
        f"""
signal.signal(signal.SIGTERM, signal.{"SIG_DFL" if heeds else "SIG_IGN"})
(base / "output/data/debugger").mkdir()
(base / "output/data/debugger/findings.json").write_text("[]")
print("ready")
while True: time.sleep(60)
""",
    )
    stopped.train(StoppingCondition={"MaxRuntimeInSeconds": 1 if ending == "limit" else 60})
    stopped.log_line("ready")
    if ending == "stop":
        stopped.engine.stop("training-job", "job")
    elif ending == "service":
        stopped.engine.close()
    assert stopped.ended()["TrainingJobStatus"] == "Stopped"
    output = packed(stopped.object("s3://bucket/out/job/output/output.tar.gz"))
    assert output == {"debugger/findings.json": b"[]"}


def test_checkpoints_are_restored_and_synced_with_deletions(platform: Platform) -> None:
    old = platform.put("s3://bucket/checkpoints/old.pt", "1")
    platform.command(
        "train",
        """
folder = pathlib.Path(config("checkpointconfig")["LocalPath"])
print("found", sorted(os.listdir(folder)), (folder / "old.pt").read_text())
(folder / "old.pt").unlink()
(folder / "sub").mkdir()
(folder / "sub/.checkpoint-0000000001.pt.x1y2").write_text("half of it")
(folder / "sub/new.pt").write_text("2")
print("written")
while (folder / "sub/new.pt").exists(): time.sleep(60)
""",
    )
    platform.train(CheckpointConfig={"S3Uri": "s3://bucket/checkpoints/"})
    platform.log_line("written")
    new = platform.object("s3://bucket/checkpoints/sub/new.pt")
    deadline = time.monotonic() + 10
    while old.exists() or not new.exists():
        assert time.monotonic() < deadline, "not synced while the job runs"
        time.sleep(0.02)
    assert new.read_text() == "2"
    assert [path.name for path in new.parent.iterdir()] == ["new.pt"]
    platform.engine.stop("training-job", "job")
    platform.ended()
    assert platform.log()[0] == "found ['old.pt'] 1"


def test_the_debuggers_files_reach_the_job_and_its_output_reaches_the_bucket(platform: Platform) -> None:
    platform.command(
        "train",
        """
hook = json.loads(pathlib.Path(os.environ["SMDEBUG_CONFIG_FILE_PATH"]).read_text())
profiler = json.loads(pathlib.Path(os.environ["SMPROFILER_CONFIG_PATH"]).read_text())
print("hook", hook["HookParameters"], hook["CollectionConfigurations"])
print("profiler", profiler["ProfilingParameters"], profiler["DisableProfiler"])
assert pathlib.Path(hook["LocalPath"]) == base / "output/tensors", hook
(base / "output/tensors/events").mkdir(parents=True)
(base / "output/tensors/events/0.tfevents").write_text("tensor")
(base / "output/tensors/events/1.tfevents.tmp").write_text("half")
(base / "output/profiler/framework").mkdir()
(base / "output/profiler/framework/steps.json").write_text("[]")
""",
    )
    platform.train(
        DebugHookConfig={
            "S3OutputPath": "s3://bucket/debug/",
            "HookParameters": {"train.save_interval": "10"},
            "CollectionConfigurations": [{"CollectionName": "losses"}],
        },
        ProfilerConfig={
            "S3OutputPath": "s3://bucket/profile",
            "ProfilingIntervalInMilliseconds": 100,
            "ProfilingParameters": {"a": "b"},
        },
    )
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Completed", platform.log()
    assert doc["ProfilingStatus"] == "Enabled"
    tensors = platform.object("s3://bucket/debug/job/debug-output")
    assert sorted(str(path.relative_to(tensors)) for path in tensors.rglob("*.*")) == [
        "events/0.tfevents",
        "training_job_end.ts",
    ]
    profile = platform.object("s3://bucket/profile/job/profiler-output")
    assert (profile / "training_job_end.ts").exists()
    assert (profile / "framework/steps.json").exists()


def test_three_jobs_on_two_cores_take_turns(platform: Platform) -> None:
    platform.command("train", SLOW)
    for name in ("one", "two"):
        platform.train(name)
        platform.log_line("ready", name)
    platform.train("three")
    waiting = platform.wait(
        "training-job",
        "three",
        lambda doc: doc["SecondaryStatusTransitions"][-1]["StatusMessage"].startswith("Waiting"),
    )
    assert waiting["SecondaryStatus"] == "Starting"
    platform.engine.stop("training-job", "one")
    platform.log_line("ready", "three")
    platform.train("four")
    platform.engine.stop("training-job", "four")
    assert platform.ended("four")["TrainingJobStatus"] == "Stopped"
    assert platform.status("three", "Training")["TrainingJobStatus"] == "InProgress"


def test_artifacts_that_cannot_be_uploaded_fail_the_job(platform: Platform) -> None:
    platform.put("s3://bucket/out/job", "a file where a folder is needed")
    platform.command("train", "(base / 'model/weights.txt').write_text('1')")
    platform.train()
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Failed"
    assert "Artifact upload failed: s3://bucket/out/job/output/model.tar.gz" in doc["FailureReason"]


@pytest.mark.parametrize(
    "members",
    [
        {"OutputDataConfig": {"S3OutputPath": "s3://none/out"}},
        {"CheckpointConfig": {"S3Uri": "s3://none/out"}},
        {"DebugHookConfig": {"S3OutputPath": "s3://none/out"}},
    ],
)
def test_an_output_bucket_that_does_not_exist_fails_the_job_before_it_trains(
    platform: Platform, members: dict[str, Any]
) -> None:
    platform.command("train", "")
    platform.train(**members)
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Failed"
    assert doc["FailureReason"].startswith("ClientError: ")
    assert "s3://none/out" in doc["FailureReason"]
    assert "The specified bucket does not exist (NoSuchBucket)" in doc["FailureReason"]
    assert "Training" not in [step["Status"] for step in doc["SecondaryStatusTransitions"]]
    assert not (platform.config.s3_root / "none").exists()


def test_an_output_bucket_that_is_deleted_while_the_job_trains(platform: Platform) -> None:
    platform.command("train", "(base / 'model/weights.txt').write_text('1')\nprint('on')\ntime.sleep(60)")
    platform.train()
    platform.log_line("on")
    (platform.config.s3_root / "bucket").rmdir()
    platform.engine.stop("training-job", "job")
    doc = platform.ended()
    assert "The specified bucket does not exist" in doc["FailureReason"]
    assert not (platform.config.s3_root / "bucket").exists()


def test_a_bad_local_path_fails_the_job(platform: Platform) -> None:
    platform.command("train", "")
    platform.train(CheckpointConfig={"S3Uri": "s3://bucket/c", "LocalPath": "/opt/ml/../../etc"})
    assert "LocalPath '/opt/ml/../../etc' must be an absolute path" in platform.ended()["FailureReason"]


LINKS = """
import shutil
secret = pathlib.Path(SECRET)
def link(name):
    path = base / name
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(secret)
for name in ("model", "checkpoints", "output/tensors", "output/profiler", "output/data"): link(name)
time.sleep(0.3)
(base / "output/failure").symlink_to(secret / "file")
sys.exit(1)
"""


def test_a_jobs_links_lead_nowhere(platform: Platform, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    platform.command("train", LINKS.replace("SECRET", repr(str(secret))))
    platform.train(
        CheckpointConfig={"S3Uri": "s3://bucket/checkpoints"},
        DebugHookConfig={"S3OutputPath": "s3://bucket/debug"},
        ProfilerConfig={"S3OutputPath": "s3://bucket/debug", "ProfilingIntervalInMilliseconds": 100},
    )
    doc = platform.ended()
    assert "secret" not in doc["FailureReason"]
    assert [path.name for path in secret.iterdir()] == ["file"]
    bucket = platform.object("s3://bucket")
    assert not [path for path in bucket.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_fifo_for_a_reason_does_not_hang_the_job(platform: Platform) -> None:
    platform.command("train", "os.mkfifo(base / 'output' / 'failure'); sys.exit(3)")
    platform.train()
    assert "exit code: 3" in platform.ended()["FailureReason"]


def test_close_stops_running_jobs_and_leaves_nothing(platform: Platform) -> None:
    platform.command("train", SLOW)
    platform.train()
    platform.log_line("ready")
    platform.engine.close()
    doc = platform.ended()
    assert doc["TrainingJobStatus"] == "Stopped"
    assert "local SageMaker was stopped" in doc["SecondaryStatusTransitions"][-1]["StatusMessage"]
    assert list(platform.config.jobs_root.iterdir()) == []


def test_a_restart_fails_orphaned_jobs_and_leaves_finished_ones(stopped: Platform) -> None:
    for name, status in (("lost", "InProgress"), ("leaving", "Stopping"), ("done", "Completed")):
        doc = training_document(stopped.config, stopped.request(name))
        stopped.store.put("training-job", name, {**doc, "TrainingJobStatus": status})
    (stopped.config.jobs_root / "lost" / "algo-1").mkdir(parents=True)
    stopped.start()
    for name in ("lost", "leaving"):
        doc = stopped.store.get("training-job", name) or {}
        assert doc["TrainingJobStatus"] == doc["SecondaryStatus"] == "Failed"
        assert "ended while this job ran" in doc["FailureReason"]
    assert (stopped.store.get("training-job", "done") or {})["TrainingJobStatus"] == "Completed"
    assert not (stopped.config.jobs_root / "lost").exists()
