"""The journey with the wheel that users install, in a folder that has modules named like our rooms."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import LITTLE, a_project

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("contract", "model", "debugger", "train", "serve", "scripts", "report", "local", "docker/bin")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the files that git tracks: setuptools leaves folders in its source."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    with tarfile.open(folder / "source.tar", "w") as archive:
        for name in filter(None, tracked.stdout.split("\0")):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                archive.add(ROOT / name, f"source/{name}")
    with tarfile.open(folder / "source.tar") as archive:
        archive.extractall(folder, filter="data")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "-w", folder)
    subprocess.run([*PIP, "wheel", "-q", *options, folder / "source"], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`byoc` of a new environment, which sees the packages of this one but not its checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # Python reads no .pth files in a folder that it knows from one, so the editable install is not seen.
    (Path(own) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([*PIP, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    return folder / "bin" / "byoc"


def test_it_is_one_package_and_complete(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    files = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in files} == {"byoc_sagemaker"}
    assert {f"byoc_sagemaker/{name}" for name in tracked if not name.endswith(".java")} <= set(files)


def test_the_journey(program: Path, tmp_path: Path) -> None:
    for name in ("train.py", "model.py", "local.py", "scripts.py"):
        (tmp_path / name).write_text("raise SystemExit('a module of the user was taken for ours')")
    code = "import byoc_sagemaker as ours; ours.find_rooms(); import scripts.cli; print(scripts.cli.__file__)"
    command = [program.with_name("python"), "-c", code]
    rooms = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(rooms).is_relative_to(program.parents[1])
    with a_project(tmp_path, program=program) as project:
        flags = [part for key, value in LITTLE.items() for part in ("--set", f"{key}={value}")]
        trained = project.json("train", *flags)
        assert trained["status"] == "Completed"
        assert trained["training_job"] in Path(project.json("report")["report"]).read_text()
        project.byoc("deploy")
        picture = next((tmp_path / "digits" / "7").iterdir())
        assert project.json("predict", str(picture))
        project.byoc("delete", "--all", "--yes")
