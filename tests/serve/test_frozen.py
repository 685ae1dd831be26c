from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import architecture
from serve.frozen import freeze

ROOT = Path(__file__).resolve().parents[2]


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
        found = freeze(module, shape[-1])(pictures.contiguous(memory_format=torch.channels_last))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)


def test_pictures_of_another_size_are_computed_rightly() -> None:
    module, pictures = lively("resnet18"), torch.randn(1, 3, 96, 64)
    with torch.inference_mode():
        found = freeze(module, 32)(pictures.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, module(pictures), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("processor", ["DEFAULT", "AVX2"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_no_call_lays_the_weights_out_anew(name: str, processor: str) -> None:
    """oneDNN then copies them one number at a time, which takes a hundred times as long as the network."""
    code = f"""
import torch
from model import architecture
from serve.frozen import freeze
frozen = freeze(architecture.build({name!r}, 7).eval().requires_grad_(False), 32)
for count in (1, 4):
    pictures = torch.zeros(count, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        frozen(pictures)
        print("forward", flush=True)
        frozen(pictures)
"""
    own = {"ONEDNN_VERBOSE": "1", "ONEDNN_MAX_CPU_ISA": processor}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [
        line.split(",")[5]
        for line in done.stdout.partition("forward\n")[2].splitlines()
        if ",exec,cpu," in line
    ]
    assert "convolution" in calls
    assert "reorder" not in calls


def test_convolution_activation_and_addition_become_one_operation() -> None:
    frozen = freeze(lively("resnet18"), 64)
    kinds = [type(layer).__name__ for layer in frozen.modules()]
    assert kinds.count("_Convolution") + kinds.count("_ConvolutionAdd") == 20
    assert kinds.count("_ConvolutionAdd") == 8
    assert not {"Conv2d", "BatchNorm2d", "ReLU"} & set(kinds)
