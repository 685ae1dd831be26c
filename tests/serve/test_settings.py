from __future__ import annotations

from pathlib import Path

import pytest

from contract import container
from serve import settings
from serve.errors import ServeError


def test_defaults_are_those_of_a_container() -> None:
    found = settings.read({"BYOC_DEVICE": "cpu"})
    assert found.model_dir == Path("/opt/ml/model")
    assert (found.address, found.port) == ("0.0.0.0", 8080)
    assert found.workers == container.cores()
    assert found.batch_size == 1


def test_on_somebodys_own_machine_it_listens_to_nobody_else() -> None:
    found = settings.read({"SAGEMAKER_BASE_DIR": "/home/me/x y"})
    assert found.address == "127.0.0.1"
    assert found.model_dir == Path("/home/me/x y/model")
    assert settings.read({"SAGEMAKER_BASE_DIR": "/x", "BYOC_BIND_ADDRESS": "0.0.0.0"}).address == "0.0.0.0"


def test_batch_transform_raises_the_limit_of_a_body() -> None:
    assert settings.read_limits({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "100"}).bytes == 100 * 1024**2
    assert settings.read_limits({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"}).bytes == 6_291_456


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_BIND_TO_PORT", "70000"),
        ("BYOC_WORKERS", "0"),
        ("BYOC_TOP_K", "-1"),
        ("BYOC_DEVICE", "tpu"),
        ("BYOC_LOG_REQUESTS", "maybe"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(ServeError) as caught:
        settings.read({name: value})
    assert name in str(caught.value)
    assert value in str(caught.value)


def test_multi_model_mode_has_a_folder_and_a_budget(tmp_path: Path) -> None:
    found = settings.read({"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_BASE_DIR": str(tmp_path)})
    assert found.models_dir == tmp_path / "models"
    assert found.models_memory_mb > 100
    assert settings.read({}).models_dir is None


@pytest.mark.parametrize(
    ("gigabytes", "workers", "pixels"),
    [(None, 4, 80_000_000), (64, 8, 80_000_000), (3, 2, 53_687_091), (2, 8, 16_000_000), (1, 1, 16_000_000)],
)
def test_pictures_are_limited_to_what_the_workers_can_decode_at_once(
    gigabytes: int | None, workers: int, pixels: int
) -> None:
    assert settings.affordable_pixels(gigabytes and gigabytes << 30, workers) == pixels


@pytest.mark.parametrize("prefix", ["s3://bucket", "https://x/", "s3://bucket/folder", "s3:///x/"])
def test_a_prefix_of_s3_ends_with_a_slash(prefix: str) -> None:
    with pytest.raises(ServeError, match="BYOC_S3_PREFIXES"):
        settings.read({"BYOC_S3_PREFIXES": f"s3://good/, {prefix}"})


def test_every_variable_is_documented() -> None:
    source = Path(settings.__file__).read_text()
    table, code = source.split('"""', 2)[1:]
    for name in ("BYOC_WORKERS", "BYOC_MAX_ASPECT", "BYOC_DRAIN_SECONDS", "SAGEMAKER_MAX_PAYLOAD_IN_MB"):
        assert f"| {name} |" in table
    documented = {
        line.split("|")[1].strip() for line in table.splitlines() if line.startswith(("| BYOC", "| SAGE"))
    }
    assert {name for name in documented if f'"{name}"' not in code} == set()


def test_the_page_has_the_same_table() -> None:
    table = [line for line in (settings.__doc__ or "").splitlines() if line.startswith("|")]
    page = (Path(settings.__file__).parents[1] / "docs" / "serving.md").read_text()
    assert "\n".join(table) in page
