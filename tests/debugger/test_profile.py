"""Reading step timings and system metrics; the system format is the one that smdebug's own reader reads."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path

from debugger.series import MAX_POINTS, keep
from debugger.smdebug_files.profile_reader import ProfileReader

METRICS = [
    ("cpu", "cpu0", "CPUUtilization", 40.0),
    ("cpu", "cpu1", "CPUUtilization", 60.0),
    ("gpu", "gpu0", "GPUUtilization", 80.0),
    ("gpu", "gpu0", "GPUMemoryUtilization", 20.0),
    ("i/o", "cpu0", "I/OWaitPercentage", 2.0),
    ("memory", "", "MemoryUsedPercent", 33.0),
    ("network", "eth0", "ReceiveBytesPerSecond", 1000.0),
    ("network", "eth0", "TransmitBytesPerSecond", 10.0),
]


def write_system(root: Path, moment: float, append: bool = False) -> Path:
    minute = int(moment // 60 * 60)
    hour = time.strftime("%Y%m%d%H", time.gmtime(moment))
    path = root / "system/incremental" / hour / f"{minute}.algo-1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if append else "w") as stream:
        for kind, name, dimension, value in METRICS:
            record = {"Type": kind, "Name": name, "Dimension": dimension, "Value": value}
            stream.write(json.dumps({**record, "NodeId": "algo-1", "Timestamp": moment}) + "\n")
    return path


def test_a_sample_gathers_the_metrics_of_one_moment(tmp_path: Path) -> None:
    write_system(tmp_path, 1_700_000_000.03)
    reader = ProfileReader(tmp_path)
    assert reader.poll()
    (sample,) = reader.profile.timeline()
    assert (sample.cpu, sample.gpu, sample.memory) == (50.0, 80.0, 33.0)
    assert (sample.received, sample.sent) == (1000.0, 10.0)


def test_smdebugs_reader_reads_the_same_files(tmp_path: Path) -> None:
    moment = 1_700_000_000.0
    write_system(tmp_path, moment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from smdebug.profiler import LocalSystemMetricsReader

        reader = LocalSystemMetricsReader(str(tmp_path))
        reader.refresh_event_file_list()
        events = reader.get_events(int((moment - 60) * 1e6), int((moment + 60) * 1e6))
    assert {(event.dimension, event.value) for event in events} == {(row[2], row[3]) for row in METRICS}


def test_appended_lines_are_read_once_and_half_lines_later(tmp_path: Path) -> None:
    path = write_system(tmp_path, 1_700_000_000.0)
    reader = ProfileReader(tmp_path)
    reader.poll()
    assert not reader.poll()
    write_system(tmp_path, 1_700_000_001.0, append=True)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    reader.poll()
    assert reader.profile.timeline()[1].sent is None
    path.write_bytes(content)
    reader.poll()
    assert reader.profile.timeline()[1].sent == 10.0


def test_broken_lines_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    steps = tmp_path / "framework/steps"
    steps.mkdir(parents=True)
    good = {"step": 1, "mode": "TRAIN", "start": 5.0, "total_ms": 10.0, "data_wait_ms": 4.0}
    lines = [
        "{",
        "[]",
        json.dumps({**good, "total_ms": "x"}),
        json.dumps({**good, "mode": "?"}),
        "9" * 20_000,
    ]
    (steps / "algo-1-0.jsonl").write_text("\n".join([*lines, json.dumps(good)]) + "\n")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.jsonl"
    outside.write_text(json.dumps(good) + "\n")
    (steps / "link.jsonl").symlink_to(outside)
    reader = ProfileReader(tmp_path)
    reader.poll()
    (step,) = reader.profile.steps
    assert (step.worker, step.total, step.phases[0]) == ("algo-1-0", 10.0, 4.0)


def test_thinning_keeps_the_extremes() -> None:
    values: list[float | None] = [1.0] * 50_000
    values[12_345], values[40_001], values[7] = 99.0, -5.0, None
    kept = keep(values)
    assert len(kept) <= MAX_POINTS
    assert {0, 12_345, 40_001, 49_999} <= set(kept)
