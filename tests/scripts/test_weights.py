"""Files of weights, looked at on the user's machine as the trainer will look at them."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision

from contract.errors import ByocError
from contract.networks import NETWORKS
from model import architecture
from scripts import weights
from scripts.weights import check_weights, fingerprint, read_shapes


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict()


Save = Callable[[Any, Path], object]


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("w.safetensors", lambda state, path: safetensors.torch.save_file(dict(state), path)),
        ("w.pth", torch.save),
        ("w.pt", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("w.bin", lambda state, path: torch.save({f"module.{key}": state[key] for key in state}, path)),
    ],
)
def test_a_state_dict_is_recognised(
    state: dict[str, torch.Tensor], tmp_path: Path, name: str, save: Save
) -> None:
    path = tmp_path / name
    save(state, path)
    assert read_shapes(path) == {key: tuple(value.shape) for key, value in state.items()}
    check_weights(path, "shufflenet_v2_x0_5")
    with pytest.raises(ByocError, match="holds weights of shufflenet_v2_x0_5, and the network is resnet18"):
        check_weights(path, "resnet18")


def test_parameters_and_settings_beside_the_tensors_are_read(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 3)
    content = {"model": dict(layer.named_parameters()), "type": torch.float32, "size": torch.Size([2])}
    content |= {"set": {1}, "complex": 1j, "bytes": bytearray(b"x"), "counter": Counter("a")}
    torch.save(content, tmp_path / "w.pth")
    torch.load(tmp_path / "w.pth", weights_only=True)
    assert read_shapes(tmp_path / "w.pth") == {"weight": (3, 2), "bias": (3,)}


def test_the_oldest_format_is_left_to_the_trainer(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert read_shapes(tmp_path / "w.pth") is None
    check_weights(tmp_path / "w.pth", "resnet18")


def test_weights_of_no_known_network_are_left_to_the_trainer(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(2), "mine": torch.zeros(1)}, tmp_path / "w.pth")
    check_weights(tmp_path / "w.pth", "resnet18")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(1), "extra": Harmful()}, "w.pth")
    with pytest.raises(ByocError, match=r"w\.pth holds posix\.mkdir, which could run code"):
        check_weights(Path("w.pth"), "resnet18")
    assert not Path("harm").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"tensors",
        b"PK\x03\x04",
        b"\xff" * 100,
        *(b"\x02" + bytes(7) + json for json in (b"[]", b"1 ", b'""')),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ByocError, match=r"data\.weights: .* is damaged or no state dict"):
        check_weights(tmp_path / name, "resnet18")


def zipped(path: Path, content: bytes) -> bytearray:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", content)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02hello",
        pickle.dumps({"a": "b" * 50})[:-20],
        b"\x80\x04\x8e" + b"\xff" * 8,  # bytes of an impossible length
    ],
)
def test_a_pickle_that_is_damaged_is_not_called_harmful(tmp_path: Path, content: bytes) -> None:
    zipped(tmp_path / "w.pth", content)
    with pytest.raises(ByocError, match="is damaged or no state dict"):
        check_weights(tmp_path / "w.pth", "resnet18")


@pytest.mark.parametrize(("where", "value"), [(6, 1), (8, 99)], ids=["encrypted", "unknown compression"])
def test_an_archive_that_cannot_be_read_is_refused(tmp_path: Path, where: int, value: int) -> None:
    path = tmp_path / "w.pth"
    raw = zipped(path, b"x")
    raw[where] = raw[raw.find(b"PK\x01\x02") + where + 2] = value
    path.write_bytes(raw)
    with pytest.raises(ByocError, match="is damaged or no state dict"):
        check_weights(path, "resnet18")


def test_a_compressed_pickle_that_is_damaged_or_far_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    raw = zipped(path, pickle.dumps(list(range(5000))))
    raw[60:90] = b"\xff" * 30
    path.write_bytes(raw)
    with pytest.raises(ByocError, match="is damaged or no state dict"):
        check_weights(path, "resnet18")
    monkeypatch.setattr(weights, "_LONGEST_HEADER", 1000)
    zipped(path, pickle.dumps({"a": "b" * 2000}))
    with pytest.raises(ByocError, match=r"its archive/data\.pkl has more than 1,000 bytes"):
        check_weights(path, "resnet18")


def test_attributes_that_a_file_gives_to_a_tensor_do_not_change_its_shape(tmp_path: Path) -> None:
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00(K\x02tK\x00tR}U\x05shapeK\x05sb"
    zipped(tmp_path / "w.pth", b"\x80\x02}U\x01a" + tensor + b"s.")
    assert read_shapes(tmp_path / "w.pth") == {"a": (2,)}


@pytest.mark.parametrize(
    "save", [torch.save, lambda state, path: safetensors.torch.save_file(dict(state), path)]
)
def test_a_file_that_is_cut_off_is_refused(
    state: dict[str, torch.Tensor], tmp_path: Path, save: Save
) -> None:
    path = tmp_path / ("w.pth" if save is torch.save else "w.safetensors")
    save(state, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ByocError, match="is damaged or no state dict"):
        check_weights(path, "shufflenet_v2_x0_5")


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "mobilenet_v2", "vit_b_16", "densenet121"])
def test_the_table_of_networks_is_torchvisions(arch: str) -> None:
    module = architecture.skeleton(arch, 7)
    network = NETWORKS[arch]
    assert network.head == architecture.head_name(module)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert fingerprint(shapes, network.head) == (network.tensors, network.checksum)


@pytest.mark.slow
def test_the_table_has_every_network() -> None:
    assert set(NETWORKS) == set(architecture.ARCHITECTURES)
    for arch in set(NETWORKS) - {"resnet18"}:
        test_the_table_of_networks_is_torchvisions(arch)
