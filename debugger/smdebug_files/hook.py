"""smdebug's hook for a current torch.

smdebug attaches itself to the model for good, counts a step per forward and reads gradients as autograd
produces them. That breaks copying and compiling the model, sees activations after an in-place ReLU has
rewritten them, saves gradients that are loss-scaled, partial or one rank's own, and never sees parameters
that are unfrozen later. This subclass keeps smdebug's configuration, names and files and turns the rest
round: the training loop says where a step begins and ends; only in a step that saves something is the
model hooked; gradients are read when the optimizer is about to use them.

Importing this module imports smdebug; go through `debugger.smdebug_files.glue`.
"""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from smdebug import SaveConfig
from smdebug.core.collection import CollectionKeys
from smdebug.core.json_config import (
    add_collections_to_manager,
    collect_hook_config_params,
    get_include_collections,
)
from smdebug.core.modes import ModeKeys
from smdebug.core.utils import match_inc
from smdebug.pytorch.hook import Hook as SmdebugHook
from smdebug.pytorch.utils import get_reduction_of_data
from torch.optim.optimizer import register_optimizer_step_pre_hook

from contract.collections import ACTIVATIONS
from debugger.smdebug_files.config import HookSettings
from debugger.smdebug_files.writer import StepWriter
from debugger.torch_modules import class_name, is_compiled, loss_name, unwrap

log = logging.getLogger("train.debugger")

# A due gradient waits for the optimizer, which gradient accumulation calls rarely; after this many steps
# without one, what is there is saved.
MAX_STEPS_WITHOUT_OPTIMIZER = 64
MAX_OVERFLOWS = 4
MAX_CALLS_OF_A_LAYER = 3  # torchvision's blocks call one ReLU up to three times
_NUMPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def create(
    settings: HookSettings,
    model: torch.nn.Module,
    loss: torch.nn.Module | None,
    rank: int,
    workers: int,
) -> TensorHook:
    """Build the hook that `settings` describes. Raises on anything smdebug refuses."""
    config = {"HookParameters": settings.parameters, "CollectionConfigurations": settings.collections}
    parsed = collect_hook_config_params(config)
    hook = TensorHook(
        model=model,
        loss=loss,
        rank=rank,
        workers=workers,
        out_dir=str(settings.out_dir),
        tensorboard_dir=str(settings.tensorboard_dir) if settings.tensorboard_dir else None,
        export_tensorboard=settings.tensorboard_dir is not None,
        reduction_config=parsed["reduction_config"],
        save_config=SaveConfig.from_dict(parsed["save_config_modes"]),
        include_regex=parsed["include_regex"],
        include_collections=get_include_collections(config),
        save_all=parsed.get("save_all", False),
        include_workers=parsed.get("include_workers", "one"),
    )
    add_collections_to_manager(hook.collection_manager, config, parsed)
    hook.add_activations_by_type()
    hook._prepare_collections()
    return hook


