"""A start without torch's compiler: what is not imported, and what works all the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = "import sys\nfrom model import quick\nquick.import_torchvision()\nimport torch, torchvision\n"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_trainer_and_the_endpoint_start_without_the_compiler() -> None:
    code = """
import train.train, serve.handler
print(*sorted({"torch._dynamo.utils", "torch._meta_registrations"} & set(sys.modules)))
"""
    assert run(code) == ""


def test_a_training_step_needs_no_compiler() -> None:
    code = """
from model import architecture
module = architecture.build("resnet18", 2)
architecture.check_size("resnet18", 32)
for kind in (torch.optim.SGD, torch.optim.AdamW):
    optimizer = kind(module.parameters(), lr=0.01)
    torch.nn.functional.cross_entropy(module(torch.zeros(2, 3, 32, 32)), torch.tensor([0, 1])).backward()
    optimizer.step()
print("torch._dynamo.utils" in sys.modules)
"""
    assert run(code) == "False"


def test_networks_can_be_drawn_and_their_size_checked() -> None:
    code = """
from model import architecture
for name in ("resnet18", "regnet_y_400mf", "googlenet", "swin_t", "vit_b_16", "efficientnet_b0"):
    architecture.head_name(architecture.skeleton(name, 2))
architecture.check_size("mobilenet_v3_small", 64)
try:
    architecture.check_size("vit_b_16", 96)
except architecture.WeightsError as error:
    print(error)
"""
    assert "arch=vit_b_16 does not take pictures of image_size=96: Wrong image height" in run(code)


def test_functions_can_be_kept_from_the_compiler() -> None:
    code = """
@torch.compiler.disable(recursive=False)
def one(): return 1
@torch.compiler.disable
def two(): return 2
print(one(), two(), "torch._dynamo.utils" in sys.modules)
"""
    assert run(code) == "1 2 False"


def test_a_part_of_the_compiler_exists_once() -> None:
    code = """
from torch._dynamo.utils import counters
import torch._dynamo.config
import torch._dynamo.utils
print(counters is torch._dynamo.convert_frame.counters is sys.modules["torch._dynamo.utils"].counters)
print(torch._dynamo.utils.__spec__.origin == torch._dynamo.utils.__file__)
"""
    assert run(code) == "True\nTrue"


@pytest.mark.slow
def test_the_compiler_is_there_for_whoever_asks() -> None:
    code = """
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
print(torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item())
print(torch._meta_registrations.__file__)
"""
    assert re.fullmatch(r"1\.0\n.*_meta_registrations\.py", run(code))
