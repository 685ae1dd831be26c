"""Requests that create jobs and endpoints: their answers made sure of, and a role that SageMaker refuses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from contract.errors import REFUSED, ByocError
from scripts import patience
from scripts.tags import is_forbidden

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

    from scripts.requests import Place

# SageMaker's "Could not assume role …" and "The execution role ARN … is invalid …".
_ROLE = re.compile(r"assume.{0,20}role|role.{0,400}(invalid|assume)", re.IGNORECASE | re.DOTALL)
_NEW_ROLE = (2.0, 3.0, 5.0, 10.0, 20.0, 20.0)  # seconds between tries; IAM is consistent within a minute


def create(
    place: Place,
    send: Callable[[], object],
    find: Callable[[], Mapping[str, Any] | None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """`patience.create` for what runs under the role of `place`.

    Raises:
        ByocError: SageMaker cannot take a role whose ARN was only made up from its name.
    """
    from botocore.exceptions import ClientError

    pauses = list(_NEW_ROLE) if place.role_new else []
    while True:
        try:
            patience.create(send, find, pause)
            return
        except ClientError as error:
            if not _is_about_role(error):
                raise
            if not pauses:
                raise (_unknown_role(place, error) if place.role_guessed else error) from None
            pause(pauses.pop(0))


def _is_about_role(error: ClientError) -> bool:
    text = error.response.get("Error", {}).get("Message", "")
    # What IAM refuses names the caller, often an assumed role; the jobs' role is meant in one case only.
    return "iam:PassRole" in text if is_forbidden(error) else bool(_ROLE.search(text))


def _unknown_role(place: Place, error: Exception) -> ByocError:
    beginning, _, name = place.role_arn.rpartition("/")
    return ByocError(
        f"SageMaker cannot take the role {place.role_arn}, which AWS does not allow to look up (GetRole): "
        f"{error}",
        "If the role has a path, as those made in the console have, set "
        f'aws.role = "{beginning}/service-role/{name}" in byoc.toml, as IAM shows its ARN; if there is none, '
        "somebody who may can make it: `byoc setup`.",
        code=REFUSED,
        kind="NoRole",
    )
