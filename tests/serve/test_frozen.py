from __future__ import annotations

import pytest
import torch

from model import architecture
from serve.frozen import freeze


def lively(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    module = architecture.build(name, 7).eval().requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.4, 1.1)
            torch.nn.init.normal_(layer.bias, 0, 0.2)
            layer.running_mean.normal_(0, 0.2)  # type: ignore[operator, union-attr]
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[operator, union-attr]
    return module


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 3, 96, 96), (1, 3, 32, 32), (2, 3, 32, 32)])
def test_the_frozen_network_computes_the_same(name: str, shape: tuple[int, ...]) -> None:
    module = lively(name)
    pictures = torch.randn(shape)
    with torch.inference_mode():
        expected = module(pictures)
        found = freeze(module)(pictures.contiguous(memory_format=torch.channels_last))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)


def test_convolution_activation_and_addition_become_one_operation() -> None:
    frozen = freeze(lively("resnet18"))
    kinds = [type(layer).__name__ for layer in frozen.modules()]
    assert kinds.count("_Convolution") + kinds.count("_ConvolutionAdd") == 20
    assert kinds.count("_ConvolutionAdd") == 8
    assert not {"Conv2d", "BatchNorm2d", "ReLU"} & set(kinds)
