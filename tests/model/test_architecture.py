from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import nn

from model import architecture
from model.architecture import WeightsError
from model.preprocess import Preprocessing

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@pytest.mark.parametrize("name", [*RESNETS, "mobilenet_v2", "googlenet", "regnet_y_400mf"])
def test_it_has_an_output_for_each_class(name: str) -> None:
    module = architecture.skeleton(name, 7).to("meta").eval()
    assert module(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 7)
    head = module.get_submodule(architecture.head_name(module))
    assert isinstance(head, nn.Linear)
    assert head.out_features == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", architecture.ARCHITECTURES)
def test_every_classifier_of_torchvision_has_a_head(name: str) -> None:
    module = architecture.skeleton(name, 7)
    head = module.get_submodule(architecture.head_name(module))
    assert head.weight.shape[0] == 7  # type: ignore[index, union-attr]


def test_names_are_torchvisions_so_that_its_weights_fit() -> None:
    names = set(architecture.build("resnet18", 2).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"} <= names


@pytest.mark.parametrize(("name", "classes"), [("resnet19", 3), ("resnet18", 1)])
def test_what_cannot_be_built(name: str, classes: int) -> None:
    with pytest.raises(ValueError, match=r"resnet19|at least 2"):
        architecture.build(name, classes)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("folder", [True, False])
def test_weights_from_a_path(tmp_path: Path, suffix: str, folder: bool) -> None:
    torch.manual_seed(1)
    source = architecture.build("resnet18", 1000).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(source, path)
    else:
        torch.save({"state_dict": {f"module.{name}": value for name, value in source.items()}}, path)
    module = architecture.build("resnet18", 3)
    loaded = architecture.load_weights(module, "resnet18", str(tmp_path if folder else path))
    assert torch.equal(module.state_dict()["layer4.1.conv2.weight"], source["layer4.1.conv2.weight"])
    assert loaded.new == ("fc.weight", "fc.bias")
    assert set(loaded.unused) == {"fc.weight", "fc.bias"}
    assert str(path) in str(loaded)


def test_a_backbone_without_a_head_is_enough(tmp_path: Path) -> None:
    source = {
        n: t for n, t in architecture.build("mobilenet_v2", 9).state_dict().items() if "classifier" not in n
    }
    torch.save(source, tmp_path / "backbone.pt")
    loaded = architecture.load_weights(architecture.build("mobilenet_v2", 3), "mobilenet_v2", str(tmp_path))
    assert loaded.new == ("classifier.1.weight", "classifier.1.bias")
    assert not loaded.unused


def test_no_weights_says_so() -> None:
    loaded = architecture.load_weights(architecture.build("resnet18", 3), "resnet18", "none")
    assert loaded.tensors == 0
    assert "nothing pretrained" in str(loaded)


def _other(path: Path) -> None:
    torch.save(architecture.build("resnet34", 3).state_dict(), path / "a.pth")


def _code(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path / "a.pth")


def _cut(path: Path) -> None:
    _other(path)
    (path / "a.pth").write_bytes((path / "a.pth").read_bytes()[:1000])


def _two(path: Path) -> None:
    (path / "a.pth").touch()
    (path / "b.pth").touch()


def _no_tensors(path: Path) -> None:
    torch.save({"a": 1}, path / "a.pth")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "exactly one file .* found: none"),
        (_two, "exactly one file .* found: a.pth, b.pth"),
        (_other, "do not fit resnet18|a.pth"),
        (_code, "more than tensors, which could run code"),
        (_cut, "damaged or no state dict"),
        (_no_tensors, "holds no state dict"),
    ],
)
def test_weights_that_cannot_be_used_are_told(tmp_path: Path, prepare: Any, message: str) -> None:
    prepare(tmp_path)
    module = architecture.build("resnet18" if prepare is not _other else "resnet50", 3)
    with pytest.raises(WeightsError, match=message):
        architecture.load_weights(module, "resnet18", str(tmp_path))


def test_no_such_path() -> None:
    with pytest.raises(WeightsError, match="no such file or folder; allowed too: none, imagenet"):
        architecture.load_weights(architecture.build("resnet18", 3), "resnet18", "/no/where")


def test_imagenet_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    weights = torchvision.models.get_model_weights("resnet18")
    monkeypatch.setattr(weights, "get_state_dict", fail)
    with pytest.raises(
        WeightsError, match=r"could not be downloaded .* channel 'weights' .*, or set weights=none"
    ):
        architecture.load_weights(architecture.build("resnet18", 3), "resnet18", "imagenet")


def test_a_network_of_a_fixed_size_says_so() -> None:
    architecture.check_size("resnet18", 33)
    with pytest.raises(WeightsError, match="arch=vit_b_16 does not take pictures of image_size=96"):
        architecture.check_size("vit_b_16", 96)


@pytest.mark.parametrize("name", architecture.ARCHITECTURES)
def test_a_pretrained_network_is_shown_what_its_weights_saw(name: str) -> None:
    wanted = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    ours = architecture.preprocessing(name, wanted.crop_size[0], pretrained=True)
    assert (ours.resize, ours.interpolation) == (wanted.resize_size[0], wanted.interpolation.value)
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((ours.resize + 100, ours.resize), Image.Resampling.BICUBIC)
    expected = wanted(image)
    if name in ("googlenet", "inception_v3"):  # built with their weights, these go on from there
        module = torchvision.models.get_model(
            name, weights=None, num_classes=2, init_weights=False, aux_logits=False, transform_input=True
        )
        expected = module._transform_input(expected[None])[0]
    # Where the margin is odd, torchvision's crop is half a pixel aside.
    difference = (torch.from_numpy(ours(image)) - expected).abs()
    assert difference.mean() < (0.02 if (ours.resize - ours.input_size) % 2 == 0 else 0.05)


def test_without_weights_or_for_small_pictures_the_usual_holds() -> None:
    assert architecture.preprocessing("efficientnet_v2_l", 224, pretrained=False) == Preprocessing.for_size(
        224
    )
    small = architecture.preprocessing("resnet18", 32, pretrained=True)
    assert (small.input_size, small.resize) == (32, 32)
    other = architecture.preprocessing("efficientnet_v2_l", 96, pretrained=True)
    assert (other.resize, other.mean) == (96, (0.5, 0.5, 0.5))
