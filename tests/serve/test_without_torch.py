"""The server for CPUs needs no torch: here an import of it fails, as in the image byoc-serve-cpu."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT, Server, encode, make_model, picture

BLOCK = """
import sys
for name in ("torch", "torchvision"):
    sys.modules[name] = None
"""
WORKER = """
import json, os, sys
from mms.context import Context, RequestProcessor
from serve import handler, loading
context = Context("model", "", None, 1, None, "")
context.request_processor = [RequestProcessor({"content-type": "image/png"})]
handler._worker, about = loading._load({})
[body] = handler.handle([{"body": sys.stdin.buffer.read()}], context)
print(json.dumps([about, context.get_response_status(0)[0], json.loads(body)]))
"""


@pytest.fixture
def blocked(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python cannot import torch."""
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK)
    return {"PYTHONPATH": str(tmp_path / "block")}


def test_a_worker_answers(model_dir: Path, blocked: dict[str, str]) -> None:
    environment = os.environ | {
        "PYTHONPATH": f"{blocked['PYTHONPATH']}:{ROOT}",
        "BYOC_MODEL_DIR": str(model_dir),
        "BYOC_THREADS": "1",
    }
    command = [sys.executable, "-c", WORKER]
    done = subprocess.run(
        command, input=encode(picture()), env=environment, capture_output=True, check=True, timeout=120
    )
    about, status, answer = json.loads(done.stdout)
    assert status == 200
    assert "OpenVINO" in about
    assert "torch" not in about
    assert (answer["model"]["engine"], answer["model"]["precision"]) == ("openvino", "fp32")
    assert len(answer["predictions"]) == 5


@pytest.mark.slow
def test_the_server_answers_and_explains(start: Callable[..., Server], blocked: dict[str, str]) -> None:
    server = start(**blocked)
    server.wait_until_healthy()
    answer = server.invoke(encode(picture()), X_Amzn_SageMaker_Custom_Attributes="explain=true")
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["explanation"]["png"]


@pytest.mark.slow
def test_an_older_model_ends_the_server_with_a_sentence(
    start: Callable[..., Server], blocked: dict[str, str], tmp_path: Path
) -> None:
    make_model(tmp_path / "base" / "model", size=32, graph=False)
    server = start(tmp_path / "base", **blocked)
    assert server.process.wait(60) == 1
    [line] = [line for line in server.log.splitlines() if line]
    assert "has no model.onnx" in line
    assert "byoc-serve" in line
