"""What the log says of the machine while a job runs."""

from contract.findings import MachineLine, parse_line
from debugger.profile import Sample
from debugger.watcher import machine_line


def test_a_measurement_becomes_means_over_cores_and_gpus() -> None:
    sample = Sample(1733000000.123, "algo-1")
    for name, dimension, value in (
        ("cpu0", "CPUUtilization", 90.0), ("cpu1", "CPUUtilization", 45.55),
        ("cpu0", "I/OWaitPercentage", 2.0), ("memory", "MemoryUsedPercent", 41.26),
        ("gpu0", "GPUUtilization", 70.0), ("gpu1", "GPUUtilization", 80.0),
    ):  # fmt: skip
        sample.add(name, dimension, value)
    assert machine_line(sample) == MachineLine(1733000000.12, 67.8, 41.3, 2.0, 75.0, None)


def test_a_machine_that_measures_nothing_has_nothing() -> None:
    assert machine_line(Sample(1.0, "algo-1")) == MachineLine(1.0)
    assert parse_line('machine {"time": 1.0}') == MachineLine(1.0)
