"""How answers are shown, and which endpoint is deleted."""

import json
import re
from pathlib import Path

import pytest

from contract.errors import ByocError
from scripts.commands import serving
from scripts.commands.serving import show_answers
from scripts.context import Context
from scripts.output import Output
from scripts.predict import Answer, Score
from scripts.trained import Trained
from tests.scripts.conftest import Refuse, Run


def test_names_are_whole_and_a_reason_stands_under_reason(capsys: pytest.CaptureFixture[str]) -> None:
    long = "s3://a-bucket-with-a-long-name/and/a/long/prefix/of/folders/test/7/" + "picture" * 9 + ".png"
    answers = [
        Answer(long, "7", "7", 0.75, (("7", 0.75),)),
        Answer("text.png", "", error="415: not a picture."),
    ]
    show_answers(Context(Output()), answers, 1)
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["picture", "class", "probability", "truth", "reason"] in lines
    assert [long, "7", "75.00 %", "7 ✓"] in lines
    assert ["text.png", "refused", "415: not a picture."] in lines
    show_answers(Context(Output()), answers[:1], 1)
    assert "reason" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("precision", "right", "says"),
    [
        ("fp32", 18, "Training computed the same: test accuracy 50.00 %."),
        ("bf16", 19, "Training computed 50.00 % in fp32; the endpoint, in bf16, decides 1 of 36 otherwise."),
        ("bf16", 16, ""),  # more than close calls
        ("fp32", 19, ""),
        ("", 19, ""),
    ],
)
def test_a_lower_precision_may_decide_close_calls_otherwise(
    capsys: pytest.CaptureFixture[str], precision: str, right: int, says: str
) -> None:
    score = Score(36, right, 0, {}, precision)
    trained = Trained(0.5, same_pictures=True)
    if says:
        serving.compare(Context(Output()), score, trained, "the endpoint")
        assert says in capsys.readouterr().out
    else:
        with pytest.raises(ByocError, match=r"On the same pictures training computed 50\.00 %"):
            serving.compare(Context(Output()), score, trained, "the endpoint")


def test_of_several_endpoints_the_one_to_delete_is_named(ready: Path, run: Run) -> None:
    run("train", "--name", "one", "--no-wait")
    run("deploy", "one", "--endpoint", "flowers", "--no-wait", "--set", "project.name=flowers")
    for name in ("digits", "x1"):
        run("deploy", "one", "--endpoint", name, "--no-wait")
    told = run("delete", code=2).stderr
    assert "Which endpoint? digits has 2: digits (InService), x1 (InService)." in told
    assert "byoc delete digits" in told
    assert "digits of this project is InService, and costs money until you delete it" in (
        run("delete", "x1").stdout
    )
    assert json.loads(run("delete", "--json").stdout)["left"] == {}
    assert "there is no endpoint" in run("delete").stdout
    assert "deleted endpoint flowers" in run("delete", "--set", "project.name=flowers").stdout


def test_a_setting_names_the_endpoint_and_else_the_last_command(
    ready: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "--name", "one", "--no-wait")
    run("deploy", "one", "--endpoint", "x1", "--no-wait")
    assert serving.chosen_endpoint(Context(Output()), None) == "x1"
    assert "Endpoint x1, the last one that this folder deployed." in capsys.readouterr().out
    assert serving.chosen_endpoint(Context(Output(), overrides=["deploy.endpoint=x1"]), None) == "x1"
    assert "is used" not in capsys.readouterr().out
    assert serving.chosen_endpoint(Context(Output(), overrides=["deploy.endpoint=x2"]), None) == "x2"
    assert "x2 is used. For the other one: --endpoint x1" in " ".join(capsys.readouterr().out.split())
    assert serving.chosen_endpoint(Context(Output(), overrides=["deploy.endpoint=x2"]), "x3") == "x3"
    output = run("delete", "--set", "deploy.endpoint=x2").stdout
    assert "there is no endpoint x2" in output
    assert "x1 of this project is InService, and costs money" in output
    assert "deleted endpoint x1" in run("delete").stdout


def test_only_what_is_this_folders_is_deleted_without_a_name(ready: Path, run: Run) -> None:
    run("train", "--name", "one", "--no-wait")
    for name in ("digits-prod", "x1"):
        run("deploy", "one", "--endpoint", name, "--no-wait")
    run("delete", "x1")
    told = run("delete", code=2).stderr  # once more, of something that is gone
    assert "The only endpoint of digits is digits-prod (InService)" in told
    assert "byoc delete digits-prod" in told
    assert "deleted endpoint digits-prod" in run("delete", "--set", "deploy.endpoint=digits-prod").stdout
    run("deploy", "one", "--endpoint", "x1", "--no-wait")
    assert "deleted endpoint x1" in run("delete").stdout


def test_delete_does_without_the_permission_to_list(ready: Path, run: Run, refuse: Refuse) -> None:
    run("train", "--name", "one", "--no-wait")
    for name in ("digits", "x1", "x2"):
        run("deploy", "one", "--endpoint", name, "--no-wait")
    with refuse("ListEndpoints", "AccessDeniedException"):
        told = run("delete").stdout
        assert "does not allow ListEndpoints: x2 is assumed to be the only endpoint" in told
        assert "deleted endpoint x2" in told
        told = run("delete", "x1").stdout
        assert "Whether this project has other endpoints is unknown: AWS does not allow ListEndpoints" in told
    with refuse("ListEndpoints", "ThrottlingException"):
        assert "go slower" in run("delete", code=4).stderr
        assert json.loads(run("delete", "digits", "--json").stdout)["left"] is None
