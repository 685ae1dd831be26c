"""Where a torch network looked: Grad-CAM (Selvaraju et al., 2017)."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import fx, nn

from serve.engine import Heat
from serve.explain import CannotExplain

_POOLS: Final = (nn.functional.adaptive_avg_pool2d, torch.mean)


def grad_cam(network: nn.Module, pictures: torch.Tensor, index: int) -> Heat:
    """How much each place spoke for class `index`: [h, w] in [0, 1], as coarse as the last features.

    Args:
        network: as it serves.
        pictures: one normalised picture, [1, 3, H, W].
    """
    try:
        graph = network if isinstance(network, fx.GraphModule) else fx.symbolic_trace(network)
    except Exception as error:  # tracing can fail in many ways
        raise CannotExplain("this network cannot be taken apart") from error
    pools = [node for node in graph.graph.nodes if _is_pool(graph, node)]
    if not pools:
        raise CannotExplain("this network has no pooled features; Grad-CAM needs them")
    run = _FromFeatures(graph, pools[-1])
    with torch.no_grad():
        logits = run.run(pictures)
    features = run.features
    if features is None or features.dim() != 4:
        raise CannotExplain("this network's features have no places")
    (gradient,) = torch.autograd.grad(logits[0, index].float(), features)
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    heat = (weights * features.detach().float()).sum(dim=1)[0].relu()
    top = float(heat.max())
    result: Heat = (heat / top if top > 0 else heat).cpu().numpy()
    return result


class _FromFeatures(fx.Interpreter):
    """Computes without gradients up to the features, and with them from there on."""

    def __init__(self, graph: fx.GraphModule, pool: fx.Node) -> None:
        super().__init__(graph)
        self.pool = pool
        self.features: torch.Tensor | None = None

    def run_node(self, node: fx.Node) -> Any:
        if node is self.pool and isinstance(before := node.args[0], fx.Node):
            self.features = self.env[before].detach().clone().requires_grad_()
            self.env[before] = self.features
            torch.set_grad_enabled(True)  # until the caller's no_grad ends
        return super().run_node(node)


def _is_pool(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), nn.AdaptiveAvgPool2d)
    return (node.op == "call_function" and node.target in _POOLS) or (
        node.op == "call_method" and node.target == "mean"
    )
