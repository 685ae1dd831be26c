"""What a torch module is called, and what it is inside its wrappers."""

from __future__ import annotations

import torch


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The user's own module inside DistributedDataParallel, DataParallel or torch.compile."""
    for _ in range(4):
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
        ):
            inner = model.module
        if not isinstance(inner, torch.nn.Module):
            break
        model = inner
    return model


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether `torch.compile` wrapped the model or any part of it."""
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def loss_name(loss: torch.nn.Module) -> str:
    """The loss module's class name, made to match the `losses` collection."""
    name = class_name(loss)
    return name if "oss" in name else f"{name}_loss"


def class_name(module: torch.nn.Module) -> str:
    """The name that smdebug begins a parameter's name with."""
    return str(module._get_name())  # type: ignore[no-untyped-call]
