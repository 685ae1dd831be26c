"""What the serving image leaves out, and the proof that nothing misses it."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trim() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trim", ROOT / "docker" / "trim.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for name in (
        "triton/x.py",
        "torch/include/a.h",
        "torch/bin/protoc",
        "torch/bin/torch_shm_manager",
        "torch/a.a",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("12345")
    return folder


def test_it_moves_what_inference_does_not_reach(trim: ModuleType, packages: Path, tmp_path: Path) -> None:
    rest = tmp_path / "rest"
    moved = sum(trim.move(packages, path, rest) for path in trim.unwanted(packages))
    assert moved == 4 * 5
    left = {path.name for path in packages.rglob("*") if path.is_file()}
    assert left == {"torch_shm_manager"}  # `import torch` asks for it
    assert (rest / packages.relative_to("/") / "triton" / "x.py").is_file()


def test_a_gap_fails_the_build(
    trim: ModuleType, packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (library,) = Path(numpy.__file__).parent.glob("_core/_multiarray_umath*.so")
    shutil.copy(library, packages)  # needs an openblas that is not here
    assert trim.main(["--check", str(tmp_path / "venv")]) == 1
    lines = capsys.readouterr().err
    assert re.search(r"libscipy_openblas\S+: needed by _multiarray_umath\S+, and missing", lines)
    assert "libcudnn_graph.so.9: opened at run time, and missing" in lines
    assert "libc.so.6" not in lines


@pytest.mark.skipif(not shutil.which("readelf"), reason="compares with binutils' readelf")
def test_it_reads_what_readelf_reads(trim: ModuleType) -> None:
    for library in Path(numpy.__file__).parent.glob("_core/*.so"):
        said = subprocess.check_output(["readelf", "-d", str(library)], text=True)
        assert list(trim.needed(library)) == re.findall(r"\(NEEDED\).*\[(.+)\]", said)


def test_openvino_for_other_devices_is_cut_and_its_own_gaps_are_found(
    trim: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "openvino" / "libs"
    folder.mkdir(parents=True)
    for name in ("intel_gpu_plugin.so", "onnx_frontend.so.1", "ir_frontend.so.1", "tensorflow_frontend.so.1"):
        (folder / f"libopenvino_{name}").write_text("12345")
    assert trim.main([str(tmp_path / "venv"), str(tmp_path / "rest")]) == 1
    assert {path.name for path in folder.iterdir()} == {
        "libopenvino_onnx_frontend.so.1",
        "libopenvino_ir_frontend.so.1",
    }
    said = capsys.readouterr().err
    assert said == "libopenvino_intel_cpu_plugin.so: opened at run time, and missing\n"  # no torch: no CUDA


def versions(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.M))


def test_containers_and_this_machine_run_the_same_versions() -> None:
    everything = versions("requirements.lock")
    train, serve, common = (versions(f"docker/{name}.lock") for name in ("train", "serve", "common"))
    for package, version in (train | serve).items():
        assert everything.get(package, version) == version
    assert common == dict(train.items() & serve.items())
    assert {"torch", "torchvision", "pillow"} <= set(common)  # the same pixels in, the same answer out
