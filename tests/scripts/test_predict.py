import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contract.errors import ByocError
from scripts import predict
from tests.scripts.conftest import draw


class Endpoint:
    """Answers `dog` to every picture but those whose bytes begin with "bad"."""

    def __init__(self, exists: bool = True, classes: Sequence[str] = ("dog", "cat")) -> None:
        self.exists = exists
        self.classes = classes
        self.types: list[str] = []

    def invoke_endpoint(
        self, Body: bytes, ContentType: str, CustomAttributes: str, **_: Any
    ) -> dict[str, Any]:
        self.types.append(ContentType)
        if not self.exists:
            error = {"Code": "ValidationError", "Message": "Endpoint x of account 1 not found."}
            raise ClientError({"Error": error}, "InvokeEndpoint")
        if Body.startswith(b"bad"):
            answer = {
                "Error": {"Code": "ModelError", "Message": "…"},
                "OriginalStatusCode": 415,
                "OriginalMessage": "not a picture",
            }
            raise ClientError(answer, "InvokeEndpoint")  # type: ignore[arg-type]
        top = CustomAttributes.removeprefix("top_k=")
        count = len(self.classes) if top == "all" else int(top)
        ranked = [{"class": name, "probability": 0.9 / 9**n} for n, name in enumerate(self.classes)]
        return {"Body": SimpleNamespace(read=lambda: json.dumps({"predictions": ranked[:count]}).encode())}


def clients(**details: Any) -> Any:
    return SimpleNamespace(runtime=Endpoint(**details))


def test_answers_come_in_order_with_truth_and_probability(project: Path) -> None:
    draw(project / "data", each=2)
    service = clients()
    answers = predict.classify(service, "e", predict.gather(service, ["data"]))
    assert [answer.truth for answer in answers] == ["cat", "cat", "dog", "dog"]
    assert [answer.right for answer in answers] == [False, False, True, True]
    assert answers[0].probability == 0.9
    assert set(service.runtime.types) == {"image/png"}
    score = predict.score(answers, predict.named(answers))
    assert (score.pictures, score.right, score.accuracy) == (4, 2, 0.5)
    assert score.per_class == {"cat": (0, 2), "dog": (2, 2)}


def test_a_refused_picture_does_not_spoil_the_others(project: Path) -> None:
    draw(project / "data", each=1)
    (project / "data" / "dog" / "text.png").write_text("bad")
    answers = predict.classify(clients(), "e", predict.gather(clients(), ["data"]))
    refused = [answer for answer in answers if answer.error]
    assert len(refused) == 1
    assert "415: not a picture" in refused[0].error
    score = predict.score(answers, predict.named(answers))
    assert (score.pictures, score.right, score.refused) == (3, 1, 1)


def test_a_missing_endpoint_ends_it(project: Path) -> None:
    draw(project / "data", each=1)
    service = clients(exists=False)
    with pytest.raises(ByocError, match=r"no endpoint e in service.*byoc deploy"):
        predict.classify(service, "e", predict.gather(service, ["data"]))


def test_folders_that_are_no_classes(project: Path) -> None:
    draw(project / "holiday", classes=("july", "august"), each=1)
    answers = predict.classify(clients(), "e", predict.gather(clients(), ["holiday"]))
    shown = predict.with_plausible_truth(answers, predict.named(answers))
    assert {answer.truth for answer in shown} == {""}
    with pytest.raises(ByocError, match="No folder is named like a class"):
        predict.score(answers, predict.named(answers))


def test_a_class_that_no_answer_names_is_a_truth_all_the_same(project: Path) -> None:
    draw(project / "data", classes=("cat", "july"), each=1)
    service = clients(classes=["dog", "fox", "cat"])
    pictures = predict.gather(service, ["data"])
    answers = predict.classify(service, "e", pictures, top=2)
    known = predict.classes(service, "e", pictures, answers)
    assert known == {"dog", "fox", "cat"}
    assert [answer.truth for answer in predict.with_plausible_truth(answers, known)] == ["cat", ""]
    assert predict.score(answers, known).per_class["cat"] == (0, 1)


@pytest.mark.parametrize("source", ["nowhere.png", "empty"])
def test_nothing_to_send(project: Path, source: str) -> None:
    (project / "empty").mkdir()
    with pytest.raises(ByocError, match=source):
        predict.gather(clients(), [source])


def test_a_named_file_is_sent_whatever_its_ending(project: Path) -> None:
    (project / "picture").write_bytes(b"x")
    service = clients()
    predict.classify(service, "e", predict.gather(service, ["picture"]))
    assert service.runtime.types == ["application/octet-stream"]


def test_a_sample_is_even_over_the_classes(project: Path) -> None:
    pictures = predict.gather(clients(), [str(draw(project / "data", classes=("a", "b", "c"), each=9))])
    assert sorted(picture.folder for picture in predict.sample(pictures, 6)) == ["a", "a", "b", "b", "c", "c"]
    assert len(predict.sample(pictures, 100)) == 27


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"predictions": []}', b"\xff", b'{"predictions": [1]}']
)
def test_a_strange_answer_is_told(body: bytes) -> None:
    with pytest.raises(ByocError, match="not that of our serving image"):
        predict.parse_answer(body)


@pytest.mark.parametrize("classes", [{"cat", "dog", "mouse"}, {"1.cat", "2.dog", "mouse"}])
def test_numbered_folders_are_named_as_the_model_names_its_classes(classes: set[str]) -> None:
    """The trainer takes numbers for a part of the name unless all folders have one."""
    cat, dog, *_ = sorted(classes)
    answers = [
        predict.Answer("a.png", "1.cat", cat), predict.Answer("b.png", "2.dog", cat),
        predict.Answer("c.png", "mouse", dog),
    ]  # fmt: skip
    named = predict.with_classes(answers, classes)
    assert predict.score(named, classes).per_class == {cat: (1, 1), dog: (0, 1), "mouse": (0, 1)}
    assert [answer.truth for answer in predict.with_plausible_truth(answers, {cat})] == [cat, "", ""]
