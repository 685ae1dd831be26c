"""Quantise a model to 8-bit integers and compare its answers in each precision; a process of its own.

`python -m train.quantise TASK` reads the task that train/lower_precision.py wrote. A crash in here, or a
lack of time, costs no training. Neither torch nor nncf's reports to its makers are imported.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy

from model import artifact, images
from model.artifact import GRAPH_FILE, INPUT, INT8_FILE, INT8_WEIGHTS_FILE, SAMPLES_FILE, ModelInfo
from train.agreement import LEAST_PICTURES, Judgement, Numbers, judge

RESULT_FILE: Final = "result.json"
_CALIBRATE: Final = (32, 128)  # pictures: too few miss the ranges, more change nothing
_CALIBRATION_COST: Final = 4  # of a picture, in forward passes
_SHARE: Final = 0.3  # of the time is for calibration, the rest for judging
_MOST_SHARE: Final = 0.6  # where the least number of pictures takes longer
_LEFT: Final = 0.4  # of the time is for judging in any case
_CHUNK: Final = 32
_DRIFT: Final = 1e-3  # of a probability, between torch and OpenVINO in fp32
_ATTENTION: Final = ("vit", "swin", "maxvit")


@dataclasses.dataclass(frozen=True)
class Task:
    """What to do.

    Attributes:
        model: the folder with the graph, its weights and samples.
        output: where the result and what was quantised go.
        calibrate: pictures to calibrate with; none, and there is no quantisation.
        judge: pictures to compare the answers on, each with the number of its class.
        seconds: for all of it. threads: to compute with.
    """

    model: str
    output: str
    calibrate: list[str]
    judge: list[tuple[str, int]]
    seconds: float
    threads: int

    def write(self, path: Path) -> None:
        # Names that are not UTF-8 survive as escapes.
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="ascii")


class Pictures:
    """Pictures as evaluation sees them, from their files."""

    def __init__(self, info: ModelInfo, pool: ThreadPoolExecutor) -> None:
        self._preprocessing = info.preprocessing
        self._pool = pool

    def read(self, files: Sequence[str]) -> list[artifact.Pixels | None]:
        return list(self._pool.map(self._one, files))

    def input(self, picture: artifact.Pixels) -> Numbers:
        return self._preprocessing.to_input(picture[None])

    def _one(self, file: str) -> artifact.Pixels | None:
        try:
            return self._preprocessing.to_uint8(images.read(Path(file), self._preprocessing.min_side))
        except (images.BadImage, OSError):
            return None  # the training has reported it


class Engine:
    """The network in one precision, with a picture on each thread at a time."""

    def __init__(self, core: Any, model: Any, precision: str, threads: int) -> None:
        from openvino import AsyncInferQueue

        # For one picture, as endpoints compile it. OpenVINO 2026.4 crashes on processors with AMX where a
        # MobileNet in integers is compiled for any number of pictures and gets one.
        _, channels, height, width = model.input(0).partial_shape
        model.reshape({INPUT: [1, channels.get_length(), height.get_length(), width.get_length()]})

        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": "NO",
        }
        self._queue = AsyncInferQueue(core.compile_model(model, "CPU", options), threads)
        self._queue.set_callback(self._keep)
        self._answers: dict[int, Numbers] = {}

    def probabilities(self, inputs: Sequence[Numbers]) -> Numbers:
        """Softmax of the logits, [N, classes], of N inputs [1, 3, S, S]."""
        for number, one in enumerate(inputs):
            self._queue.start_async({INPUT: one}, number)
        self._queue.wait_all()
        logits = np.concatenate([self._answers.pop(number) for number in range(len(inputs))])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)

    def _keep(self, request: Any, number: int) -> None:
        self._answers[number] = np.array(request.get_output_tensor().data, dtype=np.float32)


class Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()


def run(task: Task) -> dict[str, Any]:
    """What goes into model.json's "precisions", none where the graph is not to be used at all; and "drift",
    how far a probability in fp32 is from what torch computes."""
    import openvino

    deadline = Deadline(task.seconds)
    core = openvino.Core()
    model_folder = Path(task.model)
    info, _ = artifact.read_info(model_folder)
    engines = {"fp32": Engine(core, core.read_model(model_folder / GRAPH_FILE), "f32", task.threads)}
    with ThreadPoolExecutor(task.threads) as pool:
        pictures = Pictures(info, pool)
        drift, seconds = check(engines["fp32"], pictures, model_folder)
        if not drift <= _DRIFT:
            return {"drift": drift, "precisions": None}
        precisions: dict[str, Judgement] = {}
        if task.judge and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            engines["bf16"] = Engine(core, core.read_model(model_folder / GRAPH_FILE), "bf16", task.threads)
        if task.calibrate:
            affordable = deadline.seconds / (_CALIBRATION_COST * seconds)
            if affordable * _MOST_SHARE < _CALIBRATE[0]:
                precisions["int8"] = Judgement(
                    False, f"a picture takes {seconds:.1f} s, too long for {task.seconds:.0f} s in all"
                )
            else:
                count = min(_CALIBRATE[1], max(_CALIBRATE[0], int(_SHARE * affordable)))
                output = Path(task.output)
                save(quantise(core, task, info, pictures, count), output)
                quantised = core.read_model(output / INT8_FILE, output / INT8_WEIGHTS_FILE)
                engines["int8"] = Engine(core, quantised, "f32", task.threads)
        if len(engines) > 1:
            # Where other processes have the cores, calibrating may have taken all of it.
            answers, labels = ask(engines, pictures, task, Deadline(max(deadline.left, _LEFT * task.seconds)))
            for name in engines.keys() - {"fp32"}:
                least = LEAST_PICTURES if name == "int8" else 1
                precisions[name] = judge(answers["fp32"], answers[name], labels, least)
    return {"drift": drift, "precisions": {name: one.to_json() for name, one in precisions.items()}}


def check(engine: Engine, pictures: Pictures, folder: Path) -> tuple[float, float]:
    """How far its probabilities are from those that torch found, and the seconds that a picture takes."""
    stored = safetensors.numpy.load_file(folder / SAMPLES_FILE)
    inputs = [pictures.input(picture) for picture in stored["pictures"]]
    engine.probabilities(inputs[:1])
    begin = time.monotonic()
    probabilities = engine.probabilities(inputs)
    seconds = (time.monotonic() - begin) / len(inputs)
    return float(np.abs(probabilities - stored["probabilities"]).max()), seconds


def quantise(core: Any, task: Task, info: ModelInfo, pictures: Pictures, count: int) -> Any:
    """The network with weights and activations of 8 bits, calibrated on `count` pictures."""
    nncf = import_nncf()
    from nncf.quantization.advanced_parameters import OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    from openvino._offline_transformations import apply_moc_transformations

    model = core.read_model(Path(task.model) / GRAPH_FILE)
    # Batch norms become part of the convolutions before them, which are else quantised apart: on a
    # ResNet-18 that costs 30 % of the speed.
    apply_moc_transformations(model, cf=True)
    step = max(1, len(task.calibrate) // count)
    shown = [one for one in pictures.read(task.calibrate[::step][:count]) if one is not None]
    return nncf.quantize(
        model,
        nncf.Dataset(shown, pictures.input),
        subset_size=len(shown),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if info.architecture.startswith(_ATTENTION) else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # Without it, processors without VNNI answer otherwise: their sums of 16 bits overflow.
            overflow_fix=OverflowFix.ENABLE,
            # nncf's defaults are the mean of the pictures' ranges, and biases that are corrected. On a
            # ResNet-18 of 64 pixels probabilities are then off by 0.014 in the mean, like this by 0.003.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
    )


def import_nncf() -> Any:
    # Where torch is, nncf imports it, for two seconds; with openvino_telemetry, it reports to its makers.
    for name in ("torch", "openvino_telemetry"):
        sys.modules[name] = None  # type: ignore[assignment]
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


def save(model: Any, folder: Path) -> None:
    from openvino import save_model

    save_model(model, folder / INT8_FILE, compress_to_fp16=False)
    (folder / INT8_FILE).with_suffix(".bin").rename(folder / INT8_WEIGHTS_FILE)


def ask(
    engines: dict[str, Engine], pictures: Pictures, task: Task, deadline: Deadline
) -> tuple[dict[str, Numbers], np.ndarray[Any, np.dtype[np.int64]]]:
    """Probabilities of the pictures to judge by, in each precision, and their labels; as many as time
    allows."""
    answers: dict[str, list[Numbers]] = {name: [] for name in engines}
    labels: list[int] = []
    for chunk in chunks(task.judge):
        if deadline.left <= 0:
            break
        shown = pictures.read([file for file, _ in chunk])
        readable = [number for number, picture in enumerate(shown) if picture is not None]
        inputs = [pictures.input(picture) for picture in shown if picture is not None]
        if not inputs:
            continue
        for name, engine in engines.items():
            answers[name].append(engine.probabilities(inputs))
        labels += [chunk[number][1] for number in readable]
    nothing = np.zeros((0, 2), np.float32)
    return (
        {name: np.concatenate(parts) if parts else nothing for name, parts in answers.items()},
        np.array(labels, dtype=np.int64),
    )


def chunks(pairs: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    for first in range(0, len(pairs), _CHUNK):
        yield pairs[first : first + _CHUNK]


def main() -> int:
    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="ascii")))
    os.environ["TQDM_DISABLE"] = "1"
    result = run(task)
    (Path(task.output) / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
