"""The document and the server say the same."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from .conftest import ROOT, Server, encode, picture

PATH = ROOT / "serve" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text())
B64 = base64.b64encode(encode(picture())).decode()


def validator(path: str) -> Any:
    """For the schema at this place of the document."""
    registry: Registry[Any] = Registry().with_resource("urn:document", Resource(DOCUMENT, DRAFT4))
    return OAS30Validator({"$ref": f"urn:document#{path}"}, registry=registry)


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(picture()))
    return stream.getvalue()


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    + encode(picture())
    + b"\r\n--b--"
)
EXAMPLES = {
    "image/*": ("image/png", encode(picture())),
    "application/x-image": ("application/x-image", encode(picture(), "JPEG")),
    "application/octet-stream": ("application/octet-stream", encode(picture(), "WEBP")),
    "application/x-npy": ("application/x-npy", npy()),
    "application/json": ("application/json", json.dumps({"instances": [{"b64": B64}], "top_k": 1}).encode()),
    "application/jsonlines": ("application/jsonlines", json.dumps({"image": B64}).encode()),
    "multipart/form-data": ("multipart/form-data; boundary=b", FORM),
}


@pytest.mark.slow
@pytest.mark.parametrize("media_type", DOCUMENT["paths"]["/invocations"]["post"]["requestBody"]["content"])
def test_each_documented_format_is_taken(server: Server, media_type: str) -> None:
    content_type, body = EXAMPLES[media_type]
    answer = server.invoke(body, content_type)
    assert answer.status == 200, answer.body
    schema = "/paths/~1invocations/post/responses/200/content/application~1json/schema"
    validator(schema).validate(json.loads(answer.body))


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [{"image": B64, "explain": True}, {"images": [B64]}, {"image": ""}, {"image": B64, "top_k": 0}, {}],
)
def test_the_server_agrees_about_what_is_valid(server: Server, body: dict[str, Any]) -> None:
    schema = "/paths/~1invocations/post/requestBody/content/application~1json/schema"
    valid = validator(schema).is_valid(body)
    answer = server.invoke(json.dumps(body).encode(), "application/json")
    assert (answer.status == 200) is valid
    if not valid:
        validator("/components/schemas/Error").validate(json.loads(answer.body))


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/ping", "/execution-parameters"])
def test_the_other_paths(server: Server, path: str) -> None:
    answer = server.request("GET", path)
    schema = f"/paths/{path.replace('/', '~1')}/get/responses/200/content/application~1json/schema"
    validator(schema).validate(json.loads(answer.body))


@pytest.mark.slow
def test_the_example_is_a_picture(server: Server) -> None:
    example = DOCUMENT["components"]["schemas"]["Picture"]["example"]
    answer = server.invoke(json.dumps({"image": example}).encode(), "application/json")
    assert answer.status == 200, answer.body


@pytest.mark.slow
def test_whatever_is_sent_is_answered_as_the_document_says(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(PATH)]
    command += ["--url", f"http://127.0.0.1:{server.port}", "--checks", "all"]
    # Valid by the document is also base64 of what is no picture, which is refused.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "60", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert server.ping() == 200
