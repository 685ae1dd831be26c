"""No member of a Create or Update request is ignored in silence, whatever botocore's model adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from local.api.members import OPERATIONS, Members
from local.api.registry import handlers
from local.errors import ValidationException

MODEL = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))


def leaves(shape: Shape | None, path: str = "") -> Iterator[str]:
    """The members of a request that have none below them; maps are taken whole."""
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif isinstance(shape, ListShape):
        yield from leaves(shape.member, path)
    else:
        yield path


def found(operation: str) -> set[str]:
    return set(leaves(MODEL.operation_model(operation).input_shape))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_member_is_read_refused_or_harmless(operation: str) -> None:
    unknown = Members(frozenset()).refusal("x")
    members = OPERATIONS[operation]
    assert [path for path in found(operation) if members.refusal(path) == unknown] == []


def test_nothing_is_said_of_members_that_no_request_has() -> None:
    for members in {id(each): each for each in OPERATIONS.values()}.values():
        leaves = {
            leaf for operation, each in OPERATIONS.items() if each is members for leaf in found(operation)
        }
        said = [*members.read, *members.refused, *members.harmless]
        # A training job's members are more than those of a tuning job's definitions.
        said = [path for path in said if not path.startswith("TrainingJobDefinition")]
        assert [
            path for path in said if not any(leaf == path or leaf.startswith(f"{path}.") for leaf in leaves)
        ] == []


def test_every_create_and_update_operation_is_here() -> None:
    nothing: Any = None
    names = set(handlers(nothing, nothing, nothing))
    assert {name for name in names if name.startswith(("Create", "Update"))} == set(OPERATIONS)


MEMBERS = Members(
    frozenset({"Name", "Map", "List.Read", "Mixed.Read"}),
    {"Refused": "cannot; do without", "List.Refused": "cannot; do without", "Mixed.Refused": "cannot; stop"},
    {"Harmless": "it says nothing", "Mixed": "the rest of it says nothing"},
)


@pytest.mark.parametrize(
    "request_",
    [
        {"Name": "x", "Map": {"Refused": "a key of the user's"}},
        {"Harmless": {"deep": [1]}, "List": [{"Read": 1}, {"Read": 2}]},
        {"Refused": False},
        {"Refused": {}},
        {"List": [], "Mixed": {"Read": 1, "New": 2}},
    ],
)
def test_a_request_that_asks_for_nothing_else(request_: dict[str, Any]) -> None:
    MEMBERS.check(request_)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"Refused": {"Below": 1}}, "Refused: the local SageMaker cannot; do without."),
        ({"List": [{"Read": 1}, {"Refused": "yes"}]}, "List.Refused: the local SageMaker cannot"),
        ({"Mixed": {"Refused": 5}}, "Mixed.Refused: the local SageMaker cannot; stop."),
        ({"New": {"Deep": 1}}, "New: the local SageMaker does not know it; leave it out."),
        ({"List": [{"New": "x"}]}, "List.New: the local SageMaker does not know it"),
    ],
)
def test_a_request_that_asks_for_more(request_: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationException) as caught:
        MEMBERS.check(request_)
    assert caught.value.message.startswith(says)
