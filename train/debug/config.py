"""SageMaker's debugger, profiler and TensorBoard configuration, read without trusting it.

smdebug lower-cases the whole profiler file and hands its blocks to `eval`, takes the API's string "True" for
a wrong type and divides by a save interval of 0. Here every value is checked first; what cannot be used is
named in `problems` and left at smdebug's default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train.debug.patterns import PatternError, compile_pattern

HOOK_VARIABLE = "SMDEBUG_CONFIG_FILE_PATH"
PROFILER_VARIABLE = "SMPROFILER_CONFIG_PATH"
TENSORBOARD_VARIABLE = "TENSORBOARD_CONFIG_FILE_PATH"
MAX_BYTES = 1_000_000
SAVE_INTERVAL = 500  # smdebug's own

BUILT_IN_COLLECTIONS = frozenset({"all", "default", "weights", "biases", "gradients", "losses"})
# AWS's rule configurations name these two without always sending their regex.
ACTIVATION_COLLECTIONS = {"relu_input": ".*relu_input", "relu_output": ".*relu_output"}
_MODES = ("", "train.", "eval.", "predict.", "global.")
_STEPS = ("save_steps", "start_step", "end_step")
_BOOLEANS = ("save_raw_tensor", "save_shape", "save_histogram", "save_all", "export_tensorboard")
_REDUCTION = re.compile(r"(abs_)?(min|max|mean|std|variance|sum|prod|l1_norm|l2_norm)")


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
class Configuration:
    """What the platform asked for; both None means: do nothing, import nothing."""

    hook: HookSettings | None = None
    profiler: ProfilerSettings | None = None
    problems: list[str] = field(default_factory=list)


def load(environment: Mapping[str, str]) -> Configuration:
    """Read the three files from where `environment` says, else from SageMaker's folder."""
    base = Path(environment.get("SAGEMAKER_BASE_DIR") or "/opt/ml")
    folder = base / "input/config"
    result = Configuration()
    hook = _read(environment, HOOK_VARIABLE, folder / "debughookconfig.json", result.problems)
    profiler = _read(environment, PROFILER_VARIABLE, folder / "profilerconfig.json", result.problems)
    board = _read(environment, TENSORBOARD_VARIABLE, folder / "tensorboardoutputconfig.json", result.problems)
    if hook is not None:
        result.hook = _hook(hook, board, base, result.problems)
    if profiler is not None:
        result.profiler = _profiler(profiler, base, result.problems)
    return result


def _read(
    environment: Mapping[str, str], variable: str, default: Path, problems: list[str]
) -> dict[str, Any] | None:
    path = Path(environment.get(variable) or default)
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} cannot be read and is ignored: {error}")
        return None
    if content is None:
        return None
    if not isinstance(content, dict):
        problems.append(
            f"{path.name} is ignored: it holds {type(content).__name__} where an object is expected"
        )
        return None
    return content


