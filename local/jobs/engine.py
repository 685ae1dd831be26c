"""The engine: every job and endpoint that runs, and the threads that look after them."""

from __future__ import annotations

from local.config import Config
from local.seam import InvokeResult
from local.store import Store


class Engine:
    """Runs training jobs, tuning jobs and endpoints; `local.seam.EngineLike` says what each call means."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def start(self) -> None:
        raise NotImplementedError

    def submit_training(self, name: str) -> None:
        raise NotImplementedError

    def stop_training(self, name: str) -> None:
        raise NotImplementedError

    def submit_tuning(self, name: str) -> None:
        raise NotImplementedError

    def stop_tuning(self, name: str) -> None:
        raise NotImplementedError

    def create_endpoint(self, name: str) -> None:
        raise NotImplementedError

    def update_endpoint(self, name: str) -> None:
        raise NotImplementedError

    def delete_endpoint(self, name: str) -> None:
        raise NotImplementedError

    def invoke(self, endpoint_name: str, body: bytes, headers: dict[str, str]) -> InvokeResult:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
