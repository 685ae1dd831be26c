"""Reads smdebug's index and event files while a job writes them, trusting none of them.

An index names its event file by a path. smdebug joins whatever stands there to the trial's folder; here a
path that does not have the one allowed form, or that leads out of the folder through a link, is refused and
reported. Sizes are checked against the file before anything is allocated.
"""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contract.patterns import PatternError, compile_pattern
from debugger.observation import MAX_NAME, Array, Observation, Reducer, from_reductions

log = logging.getLogger("train.debugger")

END_FILE = "training_job_end.ts"
STATUS_FILE = "hook-status.json"
REDUCTIONS_PREFIX = "smdebug/reductions/"
MAX_INDEX_BYTES = 32 * 2**20
MAX_RECORD_BYTES = 4 * 2**30
# How long an index may be there before its event file: an upload keeps no order.
PATIENCE_SECONDS = 60.0
_INDEX_NAME = re.compile(r"(\d{12})_([\w.-]{1,100})\.json")
_EVENT_PATH = re.compile(r"events/\d{12}/\d{12}_[\w.-]{1,100}\.tfevents")
_TYPES = {"DT_HALF": "<f2", "DT_FLOAT": "<f4", "DT_DOUBLE": "<f8", "DT_INT32": "<i4", "DT_INT64": "<i8"}
_TYPES |= {"DT_UINT8": "u1", "DT_INT8": "i1", "DT_UINT16": "<u2", "DT_UINT32": "<u4", "DT_UINT64": "<u8"}
_TYPES |= {"DT_BOOL": "?"}


class TrialError(ValueError):
    """A file of the trial that is broken or leads elsewhere; the message names it."""


