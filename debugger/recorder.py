"""Looks at a training's tensors in the steps in which a collection is due, and keeps their statistics.

Only in such a step is the model hooked, and it is left as it was. Weights are taken before the update,
gradients as the optimizer gets them (averaged over ranks, clipped, unscaled). Names are smdebug's.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from contract.collections import (
    REGEXES,
    Schedule,
    check_parameters,
    fitting_interval,
    shortest_interval,
)
from contract.patterns import compile_pattern
from contract.rules import Scalar
from debugger import reduce
from debugger.observation import Change, Kind, Observation, Statistics, kind_of
from debugger.reduce import Numbers
from debugger.torch_modules import class_name, is_compiled, loss_name, unwrap

log = logging.getLogger("train.debugger")

MAX_CALLS_OF_A_LAYER: Final = 3  # torchvision's blocks call one ReLU up to three times
MAX_STEPS_WITHOUT_OPTIMIZER: Final = 64
MAX_SCORES: Final = 65_536  # labels, or mixtures of labels, of a batch that are kept as they are
# The collection that takes a kind of tensor without a regex.
_USUAL: Final[Mapping[Kind, str]] = {"gradient": "gradients", "weight": "weights", "bias": "biases"}


@dataclass
class Collection:
    """What is looked at, and when. `matches` takes a tensor's name, where the collection has a regex."""

    name: str
    schedule: Schedule
    matches: Callable[[str], bool] | None = None


