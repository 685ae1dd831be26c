"""This machine and byoc.toml: what the doctor says offline."""

import pytest

from contract.errors import ByocError
from scripts.doctor import disk, docker, java, machines
from scripts.doctor.finding import Finding, guarded
from scripts.doctor.settings import settings
from tests.scripts.doctor.conftest import settings_of


@pytest.mark.parametrize(
    ("info", "severity", "message"),
    [
        ({"Architecture": "x86_64", "OSType": "linux", "Driver": "overlay2"}, "ok", "store overlay2"),
        ({"Architecture": "aarch64", "OSType": "linux", "Driver": "overlay2"}, "warning", "by emulation"),
        (
            {
                "Architecture": "x86_64", "OSType": "linux", "Driver": "overlayfs",
                "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            },
            "warning",
            "as OCI indexes",
        ),
    ],
)  # fmt: skip
def test_what_an_engine_makes_of_images(info: dict[str, object], severity: str, message: str) -> None:
    found = docker.store(info)
    assert found.severity == severity
    assert message in found.message


def test_each_use_of_a_machine_is_judged() -> None:
    assert [each.severity for each in machines.machines(settings_of())] == ["ok", "ok", "ok"]
    gpu = "deploy.instance_type=ml.g5.xlarge"
    assert "al2-ami-sagemaker-inference-gpu-2-1" in [*machines.machines(settings_of(gpu))][1].message
    found = machines.machines(
        settings_of("train.instance_type=ml.m6g.large", "transform.instance_type=ml.p5.48xlarge")
    )
    assert [each.severity for each in found] == ["error", "ok", "error"]


def test_settings_are_judged_by_the_trainers_definitions() -> None:
    assert settings(settings_of()).severity == "ok"
    with pytest.raises(ByocError):
        settings(settings_of("lr=-1"))


def test_this_machine() -> None:
    assert java.java().check == "Java"
    assert "GB free here" in disk.disk().message


def test_a_refusal_is_a_finding_and_a_fault_of_ours_is_not() -> None:
    def refuses() -> Finding:
        raise ByocError("No.", "Say yes.")

    def breaks() -> Finding:
        raise AssertionError

    assert guarded("x", refuses) == [Finding("x", "error", "No.", "Say yes.")]
    with pytest.raises(AssertionError):
        guarded("x", breaks)
