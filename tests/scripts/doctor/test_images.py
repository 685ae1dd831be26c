"""Images in ECR: there, in this region, of a kind and for a platform that SageMaker takes."""

import io
import json
from typing import Any

import pytest
from botocore.stub import Stubber

from scripts.aws import Clients
from scripts.doctor import images
from scripts.push import DOCKER_MANIFEST
from tests.scripts.doctor.conftest import settings_of

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
DIGEST = "sha256:" + "0" * 64


def described(**more: Any) -> dict[str, Any]:
    whole = {"imageDigest": DIGEST, "imageManifestMediaType": DOCKER_MANIFEST, "imageSizeInBytes": 1, **more}
    return {"imageDetails": [whole]}


def examined(
    clients: Clients,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    configuration: dict[str, str] | None = None,
    which: str = "serve",
) -> images.Finding:
    """The finding about an image that ECR describes so."""
    uri = f"{HOST}/sagemaker-byoc-serve@{DIGEST}"
    monkeypatch.setattr(
        images.urllib.request, "urlopen", lambda *_, **__: io.BytesIO(json.dumps(configuration).encode())
    )
    with Stubber(clients.ecr) as stub:
        stub.add_response("describe_images", answer)
        if configuration:
            manifest = json.dumps({"config": {"digest": "sha256:" + "1" * 64}})
            stub.add_response("batch_get_image", {"images": [{"imageManifest": manifest}]})
            stub.add_response(
                "get_download_url_for_layer", {"downloadUrl": "https://s3/blob"},
                {"repositoryName": "sagemaker-byoc-serve", "layerDigest": "sha256:" + "1" * 64},
            )  # fmt: skip
        else:
            stub.add_client_error("batch_get_image", "AccessDeniedException")
        [found] = images.image(settings_of(f"images.{which}={uri}"), clients, which)
    return found


def test_an_image_that_fits(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examined(clients, monkeypatch, described(), {"os": "linux", "architecture": "amd64"})
    assert (found.severity, found.message) == ("ok", f"{HOST}/sagemaker-byoc-serve@{DIGEST}")


def test_an_image_for_another_platform(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examined(clients, monkeypatch, described(), {"os": "linux", "architecture": "arm64"})
    assert found.severity == "error"
    assert "is for linux/arm64" in found.message


def test_an_image_whose_platform_may_not_be_read(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examined(clients, monkeypatch, described())
    assert found.severity == "ok"
    assert "its platform may not be read" in found.message


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            {"imageManifestMediaType": "application/vnd.oci.image.index.v1+json"},
            "is stored as application/vnd.oci.image.index.v1+json, which SageMaker refuses",
        ),
        ({"imageSizeInBytes": 11 * 1024**3}, "has 11.8 GB; SageMaker serves images of up to 10 GB"),
    ],
)
def test_an_image_that_sagemaker_refuses(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, member: dict[str, Any], message: str
) -> None:
    uri = f"{HOST}/sagemaker-byoc-serve@{DIGEST}"
    with Stubber(clients.ecr) as stub:
        stub.add_response("describe_images", described(**member))
        [found] = images.image(settings_of(f"images.serve={uri}"), clients, "serve")
    assert found.severity == "error"
    assert message in found.message


@pytest.mark.parametrize(
    ("uri", "severity", "message"),
    [
        ("docker.io/me/mine:1", "warning", "is in no ECR"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/mine:1", "error", "its own region, us-east-1"),
        ("111122223333.dkr.ecr.us-east-1.amazonaws.com/mine:1", "skipped", "is another account's"),
        (f"{HOST}/mine:1", "warning", "is not in ECR"),
    ],
)
def test_images_elsewhere(clients: Clients, uri: str, severity: str, message: str) -> None:
    [found] = images.image(settings_of(f"images.train={uri}"), clients, "train")
    assert found.severity == severity
    assert message in found.message


def test_a_reference_and_its_parts() -> None:
    assert images.parts("a/b:1") == ("a/b", "1", "")
    assert images.parts("a/b") == ("a/b", "latest", "")
    assert images.parts(f"a/b:1@{DIGEST}") == ("a/b", "1", DIGEST)
