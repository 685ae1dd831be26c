#!/bin/bash
# OpenVINO 2026.4.1 with CACHE_DIR: compile_model(path) knows an ONNX file by that file alone. New weights in the file
# that it names as their place (ONNX's external data) are not seen: the answers are those of the old weights.
#
# read_model(path) first, and compile_model of what it gives, sees them; so does no cache.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 'numpy<2.3'
venv/bin/python -I - >now <<'PYTHON'
import sys

sys.modules["openvino_telemetry"] = None
import numpy
import onnx
import openvino
from onnx import TensorProto, helper

weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1, 1], data_location=TensorProto.EXTERNAL)
for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "4")):
    weight.external_data.add(key=key, value=value)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "weight"], ["y"])],
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    [weight],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
with open("net.onnx", "wb") as file:
    file.write(model.SerializeToString())


def write(value: float) -> None:
    numpy.array([value], numpy.float32).tofile("weights.bin")


def answer(how: str) -> float:
    core = openvino.Core()
    if how != "no cache":
        core.set_property({"CACHE_DIR": "cache"})
    source = core.read_model("net.onnx") if how == "read, compile" else "net.onnx"
    compiled = core.compile_model(source, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return float(compiled({0: numpy.ones((1, 1), numpy.float32)})[0].item())


print("OpenVINO", openvino.get_version().split("-")[0])
for how in ("compile the path", "read, compile", "no cache"):
    write(2.0)
    before = answer(how)
    write(3.0)
    print(f"    {how}: weights 2 then 3, answers {before:g} then {answer(how):g}")
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
OpenVINO 2026.4.1
    compile the path: weights 2 then 3, answers 2 then 2
    read, compile: weights 2 then 3, answers 2 then 3
    no cache: weights 2 then 3, answers 2 then 3
SEEN
