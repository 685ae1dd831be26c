"""`make setup` in a small checkout, from an index on this machine whose wheels are repacked from here."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
FILES = ("docker/setup", "docker/bytecode.py", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes], needs: str = "") -> str:
    """Write a wheel; returns its line in a lock file."""
    tag = "py3-none-any"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    path = folder / name / f"{stem}-{tag}.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            entry = zipfile.ZipInfo(inside)
            entry.external_attr = (0o100755 if ".data/scripts/" in inside else 0o100644) << 16
            archive.writestr(entry, content)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def repacked(folder: Path, name: str) -> str:
    """A wheel of what is installed here."""
    package = importlib.metadata.distribution(name)
    files = {}
    for file in package.files or []:
        path = Path(str(package.locate_file(file)))
        ours = file.parts[0].endswith(".dist-info") and file.name != "entry_points.txt"
        if path.suffix == ".pyc" or not path.is_file() or ours:
            continue
        inside = f"{name}-{package.version}.data/scripts/{path.name}" if file.parts[0] == ".." else str(file)
        files[inside] = path.read_bytes()
    return wheel(folder, name, package.version, files)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a server with the indexes `simple` and `cpu`, and a folder with the two lock files."""
    root = tmp_path_factory.mktemp("indexes")
    tools = [repacked(root / "simple", name) for name in ("pip", "setuptools", "uv")]
    rest = [repacked(root / "simple", "six")]
    for name, version in ("torch", "2.10.0"), ("torchvision", "0.25.0"):
        cuda = "nvidia-cublas-cu12" if name == "torch" else ""
        rest.append(wheel(root / "simple", name, version, {f"{name}.py": b"CUDA = True\n"}, cuda))
        wheel(root / "cpu", name, f"{version}+cpu", {f"{name}.py": b"CUDA = False\n"})
    for name in "nvidia-cublas-cu12", "nvidia-cuda-runtime-cu12", "triton":
        rest.append(wheel(root / "simple", name, "1.0", {f"{name.replace('-', '_')}.py": b""}))
    (root / "build.lock").write_text("".join(tools))
    (root / "requirements.lock").write_text("".join(rest))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", root
        server.shutdown()


