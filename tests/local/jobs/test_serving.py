from __future__ import annotations

from typing import Any

import pytest

from local.jobs.serving import ServingProblem, model_spec
from local.jobs.variant import variant_spec

MODEL = {"ModelName": "m", "ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m"}


@pytest.mark.parametrize(
    ("containers", "says"),
    [
        ({"PrimaryContainer": {"Image": "i", "Mode": "MultiModel"}}, "Model m has Mode MultiModel"),
        ({"Containers": [{"Image": "i", "Mode": "MultiModel"}]}, "Model m has Mode MultiModel"),
        ({"Containers": [{"Image": "i"}, {"Image": "j"}]}, "Model m is an inference pipeline"),
    ],
)
def test_models_of_older_versions_that_cannot_be_served_are_refused(
    containers: dict[str, Any], says: str
) -> None:
    model = {**MODEL, **containers}
    with pytest.raises(ServingProblem, match=says):
        model_spec(model)
    with pytest.raises(ServingProblem, match=says):
        variant_spec({"VariantName": "v"}, model)


def test_a_model_of_one_container() -> None:
    for container in ({"PrimaryContainer": {"Image": "i"}}, {"Containers": [{"Image": "i"}]}):
        assert model_spec({**MODEL, **container}).image == "i"
