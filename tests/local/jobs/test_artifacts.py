from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from local.jobs.artifacts import ArtifactProblem, pack, put_uncompressed, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a b.json").write_text('{"classes": []}' * 100)
    (folder / "model.safetensors").write_bytes(os.urandom(600_000))
    (folder / "zeros.bin").write_bytes(bytes(600_000))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_what_was_packed_comes_out_again(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "s3/job/model.tar.gz"
    assert pack(folder, target, tmp_path) == 4
    unpack(target, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)
    # Incompressible parts are stored, the others are not.
    assert 600_000 < target.stat().st_size < 620_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out", "s3"]


def test_pythons_streaming_reader_reads_it_whole(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "model.tar.gz", tmp_path)
    with tarfile.open(tmp_path / "model.tar.gz", "r|gz") as tar:
        read = {member.name: file.read() for member in tar if (file := tar.extractfile(member)) is not None}
    assert read == contents(folder)


def test_other_programs_read_it_whole(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.tar.gz"
    pack(folder, target, tmp_path)
    listed = subprocess.run(["tar", "-tzf", target], capture_output=True, text=True, check=True).stdout
    assert listed.split("\n") == ["model.safetensors", "run.sh", "zeros.bin", "sub/a b.json", ""]


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "1.tar.gz", tmp_path)
    for path in folder.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    pack(folder, tmp_path / "2.tar.gz", tmp_path)
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()


def test_an_empty_or_missing_folder_gives_an_empty_archive(tmp_path: Path) -> None:
    assert pack(tmp_path / "nothing", tmp_path / "empty.tar.gz", tmp_path) == 0
    with tarfile.open(tmp_path / "empty.tar.gz") as tar:
        assert tar.getnames() == []


def test_uncompressed_output_keeps_the_files(folder: Path, tmp_path: Path) -> None:
    assert put_uncompressed(folder, tmp_path / "s3", tmp_path) == 4
    assert contents(tmp_path / "s3") == contents(folder)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (member("../evil"), "would leave"),
        (member("a/../../evil"), "would leave"),
        (member("/etc/evil"), "would leave"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "the link 'link'"),
        (member("link", tarfile.LNKTYPE, "other"), "the link 'link'"),
        (member("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (member("device", tarfile.CHRTYPE), "neither a file nor a folder"),
    ],
)
def test_dangerous_members_are_refused(tmp_path: Path, info: tarfile.TarInfo, says: str) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(info, io.BytesIO(b""))
    with pytest.raises(ArtifactProblem, match=says):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_a_damaged_archive_is_told(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    pack(folder, archive, tmp_path)
    archive.write_bytes(archive.read_bytes()[:-100_000])
    with pytest.raises(ArtifactProblem, match="no intact gzipped tar"):
        unpack(archive, tmp_path / "out")


def test_files_whose_folder_was_made_a_file_are_told(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(member("a"), io.BytesIO(b""))
        tar.addfile(member("a/b"), io.BytesIO(b""))
    with pytest.raises(ArtifactProblem, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
