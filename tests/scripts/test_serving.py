"""Which serving image a model takes, by its description and the machine."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import boto3
import pytest

from scripts import serving, state
from scripts.aws import connect
from scripts.requests import Place
from scripts.settings import load

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
PLACE = Place("arn:aws:iam::123456789012:role/r", "bucket", "train", "serve")
ARTIFACT = "s3://bucket/job/output/model.tar.gz"
GRAPH = {"onnx": {"files": {"model.onnx": {"bytes": 1, "sha256": "0"}}, "precisions": {}}}


def put(described: Any) -> None:
    client = boto3.client("s3", "us-east-1")
    client.create_bucket(Bucket="bucket")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        data = described if isinstance(described, bytes) else json.dumps(described).encode()
        entry = tarfile.TarInfo("model.json")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    client.put_object(Bucket="bucket", Key="job/output/model.tar.gz", Body=stream.getvalue())


def chosen(instance_type: str, *overrides: str) -> tuple[str, list[str]]:
    settings = load(overrides=list(overrides), required=False, environment={})
    said: list[str] = []
    place = serving.place_for(settings, connect(settings), PLACE, instance_type, ARTIFACT, said.append)
    return place.serve_image, said


def test_a_model_with_a_graph_takes_the_image_for_cpus(aws: None, project: object) -> None:
    put(GRAPH)
    assert chosen("ml.c7i.xlarge") == (f"{REGISTRY}/sagemaker-byoc-serve-cpu:latest", [])
    digest = f"{REGISTRY}/sagemaker-byoc-serve-cpu@sha256:{'0' * 64}"
    state.update(load(required=False, environment={}), images={"serve_cpu": digest})
    assert chosen("ml.c7i.xlarge") == (digest, [])


def test_a_machine_with_gpus_takes_the_other_one_and_reads_nothing(aws: None, project: object) -> None:
    assert chosen("ml.g5.xlarge") == ("serve", [])


@pytest.mark.parametrize(
    ("described", "says"),
    [({"classes": []}, "no model.onnx"), (b"{", "not valid JSON"), (None, "does not exist")],
)
def test_any_other_model_takes_the_other_one_and_one_line_says_so(
    aws: None, project: object, described: Any, says: str
) -> None:
    if described is not None:
        put(described)
    image, said = chosen("ml.c7i.xlarge")
    assert image == "serve"
    [line] = said
    assert says in line


def test_an_image_of_the_users_own_is_not_passed_over(aws: None, project: object) -> None:
    put(GRAPH)
    image, said = chosen("ml.c7i.xlarge", "images.serve=host/mine:1")
    assert image == "serve"
    assert "images.serve names an image of its own" in said[0]
    image, said = chosen("ml.c7i.xlarge", "images.serve=host/mine:1", "images.serve_cpu=host/small:1")
    assert (image, said) == ("host/small:1", [])


@pytest.mark.parametrize(
    ("deploy", "transform", "expected"),
    [
        ("ml.m5.large", "ml.m5.large", ("train", "serve_cpu")),
        ("ml.g5.xlarge", "ml.g4dn.xlarge", ("train", "serve")),
        ("ml.g5.xlarge", "ml.m5.large", ("train", "serve", "serve_cpu")),
    ],
)
def test_which_images_the_settings_need(
    project: object, deploy: str, transform: str, expected: tuple[str, ...]
) -> None:
    overrides = [f"deploy.instance_type={deploy}", f"transform.instance_type={transform}"]
    assert serving.needed(load(overrides=overrides, required=False, environment={})) == expected
