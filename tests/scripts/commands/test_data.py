"""`byoc init` and `byoc upload`."""

import json
from pathlib import Path

from tests.scripts.conftest import Run, draw


def test_a_name_that_is_no_name_is_told_with_the_users_file(project: Path, run: Run) -> None:
    told = run("init", "--name", "Größe 1", code=2).stderr
    assert told.startswith("Error: byoc.toml: project.name is 'Größe 1'")
    assert list(project.iterdir()) == []


def test_all_broken_pictures_are_named_in_json(project: Path, run: Run) -> None:
    draw(project / "data")
    for number in range(12):
        (project / "data" / "cat" / f"bad{number:02}.png").write_text("no")
    run("init", "--aws")
    assert "bad11" not in run("upload", "--dry-run", code=2).stderr
    error = json.loads(run("upload", "--dry-run", "--json", code=2).stdout)["error"]
    assert [Path(item["file"]).name for item in error["unreadable"]][-1] == "bad11.png"


def test_a_hidden_folder_is_told(project: Path, run: Run) -> None:
    draw(project / "data", classes=("cat", "dog", ".bird"))
    run("init", "--aws")
    assert "Left out: the hidden folder data/.bird" in run("upload", "--dry-run").stdout
