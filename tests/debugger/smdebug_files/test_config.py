from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from debugger.smdebug_files import config


@pytest.fixture
def load(tmp_path: Path) -> Any:
    folder = tmp_path / "input/config"
    folder.mkdir(parents=True)

    def run(**files: Any) -> config.PlatformConfiguration:
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"{name}.json").write_text(text)
        return config.load({"SAGEMAKER_BASE_DIR": str(tmp_path)})

    return run


def test_without_files_nothing_is_asked_for(load: Any) -> None:
    assert load() == config.PlatformConfiguration()


def test_the_environment_overrides_name_the_files(tmp_path: Path) -> None:
    (tmp_path / "hook.json").write_text("{}")
    (tmp_path / "profiler.json").write_text(json.dumps({"ProfilingParameters": {"LocalPath": "/p"}}))
    hook, profiler = str(tmp_path / "hook.json"), str(tmp_path / "profiler.json")
    found = config.load({config.HOOK_VARIABLE: hook, config.PROFILER_VARIABLE: profiler})
    assert found.hook is not None
    assert found.profiler is not None
    assert found.profiler.local_path == Path("/p")


def test_the_api_sends_booleans_as_strings(load: Any) -> None:
    found = load(
        debughookconfig={
            "HookParameters": {"save_all": "False"},
            "CollectionConfigurations": [
                {
                    "CollectionName": "weights",
                    "CollectionParameters": {"save_raw_tensor": "True", "reductions": "mean"},
                }
            ],
        }
    )
    assert found.hook.parameters == {"save_all": False}
    assert found.hook.collections[0]["CollectionParameters"]["save_raw_tensor"] is True
    assert found.problems == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("save_interval", "0"),
        ("save_interval", "ten"),
        ("train.save_interval", "-1"),
        ("save_steps", "1,x"),
        ("save_raw_tensor", "perhaps"),
        ("include_regex", "(a+)+"),
        ("reductions", "mode"),
        ("save_intervall", "5"),
    ],
)
def test_a_bad_parameter_is_named_and_left_out(load: Any, key: str, value: str) -> None:
    found = load(
        debughookconfig={
            "CollectionConfigurations": [{"CollectionName": "losses", "CollectionParameters": {key: value}}]
        }
    )
    assert found.hook is not None
    kept = found.hook.collections[0]["CollectionParameters"]
    assert kept.get(key, "") == ""
    assert "losses" in found.problems[0]


def test_a_collection_without_regex_is_named_instead_of_breaking_the_hook(load: Any) -> None:
    found = load(debughookconfig={"CollectionConfigurations": [{"CollectionName": "mine"}]})
    assert found.hook.collections == []
    assert "mine" in found.problems[0]


def test_relu_collections_know_their_regex(load: Any) -> None:
    found = load(debughookconfig={"CollectionConfigurations": [{"CollectionName": "relu_input"}]})
    assert found.hook.collections[0]["CollectionParameters"]["include_regex"] == ".*relu_input"


@pytest.mark.parametrize("text", ['{"StartStep": 3, "NumSteps": 2, }', "{'StartStep': 3, 'NumSteps': 2}"])
def test_the_detailed_block_is_read_in_both_spellings(load: Any, text: str) -> None:
    found = load(profilerconfig={"ProfilingParameters": {"DetailedProfilingConfig": text}})
    assert (found.profiler.window_start, found.profiler.window_steps) == (3, 2)


def test_the_blocks_run_no_code(load: Any, tmp_path: Path) -> None:
    target = tmp_path / "touched"
    attack = f"__import__('pathlib').Path({str(target)!r}).touch() or {{}}"
    found = load(profilerconfig={"ProfilingParameters": {"DetailedProfilingConfig": attack}})
    assert not target.exists()
    assert found.profiler.window_start is None
    assert "DetailedProfilingConfig" in found.problems[0]


def test_a_mistyped_window_cannot_fill_the_disk(load: Any) -> None:
    found = load(
        profilerconfig={
            "ProfilingParameters": {"DetailedProfilingConfig": '{"StartStep": 1, "NumSteps": 99999}'}
        }
    )
    assert found.profiler.window_steps == 50


def test_a_disabled_profiler_is_none(load: Any) -> None:
    assert load(profilerconfig={"DisableProfiler": "true", "ProfilingParameters": {}}).profiler is None


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 5000, "null"])
def test_a_broken_file_is_no_configuration(load: Any, text: str) -> None:
    found = load(debughookconfig=text)
    assert found.hook is None
    assert bool(found.problems) == (text != "null")