class TensorHook(SmdebugHook):  # type: ignore[misc]
    """Saves tensors in smdebug's format between `begin_step` and `end_step`."""

    step: int
    writer: Any

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        loss: torch.nn.Module | None,
        rank: int,
        workers: int,
        **options: Any,
    ) -> None:
        # Around smdebug's error handling, which would swallow a failure and leave half an object behind.
        SmdebugHook.__init__.__wrapped__(self, **options)
        for registered in (self._cleanup, self.profiler_config_parser.stop_post_hook_close_python_profiling):
            atexit.unregister(registered)
        self.timeline_writer.close()
        self.worker = f"worker_{rank}"
        self.first_process = True
        self._workers = workers
        self._model = weakref.ref(unwrap(model))
        self._loss = weakref.ref(loss) if loss is not None else None
        self._compiled = is_compiled(model)
        self._handles: list[Any] = []
        self._running: set[torch.nn.Module] | None = None  # all
        self._wanted_modules: dict[frozenset[str], list[tuple[str, torch.nn.Module, bool, bool]]] = {}
        self._wanted_gradients: dict[frozenset[str], bool] = {}
        self._activations_wanted = 0
        self._activations_seen = 0
        # Runs what torch calls back. The Monitor sets one that switches the hook off on an error.
        self.guard: Callable[[Callable[[], None]], None] = lambda action: action()
        self._gradients_due = 0
        self._optimizer_steps: set[int] = set()
        self._exported_names = -1
        self._warned: set[str] = set()
        self._saving = False

    # Steps

    def begin_step(self, mode_name: str, number: int) -> bool:
        """Start step `number` of TRAIN or EVAL; returns whether anything is saved in it."""
        mode = ModeKeys[mode_name]
        self.set_mode(mode)
        # A loop that starts its numbering again must not overwrite what is there.
        number = max(number, self.mode_steps[mode] + 1)
        self.mode_steps[mode] = number
        # The global step counts the steps of all modes, so that a job resumed at its step 500 goes on there.
        others = sum(step + 1 for key, step in self.mode_steps.items() if key not in (mode, ModeKeys.GLOBAL))
        self.step = max(self.step + 1, number + others)
        self.mode_steps[ModeKeys.GLOBAL] = self.step
        self.written_tensor_name_for_step.clear()
        self._collections_to_save_for_step = None
        self._optimizer_steps.clear()
        saved = self._get_collections_to_save_for_step()
        if mode is ModeKeys.TRAIN and saved and self._gradients_wanted():
            self._gradients_due = max(self._gradients_due, 1)
        self._saving = bool(saved)
        if not saved and not self._gradients_due:
            return False
        self._initialize_writers()
        model = self._model()
        if model is None:
            raise RuntimeError("the model that the hook was made for is gone")
        if saved:
            self._log_params(model)
            self._attach(model)
        if self._gradients_due and mode is ModeKeys.TRAIN:
            self._handles.append(register_optimizer_step_pre_hook(self._before_optimizer))
        return True

    def end_step(self) -> None:
        """Write what the step saved and leave the model as it was."""
        self._detach()
        if self._gradients_due and self.mode is ModeKeys.TRAIN:
            self._gradients_without_optimizer()
        if self._activations_wanted and not self._activations_seen:
            self._tell_once(
                "activations",
                "no activations were seen in a step that should save them; is the model compiled? "
                "Compile after training starts, or save no layer inputs and outputs",
            )
        self._save_custom_tensors_post_step()
        self.last_saved_step = self.step
        self._close_writers()
        self._close_tb_writer()
        self._export_if_new()
        self._saving = False

    def close(self) -> None:
        """Write what is open; the platform writes the end file inside a job, smdebug elsewhere."""
        self._detach()
        self._cleanup()

    def abandon(self) -> None:
        """Leave the model alone and keep what can be kept; each part is tried, errors are the caller's."""
        self.guard = lambda action: None
        self._detach()
        try:
            self._close_writers()
        finally:
            self.export_collections()

    # What is saved

    def forget_modules(self, running: torch.nn.Module | None = None) -> None:
        """The model's structure may have changed: look at it afresh in the next step that saves.

        Of `running`, if given, the coming steps run nothing but its layers.
        """
        self._running = set(unwrap(running).modules()) if running is not None else None
        self._wanted_modules.clear()
        self._wanted_gradients.clear()

    def add_activations_by_type(self) -> None:
        """`relu_input` and `relu_output` mean every ReLU, whatever the model calls it."""
        model = self._model()
        collections = self.get_collections()
        for name, module in model.named_modules() if model is not None else ():
            if isinstance(module, (torch.nn.ReLU, torch.nn.ReLU6)):
                for collection in ACTIVATIONS & collections.keys():
                    suffix = collection.removeprefix("relu")
                    for call in range(MAX_CALLS_OF_A_LAYER):
                        collections[collection].add_tensor_name(f"{name}{suffix}_{call}")

    def _log_params(self, module: torch.nn.Module) -> None:
        prefix = class_name(module)
        for name, parameter in module.named_parameters():
            # A frozen one is the same in each save, and a rule would take it for one that fails to learn.
            if parameter.requires_grad:
                self._save_for_tensor(f"{prefix}_{name}", parameter.detach())

    def _gradients_wanted(self) -> bool:
        """Whether a collection saved in this step takes any gradient."""
        saved = self._get_collections_to_save_for_step()
        key = frozenset(collection.name for collection in saved)
        model = self._model()
        if key not in self._wanted_gradients and model is not None:
            prefix = f"{self.GRADIENT_PREFIX}{class_name(model)}_"
            names = [prefix + name for name, _ in model.named_parameters()]
            self._wanted_gradients[key] = self._matches(saved, names)
        return self._wanted_gradients.get(key, False)

    def _before_optimizer(self, optimizer: torch.optim.Optimizer, *unused: Any) -> None:
        """Gradients as the optimizer uses them: accumulated, all-reduced, clipped and unscaled."""
        self.guard(lambda: self._save_gradients(optimizer))

    def _save_gradients(self, optimizer: torch.optim.Optimizer | None) -> None:
        model = self._model()
        if model is None or (optimizer is not None and id(optimizer) in self._optimizer_steps):
            return
        owned = None
        scale = None
        if optimizer is not None:
            self._optimizer_steps.add(id(optimizer))
            owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer unscales by itself, later
        prefix = f"{self.GRADIENT_PREFIX}{class_name(model)}_"
        late = not self._saving
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # A parameter that was frozen after it had learned may still have a gradient, of zeros.
                if parameter.grad is None or not parameter.requires_grad:
                    continue
                if owned is not None and id(parameter) not in owned:
                    continue
                gradient = parameter.grad if scale is None else parameter.grad / scale
                if late:
                    self._save_late(prefix + name, gradient)
                else:
                    self._save_for_tensor(prefix + name, gradient)
        self._gradients_due = 0

    def _save_late(self, name: str, gradient: torch.Tensor) -> None:
        """Due in an earlier step of an accumulation: the step's own schedule no longer counts."""
        collections = {
            collection
            for collection in self._get_collections_with_tensor(name)
            if collection.name not in (CollectionKeys.LOSSES,)
        }
        if collections:
            self._write_for_tensor(name, gradient, collections)

    def _gradients_without_optimizer(self) -> None:
        """No optimizer step came: accumulation goes on, or a GradScaler skipped a step that overflowed."""
        self._gradients_due += 1
        model = self._model()
        gradients = [p.grad for p in model.parameters() if p.grad is not None] if model is not None else []
        overflow = bool(gradients) and any(
            not bool(torch.isfinite(norm)) for norm in torch._foreach_norm(gradients)
        )
        # One skipped step is how a GradScaler finds its scale; several in a row are an overflow.
        overflow = overflow and self._gradients_due > MAX_OVERFLOWS
        if overflow or self._gradients_due > MAX_STEPS_WITHOUT_OPTIMIZER:
            if not overflow:
                self._tell_once(
                    "optimizer", "no torch optimizer was stepped for a long time; saving raw gradients"
                )
            self._save_gradients(None)

    # Hooks on modules, for the length of one step

    def _attach(self, model: torch.nn.Module) -> None:
        self._activations_wanted = self._activations_seen = 0
        wanted = self._modules_to_hook(model)
        if wanted and self._compiled:
            self._tell_once(
                "compiled", "layer inputs and outputs are not saved: the model is compiled with torch.compile"
            )
            wanted = []
        for name, module, inputs, outputs in wanted:
            self._activations_wanted += 1
            if inputs:
                # Before the layer runs: an in-place ReLU overwrites its own input.
                self._handles.append(module.register_forward_pre_hook(self._on_input(name)))
            if outputs:
                self._handles.append(module.register_forward_hook(self._on_output(name)))
        loss = self._loss() if self._loss is not None else None
        if loss is not None:
            self._handles.append(loss.register_forward_hook(self._on_loss(loss_name(loss))))

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _modules_to_hook(self, model: torch.nn.Module) -> list[tuple[str, torch.nn.Module, bool, bool]]:
        saved = self._get_collections_to_save_for_step()
        key = frozenset(collection.name for collection in saved)
        if key not in self._wanted_modules:
            watched = []
            for name, module in model.named_modules():
                if self._running is not None and module not in self._running:
                    continue
                named = name or class_name(model)
                inputs = self._matches(saved, [f"{named}_input_0", f"{named}_input_1"])
                outputs = self._matches(saved, [f"{named}_output_0", f"{named}_output_1"])
                if inputs or outputs:
                    watched.append((named, module, inputs, outputs))
            self._wanted_modules[key] = watched
        return self._wanted_modules[key]

    @staticmethod
    def _matches(collections: Iterable[Any], names: list[str]) -> bool:
        return any(
            match_inc(name, collection.include_regex) or name in collection.tensor_names
            for collection in collections
            for name in names
        )

    def _on_input(self, name: str) -> Callable[..., None]:
        def before(module: torch.nn.Module, inputs: Any) -> None:
            self._activations_seen += 1
            self.guard(lambda: self._write_inputs(name, inputs))

        return before

    def _on_output(self, name: str) -> Callable[..., None]:
        def after(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            self._activations_seen += 1
            self.guard(lambda: self._write_outputs(name, output))

        return after

    def _on_loss(self, name: str) -> Callable[..., None]:
        def after(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            def save() -> None:
                self._write_inputs(name, inputs)
                self._write_outputs(name, output)

            self.guard(save)

        return after

    def _write(self, module_name: str, var: Any, suffix: str, idx: int) -> int:
        # smdebug compares class names, which misses Parameter and other tensor subclasses.
        if isinstance(var, torch.Tensor):
            self._save_for_tensor(module_name + suffix + str(idx), var)
            return idx + 1
        values = var.values() if isinstance(var, dict) else var if isinstance(var, (tuple, list)) else ()
        for value in values:
            idx = self._write(module_name, value, suffix, idx)
        return idx

    # Values

    @staticmethod
    def _make_numpy_array(tensor_value: Any) -> Any:
        if not isinstance(tensor_value, torch.Tensor):
            return np.asarray(tensor_value)
        tensor = tensor_value.detach()
        if tensor.layout is not torch.strided:
            tensor = tensor.coalesce().values() if tensor.is_sparse else tensor.to_dense()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.dtype.is_floating_point and tensor.dtype not in _NUMPY_FLOATS:
            tensor = tensor.float()  # numpy has no bfloat16 and no 8-bit floats
        elif tensor.dtype in (torch.int8, torch.int16):
            tensor = tensor.to(torch.int32)  # smdebug's reader knows neither
        elif tensor.is_complex():
            tensor = torch.view_as_real(tensor.to(torch.complex64))
        return tensor.cpu().numpy()

    @staticmethod
    def _get_reduction_of_data(reduction_name: str, tensor_value: Any, tensor_name: str, abs: bool) -> Any:
        if isinstance(tensor_value, torch.Tensor):
            tensor_value = tensor_value.detach()
            if tensor_value.dtype not in (torch.float32, torch.float64):
                tensor_value = tensor_value.float()
            if tensor_value.numel() == 0:
                raise ValueError("the tensor is empty")
        return get_reduction_of_data(reduction_name, tensor_value, tensor_name, abs)

    # Files

    def _initialize_writers(self, only_initialize_if_missing: bool = False) -> None:
        if only_initialize_if_missing and self.writer:
            return
        if self.save_all_workers or self.worker == self.chief_worker:
            self.writer = StepWriter(trial_dir=self.out_dir, step=self.step, worker=self.worker)

    def _maybe_get_tb_writer(self) -> Any:
        if not self.tensorboard_dir or (not self.save_all_workers and self.worker != self.chief_worker):
            return None
        if self.mode not in self.tb_writers:
            self.tb_writers[self.mode] = StepWriter(
                trial_dir=self.tensorboard_dir,
                step=self.step,
                worker=self.worker,
                write_checksum=True,
                wtype="tensorboard",
                mode=self.mode,
            )
        return self.tb_writers[self.mode]

    def _get_num_workers(self) -> int:
        return getattr(self, "_workers", 1)

    def _is_not_supported(self) -> bool:
        return False

    def _write_state(self) -> None:
        """Nothing: steps come from the training loop, which knows where it resumed."""

    def _export_if_new(self) -> None:
        """Readers wait for this file, and use its tensor names: write it again when a name is new."""
        names = sum(len(collection.tensor_names) for collection in self.get_collections().values())
        if names != self._exported_names:
            self.export_collections()
            self.exported_collections = True
            self._exported_names = names

    def _cleanup(self) -> None:
        if Path(self.out_dir).exists():
            super()._cleanup()

    def _tell_once(self, topic: str, message: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            log.warning("debugger: %s", message)
