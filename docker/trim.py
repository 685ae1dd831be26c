"""Move out of a virtual environment what inference cannot reach, and prove that no library misses it.

    python3 trim.py /opt/venv /rest        # move; exits 1 if something needed would be missing
    python3 trim.py --check /opt/venv      # only the proof

Runs in the images' build and with the standard library only. The proof reads the NEEDED entries of every
shared library that stays, as the dynamic linker will: each must be there, or belong to the base system or the
driver. Libraries that are opened at run time have no such entry; those that matter are listed in OPENED.
"""

from __future__ import annotations

import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

# Relative to site-packages. Everything here was looked at: who needs it, and when it is loaded.
CUT = (
    # Triton generates GPU code for torch.compile and needs a C compiler for it: there is none.
    "triton",
    # Python bindings of CUDA that torch's compiler uses; eager and scripted models never import them.
    "cuda",
    "_cuda_bindings_redirector.*",
    # Dense linear algebra (torch.linalg): loaded at its first use, a ResNet has none.
    "torch/lib/libtorch_cuda_linalg.so",
    "nvidia/cusolver/lib/*",
    # cuDNN's recurrent and attention kernels: libcudnn.so opens them at their first use only.
    "nvidia/cudnn/lib/libcudnn_adv.so.9",
    # NVSHMEM: libtorch_cuda.so needs the host library by name; device code and transports are for clusters.
    "nvidia/nvshmem/lib/*.a",
    "nvidia/nvshmem/lib/*.bc",
    "nvidia/nvshmem/lib/nvshmem_*",
    # Second editions and side dishes: another run-time compiler, profilers, old interfaces.
    "nvidia/cuda_nvrtc/lib/*.alt.so*",
    "nvidia/cuda_cupti/lib/libcheckpoint.so",
    "nvidia/cuda_cupti/lib/libnvperf_*.so",
    "nvidia/cuda_cupti/lib/libpcsamplingutil.so",
    "nvidia/cublas/lib/libnvblas.so*",
    "nvidia/cufft/lib/libcufftw.so*",
    "nvidia/cufile/lib/libcufile_rdma.so*",
    # For compiling against torch and CUDA, not for running them.
    "torch/include",
    "torch/share",
    "torch/bin/protoc*",  # its neighbour torch_shm_manager must stay: `import torch` looks for it
    "nvidia/*/include",
    "**/*.a",
    # OpenVINO for other devices than CPUs, with a table of 8 MB for one, and for other formats than ONNX
    # and its own; what compiling against it takes.
    "openvino/libs/libopenvino_intel_[gn]pu_plugin.so",
    "openvino/libs/cache.json",
    "openvino/libs/libopenvino_auto*_plugin.so",
    "openvino/libs/libopenvino_hetero_plugin.so",
    "openvino/libs/libopenvino_[gjpt]*_frontend.so*",
    "openvino/frontend/*/py_[jpt]*_frontend*.so",
    "openvino/libs/libopenvino_c.so*",
    "openvino/include",
    "openvino/cmake",
)

# Opened by name at run time on the way of a convolutional network, so no NEEDED entry speaks for them: by the
# package that does so.
TORCH = (
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
    "libnvrtc.so.12",
    "libnvrtc-builtins.so.12.8",
    "libcaffe2_nvrtc.so",
)
OPENED = {"torch": TORCH, "openvino": ("libopenvino_intel_cpu_plugin.so",)}

# glibc, the C++ runtime and zlib come with the base image; libcuda and libnvidia-* with the host's driver.
SYSTEM = (
    "libc.",
    "libm.",
    "libdl.",
    "libpthread.",
    "librt.",
    "libutil.",
    "libresolv.",
    "ld-linux",
    "libgcc_s.",
)
SYSTEM += ("libstdc++.", "libz.", "libcuda.so", "libnvidia-")


def main(arguments: list[str]) -> int:
    check_only = arguments[:1] == ["--check"]
    packages = next(Path(arguments[1 if check_only else 0]).glob("lib/python3*/site-packages"))
    if not check_only:
        moved = sum(move(packages, path, Path(arguments[1])) for path in unwanted(packages))
        print(f"moved {moved / 1e6:,.0f} MB that inference does not reach")
    missing = gaps(packages)
    for line in missing:
        print(line, file=sys.stderr)
    if not missing:
        print("every NEEDED library is there")
    return 1 if missing else 0


def unwanted(packages: Path) -> list[Path]:
    """What CUT names, without what lies inside a folder that is named already."""
    found = sorted({path for pattern in CUT for path in packages.glob(pattern)})
    return [path for path in found if not any(parent in found for parent in path.parents)]


def move(packages: Path, path: Path, destination: Path) -> int:
    """Move to the same absolute path below destination; the bytes that this was."""
    size = sum(item.lstat().st_size for item in [path, *path.rglob("*")] if item.is_file())
    target = destination / path.absolute().relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)  # rename fails in a container for what an older layer brought
    return size


def gaps(packages: Path) -> list[str]:
    """One line for each library that something needs and nobody provides."""
    libraries = [path for path in packages.rglob("*.so*") if path.is_file() and is_elf(path)]
    there = {path.name for path in libraries}
    opened = [name for package, names in OPENED.items() if (packages / package).is_dir() for name in names]
    lines = [f"{name}: opened at run time, and missing" for name in opened if name not in there]
    for library in libraries:
        for name in needed(library):
            if name not in there and not name.startswith(SYSTEM):
                lines.append(f"{name}: needed by {library.relative_to(packages)}, and missing")
    return sorted(lines)


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(5) == b"\x7fELF\x02"


def needed(path: Path) -> Iterator[str]:
    """The DT_NEEDED names of a 64-bit little-endian ELF file (System V ABI, chapters 4 and 5)."""
    with path.open("rb") as file:
        header = file.read(64)
        (offset,) = struct.unpack_from("<Q", header, 32)  # e_phoff
        size, count = struct.unpack_from("<HH", header, 54)  # e_phentsize, e_phnum
        file.seek(offset)
        table = file.read(size * count)
        segments = [struct.unpack_from("<IIQQQQQQ", table, size * index) for index in range(count)]
        dynamic = next((segment for segment in segments if segment[0] == 2), None)  # PT_DYNAMIC
        if dynamic is None:
            return
        file.seek(dynamic[2])
        raw = file.read(dynamic[5])
        entries = [struct.unpack_from("<qQ", raw, position) for position in range(0, len(raw) - 15, 16)]
        address = next(value for tag, value in entries if tag == 5)  # DT_STRTAB, a virtual address
        for kind, _, at, virtual, _, length, _, _ in segments:
            if kind == 1 and virtual <= address < virtual + length:  # PT_LOAD: address to file offset
                strings = at + address - virtual
                break
        else:
            return
        for tag, value in entries:
            if tag == 0:  # DT_NULL
                return
            if tag == 1:  # DT_NEEDED
                file.seek(strings + value)
                yield file.read(256).split(b"\0", 1)[0].decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