@dataclass
class _Step:
    """One step that is being looked at; `reads` give statistics once its numbers have arrived."""

    number: int
    due: frozenset[str]
    numbers: Numbers = field(default_factory=Numbers)
    reads: list[Callable[[], Mapping[str, Statistics]]] = field(default_factory=list)
    members: dict[str, set[str]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    own: list[torch.Tensor] = field(default_factory=list)  # norms of this rank's own gradients


class Recorder:
    """Made once for a training; `begin` and `end` are called around each training step, `take` afterwards.

    Args:
        collections: as `Configuration.wanted_collections` gives them.
        steps: training steps of the job, for the intervals that nobody chose.
        distance: a weight is compared with one that is at least so many steps older.
        spans: in so many looks at the gradients their percentiles are computed.
        own_gradients: also the norm of the gradients before they are averaged over the ranks.
        guard: runs what torch calls back, and switches the recorder off on an error.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: torch.nn.Module | None,
        collections: Mapping[str, Mapping[str, Scalar]],
        steps: int,
        *,
        distance: int = 1,
        spans: int = 10,
        own_gradients: bool = False,
        guard: Callable[[Callable[[], None]], None] = lambda action: action(),
    ) -> None:
        self._model = weakref.ref(unwrap(model))
        self._loss = weakref.ref(loss) if loss is not None else None
        self._compiled = is_compiled(model)
        self._guard = guard
        self._collections = [_collection(name, given, steps) for name, given in collections.items()]
        self.configured = frozenset(collections)
        self._distance = distance
        self._spans, self._spans_left = reduce.Spans(), spans
        self._own_gradients = own_gradients
        self._running: set[torch.nn.Module] | None = None  # all
        # Weights as they were: step, values, norm.
        self._before: dict[str, tuple[int, torch.Tensor, torch.Tensor]] = {}
        self._handles: list[Any] = []
        self._step: _Step | None = None
        self._gradients_due: frozenset[str] = frozenset()  # collections that wait for an optimizer's step
        self._steps_without_optimizer = 0
        self._said: set[str] = set()
        self._waiting: dict[int, _Step] = {}
        self.own_norms: list[tuple[int, float]] = []

    @property
    def intervals(self) -> dict[str, int]:
        """How often each collection is looked at, in steps."""
        return {item.name: item.schedule.interval for item in self._collections}

    @property
    def loss_name(self) -> str:
        """What smdebug calls the loss's output."""
        loss = self._loss() if self._loss is not None else None
        return f"{loss_name(loss) if loss is not None else 'loss'}_output_0"

    def wants_loss(self, step: int) -> bool:
        """Whether the loss of this step is due."""
        return any(item.name == "losses" and item.schedule.due(step) for item in self._collections)

    def begin(self, number: int) -> None:
        """Start training step `number`."""
        due = frozenset(item.name for item in self._collections if item.schedule.due(number))
        self._gradients_due |= {name for name in due if self._takes_gradients(name)}
        if not (due - {"losses"}) and not self._gradients_due:
            return
        model = self._model()
        if model is None:
            raise RuntimeError("the model that is recorded is gone")
        self._step = _Step(number, due)
        self._look_at_weights(self._step, model)
        self._attach(self._step, model)

    def end(self) -> None:
        """End the step: leave the model alone, and start its numbers on their way to the host."""
        self._detach()
        step, self._step = self._step, None
        if step is None:
            return
        if self._gradients_due:
            self._count_without_optimizer()
        if step.own:
            norm = step.numbers.add(torch.linalg.vector_norm(torch.stack(step.own)))
            step.reads.append(lambda: self._keep_own_norm(step.number, norm()))
        if step.reads:
            step.numbers.send()
            self._waiting[step.number] = step

    def take(self, number: int, loss: float | None, pictures: int | None) -> Observation | None:
        """What was looked at in step `number`, with its loss, the mean over `pictures`; None for nothing.

        Called when the step is over on the device too, so that nothing waits.
        """
        step = self._waiting.pop(number, None)
        tensors: dict[str, Statistics] = {}
        members: dict[str, frozenset[str]] = {}
        if step is not None:
            step.numbers.fetch()
            for read in step.reads:
                tensors.update(read())
            members = {name: frozenset(found) for name, found in step.members.items()}
        if loss is not None and self.wants_loss(number):
            name = self.loss_name
            finite = np.isfinite(loss)
            tensors[name] = Statistics(
                size=1, mean=loss if finite else None, nan=int(np.isnan(loss)), infinite=int(np.isinf(loss)),
                minimum=loss if finite else None, maximum=loss if finite else None,
            )  # fmt: skip
            members = {**members, "losses": frozenset([name])}
        if not tensors:
            return None
        return Observation(
            step=number, mode="TRAIN", tensors=tensors, collections=members, configured=self.configured,
            pictures=pictures,
        )  # fmt: skip

    def forget_modules(self, running: torch.nn.Module | None = None) -> None:
        """The coming steps run nothing but `running`'s layers, or all of them."""
        self._running = set(unwrap(running).modules()) if running is not None else None

    def close(self) -> None:
        """Leave the model alone, and forget what is kept of it. Not inside one of the hooks: torch goes
        through them at that moment."""
        self._detach()
        self._before.clear()
        self._waiting.clear()

    # What is looked at

    def _takes_gradients(self, name: str) -> bool:
        """Whether a collection holds gradients: by its name, or because its regex matches one."""
        if name == "gradients":
            return True
        model = self._model()
        item = next(item for item in self._collections if item.name == name)
        if name in REGEXES or item.matches is None or model is None:
            return False
        prefix = f"gradient/{class_name(model)}_"
        return any(item.matches(prefix + parameter) for parameter, _ in model.named_parameters())

    def _count_without_optimizer(self) -> None:
        """Gradient accumulation steps the optimizer rarely, a GradScaler not after an overflow."""
        self._steps_without_optimizer += 1
        if self._steps_without_optimizer > MAX_STEPS_WITHOUT_OPTIMIZER:
            self._gradients_due = frozenset()
            self._steps_without_optimizer = 0
            self._say_once("no optimizer of torch was stepped for a long time: gradients are not looked at")

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            log.warning("debugger: %s", message)

    def _keep_own_norm(self, number: int, values: reduce.Row) -> Mapping[str, Statistics]:
        self.own_norms.append((number, float(values[0])))
        return {}

    def _look_at_weights(self, step: _Step, model: torch.nn.Module) -> None:
        prefix = class_name(model)
        chosen = {
            f"{prefix}_{name}": parameter.detach()
            for name, parameter in model.named_parameters()
            # A frozen one is the same each time, and a rule would take it for one that fails to learn.
            if parameter.requires_grad
            and parameter.numel()
            and self._joins(f"{prefix}_{name}", step.due, step)
        }
        if not chosen:
            return
        names, tensors = list(chosen), list(chosen.values())
        rows, norms = reduce.norms(tensors, step.numbers)
        sizes = [tensor.numel() for tensor in tensors]
        compared = [
            name
            for name in names
            if name in self._before and step.number - self._before[name][0] >= self._distance
            if self._before[name][1].shape == chosen[name].shape
        ]
        moved: Callable[[], reduce.Row] | None = None
        before = {name: self._before[name] for name in compared}
        if compared:
            distances = reduce.distances(
                [values for _, values, _ in before.values()], [chosen[name] for name in compared]
            )
            moved = step.numbers.add(*distances, *(norm for _, _, norm in before.values()))
        for name, norm in zip(names, norms, strict=True):
            if name in before:
                self._before[name] = (step.number, before[name][1], norm)
            elif name not in self._before or self._before[name][1].shape != chosen[name].shape:
                self._before[name] = (step.number, chosen[name].clone(), norm)

        def read() -> Mapping[str, Statistics]:
            values = moved().tolist() if moved is not None else []
            changes = {
                name: Change(values[index], values[index + len(compared)], before[name][0])
                for index, name in enumerate(compared)
            }
            return {
                name: reduce.parameter(size, row, change=changes.get(name))
                for name, size, row in zip(names, sizes, rows(), strict=True)
            }

        step.reads.append(read)

    def _joins(self, name: str, due: Iterable[str], step: _Step) -> bool:
        """Enter a tensor into those of the collections that take it; returns whether there is one."""
        joined = False
        for item in self._collections:
            usual = item.name == _USUAL.get(kind_of(name))
            if item.name in due and (usual or (item.matches is not None and item.matches(name))):
                step.members.setdefault(item.name, set()).add(name)
                joined = True
        return joined

    def _before_optimizer(self, step: _Step, optimizer: torch.optim.Optimizer) -> None:
        model = self._model()
        if model is None or not self._gradients_due:
            return
        owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer unscales by itself, later
        prefix = f"gradient/{class_name(model)}_"
        names, tensors = [], []
        for name, parameter in model.named_parameters():
            # A parameter that was frozen after it had learned may still have a gradient, of zeros.
            gradient = parameter.grad
            if gradient is None or not parameter.requires_grad or id(parameter) not in owned:
                continue
            if gradient.numel() and self._joins(prefix + name, self._gradients_due, step):
                names.append(prefix + name)
                tensors.append(gradient.detach() if scale is None else gradient.detach() / scale)
        self._gradients_due = frozenset()
        self._steps_without_optimizer = 0
        if not names:
            return
        rows, _ = reduce.norms(tensors, step.numbers, absolutes=True)
        sizes = [tensor.numel() for tensor in tensors]
        spans: Callable[[], list[tuple[float, float]]] | None = None
        if self._spans_left > 0:
            self._spans_left -= 1
            spans = self._spans.of(tensors, step.numbers)

        def read() -> Mapping[str, Statistics]:
            known_spans = spans() if spans is not None else [None] * len(names)
            return {
                name: reduce.parameter(size, row, span=span)
                for name, size, row, span in zip(names, sizes, rows(), known_spans, strict=True)
            }

        step.reads.append(read)

    def _look_at_loss(self, step: _Step, name: str, inputs: Any) -> None:
        """Labels and what the network made of them, as the rule ClassImbalance reads them."""
        if not isinstance(inputs, tuple) or len(inputs) < 2:
            return
        scores, labels = inputs[0], inputs[1]
        if not isinstance(scores, torch.Tensor) or not isinstance(labels, torch.Tensor):
            return
        if labels.numel() > MAX_SCORES:
            return
        # As 32-bit floats these are exact: classes are fewer than 2^24.
        predicted = scores.detach().argmax(dim=-1) if scores.dim() > 1 else scores.detach()
        read = step.numbers.add(predicted, labels)
        count, shape, whole = predicted.numel(), tuple(labels.shape), not labels.is_floating_point()
        for position in (0, 1):
            step.members.setdefault("loss_inputs", set()).add(f"{name}_input_{position}")

        def statistics() -> Mapping[str, Statistics]:
            values = read()
            truth = values[count:].reshape(shape)
            return {
                f"{name}_input_0": Statistics(size=count, values=values[:count].astype(np.int64)),
                f"{name}_input_1": Statistics(
                    size=truth.size, values=truth.astype(np.int64) if whole else truth
                ),
            }

        step.reads.append(statistics)

    def _look_at_layer(self, step: _Step, name: str, suffix: str, value: Any, *, is_relu: bool) -> None:
        tensors = value if isinstance(value, (tuple, list)) else [value]
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor) or not tensor.numel():
                continue
            call = step.calls.get(name + suffix, 0)
            step.calls[name + suffix] = call + 1
            if call >= MAX_CALLS_OF_A_LAYER:
                continue
            full = f"{name}{suffix}_{call}"
            self._joins(full, step.due, step)
            if is_relu and (usual := f"relu{suffix}") in step.due:
                step.members.setdefault(usual, set()).add(full)
            read = reduce.activation(tensor, step.numbers, units=suffix == "_output")
            step.reads.append(lambda full=full, read=read: {full: read()})  # type: ignore[misc]

    # Hooks, for the length of one step

    def _attach(self, step: _Step, model: torch.nn.Module) -> None:
        inputs, outputs = "relu_input" in step.due, "relu_output" in step.due
        custom = [
            item.matches
            for item in self._collections
            if item.name in step.due and item.name not in REGEXES and item.matches is not None
        ]
        if (inputs or outputs or custom) and self._compiled:
            self._say_once("layers are not looked at, as torch.compile compiled the model")
        elif inputs or outputs or custom:
            for name, module in model.named_modules():
                if self._running is not None and module not in self._running:
                    continue
                named = name or class_name(model)
                is_relu = isinstance(module, (torch.nn.ReLU, torch.nn.ReLU6))
                for suffix, wanted in (("_input", inputs), ("_output", outputs)):
                    if (wanted and is_relu) or any(matches(f"{named}{suffix}_0") for matches in custom):
                        self._hook_layer(step, module, named, suffix, is_relu=is_relu)
        loss = self._loss() if self._loss is not None else None
        if loss is not None and "loss_inputs" in step.due:
            name = loss_name(loss)
            self._handles.append(
                loss.register_forward_pre_hook(
                    lambda module, inputs: self._guard(lambda: self._look_at_loss(step, name, inputs))
                )
            )
        if self._gradients_due:
            self._handles.append(
                register_optimizer_step_pre_hook(
                    lambda optimizer, *unused: self._guard(lambda: self._before_optimizer(step, optimizer))
                )
            )
            if self._own_gradients:
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        handle = parameter.register_hook(self._on_own_gradient(step))  # type: ignore[no-untyped-call]
                        self._handles.append(handle)

    def _hook_layer(
        self, step: _Step, module: torch.nn.Module, name: str, suffix: str, *, is_relu: bool
    ) -> None:
        def look(value: Any) -> None:
            self._guard(lambda: self._look_at_layer(step, name, suffix, value, is_relu=is_relu))

        if suffix == "_input":
            # Before the layer runs: an in-place ReLU overwrites its own input.
            handle = module.register_forward_pre_hook(lambda module, inputs: look(inputs))
        else:
            handle = module.register_forward_hook(lambda module, inputs, output: look(output))
        self._handles.append(handle)

    def _on_own_gradient(self, step: _Step) -> Callable[[torch.Tensor], None]:
        def look(gradient: torch.Tensor) -> None:
            self._guard(lambda: step.own.append(torch.linalg.vector_norm(gradient.detach().float())))

        return look

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _collection(name: str, chosen: Mapping[str, Scalar], steps: int) -> Collection:
    parameters = check_parameters(chosen, name, [])  # `Configuration.problems` has named what is wrong
    regexes = [compile_pattern(part) for part in str(parameters.get("include_regex", "")).split(",") if part]
    schedule = Schedule.of(parameters, fitting_interval(name, steps))
    shortest = shortest_interval(name, steps)
    if schedule.interval < shortest:
        log.warning(
            "debugger: collection %s is looked at every %d steps instead of every %d: in a training of %d "
            "steps that is often enough for every curve",
            name, shortest, schedule.interval, steps,
        )  # fmt: skip
        schedule = replace(schedule, interval=shortest)
    # Names come again in each step, a step has hundreds of them, and a job may have hundreds of regexes.
    matches = cache(lambda tensor: any(regex.search(tensor) for regex in regexes))
    return Collection(name, schedule, matches if regexes else None)
