"""What a notebook has beside the commands; AWS is moto, the local SageMaker a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import NOT_FOUND, ByocError
from contract.findings import FindingLine, Outcome, ProgressLine, VerdictLine, format_line
from scripts import inline, template
from scripts import predict as service
from scripts.context import Context
from scripts.output import Output
from scripts.predict import Answer, Picture
from tests.scripts.commands.test_watching import write_log
from tests.scripts.conftest import Run


@pytest.fixture
def context(ready: Path, run: Run) -> Context:
    """Of a folder whose last training job has not written anything yet."""
    run("train", "--name", "digits-1", "--no-wait")
    return Context(Output())


def test_findings_come_with_their_remedies(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        FindingLine("LossNotDecreasing", 10, "loss", "high", "It rises.", "Lower the learning rate."),
        FindingLine("LossNotDecreasing", 20, "loss", "high", "It rises.", "Lower the learning rate."),
        VerdictLine("LossNotDecreasing", Outcome.ISSUES_FOUND, "From 1 to 3.", 2),
        VerdictLine("Overfit", Outcome.NO_ISSUES, "", 0),
    ]
    write_log("digits-1/algo-1-1", list(map(format_line, lines)))
    inline.findings(context)
    shown = capsys.readouterr().out
    assert "From 1 to 3." in shown
    assert "No issues: Overfit" in shown
    assert shown.count("→ LossNotDecreasing: Lower the learning rate.") == 1
    assert context.out.document == {"LossNotDecreasing": "IssuesFound", "Overfit": "NoIssuesFound"}


def test_before_a_rule_has_spoken_there_are_no_findings(context: Context) -> None:
    with pytest.raises(ByocError, match=r"No rule has judged digits-1 yet\.") as refused:
        inline.findings(context)
    assert refused.value.code == NOT_FOUND
    assert "debugger.enabled" in refused.value.remedy


def test_curves_are_a_picture_and_a_sentence(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    write_log("digits-1/algo-1-1", [format_line(ProgressLine(1, 1, n, 3, 3 / n)) for n in (1, 2, 3)])
    inline.curves(context)
    assert context.out.document["picture"].png.startswith(b"\x89PNG")
    assert capsys.readouterr().out.startswith("digits-1\nTraining loss fell from 3 to 1 (−67 %).\n")


def test_before_the_first_epoch_there_are_no_curves(context: Context) -> None:
    with pytest.raises(ByocError, match=r"digits-1 has no metrics yet\."):
        inline.curves(context)


def test_bytes_and_files_are_sent_in_their_order(
    context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[str, bytes]] = []

    def classify(clients: object, endpoint: str, pictures: list[Picture], **_: object) -> list[Answer]:
        sent.extend((endpoint + " " + picture.source, picture.read()) for picture in pictures)
        return [Answer(picture.source, picture.folder, "7", 0.75, (("7", 0.75),)) for picture in pictures]

    monkeypatch.setattr(service, "classify", classify)
    monkeypatch.setattr(service, "classes", lambda *_: {"7"})
    Path("7").mkdir()
    Path("7/a.png").write_bytes(b"a")
    inline.predict(context, [b"one", Path("7/a.png"), b"two"], endpoint="dogs")
    assert sent == [("dogs picture 1", b"one"), ("dogs 7/a.png", b"a"), ("dogs picture 3", b"two")]
    assert "75.00 %" in capsys.readouterr().out
    assert [answer["truth"] for answer in context.out.document["answers"]] == ["", "7", ""]
    with pytest.raises(ByocError, match="Which pictures"):
        inline.predict(context, [])


def test_the_local_service_starts_and_stops(
    home: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home.parent.parent / "byoc.toml"
    template.write(file, template.render({"aws": {"endpoint_url": f"http://127.0.0.1:{port}"}}))
    for said in ("runs", "was running already"):
        inline.start_local(Context(Output(), config=file))
        assert capsys.readouterr().out == f"The local SageMaker {said} at http://127.0.0.1:{port}.\n"
    for said in ("is stopped, its data stays", "was not running"):
        inline.stop_local(Context(Output(), config=file))
        assert capsys.readouterr().out == f"The local SageMaker {said}.\n"


@pytest.mark.parametrize("url", ["", "http://sagemaker.example:80"])
def test_elsewhere_nothing_is_started(project: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    template.write(Path("byoc.toml"), template.render({"aws": {"endpoint_url": url}}))
    for command in (inline.start_local, inline.stop_local):
        command(Context(Output()))
        where = url or "AWS"
        assert f"The settings name {where}, not this machine: nothing to do." in capsys.readouterr().out
