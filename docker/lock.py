"""Compute the lock files anew: requirements.lock for `make setup`, docker/*.lock for the images.

`make lock` runs it with nothing but Python: uv is put into a throw-away virtual environment.
requirements.lock holds for every Python and machine that pyproject.toml names; the images' locks for theirs
alone, constrained by requirements.lock, so that process mode and containers run the same versions.
UPGRADE=1 takes the newest versions that pyproject.toml allows; without it, what still fits stays as it is.
docker/common.lock is what train.lock and serve.lock share: those images share it as a layer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

UV = "uv==0.13.9"
EXTRAS = ("train", "serve", "local")
GROUPS = ("smdebug", "dev")
# The images' Python and glibc: Debian 13's. uv knows no tag above manylinux_2_40; no wheel asks for more.
IMAGE = ["--python-version", "3.13", "--python-platform", "x86_64-manylinux_2_40", "--no-annotate"]
COMMON = ["--generate-hashes", "--no-header", "--quiet"]


def main() -> int:
    os.chdir(Path(__file__).resolve().parent.parent)
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        uv = install_uv(Path(scratch))
        if uv is None:
            return 1

        def compiled(lock: str, packages: list[str], *options: str) -> bool:
            source = Path(scratch, f"{Path(lock).stem}.in")
            source.write_text("\n".join(packages), encoding="utf-8")
            return run(uv, [str(source), *options], Path(lock))

        extras = [word for extra in EXTRAS for word in ("--extra", extra)]
        extras += [word for group in GROUPS for word in ("--group", group)]
        universal = ["--universal", "--python-version", "3.11"]
        universal += ["--upgrade"] if os.environ.get("UPGRADE") else []
        overrides = Path(scratch, "overrides.txt")
        overrides.write_text("\n".join(project["tool"]["uv"]["override-dependencies"]), encoding="utf-8")
        image = ["--constraint", "requirements.lock", "--override", str(overrides), *IMAGE]
        groups = project["project"]["optional-dependencies"]
        train, serve_cpu = groups["train"] + project["dependency-groups"]["smdebug"], groups["serve-cpu"]
        # Which names the other one, and that is no package of an index.
        serve = serve_cpu + [package for package in groups["serve"] if "[serve-cpu]" not in package]
        tools = ["pip", UV, *project["build-system"]["requires"]]
        done = (
            run(uv, ["pyproject.toml", *extras, *universal], Path("requirements.lock"))
            # What installs the others.
            and compiled("docker/build.lock", tools, *universal, "--no-annotate")
            and compiled("docker/train.lock", train, *image)
            and compiled("docker/serve.lock", serve, *image)
            and compiled("docker/serve-cpu.lock", serve_cpu, *image)
        )
    if done:
        common()
    return 0 if done else 1


def install_uv(scratch: Path) -> Path | None:
    """uv in a virtual environment of its own, or None with the reason on stderr."""
    environment = scratch / "venv"
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if subprocess.run([*pip, UV], check=False).returncode:
        print(
            f"{UV} could not be installed: `make lock` needs a package index that it can reach.",
            file=sys.stderr,
        )
        return None
    return environment / "bin" / "uv"


def run(uv: Path, arguments: list[str], output: Path) -> bool:
    """Compile to a file aside, then put it in place with a line that says how it came about."""
    aside = output.with_suffix(".lock.new")
    if output.exists():
        aside.write_bytes(output.read_bytes())  # uv keeps the versions that its output file already holds
    command = [str(uv), "pip", "compile", *arguments, *COMMON, "--output-file", str(aside)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        aside.unlink(missing_ok=True)
        print(f"{output} is unchanged: uv could not resolve it, see above.", file=sys.stderr)
        return False
    write(aside, aside.read_text(encoding="utf-8"), output)
    aside.replace(output)
    return True


def common() -> None:
    """What both images install, entry by entry, hashes included."""
    train, serve = (
        Path(f"docker/{name}.lock").read_text(encoding="utf-8").split("\n") for name in ("train", "serve")
    )
    shared = [entry for entry in entries(train) if entry in entries(serve)]
    write(Path("docker/common.lock"), "\n".join(shared) + "\n")


def entries(lines: list[str]) -> list[str]:
    """Each package's line with the hash lines below it."""
    found: list[str] = []
    for line in lines:
        if line[:1].isalnum():
            found.append(line)
        elif line.startswith("    --hash"):
            found[-1] += "\n" + line
    return found


def write(lock: Path, text: str, name: Path | None = None) -> None:
    lock.write_text(
        f"# Made by `make lock` from pyproject.toml. Edit that, not this.\n{text}", encoding="utf-8"
    )
    print(f"{name or lock}: {sum(line[:1].isalnum() for line in text.splitlines())} packages")


if __name__ == "__main__":
    sys.exit(main())