class TrialReader:
    """Yields each step of a trial's folder once, in the order of the steps.

    `distance`: a weight is compared with one that is at least so many steps older.
    """

    def __init__(self, root: Path, distance: int = 1) -> None:
        self.root = root
        self._reducer = Reducer(distance)
        self.problems: list[str] = []
        self.collections: dict[str, frozenset[str]] = {}
        self._done: set[str] = set()
        self._first_seen: dict[str, float] = {}
        self._collections_stamp: dict[Path, float] = {}
        self._regexes: dict[str, list[re.Pattern[str]]] = {}
        self._event_class, self._type_names = _event_class()

    def ended(self) -> bool:
        """Whether the platform has written its end file."""
        return (self.root / END_FILE).exists()

    def hook_status(self) -> str | None:
        """Why the hook switched itself off, if it did."""
        try:
            content = json.loads((self.root / STATUS_FILE).read_text()[:10_000])
            return str(content["reason"])[:500] if content.get("state") == "disabled" else None
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def poll(self, *, last: bool = False) -> Iterator[Observation]:
        """The steps that are complete and new. `last`: report what is still missing instead of waiting."""
        self._read_collections()
        for path in sorted(self._new_index_files(), key=lambda found: found.name):
            key = f"{path.parent.name}/{path.name}"
            try:
                observation = self._read_step(path)
            except FileNotFoundError:
                first = self._first_seen.setdefault(key, time.monotonic())
                if not last and time.monotonic() - first < PATIENCE_SECONDS:
                    continue
                self._problem(f"the events of {key} never came")
                observation = None
            except (TrialError, OSError) as error:
                self._problem(f"{key} is left out: {error}")
                observation = None
            self._done.add(key)
            if observation is not None:
                yield observation

    def _new_index_files(self) -> Iterator[Path]:
        folder = self.root / "index"
        try:
            prefixes = [entry.path for entry in os.scandir(folder) if re.fullmatch(r"\d{9}", entry.name)]
        except OSError:
            return
        for prefix in prefixes:
            with os.scandir(prefix) as entries:
                for entry in entries:
                    key = f"{Path(prefix).name}/{entry.name}"
                    if key not in self._done and _INDEX_NAME.fullmatch(entry.name):
                        yield Path(entry.path)

    def _inside(self, path: Path) -> Path:
        """The real file behind `path`, if it lies in the trial's folder."""
        real = path.resolve(strict=True)
        if not real.is_relative_to(self.root.resolve()) or not real.is_file():
            raise TrialError(f"{path.name} leads out of the trial's folder")
        return real

    def _read_step(self, path: Path) -> Observation:
        match = _INDEX_NAME.fullmatch(path.name)
        if match is None:
            raise TrialError("its name has no step")
        index = self._json(path)
        meta = index.get("meta")
        if not isinstance(meta, dict):
            raise TrialError("it has no meta section")
        mode = str(meta.get("mode", "")).strip()
        if mode not in ("TRAIN", "EVAL", "PREDICT", "GLOBAL"):
            raise TrialError(f"its mode {mode[:20]!r} does not exist")
        step, worker = _whole(meta.get("mode_step"), "mode_step"), match.group(2)
        arrays: dict[str, Array] = {}
        reductions: dict[str, dict[str, float]] = {}
        entries = index.get("tensor_payload") or []
        if not isinstance(entries, list):
            raise TrialError("its tensor_payload is not a list")
        if entries:
            name = str(meta.get("event_file_name", ""))
            if not _EVENT_PATH.fullmatch(name):
                raise TrialError(f"it names {name[:80]!r} as its event file, which is not allowed")
            events = self._inside(self.root / name)
            with events.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                for entry in entries:
                    self._read_tensor(entry, stream, size, arrays, reductions)
        tensors = {name: from_reductions(values) for name, values in reductions.items()}
        tensors |= {name: self._reducer.tensor(name, array, step, worker) for name, array in arrays.items()}
        return Observation(
            step=step,
            mode=mode,
            worker=worker,
            tensors=tensors,
            collections=self._membership(sorted(tensors)),
            configured=frozenset(self.collections),
            pictures=_pictures(arrays),
        )

    def _read_tensor(
        self,
        entry: Any,
        stream: Any,
        size: int,
        arrays: dict[str, Array],
        reductions: dict[str, dict[str, float]],
    ) -> None:
        if not isinstance(entry, dict):
            raise TrialError("an entry of its tensor_payload is not an object")
        start = _whole(entry.get("start_idx"), "start_idx")
        length = _whole(entry.get("length"), "length")
        if length < 16 or length > MAX_RECORD_BYTES or start + length > size:
            raise TrialError("an entry lies outside its event file")
        stream.seek(start)
        record = stream.read(length)
        (payload,) = struct.unpack("<Q", record[:8])
        if payload != length - 16:
            raise TrialError("a record of its event file is broken")
        name, array = self._decode(record[12:-4])
        if name.startswith(REDUCTIONS_PREFIX):
            reduction, _, tensor = name.removeprefix(REDUCTIONS_PREFIX).partition("/")
            if tensor and array.size == 1:
                reductions.setdefault(tensor, {})[reduction] = float(array.ravel()[0].real)
        else:
            arrays[name] = array

    def _decode(self, payload: bytes) -> tuple[str, Array]:
        event = self._event_class()
        try:
            event.ParseFromString(payload)
            value = event.summary.value[0]
        except Exception as error:
            raise TrialError(f"a record is not an event: {type(error).__name__}") from None
        name = str(value.tag)
        if not name or len(name) > MAX_NAME:
            raise TrialError("a tensor's name is empty or too long")
        tensor = value.tensor
        kind = _TYPES.get(self._type_names.get(tensor.dtype, ""))
        if kind is None:
            raise TrialError(f"tensor {name} has a type that cannot be read")
        shape = [int(dimension.size) for dimension in tensor.tensor_shape.dim]
        dtype = np.dtype(kind)
        count = 1
        for dimension in shape:
            count *= dimension
        if min(shape, default=0) < 0 or count * dtype.itemsize != len(tensor.tensor_content):
            raise TrialError(f"tensor {name} does not have the size that its shape says")
        return name, np.frombuffer(tensor.tensor_content, dtype=dtype).reshape(shape)

    # Collections

    def _read_collections(self) -> None:
        folder = self.root / "collections" / "000000000"
        try:
            files = [Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith(".json")]
        except OSError:
            return
        for path in files:
            try:
                stamp = path.stat().st_mtime
                if self._collections_stamp.get(path) == stamp:
                    continue
                self._collections_stamp[path] = stamp
                content = self._json(path).get("collections")
                for name, collection in (content if isinstance(content, dict) else {}).items():
                    self._add_collection(str(name), collection)
            except (TrialError, OSError) as error:
                self._problem(f"{path.name} is left out: {error}")

    def _add_collection(self, name: str, collection: Any) -> None:
        if not isinstance(collection, dict):
            return
        names = collection.get("tensor_names")
        listed = frozenset(str(item)[:MAX_NAME] for item in names) if isinstance(names, list) else frozenset()
        self.collections[name] = self.collections.get(name, frozenset()) | listed
        regexes = collection.get("include_regex")
        patterns = []
        for text in (regexes if isinstance(regexes, list) else [])[:100]:
            try:
                patterns.append(compile_pattern(str(text)))
            except PatternError as error:
                self._problem(f"collection {name[:60]}: {error}")
        self._regexes[name] = patterns

    def _membership(self, names: list[str]) -> dict[str, frozenset[str]]:
        """Which of a step's tensors belong to which collection."""
        members: dict[str, frozenset[str]] = {}
        for collection, listed in self.collections.items():
            patterns = self._regexes.get(collection, [])
            rows = [
                name for name in names if name in listed or any(pattern.search(name) for pattern in patterns)
            ]
            if rows:
                members[collection] = frozenset(rows)
        return members

    def _json(self, path: Path) -> dict[str, Any]:
        real = self._inside(path)
        if real.stat().st_size > MAX_INDEX_BYTES:
            raise TrialError(f"it is larger than {MAX_INDEX_BYTES} bytes")
        try:
            content = json.loads(real.read_bytes())
        except (ValueError, RecursionError):
            raise TrialError("it is not JSON") from None
        if not isinstance(content, dict):
            raise TrialError("it holds no object")
        return content

    def _problem(self, message: str) -> None:
        if message not in self.problems and len(self.problems) < 100:
            self.problems.append(message)
            log.warning("%s", message)


def _pictures(arrays: Mapping[str, Array]) -> int | None:
    """How many pictures a step's loss is the mean of, where what the loss was given was saved."""
    sizes = [array.shape[0] for name, array in arrays.items() if "oss_input" in name and array.ndim]
    return int(sizes[0]) if sizes else None


def format_status(step: Any, reason: str) -> str:
    """hook-status.json, which the hook leaves when it has to switch itself off."""
    return json.dumps({"schema": 1, "state": "disabled", "step": step, "reason": reason})


def _whole(value: object, name: str) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TrialError(f"its {name} is not a whole number")
    return value


def _event_class() -> tuple[Any, dict[int, str]]:
    """smdebug's protobuf classes. smdebug imports torch if it can; a rule evaluator can do without."""
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")
    blocked = "torch" not in sys.modules
    if blocked:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from smdebug.core.tfevent.proto import event_pb2, types_pb2
    finally:
        if blocked:
            del sys.modules["torch"]
    return event_pb2.Event, {number: name for name, number in types_pb2.DataType.items()}
