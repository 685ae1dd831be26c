"""Warm pools: what a training job leaves for the next one that asks for the same machines.

AWS keeps the machines and the cache folder of the pool. Here the machine is always there, so what a job gets
from the one before is the folder, and in Docker the network.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.config import region_in
from local.errors import ValidationException
from local.jobs.documents import Document
from local.jobs.files import is_folder_below, remove_tree
from local.jobs.spot import is_spot
from local.runtime.container import Runtime
from local.store import Store

CACHE = "/opt/ml/sagemaker/warmpoolcache"
VARIABLE = "SAGEMAKER_MANAGED_WARMPOOL_CACHE_DIRECTORY"
log = logging.getLogger("local.jobs")
_LONGEST = 28 * 86_400  # seconds that a pool may move from job to job
_MACHINES = ("InstanceCount", "InstanceType", "VolumeKmsKeyId", "VolumeSizeInGB")


def keep_alive(doc: Mapping[str, Any]) -> int:
    """Seconds that a job's pool is to stay; 0 for a job without one."""
    return int(doc.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds", 0))


def _matches_by(doc: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must be the same for a job to get the pool of another (AWS: Matching training jobs)."""
    resources, network = doc.get("ResourceConfig", {}), doc.get("VpcConfig", {})
    return (
        region_in(doc["TrainingJobArn"]),
        doc.get("RoleArn"),
        *(resources.get(member) for member in _MACHINES),
        sorted(network.get("SecurityGroupIds", [])),
        sorted(network.get("Subnets", [])),
        bool(doc.get("EnableInterContainerTrafficEncryption")),
        bool(doc.get("EnableNetworkIsolation")),
    )


@dataclass
class _Machines:
    """What moves from job to job: when the first one got it, its network, and what gives that back."""

    born: float
    network: str | None
    give_back: Callable[[], None]


@dataclass
class _Pool:
    """One that is Available: the cache folders of its hosts, and since when."""

    job: str
    matches_by: tuple[Any, ...]
    folder: Path
    since: float
    machines: _Machines
    timer: threading.Timer


class WarmPools:
    """All pools of the service. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._available: dict[str, _Pool] = {}  # by the job that left it
        self._in_use: dict[str, _Machines] = {}  # by the job that has them

    def take(self, store: Store, doc: Document, caches: Sequence[Path], runtime: Runtime) -> bool:
        """Gives a job that is about to start the newest pool that matches it, or makes one if it wants one.

        `caches`: where its hosts expect their cache folders. False for a job without a pool. RuntimeProblem
        if there can be no network.
        """
        name, now = doc["TrainingJobName"], time.time()
        if is_spot(doc):  # as AWS documents
            return False
        with self._lock:
            matching = [
                pool
                for pool in self._available.values()
                if pool.matches_by == _matches_by(doc) and now - pool.machines.born < _LONGEST
            ]
            if not matching and not keep_alive(doc):
                return False
            if matching:
                pool = max(matching, key=lambda pool: pool.since)
                self._in_use[name] = pool.machines
                self._end(store, pool, {"Status": "Reused", "ReusedByJob": name})
            else:
                # None: that of all jobs of one host. A name of its own, as a job's may come again meanwhile.
                network = f"pool-{uuid.uuid4().hex[:12]}" if len(caches) > 1 else None
                self._in_use[name] = _Machines(now, network, runtime.keep_network(network))
            try:
                for number, cache in enumerate(caches):
                    cache.parent.mkdir(parents=True, exist_ok=True)
                    if matching and (pool.folder / str(number)).is_dir():
                        (pool.folder / str(number)).rename(cache)
                    cache.mkdir(exist_ok=True)
            except OSError:
                self._in_use.pop(name).give_back()
                raise
            finally:
                if matching:
                    remove_tree(pool.folder)
        _set(store, name, {"Status": "InUse"})
        return True

    def network(self, name: str) -> str | None:
        """The network of the pool that a job has; its own name for one without a pool."""
        with self._lock:
            machines = self._in_use.get(name)
        return machines.network if machines else name

    def keep(
        self, store: Store, doc: Document, hosts: Sequence[tuple[Path, Path]], folder: Path, *, healthy: bool
    ) -> None:
        """A job that has a pool is about to end: the pool stays Available, or is Terminated.

        `hosts`: base and cache folder of each. `folder`: where the caches stay meanwhile. `healthy`: whether
        nothing but the job itself can have failed.
        """
        name, seconds = doc["TrainingJobName"], keep_alive(doc)
        with self._lock:
            machines = self._in_use.pop(name, None)
            if machines is None:
                return
            if not (seconds and healthy and _moved(hosts, folder)):
                machines.give_back()
                _set(store, name, {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 0})
                return
            timer = self._timer(store, name, float(seconds))
            pool = _Pool(name, _matches_by(doc), folder, time.time(), machines, timer)
            self._available[name] = pool
            pool.timer.start()
            _set(store, name, {"Status": "Available"})

    def prolong(self, store: Store, name: str, seconds: int) -> None:
        """Another KeepAlivePeriodInSeconds for the pool that a job has left; 0 ends it.

        ValidationException where there is none.
        """
        with self._lock:
            pool = self._available.get(name)
            if pool is None:
                raise ValidationException(
                    f"The training job {name} has no warm pool that is Available: only of such a one can "
                    "KeepAlivePeriodInSeconds be changed."
                )

            def change(doc: Document) -> None:
                doc["ResourceConfig"]["KeepAlivePeriodInSeconds"] = seconds

            store.mutate("training-job", name, change)
            pool.timer.cancel()
            left = pool.since + seconds - time.time()
            if left <= 0:
                self._terminate(store, pool)
            else:
                pool.timer = self._timer(store, name, left)
                pool.timer.start()

    def close(self, store: Store) -> None:
        """The service ends, and its pools with it."""
        with self._lock:
            for pool in list(self._available.values()):
                self._terminate(store, pool)

    def _timer(self, store: Store, name: str, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._expire, (store, name))
        timer.daemon = True
        return timer

    def _expire(self, store: Store, name: str) -> None:
        with self._lock:
            pool = self._available.get(name)
            if pool is not None and pool.timer is threading.current_thread():
                self._terminate(store, pool)

    def _terminate(self, store: Store, pool: _Pool) -> None:
        """Gives back all that the pool has."""
        try:
            self._end(store, pool, {"Status": "Terminated"})
        finally:  # also where the store cannot be written
            remove_tree(pool.folder)
            pool.machines.give_back()

    def _end(self, store: Store, pool: _Pool, status: dict[str, Any]) -> None:
        """Takes a pool off the list; what it was kept for is billed to the job that left it."""
        pool.timer.cancel()
        del self._available[pool.job]
        kept = max(0, round(time.time() - pool.since))
        _set(store, pool.job, {**status, "ResourceRetainedBillableTimeInSeconds": kept})


def _moved(hosts: Sequence[tuple[Path, Path]], folder: Path) -> bool:
    """Moves the cache folders of a job that ends to where the pool keeps them; False if that fails."""
    try:
        folder.mkdir(parents=True)
        for number, (base, cache) in enumerate(hosts):
            if is_folder_below(base, cache):  # the job has put no link in its place
                cache.rename(folder / str(number))
    except OSError as error:
        log.warning("a warm pool is lost: %s", error)
        remove_tree(folder)
        return False
    return True


def _set(store: Store, name: str, status: dict[str, Any]) -> None:
    def change(doc: Document) -> None:
        doc["WarmPoolStatus"] = status

    with contextlib.suppress(KeyError):  # the job was deleted meanwhile
        store.mutate("training-job", name, change)


def terminate(doc: Document) -> bool:
    """Ends the pool in a document that a dead service has left, in place; whether there was one."""
    status = doc.get("WarmPoolStatus", {})
    if status.get("Status") not in ("Available", "InUse"):
        return False
    kept = max(0, round(time.time() - doc.get("TrainingEndTime", time.time())))
    kept = kept if status["Status"] == "Available" else 0
    doc["WarmPoolStatus"] = {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": kept}
    return True
