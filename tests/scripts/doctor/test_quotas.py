"""Service Quotas, against what the settings start at a time."""

from typing import Any

import pytest

from scripts.aws import Clients
from scripts.doctor import quotas
from tests.scripts.conftest import Refuse
from tests.scripts.doctor.conftest import settings_of


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {"ml.m5.xlarge for training job usage": 2, "ml.m5.large for endpoint usage": 1,
              "ml.m5.large for transform job usage": 1}),
        (("train.instance_type=ml.g5.xlarge", "train.instance_count=3", "tune.parallel=4"),
         {"ml.g5.xlarge for training job usage": 12}),
        (("tune.jobs=1",), {"ml.m5.xlarge for training job usage": 1}),
        (("train.keep_alive_minutes=5", "train.instance_count=2"),
         {"ml.m5.xlarge for training warm pool usage": 2}),
        (("train.spot=true", "tune.parallel=1"), {"ml.m5.xlarge for spot training job usage": 1}),
        (("deploy.instance_count=5", "transform.instance_count=2"),
         {"ml.m5.large for endpoint usage": 5, "ml.m5.large for transform job usage": 2}),
    ],
)  # fmt: skip
def test_as_many_machines_as_run_at_a_time(overrides: tuple[str, ...], expected: dict[str, int]) -> None:
    found = {need.quota: need.count for need in quotas.needs(settings_of(*overrides))}
    assert expected.items() <= found.items()


NEED = quotas.Need("ml.g5.xlarge for training job usage", 4, "4 trials at a time", True)


@pytest.mark.parametrize(
    ("values", "severity", "message"),
    [
        ({NEED.quota: 4.0}, "ok", "4; 4 trials at a time takes 4"),
        ({NEED.quota: 1.0}, "error", "is 1; 4 trials at a time takes 4"),
        ({NEED.quota: 0.0}, "error", "is 0 (GPU); 4 trials"),
        ({}, "skipped", "does not list it"),
    ],
)
def test_a_quota_is_judged(values: dict[str, float], severity: str, message: str) -> None:
    found = quotas.judged(NEED, values)
    assert found.severity == severity
    assert message in found.message


def test_defaults_count_where_nothing_was_applied_for(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "list_service_quotas": {"ml.m5.xlarge for training job usage": 9.0},
        "list_aws_default_service_quotas": {
            "ml.m5.xlarge for training job usage": 0.0,
            "ml.m5.large for endpoint usage": 4.0,
            "ml.m5.large for transform job usage": 20.0,
        },
    }

    class Client:
        def get_paginator(self, operation: str) -> Any:
            class Pages:
                def paginate(self, **_: Any) -> Any:
                    yield {
                        "Quotas": [
                            {"QuotaName": name, "Value": value} for name, value in answers[operation].items()
                        ]
                    }

            return Pages()

    monkeypatch.setattr(type(clients), "service", lambda *_, **__: Client())
    found = list(quotas.quotas(settings_of(), clients))
    assert [each.severity for each in found] == ["ok", "ok", "ok"]
    assert "training job usage: 9" in found[0].message


def test_where_quotas_may_not_be_asked_for_they_are_named(clients: Clients, refuse: Refuse) -> None:
    with refuse("ListServiceQuotas", "AccessDeniedException"):
        [found] = quotas.quotas(settings_of(), clients)
    assert found.severity == "skipped"
    assert "ml.m5.xlarge for training job usage" in found.message
