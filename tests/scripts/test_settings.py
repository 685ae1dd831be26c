from pathlib import Path

import pytest

from contract.errors import ByocError
from scripts.ranges import Range, parse_range
from scripts.settings import Settings, load
from tests.scripts.conftest import Run


def write(text: str) -> Path:
    path = Path("byoc.toml")
    path.write_text(text)
    return path


def test_defaults_need_no_file(project: Path) -> None:
    assert load(required=False, environment={}).train.instance_type == "ml.m5.xlarge"


def test_a_missing_file_says_how_to_write_one(project: Path) -> None:
    with pytest.raises(ByocError, match="byoc init"):
        load(environment={})


def test_flags_win_over_the_environment_and_the_environment_over_the_file(project: Path) -> None:
    write('[aws]\nendpoint_url = "http://file"\nregion = "eu-west-1"')
    environment = {"AWS_ENDPOINT_URL": "http://environment", "AWS_DEFAULT_REGION": "eu-north-1"}
    assert load(environment={}).aws.endpoint_url == "http://file"
    assert load(environment=environment).aws.endpoint_url == "http://environment"
    assert load(environment=environment).aws.region == "eu-north-1"
    flag = ["aws.endpoint_url=http://flag"]
    assert load(overrides=flag, environment=environment).aws.endpoint_url == "http://flag"


def test_the_environment_moves_no_project_without_a_line(project: Path) -> None:
    write('[aws]\nendpoint_url = "http://file"\nregion = "eu-west-1"')
    environment = {"AWS_ENDPOINT_URL": "http://environment", "AWS_REGION": "us-east-1"}  # as in CloudShell
    endpoint, region = load(environment=environment).moved
    assert "AWS_ENDPOINT_URL moves this project: aws.endpoint_url is http://environment" in endpoint
    assert "AWS_REGION moves this project: aws.region is us-east-1, and not eu-west-1" in region
    assert "`unset AWS_REGION`" in region
    assert load(environment={"AWS_DEFAULT_REGION": "eu-west-1"}).moved == ()
    assert load(overrides=["aws.region=eu-north-1"], environment={"AWS_REGION": "us-east-1"}).moved == ()
    write('[aws]\nregion = "eu-west-1"')  # a project for AWS
    [endpoint] = load(environment={"AWS_ENDPOINT_URL": "http://127.0.0.1:5757"}).moved
    assert "aws.endpoint_url is http://127.0.0.1:5757, and not AWS as byoc.toml says" in endpoint
    write("")
    assert load(environment=environment).moved == ()  # there was nothing to move from
    write('moved = ["x"]')
    with pytest.raises(ByocError, match="no setting moved"):
        load(environment={})


def test_a_move_is_told_by_every_command(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[aws]\nregion = "eu-west-1"')
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert "AWS_REGION moves this project" in run("train", "--best", code=2).output


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ('"aws:mine" = "x"', "begins with aws:"),
        ('"byoc:project" = "x"', "project.name sets it"),
        ('"Byoc:Project" = "x"', "project.name sets it"),
        ('"a#b" = "x"', "cannot be a tag"),
        (f'"a" = "{"x" * 257}"', "cannot be a tag"),
        (f'"{"a" * 129}" = ""', "cannot be a tag"),
        ("\n".join(f'"{number}" = ""' for number in range(50)), "has 50 tags; 49 are possible"),
    ],
)
def test_tags_that_aws_refuses(project: Path, tag: str, message: str) -> None:
    write(f"[aws.tags]\n{tag}")
    with pytest.raises(ByocError, match=message):
        load(environment={})


def test_tags_of_any_script(project: Path) -> None:
    write('[aws.tags]\n"Équipe: été" = "a+b=c/d@e_f.g"')
    assert load(environment={}).aws.tags


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[train]\nspott = true",
            r"no setting train\.spott\. Did you mean spot\? Allowed here: instance_type",
        ),
        ("[trian]\nspot = true", r"no setting trian\. Did you mean train\?"),
        ("folder = 'x'", "no setting folder"),
        ("[train]\nspot = 'yes'", r"train\.spot is 'yes', but must be true or false"),
        ("[train]\ninstance_count = 0", r"train\.instance_count is 0, but must be at least 1"),
        ("[train]\ninstance_count = 1.5", r"must be a whole number"),
        ("[train]\ninstance_count = true", r"must be a whole number"),
        ("[train]\ninput_mode = 'Pipe'", r"one of File, FastFile"),
        ("[train]\ninstance_type = 'g5.xlarge'", r"train\.instance_type is 'g5\.xlarge'"),
        ("train = 3", r"\[train\] must be a table"),
        ('[debugger]\nevaluator = "rule"', r"no setting debugger\.evaluator"),
        (
            "[debugger.collections]\ngradients = 5",
            r"debugger\.collections\.gradients is 5, but must be a table",
        ),
        ("[debugger]\nrules = 3", r"a list of texts"),
        ("[hyperparameters]\nlr = [1, 2]", r"hyperparameters\.lr is \[1, 2\]"),
        ("[data]\nvalidation = 0.6\ntest = 0.4", "nothing to train on"),
        ("[data]\nvalidation = 0", "validation is 0"),
        ("[aws]\nsubnets = ['a']", "go together"),
        ("[train]\nspot", "not valid TOML"),
        ("[tune.ranges]\nlr = {min = 1, max = 0.1}", "min must be a number below max"),
        ("[tune.ranges]\nlr = {min = 0, max = 1, scale = 'log'}", "values above 0"),
        ("[tune.ranges]\nlr = {min = 0, max = 1, scale = 'cubic'}", "'cubic'"),
        ("[tune.ranges]\nlr = {min = 0}", r"range of tune\.ranges\.lr"),
        ("[tune.ranges]\nlr = []", "no values"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(project: Path, text: str, message: str) -> None:
    write(text)
    with pytest.raises(ByocError, match=message):
        load(environment={})


@pytest.mark.parametrize("override", ["train.spot", "=3", "train.spot=maybe", "train.no=1", "lr.x.y=1"])
def test_a_wrong_override_names_itself(project: Path, override: str) -> None:
    with pytest.raises(ByocError, match="--set"):
        load(required=False, overrides=[override], environment={})


def test_overrides_reach_settings_hyperparameters_and_texts(project: Path) -> None:
    overrides = ["train.spot=true", "lr=0.5", "arch=resnet50", "project.name=7", "tune.ranges.lr=[1, 2]"]
    settings = load(required=False, overrides=overrides, environment={})
    assert settings.train.spot
    assert settings.hyperparameters == {"lr": 0.5, "arch": "resnet50"}
    assert settings.project.name == "7"
    assert settings.tune.ranges == {"lr": Range(values=("1", "2"))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4:0.1:log", Range(1e-4, 0.1, "Logarithmic")),
        ("0.9:1.0", Range(0.9, 1.0, "Auto")),
        ("1:8:linear", Range(1, 8, "Linear")),
        ("16,32", Range(values=("16", "32"))),
        ("adamw", Range(values=("adamw",))),
    ],
)
def test_ranges_from_a_flag(text: str, expected: Range) -> None:
    assert parse_range(text, "--range x") == expected


@pytest.mark.parametrize("text", ["1:2:3:4", "a:b", "", "1:1"])
def test_wrong_ranges_from_a_flag(text: str) -> None:
    with pytest.raises(ByocError, match="--range x"):
        parse_range(text, "--range x")


def test_the_folder_is_where_the_file_lies(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "my.toml").write_text("")
    assert load(Path("sub/my.toml"), environment={}).folder == Path("sub")
    assert isinstance(load(Path("sub/my.toml"), environment={}), Settings)
