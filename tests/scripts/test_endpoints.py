from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto.sagemaker.models import sagemaker_backends

from contract.errors import BAD_INPUT, FAILED, NOT_FOUND, ByocError
from scripts import endpoints
from scripts.aws import Clients, connect
from scripts.requests import Place
from scripts.settings import Settings, load

PLACE = Place("arn:aws:iam::123456789012:role/r", "b", "i/byoc-train", "i/byoc-serve")
ARTIFACT = "s3://b/output/job/output/model.tar.gz"


def quiet(_: str) -> None:
    pass


@pytest.fixture
def clients(aws: None, settings: Settings) -> Clients:
    return connect(settings)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no two names are alike, though they are made within a hundredth of a second."""
    monkeypatch.setattr("report.read.pace.time.sleep", lambda seconds: None)
    numbers = count(10)

    def unique_name(project: str, kind: str) -> str:
        return f"{project}-{kind}"[:48].rstrip("-") + f"-1231-235959-{next(numbers)}"

    monkeypatch.setattr("scripts.endpoints.unique_name", unique_name)


def left(clients: Clients) -> list[str]:
    sagemaker = clients.sagemaker
    return [
        *(item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]),
        *(item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        *(item["ModelName"] for item in sagemaker.list_models()["Models"]),
    ]


def test_deploy_and_delete(clients: Clients, settings: Settings) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    assert name == "pictures"
    said: list[str] = []
    endpoints.wait(clients, name, said.append)
    assert said[-1] == "InService"
    with pytest.raises(ByocError, match=r"already.*byoc deploy --update") as caught:
        endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    assert caught.value.code == BAD_INPUT
    assert len(left(clients)) == 3
    assert [item.split()[0] for item in endpoints.delete(clients, name, quiet)] == [
        "endpoint",
        "endpoint",
        "model",
    ]
    assert left(clients) == []
    assert endpoints.delete(clients, name, quiet) == []


@pytest.mark.parametrize("broken", ["create_endpoint_config", "create_endpoint"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ClientError])
def test_what_was_half_made_is_taken_back(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch, broken: str, error: Any
) -> None:
    def fail(**_: Any) -> None:
        if error is KeyboardInterrupt:
            raise KeyboardInterrupt
        raise ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": "0 machines"}}, broken)

    monkeypatch.setattr(clients.sagemaker, broken, fail)
    with pytest.raises(error):
        endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    assert left(clients) == []


def test_an_endpoint_that_does_not_come_up_is_taken_away(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    describe = clients.sagemaker.describe_endpoint
    monkeypatch.setattr(
        clients.sagemaker,
        "describe_endpoint",
        lambda **names: {**describe(**names), "EndpointStatus": "Failed", "FailureReason": "no ping"},
    )
    with pytest.raises(ByocError, match="did not come up: no ping"):
        endpoints.wait(clients, name, quiet)
    assert left(clients) == []


@pytest.mark.parametrize("status", ["OutOfService", "UpdateRollbackFailed", "Failed"])
def test_waiting_ends_at_every_status_from_which_nothing_comes(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    describe = clients.sagemaker.describe_endpoint
    monkeypatch.setattr(
        clients.sagemaker,
        "describe_endpoint",
        lambda **names: {**describe(**names), "EndpointStatus": status},
    )
    with pytest.raises(ByocError, match=f"did not come up: it is {status}"):
        endpoints.wait(clients, name, quiet)
    assert left(clients) == []


def test_an_endpoint_that_somebody_deletes_is_no_longer_waited_for(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    describe, looks = clients.sagemaker.describe_endpoint, count()

    def gone_soon(**names: Any) -> Any:
        if next(looks) == 3:
            clients.sagemaker.delete_endpoint(**names)
        return {**describe(**names), "EndpointStatus": "Deleting"}

    monkeypatch.setattr(clients.sagemaker, "describe_endpoint", gone_soon)
    with pytest.raises(ByocError, match="did not come up: it is Deleting"):
        endpoints.wait(clients, name, quiet)
    assert left(clients) == []


@pytest.mark.parametrize("statuses", [["Deleting", "Failed"], ["InService"] * 99])
def test_a_deletion_that_fails_is_told(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch, statuses: list[str]
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    describe, shown = clients.sagemaker.describe_endpoint, iter(["InService", *statuses])
    monkeypatch.setattr(clients.sagemaker, "delete_endpoint", lambda **_: None)
    monkeypatch.setattr(
        clients.sagemaker,
        "describe_endpoint",
        lambda **names: {**describe(**names), "EndpointStatus": next(shown)},
    )
    with pytest.raises(ByocError, match="was not deleted: it is") as caught:
        endpoints.delete(clients, name, quiet)
    assert "costs money until it is gone" in caught.value.remedy


def test_an_interrupted_deletion_can_be_finished(clients: Clients, settings: Settings) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    clients.sagemaker.delete_endpoint(EndpointName=name)
    assert len(endpoints.delete(clients, name, quiet)) == 2
    assert left(clients) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ReadTimeoutError(endpoint_url="https://aws")])
def test_an_endpoint_whose_creation_was_granted_without_an_answer_keeps_its_model(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    create = clients.sagemaker.create_endpoint

    def lose(**request: Any) -> None:
        create(**request)
        raise error

    monkeypatch.setattr(clients.sagemaker, "create_endpoint", lose)
    said: list[str] = []
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            endpoints.deploy(clients, settings, PLACE, ARTIFACT, said.append)
        kept = "what was made stays: in spite of the error, the endpoint pictures uses it"
        assert said[-1].startswith(kept)
    else:  # it is looked up by its name
        assert endpoints.deploy(clients, settings, PLACE, ARTIFACT, said.append) == "pictures"
    assert len(left(clients)) == 3


def test_of_an_endpoint_that_was_not_made_here_only_the_endpoint_is_deleted(
    clients: Clients, settings: Settings
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)
    clients.sagemaker.create_endpoint(EndpointName="shared", EndpointConfigName=before[1])
    said: list[str] = []
    assert endpoints.delete(clients, "shared", said.append) == ["endpoint shared"]
    assert (
        said[-1] == f"kept endpoint configuration {before[1]} and its models, which byoc did not make for it"
    )
    assert left(clients) == before


class Updates:
    """UpdateEndpoint, which moto has not: takes the new configuration, or rolls back, after one look."""

    def __init__(self, clients: Clients, monkeypatch: pytest.MonkeyPatch, ends: str = "InService") -> None:
        self._describe = clients.sagemaker.describe_endpoint
        self._changes: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self._ends, self.succeeds = ends, True
        self.lost: BaseException | None = None
        """Comes in place of the answer."""
        self.tells = True
        """Whether the description names what comes."""
        monkeypatch.setattr(clients.sagemaker, "describe_endpoint", self.describe)
        monkeypatch.setattr(clients.sagemaker, "update_endpoint", self.update, raising=False)

    def update(self, **request: str) -> None:
        self.asked.append(request)
        end = {"EndpointStatus": self._ends}
        if self.succeeds:
            end["EndpointConfigName"] = request["EndpointConfigName"]
        else:
            end["FailureReason"] = "no ping"
        under_way: dict[str, Any] = {"EndpointStatus": "Updating"}
        if self.tells:
            under_way["PendingDeploymentSummary"] = {"EndpointConfigName": request["EndpointConfigName"]}
        self._changes = [under_way, end]
        if self.lost:
            raise self.lost

    def describe(self, **names: str) -> dict[str, Any]:
        found = {**self._describe(**names), **(self._changes[0] if self._changes else {})}
        self._changes = self._changes[1:] or self._changes
        return found


def test_an_update_puts_the_new_model_on_it_and_deletes_the_old_one(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)
    # What an update has left whose end nobody waited for.
    forgotten = f"{name}-v-0101-000000-00"
    variant = {"VariantName": "v", "ModelName": before[-1], "InitialInstanceCount": 1}
    clients.sagemaker.create_endpoint_config(
        EndpointConfigName=forgotten,
        ProductionVariants=[{**variant, "InstanceType": "ml.m5.large"}],  # type: ignore[list-item]
    )
    sagemaker_backends[clients.account][clients.region].endpoint_configs[
        forgotten
    ].creation_time -= timedelta(days=1)
    updates = Updates(clients, monkeypatch)
    update = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    assert (update.endpoint, update.old) == (name, before[1])
    assert updates.asked == [{"EndpointName": name, "EndpointConfigName": update.new}]
    assert {update.old, update.new} < set(left(clients))  # both, until the new one serves
    said: list[str] = []
    endpoints.wait_for_update(clients, update, said.append)
    assert said[:2] == ["Updating", "InService"]
    assert left(clients) == [name, update.new, update.new]


def test_a_failed_update_leaves_the_old_model(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)
    updates = Updates(clients, monkeypatch)
    updates.succeeds = False
    update = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    with pytest.raises(ByocError, match=f"update of the endpoint {name} failed: no ping.* goes on answering"):
        endpoints.wait_for_update(clients, update, quiet)
    assert left(clients) == before


def test_an_update_that_leaves_nothing_in_service_deletes_nothing(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    updates = Updates(clients, monkeypatch, ends="UpdateRollbackFailed")
    updates.succeeds = False
    update = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    with pytest.raises(ByocError, match=r"no ping.* made anew: `byoc delete pictures`"):
        endpoints.wait_for_update(clients, update, quiet)
    assert len(left(clients)) == 5


def test_an_update_that_is_refused_leaves_nothing_new(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": "1 machine"}}, "u")

    monkeypatch.setattr(clients.sagemaker, "update_endpoint", refuse, raising=False)
    with pytest.raises(ClientError):
        endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    assert left(clients) == before


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ReadTimeoutError(endpoint_url="https://aws")])
def test_an_update_that_was_granted_without_an_answer_keeps_its_model(
    clients: Clients,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    tells: bool,
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    updates = Updates(clients, monkeypatch)
    updates.lost, updates.tells = error, tells
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    else:  # it is looked up by its name
        new = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet).new
        assert new == updates.asked[0]["EndpointConfigName"]
    assert updates.asked[0]["EndpointConfigName"] in left(clients)
    assert len(left(clients)) == 5


def test_an_update_that_is_refused_during_another_leaves_nothing_new(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)
    updates = Updates(clients, monkeypatch)

    def refuse(**_: Any) -> None:
        updates.update(EndpointName="pictures", EndpointConfigName="another")
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "in-progress"}}, "u")

    monkeypatch.setattr(clients.sagemaker, "update_endpoint", refuse)
    with pytest.raises(ClientError):
        endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    assert left(clients) == before


def test_what_was_made_stays_where_nobody_can_say_whether_it_is_in_use(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    lost = ReadTimeoutError(endpoint_url="https://aws")

    def fail(**_: Any) -> None:
        raise lost

    def update(**_: Any) -> None:
        monkeypatch.setattr(clients.sagemaker, "describe_endpoint", fail)
        raise lost

    monkeypatch.setattr(clients.sagemaker, "update_endpoint", update, raising=False)
    said: list[str] = []
    with pytest.raises(ByocError, match="It may have been made all the same"):
        endpoints.update(clients, settings, PLACE, ARTIFACT, said.append)
    assert said[-1].startswith("what was made stays, as it may be in use: https://aws does not answer")
    assert len(left(clients)) == 5


def test_a_finished_update_leaves_the_model_of_one_that_has_begun_since(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    Updates(clients, monkeypatch)
    first = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    later: list[endpoints.Update] = []

    def say(text: str) -> None:
        if text == "InService":
            later.append(endpoints.update(clients, settings, PLACE, ARTIFACT, quiet))

    endpoints.wait_for_update(clients, first, say)
    assert left(clients) == ["pictures", *[first.new, later[0].new] * 2]
    endpoints.wait_for_update(clients, later[0], quiet)
    assert left(clients) == ["pictures", later[0].new, later[0].new]


def test_an_update_that_another_one_has_replaced_says_so_and_deletes_nothing(
    clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    Updates(clients, monkeypatch)
    first = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    endpoints._settled(clients, "pictures", quiet)
    second = endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)
    with pytest.raises(ByocError, match=f"^Another update came after .* answers with {second.new}") as caught:
        endpoints.wait_for_update(clients, first, quiet)
    assert caught.value.code == FAILED
    assert left(clients) == before


@pytest.mark.parametrize(
    ("changed", "message", "code"),
    [
        ({"EndpointStatus": "Updating"}, "is Updating.*Try again", FAILED),
        ({"EndpointStatus": "Failed"}, "is Failed.*byoc delete", FAILED),
        ({"EndpointConfigName": "production"}, "not made by byoc", BAD_INPUT),
    ],
)
def test_what_cannot_be_updated(
    clients: Clients,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str],
    message: str,
    code: int,
) -> None:
    with pytest.raises(ByocError, match="no endpoint pictures to update") as caught:
        endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    assert caught.value.code == NOT_FOUND
    endpoints.deploy(clients, settings, PLACE, ARTIFACT, quiet)
    before = left(clients)
    describe = clients.sagemaker.describe_endpoint
    monkeypatch.setattr(
        clients.sagemaker, "describe_endpoint", lambda **names: {**describe(**names), **changed}
    )
    with pytest.raises(ByocError, match=message) as caught:
        endpoints.update(clients, settings, PLACE, ARTIFACT, quiet)
    assert caught.value.code == code
    assert left(clients) == before


@pytest.mark.parametrize("length", [46, 47, 63])
def test_long_names_that_begin_alike_share_nothing(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    names = ["a" * (length - 1) + end for end in "bc"]
    mine, other = (
        load(required=False, overrides=[f"deploy.endpoint={name}"], environment={}) for name in names
    )
    endpoints.deploy(clients, other, PLACE, ARTIFACT, quiet)
    others = left(clients)
    endpoints.deploy(clients, mine, PLACE, ARTIFACT, quiet)
    Updates(clients, monkeypatch)
    # What an update has left whose end nobody waited for goes with the next one, or with the endpoint.
    endpoints.update(clients, mine, PLACE, ARTIFACT, quiet)
    endpoints._settled(clients, names[0], quiet)
    update = endpoints.update(clients, mine, PLACE, ARTIFACT, quiet)
    endpoints.wait_for_update(clients, update, quiet)
    assert len(left(clients)) == 6
    clients.sagemaker.delete_endpoint(EndpointName=names[0])
    assert len(endpoints.delete(clients, names[0], quiet)) == 2
    assert left(clients) == others
