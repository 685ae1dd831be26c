from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.config import Config
from local.jobs.channels import DataProblem, Downloader, input_data_config

Put = Callable[[str, str], Path]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(home=tmp_path / "home")


@pytest.fixture
def put(config: Config) -> Put:
    def put(key: str, content: str = "x") -> Path:
        path = config.bucket_path(f"s3://bucket/{key}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return put


def channel(
    uri: str = "s3://bucket/data", *, source: dict[str, Any] | None = None, **members: Any
) -> dict[str, Any]:
    full = {"S3DataType": "S3Prefix", "S3Uri": uri, **(source or {})}
    return {"ChannelName": "train", "DataSource": {"S3DataSource": full}, **members}


def download(
    config: Config, tmp_path: Path, given: dict[str, Any], host: int = 0, hosts: int = 1
) -> list[str]:
    folder = tmp_path / f"channel-{host}"
    count = Downloader(config, "role", lambda: False).download(given, folder, host, hosts)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert len(found) == count
    return found


@pytest.mark.parametrize("uri", ["s3://bucket/data", "s3://bucket/data/"])
def test_a_prefix_is_a_folder(config: Config, put: Put, tmp_path: Path, uri: str) -> None:
    for key in ("data/a b/1.png", "data/2.png", "database/3.png", "other.png"):
        put(key, key)
    assert download(config, tmp_path, channel(uri)) == ["2.png", "a b/1.png"]
    assert (tmp_path / "channel-0/a b/1.png").read_text() == "data/a b/1.png"


def test_a_prefix_may_be_one_object_or_the_beginning_of_several(
    config: Config, put: Put, tmp_path: Path
) -> None:
    put("weights/model.pt")
    put("weights/model.json")
    assert download(config, tmp_path, channel("s3://bucket/weights/model.pt")) == ["model.pt"]
    assert download(config, tmp_path, channel("s3://bucket/weights/model."), 1) == ["model.json", "model.pt"]


@pytest.mark.parametrize("uri", ["s3://bucket/none", "s3://nobucket/data", "s3://bucket/file/"])
def test_nothing_under_the_prefix_is_told_as_on_aws(
    config: Config, put: Put, tmp_path: Path, uri: str
) -> None:
    put("file")
    with pytest.raises(DataProblem, match=f'No S3 objects found under S3 URL "{uri}"'):
        download(config, tmp_path, channel(uri))


@pytest.mark.parametrize("uri", ["s3://bucket/../../secret", "file:///etc/passwd", "s3://"])
def test_uris_that_leave_the_buckets_are_refused(config: Config, tmp_path: Path, uri: str) -> None:
    (tmp_path / "secret").write_text("!")
    with pytest.raises(DataProblem):
        download(config, tmp_path, channel(uri))


def test_links_are_not_followed(config: Config, put: Put, tmp_path: Path) -> None:
    put("data/1.png")
    (tmp_path / "secret").write_text("!")
    (config.s3_root / "bucket/data/link").symlink_to(tmp_path / "secret")
    assert download(config, tmp_path, channel()) == ["1.png"]


def test_file_mode_copies_and_fast_file_mode_links_read_only(
    config: Config, put: Put, tmp_path: Path
) -> None:
    original = put("data/1.png")
    download(config, tmp_path, channel())
    copied = (tmp_path / "channel-0/1.png").stat()
    assert copied.st_ino != original.stat().st_ino
    assert copied.st_mode & 0o200
    download(config, tmp_path, channel(InputMode="FastFile"), 1)
    linked = (tmp_path / "channel-1/1.png").stat()
    assert linked.st_ino == original.stat().st_ino
    assert not linked.st_mode & 0o222


def test_a_manifest_names_the_objects(config: Config, put: Put, tmp_path: Path) -> None:
    put("data/a/1.png")
    put("data/b/2.png")
    put("m.json", json.dumps([{"prefix": "s3://bucket/data/"}, "b/2.png"]))
    manifest = channel("s3://bucket/m.json", source={"S3DataType": "ManifestFile"})
    assert download(config, tmp_path, manifest) == ["b/2.png"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no json", "is no manifest"),
        ('["a"]', "is no manifest"),
        ('[{"prefix": "s3://bucket/data/"}, "../../../secret"]', r"'\.\.' component"),
        ('[{"prefix": "s3://bucket/data/"}, "none"]', "No S3 objects found"),
    ],
)
def test_bad_manifests_are_told(config: Config, put: Put, tmp_path: Path, content: str, says: str) -> None:
    put("m.json", content)
    with pytest.raises(DataProblem, match=says):
        download(config, tmp_path, channel("s3://bucket/m.json", source={"S3DataType": "ManifestFile"}))


def test_sharding_gives_each_object_to_one_host(config: Config, put: Put, tmp_path: Path) -> None:
    for number in range(5):
        put(f"data/{number}")
    sharded = channel(source={"S3DataDistributionType": "ShardedByS3Key"})
    parts = [download(config, tmp_path, sharded, host, 2) for host in range(2)]
    assert sorted(parts[0] + parts[1]) == ["0", "1", "2", "3", "4"]
    assert abs(len(parts[0]) - len(parts[1])) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({**channel(), "ChannelName": ".."}, "cannot be a channel's name"),
    ],
)
def test_what_is_not_there_is_said(config: Config, tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(DataProblem, match=says):
        download(config, tmp_path, given)


def test_inputdataconfig_describes_the_channels() -> None:
    assert input_data_config([channel(ContentType="image/png"), {**channel(), "ChannelName": "test"}]) == {
        "train": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
            "ContentType": "image/png",
        },
        "test": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        },
    }
