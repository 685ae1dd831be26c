from __future__ import annotations

import threading
from pathlib import Path

import pytest

from local.jobs.mirror import Mirror, Syncer


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    made = tuple(tmp_path / name for name in ("here", "bucket", "scratch"))
    for folder in made:
        folder.mkdir()
    here, bucket, scratch = made
    return here, bucket, scratch


def test_new_and_changed_files_are_copied_once(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    mirror = Mirror(here, bucket, scratch)
    (here / "sub").mkdir()
    (here / "sub/a").write_text("1")
    assert mirror.sync() == 1
    assert mirror.sync() == 0
    (here / "sub/a").write_text("22")
    assert mirror.sync() == 1
    assert (bucket / "sub/a").read_text() == "22"
    assert list(scratch.iterdir()) == []


def test_deletions_follow_only_where_asked_for(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    (here / "a").write_text("1")
    (bucket / "others").write_text("stays")
    keeping, deleting = Mirror(here, bucket, scratch), Mirror(here, bucket, scratch, deletions=True)
    keeping.sync()
    deleting.sync()
    (here / "a").unlink()
    assert keeping.sync() == 0
    assert (bucket / "a").exists()
    assert deleting.sync() == 1
    assert [path.name for path in bucket.iterdir()] == ["others"]


def test_what_was_restored_is_not_copied_back_but_its_deletion_is(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    for folder in (here, bucket):
        (folder / "a").write_text("1")
    mirror = Mirror(here, bucket, scratch, deletions=True)
    mirror.known()
    assert mirror.sync() == 0
    (here / "a").unlink()
    assert mirror.sync() == 1
    assert not (bucket / "a").exists()


def test_unfinished_files_and_links_stay_here(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    (here / "a.tmp").write_text("half")
    (here / "link").symlink_to("/etc/passwd")
    assert Mirror(here, bucket, scratch, skip=lambda path: path.suffix == ".tmp").sync() == 0
    assert list(bucket.iterdir()) == []


def test_a_job_that_has_removed_its_folder_is_no_error(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    here.rmdir()
    assert Mirror(here, bucket, scratch, deletions=True).sync() == 0


def test_the_syncer_makes_a_last_pass(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    (here / "a").write_text("1")
    Syncer([Mirror(here, bucket, scratch)], lambda text: None, interval=60).finish()
    assert (bucket / "a").read_text() == "1"


def test_the_syncer_reports_a_problem_once_however_many_passes_meet_it(
    folders: tuple[Path, Path, Path],
) -> None:
    here, bucket, scratch = folders
    (here / "a").write_text("1")
    (bucket / "file").write_text("")
    passes = threading.Semaphore(0)

    class Counted(Mirror):
        def sync(self) -> int:
            passes.release()
            return super().sync()

    reports: list[str] = []
    broken = Syncer([Counted(here, bucket / "file", scratch)], reports.append, interval=0.001)
    for _ in range(3):
        assert passes.acquire(timeout=30)
    broken.finish()
    assert reports == [f"cannot sync to {bucket / 'file'}: Not a directory"]


def test_a_bucket_that_was_deleted_is_not_made_again(folders: tuple[Path, Path, Path]) -> None:
    here, bucket, scratch = folders
    (here / "a").write_text("1")
    mirror = Mirror(here, bucket / "prefix", scratch, bucket=bucket)
    bucket.rmdir()
    with pytest.raises(FileNotFoundError, match="The specified bucket does not exist"):
        mirror.sync()
    assert not bucket.exists()
    bucket.mkdir()
    assert mirror.sync() == 1
