"""The images run on the machines that the settings name, with the drivers that these have."""

from __future__ import annotations

from collections.abc import Iterator

from scripts import machines as table
from scripts.doctor.finding import Finding, guarded
from scripts.machines import FAMILIES, family_of, has_gpu
from scripts.settings import Settings


def machines(settings: Settings) -> Iterator[Finding]:
    """One finding for each use, so that one bad machine hides no other."""
    for use in (training, endpoint, transform):
        yield from guarded("machines", lambda use=use: use(settings))  # type: ignore[misc]


def training(settings: Settings) -> Finding:
    kind = settings.train.instance_type
    table.check(kind, "train.instance_type")
    return Finding("machines", "ok", f"{kind} trains{_gpu(kind)}")


def endpoint(settings: Settings) -> Finding:
    kind = settings.deploy.instance_type
    image = table.endpoint_image(kind, settings.deploy.ami_version)
    table.check_multi_model(kind, settings.deploy.environment)
    return Finding("machines", "ok", f"{kind} serves{_gpu(kind, image)}")


def transform(settings: Settings) -> Finding:
    kind = settings.transform.instance_type
    image = table.batch_image(kind, settings.transform.ami_version)
    return Finding("machines", "ok", f"{kind} transforms{_gpu(kind, image)}")


def _gpu(kind: str, image: str = "") -> str:
    """What carries the driver: SageMaker keeps those of training recent, others come with a machine image."""
    if not has_gpu(kind):
        return " on a CPU"
    family = FAMILIES.get(family_of(kind))
    driver = f" with the driver of {image}" if image else ""
    return f" on {family.gpu if family else 'a GPU'}{driver}"
