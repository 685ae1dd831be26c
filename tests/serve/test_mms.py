from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve import mms, settings


def unescape(text: str) -> str:
    """What java.util.Properties makes of a value."""
    units = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text.replace("\\\\", "\0"))
    for short, char in {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\ ": " ", "\\#": "#", "\\!": "!"}.items():
        units = units.replace(short, char)
    return units.replace("\0", "\\").encode("utf-16", "surrogatepass").decode("utf-16")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_value_survives_the_properties_file(text: str) -> None:
    escaped = mms.escape(text)
    assert escaped.isascii()
    assert "\n" not in escaped
    assert unescape(escaped) == text


def test_nothing_of_the_artifact_is_on_the_workers_path(tmp_path: Path) -> None:
    found = settings.read({"SAGEMAKER_BASE_DIR": str(tmp_path), "BYOC_DEVICE": "cpu"})
    values = mms.properties(found, Path("/private"))
    assert values["model_store"] == "/private/store"
    environment = mms.environment(found, Path("/private"), {"PYTHONPATH": "/x", "MMS_CONFIG_FILE": "/evil"})
    assert str(tmp_path) not in environment["PYTHONPATH"]
    assert environment["PYTHONPATH"].endswith(":/x")
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "MMS_CONFIG_FILE" not in environment


def test_preloading_is_for_a_cpu_and_one_thread(tmp_path: Path) -> None:
    on_cpu = settings.read({"BYOC_DEVICE": "cpu"})
    on_gpu = settings.read({"BYOC_DEVICE": "cuda"})
    assert mms.properties(on_cpu, tmp_path)["preload_model"] == "true"
    assert mms.properties(on_gpu, tmp_path)["preload_model"] == "false"
    with_threads = dataclasses.replace(on_cpu, threads=2)
    assert mms.properties(with_threads, tmp_path)["preload_model"] == "false"
    assert mms.properties(on_gpu, tmp_path)["byoc.batch_size"] == "16"


@pytest.mark.parametrize(
    ("environment", "parallel", "payload"),
    [
        ({"BYOC_WORKERS": "3"}, 6, 6),
        ({"BYOC_WORKERS": "64"}, 16, 6),
        ({"BYOC_WORKERS": "4", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "60"}, 1, 60),
        ({"BYOC_WORKERS": "4", "BYOC_MAX_BYTES": "1"}, 8, 1),
        ({"BYOC_WORKERS": "4", "BYOC_MAX_BYTES": str(1024**3)}, 1, 100),
    ],
)
def test_batch_transform_stays_within_what_sagemaker_allows(
    environment: dict[str, str], parallel: int, payload: int
) -> None:
    found = mms.execution_parameters(settings.read({"BYOC_DEVICE": "cpu", **environment}))
    assert (found["MaxConcurrentTransforms"], found["MaxPayloadInMB"]) == (parallel, payload)
