"""Cores and memory of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contract import container


def test_memory_is_the_smaller_of_the_system_and_the_group(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 8000 kB\nMemAvailable: 4000 kB\n")
    group = tmp_path / "group"
    group.mkdir()
    assert container.available_memory(info, group) == 4000 * 1024
    (group / "memory.max").write_text("3000000\n")
    (group / "memory.current").write_text("2000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    assert container.available_memory(info, group) == 1_500_000
    assert container.total_memory(info, group) == 3_000_000
    (group / "memory.max").write_text("max\n")
    assert container.total_memory(info, group) == 8000 * 1024


def test_a_group_of_version_1_limits_memory_too(tmp_path: Path) -> None:
    info, group = tmp_path / "meminfo", tmp_path / "memory"
    info.write_text("MemTotal: 8000 kB\nMemAvailable: 4000 kB\n")
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("3000000\n")
    (group / "memory.usage_in_bytes").write_text("2000000\n")
    (group / "memory.stat").write_text("inactive_file 100000\ntotal_inactive_file 500000\n")
    assert container.available_memory(info, tmp_path) == 1_500_000
    assert container.total_memory(info, tmp_path) == 3_000_000
    (group / "memory.stat").write_text("inactive_file 100000\n")
    assert container.available_memory(info, tmp_path) == 1_100_000
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert container.total_memory(info, tmp_path) == 8000 * 1024


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8)]
)
def test_a_quota_counts_where_it_allows_fewer_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert container.cores(tmp_path) == cores
    assert container.cores(tmp_path / "none") == 8