def fit(settings: HookSettings, steps: int, evaluation: int) -> Iterator[str]:
    """Let the intervals of two collections suit a training of so many steps, with evaluations of so many.

    The usual interval of `relu_output`, 500, is meant for long trainings: of a short one it shows the
    untrained network of step 0 and no more. Then it is saved at least at the start, in the middle and at the
    end. And every tenth loss of a short evaluation is one batch, perhaps of a single class: at least ten are
    saved of each, or all.

    Only a plain `save_interval`, such as `byoc` sends, is made shorter. Who sets that of the mode, or
    save_steps, start_step or end_step, for the collection or in HookParameters, has chosen the steps, and
    that is kept. Yields what was changed, for the log.
    """
    suitable = {}
    if steps > 1:
        suitable["relu_output"] = ("train.", max(1, (steps - 1) // 2), f"the training has {steps}")
    if evaluation > 0:
        suitable["losses"] = ("eval.", max(1, evaluation // 10), f"an evaluation has {evaluation}")
    for collection in settings.collections or ():
        name, parameters = collection["CollectionName"], collection["CollectionParameters"]
        if name not in suitable:
            continue
        mode, interval, why = suitable[name]
        given = {"save_interval": SAVE_INTERVAL} | settings.parameters | parameters
        chosen = {f"{prefix}{key}" for prefix in ("", mode) for key in _STEPS} | {f"{mode}save_interval"}
        asked = int(given["save_interval"])
        if asked > interval and not chosen & given.keys():
            parameters[f"{mode}save_interval"] = str(interval)
            yield f"{name}: {mode}save_interval is {interval} instead of {asked}, as {why} steps"


def boolean(value: object) -> bool | None:
    """True or False for the API's strings and JSON's booleans, None for anything else."""
    text = str(value).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(text)


def _hook(
    content: dict[str, Any], board: dict[str, Any] | None, base: Path, problems: list[str]
) -> HookSettings:
    raw = content.get("HookParameters")
    parameters = _parameters(raw if isinstance(raw, dict) else {}, "HookParameters", problems)
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
        problems.append("an entry of CollectionConfigurations has no CollectionName and is ignored")
        return None
    raw = item.get("CollectionParameters")
    parameters = _parameters(raw if isinstance(raw, dict) else {}, f"collection {name}", problems)
    if name in ACTIVATION_COLLECTIONS:
        parameters.setdefault("include_regex", ACTIVATION_COLLECTIONS[name])
    if name not in BUILT_IN_COLLECTIONS and not parameters.get("include_regex"):
        problems.append(f"collection {name} is not saved: give it an include_regex, it is not a built-in one")
        return None
    return {"CollectionName": name, "CollectionParameters": parameters}


def _parameters(raw: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """Strings as smdebug takes them; booleans where it wants booleans; what it would choke on left out."""
    kept: dict[str, Any] = {}
    for key, value in raw.items():
        bare = key
        for mode in _MODES[1:]:
            bare = bare.removeprefix(mode)
        text = str(value).strip()
        if bare in _BOOLEANS:
            parsed = boolean(value)
            if parsed is None:
                problems.append(f"{where}: {key}={text!r} is neither true nor false and is ignored")
            else:
                kept[key] = parsed
        elif bare in ("save_interval", "start_step", "end_step"):
            least = 1 if bare == "save_interval" else 0
            if re.fullmatch(r"\d{1,12}", text) and int(text) >= least:
                kept[key] = text
            else:
                problems.append(f"{where}: {key}={text!r} is not a whole number from {least} and is ignored")
        elif bare == "save_steps":
            if re.fullmatch(r"\d{1,12}(\s*,\s*\d{1,12}){0,9999}", text):
                kept[key] = text
            else:
                problems.append(f"{where}: {key}={text[:60]!r} is not a list of step numbers and is ignored")
        elif bare == "reductions":
            names = [name.strip() for name in text.split(",") if name.strip()]
            wrong = [name for name in names if not _REDUCTION.fullmatch(name)]
            if wrong:
                problems.append(f"{where}: the reductions {', '.join(wrong)} do not exist and are ignored")
            kept[key] = ",".join(name for name in names if name not in wrong)
        elif bare == "include_regex":
            patterns = []
            for pattern in (part.strip() for part in text.split(",")):
                try:
                    compile_pattern(pattern)
                except PatternError as error:
                    problems.append(f"{where}: {error}")
                else:
                    patterns.append(pattern)
            if patterns:
                kept[key] = ",".join(patterns)
        elif bare in ("include_workers", "tensorboard_dir"):
            kept[key] = text
        else:
            problems.append(f"{where}: {key} is not a parameter of the hook and is ignored")
    return kept


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
            problems.append(f"ProfilingParameters: {name}={value[:80]!r} is not JSON and is ignored")
            return {}
    if not isinstance(content, dict):
        problems.append(f"ProfilingParameters: {name} is not an object and is ignored")
        return {}
    numbers: dict[str, int] = {}
    for key, item in content.items():
        text = str(item).strip()
        if re.fullmatch(r"\d{1,12}", text):
            numbers[str(key).lower()] = int(text)
    return numbers
