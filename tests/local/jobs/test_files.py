from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.jobs.files import copy_data, open_below, regular_files, remove_tree


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


def test_no_link_below_the_base_is_followed(base: Path, elsewhere: Path, tmp_path: Path) -> None:
    (base / "folder").symlink_to(elsewhere)
    (base / "file").symlink_to(elsewhere / "secret")
    (base / "outer").mkdir()
    for path in (base / "folder" / "secret", base / "file"):
        with pytest.raises(OSError, match=r"."):
            os.close(open_below(base, path))
    with pytest.raises(OSError, match=r"."):
        os.close(open_below(base, base / "folder" / "new", os.O_WRONLY | os.O_CREAT, make=True))
    with pytest.raises(OSError, match=r"."):
        copy_data(base / "folder" / "secret", tmp_path / "copy", base)
    assert list(regular_files(base / "folder", base)) == []
    assert sorted(path.name for path in elsewhere.iterdir()) == ["secret"]


def test_a_fifo_makes_nobody_wait(base: Path) -> None:
    os.mkfifo(base / "failure")
    with pytest.raises(OSError, match="no regular file"):
        open_below(base, base / "failure")


def test_missing_folders_are_made(base: Path) -> None:
    path = base / "a" / "b" / "file"
    os.close(open_below(base, path, os.O_WRONLY | os.O_CREAT, make=True))
    assert list(regular_files(base / "a" / "b", base)) == [path]


_OTHER = 65534
_PREPARE = """
import os, sys
from pathlib import Path
from local.jobs.files import remove_tree
os.setuid(int(sys.argv[2]))
outer = Path(sys.argv[1])
shut = outer / "tree" / "a" / "shut"
(shut / "inner").mkdir(parents=True)
(shut / "inner" / "file").touch()
(outer / "tree" / "link").symlink_to(outer / "kept")
(shut / "inner").chmod(0)
shut.chmod(0)
(outer / "tree" / "a").chmod(0o500)
(outer / "kept").mkdir()
(outer / "kept").chmod(0o500)
remove_tree(outer / "tree")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's rights")
def test_a_tree_of_shut_folders_goes_and_what_a_link_leads_to_stays(base: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        os.chown(name, _OTHER, -1)
        subprocess.run([sys.executable, "-c", _PREPARE, name, str(_OTHER)], check=True)
        assert [path.name for path in Path(name).iterdir()] == ["kept"]
        assert (Path(name) / "kept").stat().st_mode & 0o777 == 0o500


def test_a_link_in_the_place_of_a_tree_is_removed_alone(base: Path, elsewhere: Path) -> None:
    (base / "link").symlink_to(elsewhere)
    remove_tree(base / "link")
    assert (elsewhere / "secret").exists()
    assert list(base.iterdir()) == []
