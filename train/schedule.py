"""What is learned at which rate: parameter groups, the optimizer and the learning rate over time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from contract.hyperparameters import Settings


def parameter_groups(
    module: nn.Module, head: str, settings: Settings, pretrained: bool
) -> list[dict[str, Any]]:
    """Backbone and head, each with and without weight decay.

    What is frozen is among them, for it may learn later; the optimizer passes over it, as it has no gradient.
    `scale` is the multiple of the learning rate; the head's only counts beside a pretrained backbone.
    """
    groups = []
    for is_head in (False, True):
        for decayed in (True, False):
            parameters = [
                parameter
                for name, parameter in module.named_parameters()
                if name.startswith(head + ".") is is_head
                # Norms and biases: pulling them to zero limits what a layer can express and regularises
                # nothing.
                and (parameter.ndim > 1) is decayed
            ]
            if parameters:
                scale = settings.head_lr_multiplier if is_head and pretrained else 1.0
                decay = settings.weight_decay if decayed else 0.0
                groups.append(
                    {"params": parameters, "weight_decay": decay, "scale": scale, "is_head": is_head}
                )
    return groups


def stable_rate(features: torch.Tensor) -> float:
    """The highest learning rate at which SGD with momentum trains a linear head well.

    Beyond what the curvature of the loss allows, the weights swing instead of settling. A softmax's is at
    most half the largest eigenvalue of the features' second moment, and momentum 0.9 allows 2.7 divided by
    that eigenvalue in the worst case. Backbones differ in it by orders of magnitude, so no fixed rate fits
    all of them. With 2 to 64 classes of 10 to 500 pictures, flowers and digits, 3 to 6 were best or nearly.

    Args:
        features: what the head is given for some pictures, float32 [N, D]. Without any there is no limit.
    """
    if not len(features):
        return math.inf
    moment = float(torch.linalg.eigvalsh(features.double() @ features.double().T)[-1]) / len(features)
    return 4 / max(moment, 1e-12)


def limit_head(optimizer: torch.optim.Optimizer, rate: float, limit: float) -> float:
    """Let the head's learning rate not pass `limit` when that of the backbone is `rate`.

    Returns what the head's would have been.
    """
    wanted = 0.0
    for group in optimizer.param_groups:
        if group["is_head"]:
            wanted = rate * group["scale"]
            group["scale"] = min(group["scale"], limit / rate)
    return wanted


def make_optimizer(groups: list[dict[str, Any]], settings: Settings) -> torch.optim.Optimizer:
    """One kernel for all parameters of a group (`fused`), which on a CPU saves a third of a small step."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999), fused=True)
    momentum = settings.momentum
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def let_join(optimizer: torch.optim.Optimizer) -> None:
    """Give parameters that begin to learn later than others in their group a momentum of zero.

    It is what they would get anyway, but torch's fused SGD fails where only some of a group have one.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if group.get("momentum") and parameter.requires_grad:
                state = optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)


def factor(step: int, steps: int, warmup: int, kind: str) -> float:
    """Share of the highest learning rate at a step, counted from 0, of `steps` in all.

    Rises linearly over `warmup` steps, then falls along half a cosine ("cosine") or stays ("constant").
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if kind == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def warmup_steps(settings: Settings, steps_per_epoch: int) -> int:
    """At most a fifth of all steps, so that a short trial still learns at its full rate."""
    return int(min(settings.warmup_epochs, settings.epochs / 5) * steps_per_epoch)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class MovingAverage:
    """Exponential moving average of everything in a module's state, integers copied.

    The decay starts low, (1 + n) / (10 + n), so that the average does not remember the random start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - decay)
            else:
                self.state[name].copy_(tensor)
