"""Machines that the images can run on, and those that they cannot."""

from pathlib import Path

import botocore.session
import pytest

from contract.errors import ByocError
from scripts import machines


@pytest.mark.parametrize(
    ("instance_type", "gpu"),
    [("ml.g4dn.xlarge", True), ("ml.p3.2xlarge", True), ("ml.g6e.4xlarge", True), ("ml.m5.large", False),
     ("ml.c5.xlarge", False), ("ml.t2.medium", False), ("ml.inf2.xlarge", False)],
)  # fmt: skip
def test_which_machines_have_nvidia_gpus(instance_type: str, gpu: bool) -> None:
    assert machines.has_gpu(instance_type) is gpu


def test_every_family_with_gpus_is_in_the_table() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    names = ("TrainingInstanceType", "ProductionVariantInstanceType", "TransformInstanceType")
    kinds = {kind for name in names for kind in model.shape_for(name).enum}
    with_gpus = {machines.family_of(kind) for kind in kinds if machines.has_gpu(kind)}
    assert with_gpus <= set(machines.FAMILIES)
    batch = {machines.family_of(kind) for kind in model.shape_for("TransformInstanceType").enum}
    assert {name for name, family in machines.FAMILIES.items() if family.batch_driver} == with_gpus & batch
    images = model.shape_for("ProductionVariantInferenceAmiVersion").enum
    assert {family.endpoint_image for family in machines.FAMILIES.values()} - {""} <= set(images)


def test_the_table_of_the_guide_is_the_one_of_the_code() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "aws.md").read_text()
    for name, family in machines.FAMILIES.items():
        image = f"`{family.endpoint_image}`" if family.endpoint_image else "–"
        driver, batch = family.default_driver or "?", family.batch_driver or "–"
        row = f"| {name} | {family.gpu} | {driver} | {image} | {batch} |"
        assert row in guide, row


@pytest.mark.parametrize(
    ("instance_type", "chosen", "image"),
    [
        ("ml.m5.large", "", ""),
        ("ml.g5.xlarge", "", "al2-ami-sagemaker-inference-gpu-2-1"),
        ("ml.p5en.48xlarge", "", "al2-ami-sagemaker-inference-gpu-3-1"),
        ("ml.g5.xlarge", "al2023-ami-sagemaker-inference-gpu-4-1", "al2023-ami-sagemaker-inference-gpu-4-1"),
        (
            "ml.g7e.2xlarge",
            "al2023-ami-sagemaker-inference-gpu-4-1",
            "al2023-ami-sagemaker-inference-gpu-4-1",
        ),
        ("ml.g9.xlarge", "some-image-of-tomorrow", "some-image-of-tomorrow"),
    ],
)
def test_the_machine_image_of_an_endpoint(instance_type: str, chosen: str, image: str) -> None:
    assert machines.endpoint_image(instance_type, chosen) == image


@pytest.mark.parametrize(
    ("instance_type", "chosen", "message"),
    [
        ("ml.p6-b200.48xlarge", "", "B200 needs NVIDIA driver 570"),
        ("ml.g7.2xlarge", "", "needs NVIDIA driver 570"),
        ("ml.g7e.2xlarge", "al2-ami-sagemaker-inference-gpu-3-1", "its driver is 550"),
        ("ml.p2.xlarge", "", "no code for its K80"),
        ("ml.c7g.large", "", "Arm processors"),
        ("ml.inf2.xlarge", "", "does not use|do not use its accelerators"),
        ("ml.g9.xlarge", "", "is not known here"),
    ],
)
def test_an_endpoint_that_could_not_serve_is_told_before_it_is_paid_for(
    instance_type: str, chosen: str, message: str
) -> None:
    with pytest.raises(ByocError, match=message) as caught:
        machines.endpoint_image(instance_type, chosen)
    assert caught.value.remedy


def test_batch_transform_has_its_own_drivers() -> None:
    assert machines.batch_image("ml.m5.large", "") == ""
    assert machines.batch_image("ml.g6.xlarge", "") == "al2-ami-sagemaker-batch-gpu-535"
    assert machines.batch_image("ml.p5.48xlarge", "mine") == "mine"
    with pytest.raises(ByocError, match="not known to have a driver"):
        machines.batch_image("ml.p5.48xlarge", "")


def test_several_models_on_a_gpu_are_for_triton() -> None:
    several = {"SAGEMAKER_MULTI_MODEL": "true"}
    machines.check_multi_model("ml.c5.xlarge", several)
    machines.check_multi_model("ml.g5.xlarge", {})
    with pytest.raises(ByocError, match="Triton"):
        machines.check_multi_model("ml.g5.xlarge", several)


@pytest.mark.parametrize(
    ("instance_type", "local"),
    [("ml.g5.xlarge", True), ("ml.m5d.large", True), ("ml.p4d.24xlarge", True), ("ml.m5.large", False),
     ("ml.p3.2xlarge", False), ("ml.c7i-flex.large", False), ("ml.t3.medium", False),
     ("ml.c6in.large", False)],
)  # fmt: skip
def test_disks_that_take_no_key(instance_type: str, local: bool) -> None:
    assert machines.has_local_disk(instance_type) is local
