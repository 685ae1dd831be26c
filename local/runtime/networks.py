"""The bridge networks of one service in a Docker engine, each with a way to the service on loopback."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import docker.errors
import requests

import docker
from local.runtime.forwarder import Forwarder

log = logging.getLogger("local.runtime")

_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@dataclass
class Network:
    """A bridge network; `service`: the address that stands for the service in its containers.

    `users`: containers on it, and warm pools that keep it for later ones; `keepers`: the latter alone.
    """

    ident: str
    name: str
    gateway: str
    service: str
    users: int = 0
    keepers: int = 0


class Networks:
    """Makes a network when it is first asked for, removes it after its last user. For one thread at a time.

    `port`: the service's. `labels`: whose the networks are.
    """

    def __init__(self, client: docker.DockerClient, labels: Mapping[str, str], port: int) -> None:
        self._client = client
        self._labels = dict(labels)
        self._forwarder = Forwarder(port)
        self._networks: dict[str | None, Network] = {}

    def join(self, shared: str | None, *, keep: bool = False) -> Network:
        """The network that `shared` names, with one user more; `keep`: one without a container there."""
        network = self._networks.get(shared)
        if network is None:
            network = self._networks[shared] = self._make(shared)
        elif network.users == network.keepers and not self._exists(network):
            # A new one may get the same addresses.
            self._forwarder.leave(network.gateway)
            made = self._make(shared)
            network.ident, network.name = made.ident, made.name
            network.gateway, network.service = made.gateway, made.service
        network.users += 1
        network.keepers += keep
        return network

    def leave(self, network: Network | None, *, keep: bool = False) -> None:
        """One user less; `keep`: one that had kept it."""
        if network is None:
            return
        network.users -= 1
        network.keepers -= keep
        if network.users:
            return
        self._networks = {key: other for key, other in self._networks.items() if other is not network}
        self._forwarder.leave(network.gateway)
        with contextlib.suppress(*_ERRORS):
            self._client.api.remove_network(network.ident)

    def close(self) -> None:
        """Lets nobody in any more. The networks are left to whoever removes everything of the labels."""
        self._forwarder.close()

    def _exists(self, network: Network) -> bool:
        """False once somebody has removed it: `docker network prune` takes those without containers."""
        try:
            self._client.api.inspect_network(network.ident)
        except docker.errors.NotFound:
            return False
        return True

    def _make(self, shared: str | None) -> Network:
        name = f"byoc-{shared or 'local'}-{uuid.uuid4().hex[:8]}"
        made = self._client.networks.create(name, driver="bridge", labels=self._labels)
        try:
            made.reload()
            configs = made.attrs["IPAM"]["Config"]
            config = next(config for config in configs if ":" not in config["Subnet"])
            gateway = config["Gateway"].partition("/")[0]
            service = self._let_in(gateway, config["Subnet"])
        except BaseException:
            made.remove()
            raise
        return Network(str(made.id), name, gateway, service)

    def _let_in(self, gateway: str, subnet: str) -> str:
        try:
            self._forwarder.listen(gateway, subnet)
        except OSError as error:
            # The engine is in a virtual machine (Docker Desktop), which brings containers to loopback itself.
            log.info("no listener on %s (%s): containers use host-gateway", gateway, error.strerror)
            return "host-gateway"
        return gateway
