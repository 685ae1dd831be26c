"""Who uses a network, and when it goes; `test_docker.py` asks a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from local.runtime.networks import Networks


class Engine:
    """What Networks asks of Docker's client."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self._made = 0
        self.networks = SimpleNamespace(create=self.create)
        self.api = SimpleNamespace(inspect_network=self.inspect, remove_network=self.remove)

    def create(self, name: str, **options: Any) -> Any:
        self._made += 1
        ident = f"{name.rpartition('-')[0]} {self._made}"
        self.there.append(ident)
        config = [{"Subnet": "127.0.0.0/8", "Gateway": f"127.0.0.{self._made}"}]
        return SimpleNamespace(id=ident, attrs={"IPAM": {"Config": config}}, reload=lambda: None)

    def inspect(self, ident: str) -> None:
        if ident not in self.there:
            raise docker.errors.NotFound("no such network")

    def remove(self, ident: str) -> None:
        self.there.remove(ident)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def networks(engine: Engine) -> Iterator[Networks]:
    made = Networks(engine, {"whose": "mine"}, 0)  # type: ignore[arg-type]
    yield made
    made.close()


def test_a_network_goes_with_its_last_user(engine: Engine, networks: Networks) -> None:
    one, other = networks.join(None), networks.join(None)
    alone = networks.join("job")
    assert one is other
    assert engine.there == ["byoc-local 1", "byoc-job 2"]
    networks.leave(one)
    networks.leave(alone)
    assert engine.there == ["byoc-local 1"]
    networks.leave(other)
    networks.leave(None)
    assert engine.there == []


def test_one_that_is_kept_stays_without_containers(engine: Engine, networks: Networks) -> None:
    kept = networks.join("job", keep=True)
    for _ in range(2):
        networks.leave(networks.join("job"))
        assert engine.there == ["byoc-job 1"]
    networks.leave(kept, keep=True)
    assert engine.there == []


def test_one_that_somebody_removed_is_made_again(engine: Engine, networks: Networks) -> None:
    kept = networks.join("job", keep=True)
    engine.remove("byoc-job 1")
    container = networks.join("job")
    assert container is kept
    assert container.ident == "byoc-job 2"
    networks.leave(container)
    networks.leave(kept, keep=True)
    assert engine.there == []
