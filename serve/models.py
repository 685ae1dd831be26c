"""The models that one worker of a multi-model endpoint holds.

The front end decides what is loaded (`Models.java`); it names a model in a header of each request, and lists
those that are loaded in a file. A worker reads a model when it first needs it, and lets go of those that are
no longer in the list.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from serve import memory
from serve.classifier import Classifier

VARIABLE: Final = "BYOC_MODELS_LIVE"
HEADER: Final = "x-byoc-model"
LOAD: Final = "x-byoc-load"
_LOOK_SECONDS: Final = 0.25


class Models:
    """`load`: from a folder to a warm model. `live`: the file that lists the loaded ones."""

    def __init__(self, load: Callable[[Path], Classifier], live: Path) -> None:
        self._load = load
        self._live = live
        self._loaded: dict[str, Classifier] = {}
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def get(self, key: str) -> Classifier:
        """The model of a request.

        Raises:
            MemoryError: there is no room for it.
            model.artifact.ArtifactError, ServeError: it cannot be read.
        """
        loaded = self._loaded.get(key)
        if loaded is not None:
            return loaded
        folder = Path(base64.b64decode(key.split(" ")[1]).decode())
        memory.require(folder)
        loaded = self._load(folder)
        memory.give_back()  # what reading has left
        with self._lock:
            if key in self._keys():  # it may have been unloaded while it was read
                self._loaded[key] = loaded
        if self._watcher is None:  # late, because threads do not survive the fork of a worker
            self._watcher = threading.Thread(target=self._watch, daemon=True, name="models")
            self._watcher.start()
        return loaded

    def _keys(self) -> set[str]:
        try:
            return set(self._live.read_text(encoding="ascii").splitlines())
        except FileNotFoundError:
            return set()

    def _watch(self) -> None:
        pause = threading.Event()
        seen = 0
        while not pause.wait(_LOOK_SECONDS):
            try:
                changed = self._live.stat().st_mtime_ns
            except FileNotFoundError:
                return  # the server has ended
            if changed != seen:
                seen = changed
                self.forget()

    def forget(self) -> None:
        """Let go of the models that are not loaded any more, and of their memory."""
        with self._lock:
            gone = set(self._loaded) - self._keys()
            for key in gone:
                del self._loaded[key]
        if gone:
            memory.give_back()
