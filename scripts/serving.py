"""Which of the two serving images a model takes on a machine: the one for CPUs needs the model's graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from report.read.artifacts import Unreadable, read_members
from scripts import account
from scripts.machines import has_gpu
from scripts.requests import Place
from scripts.settings import Images, Settings

if TYPE_CHECKING:
    from scripts.aws import Clients

_DESCRIPTION: Final = "model.json"


def needed(settings: Settings) -> tuple[str, ...]:
    """Which images jobs and endpoints of these settings run, by their names in [images].

    The models of older trainers take `serve` on every machine.
    """
    gpus = [has_gpu(part.instance_type) for part in (settings.deploy, settings.transform)]
    wanted = {"train": True, "serve": any(gpus), "serve_cpu": not all(gpus)}
    return tuple(which for which, is_needed in wanted.items() if is_needed)


def place_for(
    settings: Settings,
    clients: Clients,
    place: Place,
    instance_type: str,
    artifact: str,
    say: Callable[[str], None],
) -> Place:
    """`place` with the image that serves the artifact on such a machine.

    Args:
        artifact: S3 address of a model.tar.gz, whose description is read before anything is created.
        say: called with the reason where it is not the image that the machine would take.
    """
    if has_gpu(instance_type):
        return place
    if "/" in settings.images.serve and settings.images.serve_cpu == Images().serve_cpu:
        say("images.serve names an image of its own, and images.serve_cpu none: it serves on CPUs too")
        return place
    reason = why_not_cpu(clients, artifact)
    if reason:
        say(f"image {settings.images.serve}, which computes with torch and is slower on a CPU: {reason}")
        return place
    return replace(place, serve_image=account.image(settings, clients, "serve_cpu"))


def why_not_cpu(clients: Clients, artifact: str) -> str:
    """Why the image for CPUs cannot serve the artifact; "" where it can."""
    try:
        if has_graph(clients, artifact):
            return ""
    except Unreadable as error:
        return str(error)
    return "the model has no model.onnx; if its trainer was older, `byoc convert` adds it"


def has_graph(clients: Clients, artifact: str) -> bool:
    """Whether the model in an artifact has its model.onnx. Raises Unreadable if it is not a model of ours."""
    description = read_members(clients.s3, artifact, (_DESCRIPTION,)).get(_DESCRIPTION)
    if isinstance(description, Unreadable):
        raise description
    if description is None:
        raise Unreadable(f"{artifact} holds no {_DESCRIPTION}")
    return bool(description.get("onnx"))
