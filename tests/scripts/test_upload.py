from pathlib import Path
from typing import Any

import boto3
import pytest

from contract.errors import ByocError
from scripts import account, requests, upload
from scripts.aws import Clients, connect
from scripts.doctor.data import data
from scripts.requests import Place
from scripts.settings import Settings, load
from tests.scripts.conftest import Run, draw

TENSORS = b"\x80\x02tensors"  # begins as torch's oldest format does, which only torch can look into


@pytest.fixture
def clients(aws: None, settings: Settings) -> Clients:
    clients = connect(settings)
    clients.s3.create_bucket(Bucket="pictures")
    return clients


def keys(clients: Clients) -> set[str]:
    found = clients.s3.list_objects_v2(Bucket="pictures").get("Contents", [])
    return {item["Key"] for item in found}


def files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*.png")}


def test_only_what_is_new_or_changed_is_sent(clients: Clients, project: Path) -> None:
    pictures = files(draw(project / "data", each=3))
    progress: list[tuple[int, int]] = []
    first = upload.sync(
        clients.s3, "pictures", "p/data", pictures, lambda done, all_: progress.append((done, all_))
    )
    assert (first.sent, first.unchanged, first.removed) == (6, 0, 0)
    assert progress[-1] == (6, 6)
    assert upload.sync(clients.s3, "pictures", "p/data", pictures).sent == 0
    pictures["cat/0.png"].write_bytes(pictures["cat/1.png"].read_bytes())
    assert upload.sync(clients.s3, "pictures", "p/data", pictures).sent == 1


def test_what_is_no_longer_in_the_split_is_removed_and_nothing_else(clients: Clients, project: Path) -> None:
    clients.s3.put_object(Bucket="pictures", Key="p/data2/keep.png")
    clients.s3.put_object(Bucket="pictures", Key="p/data/somebody/elses.csv")
    clients.s3.put_object(Bucket="pictures", Key="p/data/test/old.png")
    pictures = files(draw(project / "data", each=1))
    assert upload.sync(clients.s3, "pictures", "p/data/", pictures).removed == 1
    assert keys(clients) == {
        "p/data2/keep.png",
        "p/data/somebody/elses.csv",
        "p/data/cat/0.png",
        "p/data/dog/0.png",
    }


def test_weights_are_replaced_by_others_only(clients: Clients, project: Path) -> None:
    old, new = project / "old.pth", project / "new.pth"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    for sent, there in (({"weights/old.pth": old}, "old"), ({}, "old"), ({"weights/new.pth": new}, "new")):
        upload.sync(clients.s3, "pictures", "p/data", sent)
        assert keys(clients) == {f"p/data/weights/{there}.pth"}


def place_with(weights: str, clients: Clients) -> tuple[Settings, Place]:
    settings = load(overrides=[f"data.weights={weights}"])
    return settings, Place("role", account.bucket(settings, clients), "train", "serve")


def send_weights(weights: str, clients: Clients, project: Path, run: Run) -> tuple[Settings, Place]:
    """Pictures and a file of that name, uploaded."""
    draw(project / "data", each=9)
    (project / weights).write_bytes(TENSORS)
    run("init", "--aws", "--name", "flowers")
    run("upload", "--set", f"data.weights={weights}")
    return place_with(weights, clients)


def test_a_file_of_weights_is_sent_along(clients: Clients, project: Path, run: Run) -> None:
    settings, place = send_weights("resnet.pth", clients, project, run)
    assert "weights" in account.channels(settings, clients, place)
    folder = requests.data_uri(settings, place, "weights")
    bucket, prefix = folder.removeprefix("s3://").split("/", 1)
    assert clients.s3.get_object(Bucket=bucket, Key=f"{prefix}resnet.pth")["Body"].read() == TENSORS


def test_other_weights_than_those_that_were_sent_are_missed(
    clients: Clients, project: Path, run: Run
) -> None:
    send_weights("old.pth.pt", clients, project, run)
    for name in ("new.pth", "old.pth"):
        (project / name).write_bytes(TENSORS)
        settings, place = place_with(name, clients)
        with pytest.raises(ByocError, match=f"nothing at s3://.*/data/weights/{name}. Send {name} there"):
            account.channels(settings, clients, place)


def test_weights_that_have_changed_or_gone_since_are_not_trained_with(
    clients: Clients, project: Path, run: Run
) -> None:
    settings, place = send_weights("w.pth", clients, project, run)
    account.channels(settings, clients, place)
    for content in (TENSORS.upper(), TENSORS * 2):
        (project / "w.pth").write_bytes(content)
        with pytest.raises(ByocError, match=r"weights/w\.pth is another file than w\.pth is now\. Send it"):
            account.channels(settings, clients, place)
    (project / "w.pth").unlink()
    with pytest.raises(ByocError, match=r"there is no file w\.pth"):
        account.channels(settings, clients, place)


def test_an_etag_that_is_no_md5_is_not_compared(clients: Clients, project: Path, run: Run) -> None:
    settings, place = send_weights("w.pth", clients, project, run)
    key = f"{settings.prefix}/data/weights/w.pth"
    clients.s3.put_object(Bucket=place.bucket, Key=key, Body=TENSORS.upper(), ServerSideEncryption="aws:kms")
    assert "weights" in account.channels(settings, clients, place)


def test_nothing_is_trained_on_what_an_interrupted_upload_has_left(
    clients: Clients, project: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(project / "data", each=9)
    run("init", "--aws", "--name", "flowers")
    run("upload")
    settings = load()
    place = Place("role", account.bucket(settings, clients), "train", "serve")
    whole = account.channels(settings, clients, place)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upload, "send", interrupted)
        told = run("upload", "--seed", "9", code=130).stderr
    assert "The upload was not finished" in told
    assert "Run `byoc upload` again" in told
    with pytest.raises(ByocError, match=r"was not finished: .* Run `byoc upload` again"):
        account.channels(settings, clients, place)
    assert data(settings, clients).severity == "error"
    run("upload", "--seed", "9")
    assert account.channels(settings, clients, place) == whole


