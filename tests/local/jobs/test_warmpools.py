"""Warm pools, as AWS documents them: lifecycle, matching, the cache folder, billed time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.errors import ValidationException
from local.jobs import warmpools
from local.jobs.channels import Downloader
from local.jobs.documents import training_document
from local.runtime.process import ProcessRuntime

# Shows what the job before left in the cache folder, and leaves something.
CACHING = """
cache = os.environ.get("SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY")
print("cache", cache and sorted(path.name for path in pathlib.Path(cache).iterdir()))
if cache: pathlib.Path(cache, os.environ["TRAINING_JOB_NAME"]).mkdir()
if config("hyperparameters").get("fail"): sys.exit(3)
while config("hyperparameters").get("wait"): time.sleep(0.1)
"""


def machine(keep: int | None, **members: Any) -> dict[str, Any]:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, **members}
    return {"ResourceConfig": resources if keep is None else {**resources, "KeepAlivePeriodInSeconds": keep}}


def pool(platform: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.store.get("training-job", name).get("WarmPoolStatus", {})
    return found


def run(platform: Any, name: str, keep: int | None = 600, **members: Any) -> list[str]:
    """A job from its start to its end; what it printed."""
    platform.train(name, **{**machine(keep), **members})
    platform.ended(name)
    lines: list[str] = platform.log(name)
    return lines


def test_a_pool_moves_from_job_to_job(platform: Any) -> None:
    platform.command("train", CACHING)
    assert run(platform, "one") == ["cache []"]
    assert pool(platform, "one") == {"Status": "Available"}
    platform.train("two", **machine(600), HyperParameters={"wait": "1"})
    assert platform.log_line("cache", "two") == "cache ['one']"
    assert pool(platform, "two") == {"Status": "InUse"}
    reused = pool(platform, "one")
    assert (reused["Status"], reused["ReusedByJob"]) == ("Reused", "two")
    assert reused["ResourceRetainedBillableTimeInSeconds"] >= 0
    # While it is in use there is none for others.
    assert run(platform, "other", keep=None) == ["cache None"]
    assert pool(platform, "other") == {}
    platform.engine.stop("training-job", "two")
    platform.ended("two")
    assert pool(platform, "two") == {"Status": "Available"}
    # A job that keeps nothing alive gets the pool, which ends with it.
    assert run(platform, "three", keep=None) == ["cache ['one', 'two']"]
    assert pool(platform, "three")["Status"] == "Terminated"
    assert run(platform, "four") == ["cache []"]


@pytest.mark.parametrize(
    "members",
    [
        {"RoleArn": "arn:aws:iam::123456789012:role/other"},
        machine(600, InstanceType="ml.m5.xlarge"),
        machine(600, VolumeSizeInGB=2),
        machine(600, VolumeKmsKeyId="key"),
        {"VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}},
        {"EnableInterContainerTrafficEncryption": True},
        {"EnableNetworkIsolation": True},
    ],
)
def test_another_machine_does_not_match(platform: Any, members: dict[str, Any]) -> None:
    platform.command("train", CACHING)
    run(platform, "one")
    assert run(platform, "two", **members) == ["cache []"]
    assert pool(platform, "one") == {"Status": "Available"}


def test_spot_jobs_get_none(platform: Any) -> None:
    platform.command("train", CACHING)
    run(platform, "one")
    condition = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}
    lines = run(platform, "two", None, EnableManagedSpotTraining=True, StoppingCondition=condition)
    assert lines == ["cache None"]


def test_hyperparameters_and_image_may_differ(platform: Any) -> None:
    platform.command("train", CACHING)
    run(platform, "one")
    assert run(platform, "two", HyperParameters={"lr": "1"}, Environment={"A": "b"}) == ["cache ['one']"]


def test_a_pool_ends_after_its_time(platform: Any) -> None:
    platform.command("train", CACHING)
    run(platform, "one", 1)
    doc = platform.wait("training-job", "one", lambda doc: doc["WarmPoolStatus"]["Status"] == "Terminated")
    assert doc["WarmPoolStatus"]["ResourceRetainedBillableTimeInSeconds"] == 1
    assert "ReusedByJob" not in doc["WarmPoolStatus"]
    assert run(platform, "two") == ["cache []"]
    assert not [path for path in platform.config.jobs_root.iterdir() if "pool-" in path.name][1:]


def test_its_time_is_changed(platform: Any) -> None:
    platform.command("train", CACHING)
    run(platform, "one", 2)
    platform.engine.keep_warm("one", 600)
    doc = platform.store.get("training-job", "one")
    assert doc["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600
    platform.engine.keep_warm("one", 0)
    assert pool(platform, "one")["Status"] == "Terminated"
    with pytest.raises(ValidationException, match="one has no warm pool that is Available"):
        platform.engine.keep_warm("one", 600)


@pytest.mark.parametrize(("fault", "left"), [("the job", "Available"), ("the service", "Terminated")])
def test_after_a_failure(platform: Any, monkeypatch: pytest.MonkeyPatch, fault: str, left: str) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise RuntimeError("a fault of the service")

    platform.command("train", CACHING)
    platform.put("s3://bucket/data/a.txt", "a")
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}
    if fault == "the service":
        monkeypatch.setattr(Downloader, "download", fail)
    platform.train(
        "one",
        **machine(600),
        HyperParameters={"fail": "1"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
    )
    assert platform.ended("one")["TrainingJobStatus"] == "Failed"
    assert pool(platform, "one")["Status"] == left


def test_a_job_that_makes_a_link_of_the_cache_leaves_none(platform: Any) -> None:
    platform.command(
        "train",
        """
