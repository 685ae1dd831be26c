"""The channels hold pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import ByocError
from scripts import account
from scripts.doctor.finding import Finding
from scripts.requests import Place
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients


def data(settings: Settings, clients: Clients) -> Finding:
    place = Place(role_arn="", bucket=account.bucket(settings, clients), train_image="", serve_image="")
    try:
        present = account.channels(settings, clients, place)
    except ByocError as error:
        return Finding("data", "warning" if error.kind == "NoData" else "error", error.message, error.remedy)
    return Finding("data", "ok", f"channels {', '.join(present)}")