def test_a_folder_of_weights_is_told_to_be_one(project: Path, run: Run) -> None:
    draw(project / "data", each=9)
    (project / "weights").mkdir()
    run("init", "--aws")
    told = run("upload", "--set", "data.weights=weights", code=2).stderr
    assert "data.weights: weights is a folder." in told
    assert "Name a state dict" in told


def test_weights_that_are_not_there_are_told_before_anything_is_sent(project: Path, run: Run) -> None:
    draw(project / "data", each=9)
    run("init", "--aws")
    told = run("upload", "--set", "data.weights=resnet.pth", code=2)
    assert "there is no file" in told.stderr
    assert "resnet.pth" in told.stderr


def test_an_address_of_weights_with_nothing_there_is_warned_of(
    clients: Clients, project: Path, run: Run
) -> None:
    draw(project / "data", each=9)
    run("init", "--aws")
    said = run("upload", "--set", "data.weights=s3://pictures/resnet").stdout
    assert "data.weights: there is nothing at s3://pictures/resnet/." in said
    assert said.rstrip().endswith(f"/data/ in {clients.region}")


def test_the_content_type_is_set_and_odd_names_survive(clients: Clients, project: Path) -> None:
    folder = project / "d"
    folder.mkdir()
    name = "it's ä+b & c%20d.JPG"
    (folder / name).write_bytes(b"x")
    upload.sync(clients.s3, "pictures", "p", {name: folder / name})
    assert clients.s3.get_object(Bucket="pictures", Key=f"p/{name}")["ContentType"] == "image/jpeg"
    assert upload.sync(clients.s3, "pictures", "p", {name: folder / name}).unchanged == 1


def test_every_upload_is_encrypted_with_ones_own_key(clients: Clients, project: Path) -> None:
    pictures, key = files(draw(project / "data", each=1)), "alias/pictures"
    upload.sync(clients.s3, "pictures", "p/data", pictures)
    again = upload.sync(clients.s3, "pictures", "p/data", pictures, kms_key=key)
    assert again.sent == 2  # what was there is not encrypted with it
    for name in keys(clients):
        assert clients.s3.head_object(Bucket="pictures", Key=name)["SSEKMSKeyId"] == key
    # Their ETags say nothing of the content on AWS.
    there = {f"p/data/{name}": (path.stat().st_size, "of-no-content") for name, path in pictures.items()}
    assert upload.send(clients.s3, "pictures", "p/data/", pictures, there, kms_key=key) == []
    pictures["cat/0.png"].write_bytes(pictures["dog/0.png"].read_bytes())
    there["p/data/cat/0.png"] = (pictures["cat/0.png"].stat().st_size, "of-no-content")
    assert len(upload.send(clients.s3, "pictures", "p/data/", pictures, there, kms_key=key)) == 1
    there = {f"p/data/{name}": (path.stat().st_size, "of KMS") for name, path in pictures.items()}
    other = boto3.client("kms", "us-east-1").create_key()["KeyMetadata"]["Arn"]
    sent = upload.send(clients.s3, "pictures", "p/data/", pictures, there, kms_key=other)
    assert len(sent) == len(pictures)
    assert upload.send(clients.s3, "pictures", "p/data/", pictures, there, kms_key=other) == []


def test_a_bucket_of_somebody_else_is_not_used(clients: Clients, settings: Settings) -> None:
    """Names of buckets are anybody's to take: every request says whose it must be."""
    seen: list[tuple[str, str]] = []

    def see(params: dict[str, str], model: Any, **_: Any) -> None:
        seen.append((model.name, params.get("ExpectedBucketOwner", "")))

    own = f"sagemaker-us-east-1-{clients.account}"
    clients.s3.meta.events.register("before-parameter-build.s3", see)
    clients.s3.create_bucket(Bucket=own)
    clients.s3.list_objects_v2(Bucket=own)
    clients.s3.put_object(Bucket="pictures", Key="a")
    clients.s3.get_object(Bucket="pictures", Key="a")  # an address that was typed
    assert seen == [("CreateBucket", ""), ("ListObjectsV2", clients.account), ("PutObject", clients.account),
                    ("GetObject", "")]  # fmt: skip
    other = connect(
        load(
            required=False,
            environment={},
            overrides=["aws.bucket=pictures", 'aws.bucket_owner="111122223333"'],
        )
    )
    other.s3.meta.events.register("before-parameter-build.s3", see)
    other.s3.get_object(Bucket="pictures", Key="a")
    assert seen[-1] == ("GetObject", "111122223333")


def test_advice_follows_the_overview_and_is_applied_on_demand(project: Path, run: Run) -> None:
    draw(project / "data", each=20)
    twin = next((project / "data").rglob("*.png"))
    twin.with_name("twin.png").write_bytes(twin.read_bytes())
    run("init", "--aws", "--name", "flowers")
    before = (project / "byoc.toml").read_text()
    before = before.replace("[hyperparameters]\n", '[hyperparameters]\nfreeze = "none"\n')
    (project / "byoc.toml").write_text(before)
    shown = run("upload", "--dry-run")
    assert "1 picture is there more than once" in shown.output
    assert "twin.png" in shown.output
    assert "hyperparameters.batch_size" in shown.output
    assert (project / "byoc.toml").read_text() == before
    run("upload", "--dry-run", "--apply")
    assert load().hyperparameters["batch_size"] == 4
    assert "nothing to apply" in run("upload", "--dry-run", "--apply").output