class Checkout:
    def __init__(self, folder: Path, indexes: tuple[str, Path], cache: Path) -> None:
        self.folder = folder
        address, root = indexes
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        (folder / "docker" / "bin").mkdir()
        (folder / "byoc_sagemaker").mkdir()
        (folder / "byoc_sagemaker" / "__init__.py").touch()
        shutil.copy(root / "build.lock", folder / "docker")
        shutil.copy(root / "requirements.lock", folder)
        self.cpu = f"{address}/cpu"
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name[:3] not in ("PIP", "UV_", "PYT") and name != "SSL_CERT_FILE"
            },
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{address}/simple",
            "XDG_CACHE_HOME": str(cache),
        }

    def setup(self, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker/setup"],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def ready(self) -> bool:
        return (self.folder / ".venv" / ".ready").exists()

    def installed(self) -> dict[str, str]:
        found = (self.folder / ".venv").glob("lib/python3*/site-packages/*.dist-info")
        return dict(path.name.removesuffix(".dist-info").rsplit("-", 1) for path in found)


def test_from_nothing_then_shared_then_without_cuda(indexes: tuple[str, Path], tmp_path: Path) -> None:
    first = Checkout(tmp_path / "the first", indexes, indexes[1] / "cache")
    done = first.setup(PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "downloads up to" in done.stdout
    assert first.installed()["torch"] == "2.10.0"
    assert {"six", "triton", "nvidia_cublas_cu12", "byoc_sagemaker"} <= set(first.installed())

    second = Checkout(tmp_path / "the second", indexes, indexes[1] / "cache")
    done = second.setup(PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "Fetching uv" not in done.stdout
    (one,), (two,) = (
        list(each.folder.glob(".venv/lib/python3*/site-packages/six.py")) for each in (first, second)
    )
    assert one.samefile(two)
    (one,), (two,) = (list(path.parent.glob("__pycache__/six.*.pyc")) for path in (one, two))
    assert one.samefile(two)

    done = second.setup(PYTORCH_INDEX=second.cpu)
    assert done.returncode == 0, done.stderr
    assert second.installed()["torch"] == "2.10.0+cpu"
    assert second.installed()["torchvision"] == "0.25.0+cpu"
    assert {"triton", "nvidia_cublas_cu12", "nvidia_cuda_runtime_cu12"} & set(second.installed()) == set()
    # What was chosen once holds when the lock file changes.
    assert second.setup().returncode == 0
    assert second.installed()["torch"] == "2.10.0+cpu"


def test_a_wheel_that_is_not_the_locked_one_is_refused(indexes: tuple[str, Path], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, indexes, tmp_path / "cache")
    lock = checkout.folder / "requirements.lock"
    lock.write_text("six==" + importlib.metadata.version("six") + f" --hash=sha256:{'0' * 64}\n")
    done = checkout.setup(PYTHON=sys.executable)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
    assert not checkout.ready()


def test_the_users_settings_for_other_projects(indexes: tuple[str, Path], tmp_path: Path) -> None:
    """None sends packages into another environment or bytecode elsewhere; pip's mirror holds for uv."""
    other = tmp_path / "other"
    venv.create(other, symlinks=True)
    before = sorted(other.rglob("*"))
    checkout = Checkout(tmp_path / "checkout", indexes, tmp_path / "cache")
    address = checkout.environment.pop("PIP_INDEX_URL")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {address}\nuser = true\n")
    done = checkout.setup(
        PYTHON=sys.executable,
        PIP_CONFIG_FILE=str(tmp_path / "pip.conf"),
        PIP_TARGET=str(other),
        PYTHONPYCACHEPREFIX=str(tmp_path / "bytecode"),
        UV_PYTHON=str(other / "bin" / "python"),
        UV_EXCLUDE_NEWER="2020-01-01",
        VIRTUAL_ENV=str(other),
    )
    assert done.returncode == 0, done.stderr
    assert checkout.installed()["torch"] == "2.10.0"
    assert sorted(other.rglob("*")) == before
    assert list(checkout.folder.glob(".venv/lib/python3*/site-packages/__pycache__/six.*.pyc"))


def test_two_at_once_in_one_checkout(indexes: tuple[str, Path], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout", indexes, indexes[1] / "cache")
    command = [str(checkout.folder / "docker" / "setup")]
    environment = checkout.environment | {"PYTHON": sys.executable}
    with (checkout.folder / "docker" / "setup").open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert second.stdout
        assert "Another set-up of this checkout is running" in second.stdout.readline()
        assert not (checkout.folder / ".venv").exists()
    second.communicate()
    assert second.returncode == 0
    assert checkout.ready()


def test_a_fetch_of_uv_that_fails_leaves_nothing(indexes: tuple[str, Path], tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout", indexes, tmp_path / "cache")
    done = checkout.setup(PYTHON=sys.executable, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    assert done.returncode == 1
    assert "could not be fetched" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
    assert list((tmp_path / "cache" / "byoc").iterdir()) == []


def test_an_index_whose_torch_has_cuda(indexes: tuple[str, Path], tmp_path: Path) -> None:
    """`make build` calls a mirror of PyPI PYTORCH_INDEX; torch from there would miss NVIDIA's libraries."""
    checkout = Checkout(tmp_path / "checkout", indexes, indexes[1] / "cache")
    mirror = checkout.environment["PIP_INDEX_URL"]
    done = checkout.setup(PYTHON=sys.executable, PYTORCH_INDEX=mirror)
    assert done.returncode == 1
    assert f"PYTORCH_INDEX={mirror} is a build with CUDA" in done.stderr
    assert not checkout.ready()
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert "nvidia_cublas_cu12" in checkout.installed()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PYTHON": "/nowhere/python3"}, "PYTHON=/nowhere/python3 is not Python 3.11, 3.12 or 3.13"),
        ({"PATH": "/nowhere"}, "Python 3.11, 3.12 or 3.13 is needed and was not found"),
    ],
)
def test_no_python(indexes: tuple[str, Path], tmp_path: Path, variables: dict[str, str], said: str) -> None:
    checkout = Checkout(tmp_path, indexes, tmp_path / "cache")
    if "PATH" in variables:
        tools = tmp_path / "bin"
        tools.mkdir()
        for name in ("dirname", "bash", "uname", "env"):
            (tools / name).symlink_to(shutil.which(name) or name)
        variables = {"PATH": str(tools)}
    done = checkout.setup(**variables)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_python_without_locked_packages(indexes: tuple[str, Path], tmp_path: Path) -> None:
    """An Intel build on Apple silicon: the lock file has no package for it, and uv would install none."""
    checkout = Checkout(tmp_path, indexes, tmp_path / "cache")
    python = tmp_path / "python3"
    python.write_text(
        f"""#!/bin/sh
case "$2" in *platform*) echo Darwin x86_64 ;; *) exec "{sys.executable}" "$@" ;; esac
"""
    )
    python.chmod(0o755)
    done = checkout.setup(PYTHON=str(python))
    assert done.returncode == 1
    assert f"There are no locked packages for Darwin x86_64, which {python} is built for" in done.stderr
