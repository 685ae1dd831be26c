"""Where the network looked: Grad-CAM (Selvaraju et al., 2017), laid over the picture that it saw."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import fx, nn

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_POOLS: Final = (nn.functional.adaptive_avg_pool2d, torch.mean)
# Dark blue, cyan, yellow, red: cold to hot.
_STOPS: Final = np.linspace(0, 1, 5)
_COLOURS: Final = np.array([(0, 0, 96), (0, 96, 255), (0, 255, 200), (255, 220, 0), (255, 0, 0)])


class CannotExplain(ValueError):
    """This network has no layer of features with places."""


def grad_cam(network: nn.Module, pictures: torch.Tensor, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """How much each place spoke for class `index`: [h, w] in [0, 1], as coarse as the last features.

    Args:
        network: as it serves, frozen or not.
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
    result: np.ndarray[Any, np.dtype[np.float32]] = (heat / top if top > 0 else heat).cpu().numpy()
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


def overlay(picture: Pixels, heat: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    """A PNG of the size of `picture` [H, W, 3]: the picture, dimmed, with `heat` as colours over it."""
    height, width = picture.shape[:2]
    smooth = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    colours = np.stack([np.interp(smooth, _STOPS, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    mixed = 0.55 * picture + 0.45 * colours
    stream = io.BytesIO()
    Image.fromarray(np.rint(mixed).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
