"""Whose something is, for what may be deleted with a project."""

from typing import Any

import pytest

from scripts import tags
from scripts.tags import Owner

ACCOUNT = "arn:aws:sagemaker:us-east-1:123456789012"


def arns(kind: str, *names: str) -> dict[str, str]:
    return {name: f"{ACCOUNT}:{kind}/{name.lower()}" for name in names}


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch, warned: list[str]) -> Owner:
    """No tag may be read."""
    monkeypatch.setattr(tags, "_all_of_project", lambda *_: None)
    monkeypatch.setattr(tags, "_tags_of_each", lambda clients, project, arns: dict.fromkeys(arns))
    return Owner(None, "digits", warned.append, {"digits", "shop"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "ours", "others"),
    [
        (
            "training-job",
            [
                "digits-train-0412-093007-51",
                "digits-convert-0412-093007-51",
                "digits-tune-0412-093007-51-001-0a1b2c3d",
            ],
            ["digits-1", "digits2-train-0412-093007-51", "digits-train-train-0412-093007-51", "my-digits"],
        ),
        (
            # A tuning job's name has room for 16 characters of project and kind.
            "hyper-parameter-tuning-job",
            ["digits-tune-0412-093007-51"],
            ["digits-transform-0412-093007-51", "digits-train-0412-093007-51"],
        ),
        ("transform-job", ["digits-transform-0412-093007-51"], ["digits-transform-transform-0412-093007-51"]),
        (
            "model",
            ["digits-v-0412-093007-51", "shop-v-0412-093007-51", "digits-transform-0412-093007-51"],
            ["digits-v-v-0412-093007-51", "digits2-v-0412-093007-51", "shop-transform-0412-093007-51"],
        ),
        ("endpoint-config", ["digits-v-0412-093007-51"], ["digits-transform-0412-093007-51", "digits"]),
        ("endpoint", ["digits", "shop"], ["digits2", "digits-test"]),
    ],
)
def test_without_tags_only_names_that_byoc_makes_up_are_the_projects(
    owner: Owner, warned: list[str], kind: str, ours: list[str], others: list[str]
) -> None:
    assert owner.names(arns(kind, *ours, *others)) == ours
    assert "only names that byoc makes up for digits" in warned[0]


def test_a_tag_decides_and_what_the_index_does_not_have_yet_is_asked(
    owner: Owner, warned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = arns("model", "Named-By-Me", "digits-v-0412-093007-51", "digits-v-0412-093007-52", "theirs")
    asked: list[Any] = []
    monkeypatch.setattr(tags, "_all_of_project", lambda *_: {listed["Named-By-Me"]})
    monkeypatch.setattr(
        tags,
        "_tags_of_each",
        lambda clients, project, arns: asked.extend(arns) or {arn: arn.endswith("51") for arn in arns},
    )
    assert owner.names(listed) == ["Named-By-Me", "digits-v-0412-093007-51"]
    assert asked == [listed["digits-v-0412-093007-51"], listed["digits-v-0412-093007-52"]]
    assert not warned
