"""Which part of the network learns in an epoch, and from what: from pictures, or from their features."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable

import torch
from torch import nn

from contract.hyperparameters import Settings
from debugger.monitor import Monitor
from train import features, recipe, schedule
from train.distributed import Process
from train.features import FeatureLoader
from train.freezing import Freezing
from train.loader import Batches, Loader
from train.precision import FULL, Precision

log = logging.getLogger("train")


class Phases:
    """The plan of `freeze` and `unfreeze_epochs`, and the network and batches of an epoch.

    Where nothing but the head learns, on pictures that are not augmented, the backbone sees each picture
    once, and the head trains on its features.

    Attributes:
        network: what trains, wrapped for several ranks. Set by `begin`.
        train, validation: where the batches of this epoch come from.
        head_passes: how often the first epoch goes through the features, where only the head learns in it;
            0 where it is an epoch as any other.
    """

    def __init__(
        self,
        module: nn.Module,
        head: str,
        optimizer: torch.optim.Optimizer,
        train: Loader,
        validation: Loader,
        settings: Settings,
        *,
        limits_head: bool,
        device: str,
        precision: Precision,
        process: Process,
        should_stop: Callable[[], bool],
    ) -> None:
        """`limits_head`: whether the head's learning rate is held to what its features allow."""
        self.train: Loader | FeatureLoader = train
        self.validation: Loader | FeatureLoader = validation
        self.network: nn.Module | None = None
        self.on_features = False
        self._module, self._head = module, module.get_submodule(head)
        self._optimizer = optimizer
        self._pictures = train, validation
        self._settings = settings
        self._limits_head = limits_head
        self._device, self._precision, self._process = device, precision, process
        self._should_stop = should_stop
        self._freezing = Freezing(module, head, settings)
        self.head_passes = recipe.head_passes(settings, len(train))

    @property
    def learner(self) -> nn.Module:
        """What is given the batches: the head, or the whole network."""
        return self._head if self.on_features else self._module

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self.on_features else self._precision.autocast(self._device)

    @property
    def evaluation_precision(self) -> Precision:
        return FULL if self.on_features else self._precision

    def begin(self, epoch: int, step: int, monitor: Monitor) -> None:
        """Freeze what this epoch freezes, and compute features where it trains on them. Collective.

        Raises:
            Stopped: the job was asked to end while features were computed.
        """
        changed = self._freezing.apply(epoch)
        on_features = self._can_use_features(epoch)
        if changed or self.network is None or on_features is not self.on_features:
            monitor.model_changed(self._head if on_features else self._module)
            schedule.let_join(self._optimizer)
            if on_features and not self.on_features:
                # Validation in full precision costs once what it would have cost in each epoch, and is exact.
                exact = dataclasses.replace(self._precision, name="fp32")
                of_train = self._features(self._pictures[0], self._precision)
                self.train, self.validation = of_train, self._features(self._pictures[1], exact)
            elif not on_features:
                self.train, self.validation = self._pictures
            self.on_features = on_features
            if self._limits_head and not step:
                self._limit_head()
            self.network = self._process.wrap(self.learner)
            if self._settings.compile and not on_features:
                self.network = torch.compile(self.network)  # type: ignore[assignment]
        self._freezing.train_mode()

    def batches(self, epoch: int, seed: int, start: int) -> Batches:
        """This rank's part of an epoch's batches, from number `start` on."""
        rank, world = self._process.rank, self._process.world
        if epoch == 0 and self.head_passes:
            assert isinstance(self.train, FeatureLoader)
            return self.train.passes(self.head_passes, seed, start, rank, world)
        return self.train.shuffled(epoch, seed, start, rank, world)

    def _can_use_features(self, epoch: int) -> bool:
        settings = self._settings
        if self._freezing.blocks(epoch):
            return False
        if settings.freeze == "auto":
            return True  # or else it would not have been left at that, see train.recipe
        if settings.augment != "none" or settings.mixup or settings.erase:
            return False
        pictures = sum(len(loader.pictures) for loader in self._pictures)
        return features.storable(self._head, pictures, settings, self._process)

    def _features(self, loader: Loader, precision: Precision) -> FeatureLoader:
        assert isinstance(self._head, nn.Linear)
        before = time.perf_counter()
        computed = features.compute(
            self._module, self._head, loader, self._device, precision, self._process, self._should_stop
        )
        log.info(
            "only the head learns: the backbone saw %d pictures once, in %.1f s",
            len(loader.pictures), time.perf_counter() - before,
        )  # fmt: skip
        return computed

    def _limit_head(self) -> None:
        """See that the head's learning rate fits its features; the optimizer's state remembers it."""
        source, seed = self.train, self._settings.seed
        if isinstance(source, FeatureLoader):
            sampled = source.sample(seed)
        else:
            sampled = features.sample(
                self._module, self._head, source, seed, self._device, self._precision, self._process
            )
        limit = self._process.broadcast(schedule.stable_rate(sampled))  # ranks must not differ by rounding
        wanted = schedule.limit_head(self._optimizer, self._settings.lr, limit)
        if wanted > limit:
            log.info(
                "the head learns with %.2g at most instead of %.2g: on this backbone's features, "
                "a faster one diverges", limit, wanted,
            )  # fmt: skip
