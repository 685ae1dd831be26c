"""Each room of the house is a part of the wheel's package `byoc_sagemaker`; pyproject.toml has the rest."""

from setuptools import find_namespace_packages, find_packages, setup

ROOMS = find_packages(exclude=["*.*", "byoc_sagemaker", "tests", "bench", "findings"])
PARTS = [*ROOMS, *(f"{room}.*" for room in ROOMS), "docker.bin"]
FOLDERS = {
    f"byoc_sagemaker.{part}": part.replace(".", "/")
    for part in find_namespace_packages(include=PARTS, exclude=["*__pycache__*", "serve.frontend.src*"])
}

setup(packages=["byoc_sagemaker", *FOLDERS], package_dir=FOLDERS)
