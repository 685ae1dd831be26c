#!/bin/bash
# OpenVINO 2026.4.1 on a CPU: a forked child that lets go of what its parent compiled waits without end.
#
# The threads that it waits for are not in the child. To infer with it synchronously works. So does everything where the
# parent has only loaded the library. (To compile once more, after the parent has, works at times and waits at others.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check openvino==2026.4.1 'numpy<2.3'
venv/bin/python -I - >now <<'PYTHON'
import gc
import os
import signal
import sys
from collections.abc import Callable

sys.modules["openvino_telemetry"] = None
import numpy
import openvino
from openvino import opset13 as ops

OPTIONS = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
held = {}


def compiled() -> object:
    pixels = ops.parameter([1, 3, 32, 32], numpy.float32)
    weights = numpy.ones((64, 3, 3, 3), dtype=numpy.float32)
    layer = ops.convolution(pixels, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    model = openvino.Model([ops.relu(layer)], [pixels], "net")
    return openvino.Core().compile_model(model, "CPU", OPTIONS).create_infer_request()


def infer(request: object) -> None:
    request.infer({0: numpy.zeros((1, 3, 32, 32), dtype=numpy.float32)})


def let_go() -> None:
    held.clear()
    gc.collect()


def in_a_child(what: str, action: Callable[[], object]) -> None:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        action()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"    {what}:", "works" if status == 0 else "waits without end")


print("OpenVINO", openvino.get_version().split("-")[0])
print("the parent has loaded it; its child")
in_a_child("compiles, infers", lambda: infer(compiled()))
held["request"] = compiled()
infer(held["request"])
print("the parent has compiled and inferred; its child")
in_a_child("infers with that", lambda: infer(held["request"]))
in_a_child("lets go of it", let_go)
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
OpenVINO 2026.4.1
the parent has loaded it; its child
    compiles, infers: works
the parent has compiled and inferred; its child
    infers with that: works
    lets go of it: waits without end
SEEN
