from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.debug import config


@pytest.fixture
def load(tmp_path: Path) -> Any:
    folder = tmp_path / "input/config"
    folder.mkdir(parents=True)

    def run(**files: Any) -> config.Configuration:
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"{name}.json").write_text(text)
        return config.load({"SAGEMAKER_BASE_DIR": str(tmp_path)})

    return run


def test_without_files_nothing_is_asked_for(load: Any) -> None:
    assert load() == config.Configuration()


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


@pytest.mark.parametrize(
    ("parameters", "steps", "interval"),
    [
        ({"save_interval": "500"}, 97, "48"),
        ({}, 97, "48"),  # smdebug's own default
        ({"save_interval": "200", "eval.save_interval": "7", "eval.end_step": "1"}, 2, "1"),
        ({"train.save_interval": "90"}, 97, None),
        ({"save_interval": "500"}, 897, "448"),
        ({"save_interval": "500"}, 1001, None),  # steps 0, 500 and 1000
        ({"save_interval": "40"}, 97, None),
        ({"save_interval": "500"}, 1, None),
        ({"save_steps": "3"}, 97, None),
        ({"save_interval": "500", "train.end_step": "1"}, 97, None),
    ],
)
def test_relus_are_saved_in_a_short_training_too(
    load: Any, parameters: dict[str, str], steps: int, interval: str | None
) -> None:
    collections = [
        {"CollectionName": name, "CollectionParameters": parameters} for name in ("relu_output", "weights")
    ]
    hook = load(debughookconfig={"CollectionConfigurations": collections}).hook
    assert len(list(config.fit(hook, steps, 0))) == (interval is not None)
    relus, weights = (item["CollectionParameters"] for item in hook.collections)
    kept = parameters.get("train.save_interval")
    assert relus.get("train.save_interval") == (interval or kept)
    assert weights == parameters


@pytest.mark.parametrize(
    ("parameters", "evaluation", "interval"),
    [
        ({"save_interval": "10"}, 9, "1"),
        ({"save_interval": "10"}, 45, "4"),
        ({"save_interval": "10"}, 100, None),  # ten are saved
        ({"save_interval": "1"}, 9, None),
        ({"save_interval": "10"}, 0, None),
        ({"save_interval": "10", "train.save_interval": "10"}, 9, "1"),
        ({"eval.save_interval": "10"}, 9, None),  # asked for
        ({"save_interval": "10", "eval.end_step": "1"}, 9, None),
    ],
)
def test_an_evaluation_is_not_judged_by_a_batch_of_it(
    load: Any, parameters: dict[str, str], evaluation: int, interval: str | None
) -> None:
    collections = [{"CollectionName": "losses", "CollectionParameters": parameters}]
    hook = load(debughookconfig={"CollectionConfigurations": collections}).hook
    told = list(config.fit(hook, 100, evaluation))
    assert len(told) == (interval is not None)
    saved = hook.collections[0]["CollectionParameters"]
    assert saved.get("eval.save_interval") == (interval or parameters.get("eval.save_interval"))


@pytest.mark.parametrize(
    ("parameters", "adapted"),
    [
        ({}, {"relu_output", "losses"}),
        ({"save_interval": "7", "predict.save_steps": "1"}, {"relu_output", "losses"}),
        ({"train.save_interval": "90"}, {"losses"}),
        ({"eval.save_interval": "10"}, {"relu_output"}),
        ({"train.start_step": "5"}, {"losses"}),
        ({"eval.save_steps": "0,3"}, {"relu_output"}),
        ({"save_steps": "0,99"}, set()),
        ({"start_step": "5"}, set()),
        ({"end_step": "50"}, set()),
    ],
)
def test_steps_chosen_for_the_whole_hook_are_kept(
    load: Any, parameters: dict[str, str], adapted: set[str]
) -> None:
    """The collections are those that `byoc train` sends."""
    intervals = {"losses": "10", "relu_output": "500"}
    collections = [
        {"CollectionName": name, "CollectionParameters": {"save_interval": interval}}
        for name, interval in intervals.items()
    ]
    hook = load(debughookconfig={"HookParameters": parameters, "CollectionConfigurations": collections}).hook
    told = list(config.fit(hook, 100, 20))
    assert {line.split(":")[0] for line in told} == adapted
    assert hook.parameters == parameters
    for item in hook.collections:
        name, saved = item["CollectionName"], item["CollectionParameters"]
        assert saved["save_interval"] == intervals[name]
        assert any(key.endswith(".save_interval") for key in saved) == (name in adapted)
