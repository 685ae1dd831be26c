"""The commands as methods: settings, results and errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from contract.errors import INTERRUPTED, ByocError
from scripts import notebook, running
from scripts.celloutput import NotebookError, Result
from scripts.context import Context
from scripts.notebook import Project
from scripts.settings import load

SETTINGS = {
    "aws.endpoint_url": "http://127.0.0.1:5999",
    "train.spot": True,
    "tune.hyperparameters.epochs": 2,
    "tune.ranges.lr": {"min": 0.9, "max": 1.0},
    "lr": 0.001,
    "arch": "resnet18",
}
Calls = list[tuple[Context, dict[str, Any]]]


@pytest.fixture
def dogs(project: Path) -> Project:
    return Project.create("dogs", SETTINGS)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What `train` was called with."""
    made: Calls = []

    def train(context: Context, **values: Any) -> None:
        made.append((context, values))
        context.out.result({"training_job": "dogs-train"})

    monkeypatch.setattr(notebook.training, "train", train)
    return made


def raising(error: BaseException, left: running.Running | None = None) -> Callable[..., None]:
    def command(context: Context, **values: Any) -> None:
        context.left = left
        raise error

    return command


def test_create_writes_a_file_that_explains_everything(dogs: Project) -> None:
    settings = load(Path("dogs/byoc.toml"), environment={})
    assert settings.project.name == "dogs"
    assert settings.train.spot
    assert settings.tune.hyperparameters == {"epochs": 2}
    assert settings.tune.ranges["lr"].minimum == 0.9
    assert settings.hyperparameters == {"lr": 0.001, "arch": "resnet18"}
    assert "SageMaker stops the job after that." in dogs.file.read_text()


def test_create_again_keeps_what_is_the_same_and_asks_before_it_changes_a_file(dogs: Project) -> None:
    dogs.file.write_text(dogs.file.read_text() + "# mine\n")
    with pytest.raises(NotebookError, match="exists already, with other settings") as refused:
        Project.create("dogs", SETTINGS)
    assert "overwrite=True" in refused.value.remedy
    assert "# mine" in dogs.file.read_text()
    Project.create("dogs", SETTINGS, overwrite=True)
    assert "# mine" not in dogs.file.read_text()
    Project.create("dogs", SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.sport": True}, "there is no setting train.sport"),
        ({"trian.spot": True}, "there is no setting trian"),
        ({"train.spot": 3}, "must be true or false"),
        ({"train.spot.on": True}, "train.spot"),
    ],
)
def test_create_refuses_settings_that_there_are_not(
    project: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotebookError, match=message):
        Project.create("dogs", settings)
    assert not Path("dogs/byoc.toml").exists()


def test_a_folder_without_settings_is_named(project: Path) -> None:
    with pytest.raises(NotebookError, match=r"There is no cats/byoc\.toml\.") as refused:
        Project("cats")
    assert "Project.create" in refused.value.remedy


def test_hyperparameters_and_the_objects_settings_go_on_top_of_the_file(dogs: Project, calls: Calls) -> None:
    result = Project("dogs", {"train.spot": False}).train(lr=0.5, weights="none", best=True)
    assert result == {"training_job": "dogs-train"}
    assert isinstance(result, Result)
    [(context, values)] = calls
    assert values["best"] is True
    assert context.settings.hyperparameters == {"lr": 0.5, "arch": "resnet18", "weights": "none"}
    assert not context.settings.train.spot
    assert context.local_home == (Path.cwd() / "dogs" / ".byoc" / "local")


def test_ranges_are_written_as_the_flag_has_them(dogs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(notebook.tuning, "tune", lambda context, **values: given.update(values))
    dogs.tune({"lr": (0.9, 1.0), "weight_decay": (1e-5, 0.1, "log"), "batch_size": [16, 32]}, jobs=2)
    assert given["range_"] == ["lr=0.9:1.0", "weight_decay=1e-05:0.1:log", "batch_size=16,32"]
    assert given["jobs"] == 2


def test_an_error_is_one_of_the_notebook(dogs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ByocError("No quota.", "Ask for some.", code=3, kind="NoQuota", details={"a": 1})
    monkeypatch.setattr(notebook.training, "train", raising(error))
    with pytest.raises(NotebookError) as refused:
        dogs.train()
    shown = refused.value
    assert (shown.message, shown.remedy, shown.code) == ("No quota.", "Ask for some.", 3)
    assert (shown.kind, shown.details) == ("NoQuota", {"a": 1})
    assert shown.__cause__ is None


def test_what_goes_on_running_is_named(dogs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    left = running.job("dogs-train", "ml.m5.xlarge", 1)
    monkeypatch.setattr(notebook.training, "train", raising(ByocError("No answer."), left))
    with pytest.raises(NotebookError, match=r"goes on running at the price of ml\.m5\.xlarge"):
        dogs.train()
    monkeypatch.setattr(notebook.training, "train", raising(KeyboardInterrupt(), left))
    with pytest.raises(NotebookError, match=r"Interrupted\. dogs-train goes on") as refused:
        dogs.train()
    assert refused.value.code == INTERRUPTED


def test_a_command_that_was_interrupted_while_it_watched(
    dogs: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook.training, "train", raising(typer.Exit(INTERRUPTED)))
    with pytest.raises(NotebookError, match="Interrupted") as refused:
        dogs.train()
    assert refused.value.code == INTERRUPTED


def test_a_fault_of_ours_keeps_its_traceback(dogs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook.training, "train", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        dogs.train()


def test_methods_pass_only_what_the_commands_take(dogs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(
        self: Project, command: Callable[..., None], hyperparameters: object = None, **values: Any
    ) -> Result:
        inspect.signature(command).bind(None, **values)
        return Result(picture=None)

    monkeypatch.setattr(Project, "_do", bind)
    methods = [name for name in vars(Project) if not name.startswith("_") and name != "create"]
    assert len(methods) > 15
    for name in methods:
        assert getattr(dogs, name).__doc__
        getattr(dogs, name)()
