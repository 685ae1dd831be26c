"""SageMaker's debugger, profiler and TensorBoard configuration, read without trusting it.

smdebug lower-cases the whole profiler file and hands its blocks to `eval`, takes the API's string "True" for
a wrong type and divides by a save interval of 0. Here every value is checked first; what cannot be used is
named in `problems` and left at smdebug's default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.collections import ACTIVATIONS, BUILT_IN, REGEXES, check_parameters
from contract.debugger import Configuration
from contract.values import boolean

HOOK_VARIABLE = "SMDEBUG_CONFIG_FILE_PATH"
PROFILER_VARIABLE = "SMPROFILER_CONFIG_PATH"
TENSORBOARD_VARIABLE = "TENSORBOARD_CONFIG_FILE_PATH"
MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class HookSettings:
    """DebugHookConfig in the form that smdebug's own functions take, checked."""

    out_dir: Path
    parameters: dict[str, Any]
    collections: list[dict[str, Any]] | None
    tensorboard_dir: Path | None


@dataclass(frozen=True)
class ProfilerSettings:
    """ProfilerConfig; `window_start` is None where no operator-level window was asked for."""

    local_path: Path
    rotate_bytes: int = 10 * 2**20
    rotate_seconds: float = 60.0
    window_start: int | None = None
    window_steps: int = 0


@dataclass
class PlatformConfiguration:
    """What the platform asked for; both None means: do nothing, import nothing."""

    hook: HookSettings | None = None
    profiler: ProfilerSettings | None = None
    problems: list[str] = field(default_factory=list)


def load(environment: Mapping[str, str]) -> PlatformConfiguration:
    """Read the three files from where `environment` says, else from SageMaker's folder."""
    base = Path(environment.get("SAGEMAKER_BASE_DIR") or "/opt/ml")
    folder = base / "input/config"
    result = PlatformConfiguration()
    hook = _read_json(environment, HOOK_VARIABLE, folder / "debughookconfig.json", result.problems)
    profiler = _read_json(environment, PROFILER_VARIABLE, folder / "profilerconfig.json", result.problems)
    board = _read_json(
        environment, TENSORBOARD_VARIABLE, folder / "tensorboardoutputconfig.json", result.problems
    )
    if hook is not None:
        result.hook = _hook(hook, board, base, result.problems)
    if profiler is not None:
        result.profiler = _profiler(profiler, base, result.problems)
    return result


def _read_json(
    environment: Mapping[str, str], variable: str, default: Path, problems: list[str]
) -> dict[str, Any] | None:
    path = Path(environment.get(variable) or default)
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name[:80]} cannot be read: {str(error)[:200]}")
        return None
    if content is None:
        return None
    if not isinstance(content, dict):
        problems.append(f"{path.name} holds {type(content).__name__}, and must hold an object")
        return None
    return content


def of_configuration(
    configuration: Configuration, folder: Path, intervals: Mapping[str, int]
) -> HookSettings:
    """The hook that keeps the tensors of a job's own configuration.

    Args:
        intervals: how often the collections are looked at, where their parameters say nothing else.
    """
    problems: list[str] = []  # `Configuration.problems` has named them
    collections = []
    for name, chosen in configuration.wanted_collections().items():
        parameters = check_parameters(chosen, name, problems)
        if name in intervals:
            parameters.setdefault("save_interval", str(intervals[name]))
        if name in BUILT_IN or parameters.get("include_regex"):
            collections.append({"CollectionName": name, "CollectionParameters": parameters})
    return HookSettings(folder, check_parameters(configuration.hook, "hook", problems), collections, None)


def _hook(
    content: dict[str, Any], board: dict[str, Any] | None, base: Path, problems: list[str]
) -> HookSettings:
    raw = content.get("HookParameters")
    parameters = check_parameters(raw if isinstance(raw, dict) else {}, "HookParameters", problems)
    collections: list[dict[str, Any]] | None = None
    listed = content.get("CollectionConfigurations")
    if isinstance(listed, list):
        collections = []
        for item in listed:
            collection = _collection(item, problems)
            if collection is not None:
                collections.append(collection)
    tensorboard = board.get("LocalPath") if board else None
    if tensorboard is None and parameters.get("export_tensorboard"):
        tensorboard = parameters.get("tensorboard_dir")
    return HookSettings(
        out_dir=Path(str(content.get("LocalPath") or base / "output/tensors")),
        parameters=parameters,
        collections=collections,
        tensorboard_dir=Path(str(tensorboard)) if tensorboard else None,
    )


def _collection(item: object, problems: list[str]) -> dict[str, Any] | None:
    name = item.get("CollectionName") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(name, str) or not name:
        problems.append("an entry of CollectionConfigurations has no CollectionName")
        return None
    raw = item.get("CollectionParameters")
    parameters = check_parameters(raw if isinstance(raw, dict) else {}, f"collection {name}", problems)
    if name in ACTIVATIONS:
        parameters.setdefault("include_regex", REGEXES[name])
    if name not in BUILT_IN and not parameters.get("include_regex"):
        problems.append(f"collection {name} is not saved: give it an include_regex, it is not a built-in one")
        return None
    return {"CollectionName": name, "CollectionParameters": parameters}


def _profiler(content: dict[str, Any], base: Path, problems: list[str]) -> ProfilerSettings | None:
    if boolean(content.get("DisableProfiler", False)):
        return None
    raw = content.get("ProfilingParameters")
    # AWS's own clients differ in the case of these keys, and smdebug ignores it.
    values = {str(key).lower(): value for key, value in raw.items()} if isinstance(raw, dict) else {}
    detailed = _block(values.get("detailedprofilingconfig"), "DetailedProfilingConfig", problems)
    start, steps = detailed.get("startstep"), detailed.get("numsteps")
    window = start is not None or steps is not None
    return ProfilerSettings(
        local_path=Path(str(values.get("localpath") or base / "output/profiler")),
        rotate_bytes=_number(values, "rotatemaxfilesizeinbytes", 10 * 2**20, 1024, problems),
        rotate_seconds=float(_number(values, "rotatefilecloseintervalinseconds", 60, 1, problems)),
        window_start=start if window and start is not None else (5 if window else None),
        # An operator-level trace grows by megabytes a step: a mistyped 5000 must not fill the disk.
        window_steps=min(steps if steps is not None else 3, 50) if window else 0,
    )


def _number(values: Mapping[str, Any], key: str, default: int, least: int, problems: list[str]) -> int:
    if key not in values:
        return default
    try:
        number = int(float(str(values[key])))
    except (ValueError, OverflowError):
        number = least - 1
    if number < least:
        problems.append(
            f"ProfilingParameters: {key}={values[key]!r} is not a number from {least}; using {default}"
        )
        return default
    return number


def _block(value: object, name: str, problems: list[str]) -> dict[str, int]:
    """One metrics block: JSON text, or the Python-like text with a trailing comma that AWS's SDK sends."""
    if value is None:
        return {}
    content: object = value
    if isinstance(value, str):
        text = re.sub(r",\s*}", "}", value[:4096].strip())
        if '"' not in text:
            text = text.replace("'", '"')
        try:
            content = json.loads(text or "{}")
        except (ValueError, RecursionError):
            problems.append(f"ProfilingParameters: {name}={value[:80]!r} is not JSON")
            return {}
    if not isinstance(content, dict):
        problems.append(f"ProfilingParameters: {name} is not an object")
        return {}
    numbers: dict[str, int] = {}
    for key, item in content.items():
        text = str(item).strip()
        if re.fullmatch(r"\d{1,12}", text):
            numbers[str(key).lower()] = int(text)
    return numbers
