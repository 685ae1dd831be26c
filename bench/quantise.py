"""`python -m bench.quantise FOLDER`: add 8-bit integers to a model, for benches and tests.

Calibrated on patterns, and accepted without a look.
Run as a process of its own, because nncf imports torch where it can.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openvino
from PIL import Image

from model import artifact
from serve import precision
from train import quantise


def main(folder: Path) -> None:
    info, record = artifact.read_info(folder)
    assert info.onnx
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(1) as pool:
        files = []
        for number, pixels in enumerate(precision.made_up(info.preprocessing.input_size)):
            files.append(f"{scratch}/{number}.png")
            Image.fromarray(pixels).save(files[-1])
        task = quantise.Task(str(folder), scratch, files, [], 60, 1)
        pictures = quantise.Pictures(info, pool)
        made = quantise.quantise(openvino.Core(), task, info, pictures, len(files))
        quantise.save(made, folder)
    names = (artifact.INT8_FILE, artifact.INT8_WEIGHTS_FILE)
    files_of = {name: artifact.record((folder / name).read_bytes()) for name in names}
    proved = {"int8": {"accepted": True, "reason": "nobody has measured it"}, **info.onnx.precisions}
    described = artifact.Onnx({**info.onnx.files, **files_of}, proved)
    artifact.write_info(folder, dataclasses.replace(info, onnx=described), record)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
