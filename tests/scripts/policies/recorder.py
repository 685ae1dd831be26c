"""Records what the clients of `byoc` send, by command; tests of their own make clients of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from tests.scripts.policies.calls import Where, needed

# moto does not have them; what matters is that they were asked.
_ANSWERS: dict[str, Any] = {
    "ListTrainingJobsForHyperParameterTuningJob": {"TrainingJobSummaries": []},
    "SimulatePrincipalPolicy": {"EvaluationResults": []},
    "ListServiceQuotas": {"Quotas": []},
    "ListAWSDefaultServiceQuotas": {"Quotas": []},
    "StopHyperParameterTuningJob": {},
    "UpdateEndpoint": {},
}
# moto would ask AWS for the first, and breaks with the others.
_REFUSED = ("GetProducts", "InvokeEndpoint", "GetDownloadUrlForLayer")
_DENIED: Any = {"Error": {"Code": "AccessDenied", "Message": "moto does not have it"}}


@dataclass
class Recorder:
    """(command, action, resource) of everything that was sent."""

    where: Where
    command: str = ""
    needs: set[tuple[str, str, str]] = field(default_factory=set)

    def note(self, service: str, operation: str, request: dict[str, Any]) -> None:
        self.needs |= {(self.command, *need) for need in needed(service, operation, request, self.where)}

    def of(self, command: str) -> set[tuple[str, str]]:
        return {(action, resource) for by, action, resource in self.needs if by == command}

    @property
    def actions(self) -> set[str]:
        return {action for _, action, _ in self.needs}


@contextmanager
def recording(where: Where) -> Iterator[Recorder]:
    recorder = Recorder(where)
    send = BaseClient._make_api_call  # type: ignore[attr-defined]

    def record(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        if "byoc" in str(client.meta.config.user_agent_extra):
            recorder.note(client.meta.service_model.service_name, operation, request)
            if operation in _REFUSED:
                raise ClientError(_DENIED, operation)
            if operation in _ANSWERS:
                return _ANSWERS[operation]
        try:
            return send(client, operation, request)
        except NotImplementedError:
            raise ClientError(_DENIED, operation) from None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", record)
        yield recorder
