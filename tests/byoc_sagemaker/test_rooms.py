"""What the wheel and a checkout import from elsewhere: the rooms of this house, and no other `scripts`."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_folder_scripts_of_the_user_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "notebook.py").write_text("raise SystemExit('not this one')")
    code = "from byoc_sagemaker.notebook import Project; import scripts; print(*scripts.__path__)"
    result = python(code, tmp_path)
    assert (result.stdout.strip(), result.stderr) == (str(ROOT / "scripts"), "")


def test_one_that_is_imported_already_is_named(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "__init__.py").touch()
    result = python("import sys; sys.path.insert(0, ''); import scripts, byoc_sagemaker.notebook", tmp_path)
    assert "ImportError: Another module is called scripts" in result.stderr


def test_the_users_own_modules_stay(tmp_path: Path) -> None:
    """Notebooks have a train.py and a model.py more often than not."""
    for name in ("train", "model", "local"):
        (tmp_path / f"{name}.py").write_text("mine = True")
    code = "import byoc_sagemaker.notebook, train, model, local; print(train.mine, model.mine, local.mine)"
    result = python(code, tmp_path)
    assert (result.stdout, result.stderr) == ("True True True\n", "")


def test_processes_that_are_started_find_all_rooms(tmp_path: Path) -> None:
    code = (
        "import byoc_sagemaker, os; byoc_sagemaker.find_rooms(); byoc_sagemaker.find_rooms(); "
        "print(os.environ['PYTHONPATH'])"
    )
    assert python(code, tmp_path).stdout.strip().split(os.pathsep).count(str(ROOT)) == 1