cache = pathlib.Path(os.environ["SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY"])
print("cache", sorted(path.name for path in cache.iterdir()))
cache.rmdir(); cache.symlink_to("/etc")
""",
    )
    run(platform, "one")
    assert run(platform, "two") == ["cache []"]


def test_its_network_is_kept_from_the_first_job_to_the_end(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def keep(_: Any, name: str | None) -> Callable[[], None]:
        said.append(f"keeps {name}")
        return lambda: said.append(f"gives {name} back")

    monkeypatch.setattr(ProcessRuntime, "keep_network", keep)
    platform.command("train", CACHING)
    run(platform, "one")
    run(platform, "two")
    run(platform, "none", None, RoleArn="arn:aws:iam::123456789012:role/other")
    assert said == ["keeps None"]
    platform.engine.keep_warm("two", 0)
    assert said == ["keeps None", "gives None back"]
    run(platform, "three")
    run(platform, "four", None)
    assert said == ["keeps None", "gives None back"] * 2
    run(platform, "five")
    platform.engine.close()
    assert said == ["keeps None", "gives None back"] * 3


def test_pools_end_with_the_service(platform: Any) -> None:
    platform.command("train", CACHING)
    run(platform, "one")
    platform.engine.close()
    assert pool(platform, "one")["Status"] == "Terminated"


def test_pools_of_a_service_that_was_killed(stopped: Any) -> None:
    for name, status in (("one", "Available"), ("two", "Reused")):
        doc = training_document(stopped.config, stopped.request(name))
        doc.update({"TrainingJobStatus": "Completed", "WarmPoolStatus": {"Status": status}})
        stopped.store.put("training-job", name, doc)
    stopped.start()
    assert pool(stopped, "one")["Status"] == "Terminated"
    assert pool(stopped, "two")["Status"] == "Reused"
    assert not warmpools.terminate({})


class Networks:
    """A runtime that counts the networks that it keeps."""

    def __init__(self) -> None:
        self.kept: list[str | None] = []

    def keep_network(self, name: str | None) -> Callable[[], None]:
        self.kept.append(name)
        return lambda: self.kept.remove(name)


def test_jobs_of_one_name_share_no_network(stopped: Any, tmp_path: Path) -> None:
    runtime: Any = Networks()
    pools = warmpools.WarmPools()
    two_hosts = machine(600, InstanceCount=2)
    networks = []
    for name in (
        "one",
        "two",
        "one",
    ):  # the second takes the pool, and the name is used again
        doc = training_document(stopped.config, stopped.request(name, **two_hosts))
        stopped.store.put("training-job", name, doc)
        caches = [tmp_path / f"{len(networks)}{host}" / "cache" for host in "ab"]
        assert pools.take(stopped.store, doc, caches, runtime)
        networks.append(pools.network(name))
        if len(networks) == 1:
            hosts = [(cache.parent, cache) for cache in caches]
            pools.keep(stopped.store, doc, hosts, tmp_path / f"pool-{len(networks)}", healthy=True)
    assert networks[0] == networks[1] != networks[2]
    pools.close(stopped.store)
    assert runtime.kept == [networks[1], networks[2]]


def test_a_pool_that_cannot_be_taken_gives_its_network_back(stopped: Any, tmp_path: Path) -> None:
    runtime: Any = Networks()
    pools = warmpools.WarmPools()
    doc = training_document(stopped.config, stopped.request("one", **machine(600)))
    stopped.store.put("training-job", "one", doc)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        pools.take(stopped.store, doc, [tmp_path / "file" / "cache"], runtime)
    assert runtime.kept == []
    assert pools.take(stopped.store, doc, [tmp_path / "base" / "cache"], runtime)
    assert runtime.kept == [None]
