import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model import architecture, images, weights
from model.artifact import ModelInfo
from model.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tests.model.written import encoded


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_usual_margin_and_none_for_small_pictures() -> None:
    assert (Preprocessing.for_size(224).input_size, Preprocessing.for_size(224).resize) == (224, 256)
    assert Preprocessing.for_size(32).resize == 32


def test_it_survives_json() -> None:
    one = Preprocessing(96, 110, interpolation="bicubic", mean=(0.1, 0.2, 0.3))
    assert Preprocessing.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": 0}, {"input_size": True}, {"input_size": 300}, {"resize": 10**6}, {"crop": "random"},
        {"interpolation": "nearest"}, {"mean": (1.0, 2.0)}, {"std": (0.0, 1.0, 1.0)},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is"):
        Preprocessing(**change)


@pytest.mark.parametrize(
    "change", [{"input_size": None}, {"extra": 1}, {"mean": 3}, {"std": ["a", "b", "c"]}]
)
def test_json_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    raw = {**Preprocessing().to_json(), **change}
    if change.get("input_size", 1) is None:
        del raw["input_size"]
    with pytest.raises(ValueError, match=r"."):
        Preprocessing.from_json(raw)


def test_it_is_what_torchvision_does() -> None:
    from torchvision.transforms import v2

    reference = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
    image = noise(512, 512)
    ours = torch.from_numpy(Preprocessing().to_uint8(image).copy()).permute(2, 0, 1)
    difference = (ours.int() - reference(image).int()).abs().float()
    assert difference.mean() < 1.0


def test_normalising_is_mean_and_deviation_of_each_channel() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 2)
    found = Preprocessing().normalise(pixels)[:, 0, 0]
    wanted = [(v / 255 - m) / s for v, m, s in zip((0, 128, 255), IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("size", [(4, 10_000), (10_000, 4), (1, 1), (224, 224), (3000, 2000)])
def test_any_shape_gives_the_square(size: tuple[int, int]) -> None:
    assert Preprocessing().load(encoded(Image.new("RGB", size))).shape == (3, 224, 224)


def test_a_large_jpeg_decoded_at_reduced_scale_is_the_same_picture() -> None:
    image = noise(40, 30).resize((2400, 1800), Image.Resampling.BICUBIC)
    data = encoded(image, "JPEG", quality=95)
    fast = Preprocessing().load(data)
    full = Preprocessing()(images.decode(data))
    assert np.abs(fast - full).mean() < 0.02


def test_the_layout_of_the_bytes_does_not_matter_and_stays() -> None:
    pixels = torch.arange(2 * 5 * 7 * 3).view(2, 5, 7, 3).to(torch.uint8)
    interleaved = pixels.permute(0, 3, 1, 2)
    planar = interleaved.contiguous()
    normalise = Preprocessing().normalise
    assert torch.equal(normalise(interleaved), normalise(planar))
    assert normalise(interleaved).stride() == interleaved.stride()
    assert normalise(planar).stride() == planar.stride()


def test_arrays_and_tensors_are_normalised_alike_to_the_last_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    tensor = Preprocessing().normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert np.array_equal(Preprocessing().normalise_array(pixels), tensor.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
def test_what_the_network_takes_is_the_same_in_its_own_order(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = Preprocessing().to_input(pixels)
    assert np.array_equal(found, np.moveaxis(Preprocessing().normalise_array(pixels), -1, -3))
    assert found.flags.c_contiguous
    assert found.dtype == np.float32


def test_an_endpoint_needs_no_torch_to_read_a_model_and_pictures(tmp_path: Path) -> None:
    info = ModelInfo("resnet18", ("cat", "dog"), Preprocessing.for_size(32))
    weights.save(tmp_path, architecture.build(info.architecture, 2), info)
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(noise(50, 40)))
    code = """
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["torchvision"] = None
from model import artifact, images, preprocess, quick, resize
folder, picture = map(Path, sys.argv[1:])
info, record = artifact.read_info(folder)
artifact.read_file(folder, artifact.WEIGHTS_FILE, record)
pixels = info.preprocessing.load(picture.read_bytes())
artifact.save_samples(folder, [info.preprocessing.to_uint8(images.read(picture))], pixels[:1, 0, :2])
print(*info.classes, *pixels.shape)
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["cat", "dog", "3", "32", "32"], done.stderr
