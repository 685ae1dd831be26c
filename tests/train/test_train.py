"""Whole jobs, as SageMaker starts them."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy
import torch

from contract.metrics import METRIC_DEFINITIONS, REPORTED_ONCE
from model import architecture, artifact, weights
from model.preprocess import Preprocessing
from train import data, loop, outputs, report
from train.data import Pictures
from train.evaluation import Result
from train.loader import Order
from train.loop import Trainer
from train.paths import Paths

Run = Callable[..., tuple[int, str]]


def test_the_containers_command_trains_and_reports(job: Any) -> None:
    process = job.pictures(16, 8).start(epochs=3, lr=0.05)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert (job.base / "output/success").exists()
    assert not job.failure
    assert "nothing pretrained was loaded" in output
    for item in METRIC_DEFINITIONS:
        if not item["Name"].startswith("test:"):
            assert re.search(item["Regex"], output, re.MULTILINE), item

    module, info = weights.load(job.base / "model")
    assert info.classes == ("blue", "green", "red")
    assert info.preprocessing.input_size == 32
    assert info.training["job"] == "colours"
    assert info.training["settings"]["lr"] == 0.05
    assert not module.training

    report = job.report
    assert report["schema"] == 1
    assert report["split"] == "validation"
    assert len(report["history"]) == 3
    assert sum(map(sum, report["confusion_matrix"])) == 24
    assert [row["support"] for row in report["per_class"]] == [8, 8, 8]
    for mistake in report["worst_mistakes"]:
        assert base64.b64decode(mistake["image_png_base64"]).startswith(b"\x89PNG")


def test_an_unknown_hyperparameter_is_the_reason_of_the_failure(job: Any) -> None:
    process = job.pictures(2, 2).start(learning_rate=0.1)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert job.failure.startswith("unknown hyperparameter 'learning_rate' (did you mean lr?)")
    assert "Traceback" not in output
    assert not (job.base / "model/model.json").exists()


@pytest.mark.slow
def test_sigterm_writes_a_checkpoint_and_a_model_and_ends_well(job: Any) -> None:
    process = job.pictures().start(epochs=10_000)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch=2 "):
            break
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "stopped by SIGTERM" in output
    assert len(list((job.base / "checkpoints").glob("checkpoint-*.pt"))) == 1
    assert weights.load(job.base / "model")[1].training["epoch"] >= 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(
    new_job: Callable[[str], Any], run: Run
) -> None:
    weights = []
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        job = new_job(name).pictures()
        assert run(job, seed=seed, workers=workers, augment="trivial")[0] == 0
        weights.append(job.weights)
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_without_a_validation_channel_a_part_is_set_aside(job: Any, run: Run) -> None:
    code, output = run(job.pictures(10, 0), epochs=1)
    assert code == 0, output
    assert "6 pictures of 'train' are set aside" in output
    assert job.report["data"]["train"]["images"] == 24
    assert job.report["data"]["validation"]["images"] == 6


def test_a_test_channel_is_what_the_report_is_about(
    job: Any, run: Run, make_pictures: Callable[..., Path]
) -> None:
    make_pictures(job.pictures().channel("test"), 5, first=2000)
    code, output = run(job, epochs=1)
    assert code == 0, output
    assert job.report["split"] == "test"
    assert sum(map(sum, job.report["confusion_matrix"])) == 15
    # What no line with a step has is known to be no curve: the report draws the others over steps.
    stepped = "\n".join(line for line in output.splitlines() if " step=" in line)
    assert last_values(output).keys() - last_values(stepped).keys() == REPORTED_ONCE
    assert set(weights.load(job.base / "model")[1].metrics) == {
        "validation:loss", "validation:accuracy", "validation:top5", "validation:macro_f1",
    }  # fmt: skip


def last_values(output: str) -> dict[str, float]:
    """What SageMaker takes for the job's metrics."""
    return {
        item["Name"]: float(values[-1])
        for item in METRIC_DEFINITIONS
        if (values := re.findall(item["Regex"], output, re.MULTILINE))
    }


@pytest.mark.parametrize("ending", ["tested", "without a test set", "stopped"])
def test_the_last_metrics_are_those_of_the_weights_that_were_kept(
    job: Any,
    run: Run,
    make_pictures: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    job.pictures()
    if ending != "without a test set":
        make_pictures(job.channel("test"), 5, first=2000)
    monkeypatch.setattr(loop, "_quality", lambda metrics: (-metrics.get("epoch", 9), 0.0))  # the first wins
    step = Trainer._step

    def stopping(self: Trainer, batch: Any) -> None:
        step(self, batch)
        if ending == "stopped" and self.progress.epoch == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_step", stopping)
    code, output = run(job, epochs=3, lr=0.05)
    assert code == 0, output
    assert "kept the weights of epoch 1" in output
    told = last_values(output)
    assert told["kept_epoch"] == 1
    kept = weights.load(job.base / "model")[1].metrics
    assert {name: told[name] for name in kept} == pytest.approx(kept, rel=1e-5)
    lines = [line for line in output.splitlines() if re.search(r"(^|\s)epoch=\d", line)]
    assert last_values(lines[-1])["validation:loss"] != pytest.approx(told["validation:loss"], rel=1e-5)


def test_training_has_its_own_top5_and_macro_f1(job: Any, run: Run) -> None:
    code, output = run(job.pictures(), epochs=3, lr=0.05, mixup=0.2)
    assert code == 0, output
    for metrics in job.report["history"]:
        assert 0 <= metrics["train_macro_f1"] <= 1 == metrics["train_top5"]  # of three classes


def test_a_confusion_matrix_of_too_many_classes_is_left_out_and_that_is_told(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_CLASSES", 2)
    code, output = run(job.pictures(), epochs=1)
    assert code == 0, output
    assert "level=warning report.json holds no confusion matrix: 3 classes are more than the 2" in output
    assert job.report["confusion_matrix"] == []
    assert job.report["confusion_matrix_omitted"] == "left out above 2 classes, and there are 3"
    assert len(job.report["per_class"]) == 3


def test_samples_lie_beside_the_model_with_what_it_says_of_them(job: Any, run: Run) -> None:
    code, output = run(job.pictures(8, 8), epochs=1)
    assert code == 0, output
    stored = safetensors.numpy.load_file(job.base / "model" / artifact.SAMPLES_FILE)
    assert stored["pictures"].dtype == np.uint8
    assert stored["pictures"].shape == (16, 32, 32, 3)
    module, info = weights.load(job.base / "model")
    with torch.no_grad():
        inputs = info.preprocessing.normalise(torch.from_numpy(stored["pictures"]).permute(0, 3, 1, 2))
        said = module(inputs).softmax(dim=1).numpy()
    assert stored["probabilities"] == pytest.approx(said, abs=1e-5)
    first = (job.channel("validation") / "blue/1000.png").read_bytes()
    assert (stored["pictures"][0] == info.preprocessing.to_uint8(info.preprocessing.decode(first))).all()
    assert {int(picture.mean(axis=(0, 1)).argmax()) for picture in stored["pictures"]} == {0, 1, 2}


def test_weights_that_nobody_wants_are_tested_and_not_kept(job: Any, run: Run) -> None:
    code, output = run(job.pictures(10, 10), epochs=1, save_model=False)
    assert code == 0, output
    assert job.report["split"] == "validation"
    assert [path.name for path in (job.base / "model").iterdir()] == ["model.json"]


@pytest.mark.parametrize(("side", "count"), [(32, 16), (512, 5), (1024, 2)])
def test_samples_of_large_pictures_are_fewer(tmp_path: Path, side: int, count: int) -> None:
    class Grey:
        preprocessing = Preprocessing.for_size(side)

        def get(self, index: int) -> np.ndarray[Any, Any]:
            return np.full((side, side, 3), index, np.uint8)

    paths = Paths(tmp_path, tmp_path)
    paths.model.mkdir()
    numbers = np.arange(100)
    result = Result(0.0, np.full((100, 2), 0.5, np.float32), numbers % 2, numbers)
    outputs.save_samples(paths, result, cast(Pictures, Grey()))
    stored = safetensors.numpy.load_file(paths.model / artifact.SAMPLES_FILE)["pictures"]
    assert len(stored) == count
    assert stored[0, 0, 0, 0] == 0
    assert stored[-1, 0, 0, 0] == 99


def test_a_damaged_picture_is_skipped_told_and_listed(job: Any, run: Run) -> None:
    broken = job.pictures(20, 4).channel("train") / "red/0.png"
    broken.write_bytes(broken.read_bytes()[:200])
    code, output = run(job, epochs=1)
    assert code == 0, output
    assert "level=warning skipped red/0.png: damaged picture" in output
    data = job.report["data"]["train"]
    assert data["images"] == 59
    assert data["skipped"] == [{"file": "red/0.png", "reason": data["skipped"][0]["reason"]}]


def test_what_was_unreadable_before_an_interruption_is_still_told(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint remembers it, for a job that goes on in its last epoch may not meet it again."""
    (job.pictures(20, 4).channel("train") / "red/0.png").write_bytes(b"no picture")
    step = Trainer._step

    def dying(self: Trainer, batch: Any) -> None:
        if self.progress.step == 6:
            raise KeyboardInterrupt
        step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            run(job, epochs=1, checkpoint_every_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Order, "share", lambda self, *arguments: [])  # nothing is left to do
        assert run(job, epochs=1, checkpoint_every_steps=1)[0] == 0
    assert [one["file"] for one in job.report["data"]["train"]["skipped"]] == ["red/0.png"]


def test_trials_that_share_an_address_do_not_meet_each_others_checkpoints(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SageMaker may give a trial what others have written; each goes on from its own, and leaves nothing."""
    job.pictures()
    step, dies = Trainer._step, True

    def dying(self: Trainer, batch: Any) -> None:
        if dies and self.progress.step == 2:
            raise KeyboardInterrupt
        step(self, batch)

    monkeypatch.setattr(Trainer, "_step", dying)
    trial = {"epochs": 1, "checkpoint_every_steps": 1, "_tuning_objective_metric": "validation:accuracy"}
    shared = job.base / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        run(job, **trial, batch_size=8)  # its name is colours
    (shared / "colours").rename(shared / "t-001-0a")
    dies = False
    code, output = run(job, **trial, batch_size=4)
    assert code == 0, output
    assert "going on from" not in output
    assert sorted(path.name for path in shared.iterdir()) == ["t-001-0a"]
    (shared / "t-001-0a").rename(shared / "colours")
    code, output = run(job, **trial, batch_size=8)
    assert code == 0, output
    assert "colours/checkpoint-0000000002.pt: epoch 1, step 2" in output
    assert list(shared.iterdir()) == []


def test_no_name_can_pass_for_a_metric_or_a_line(job: Any, run: Run) -> None:
    job.pictures()
    wild = "x\nvalidation_accuracy=0.99 train_loss=0"
    for channel in ("train", "validation"):
        (job.channel(channel) / "red").rename(job.channel(channel) / wild)
    (job.channel("train") / "blue/\udcff.png").write_bytes(b"no picture")  # a name that is no UTF-8
    code, output = run(job, epochs=1)
    assert code == 0, output
    definition = next(one["Regex"] for one in METRIC_DEFINITIONS if one["Name"] == "validation:accuracy")
    values = re.findall(definition, output)
    assert len(values) == 2  # after the epoch, and at the end
    assert "0.99" not in values
    assert "train_loss=0 " not in output
    assert wild in job.report["classes"]
    assert job.report["data"]["train"]["skipped"][0]["file"] == "blue/\udcff.png"


def test_a_failure_can_name_any_file(job: Any, run: Run) -> None:
    folder = job.pictures().channel("train") / "blue"
    for number in range(8):
        (folder / f"\udcff{number}.png").write_bytes(b"no picture")
    assert run(job)[0] == 1
    assert "blue/\\udcff" in job.failure


@pytest.mark.slow
def test_a_file_too_large_for_a_picture_is_skipped(
    job: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_BYTES", 8_000)
    monkeypatch.setattr("contract.pictures.MAX_BYTES", 8_000)
    (job.pictures(20, 4).channel("train") / "red/0.png").write_bytes(b"x" * 8_001)
    assert run(job, epochs=1)[0] == 0
    assert "the file is larger than" in job.report["data"]["train"]["skipped"][0]["reason"]


def test_too_many_damaged_pictures_fail_the_job(job: Any, run: Run) -> None:
    job.pictures()
    for number in range(3):
        (job.channel("train") / f"red/{number}.png").write_bytes(b"no picture")
    assert run(job)[0] == 1
    assert "3 of 24 pictures" in job.failure
    assert "max_skipped_share" in job.failure


def test_the_same_picture_in_training_and_validation_is_told(job: Any, run: Run) -> None:
    job.pictures()
    shutil.copy(job.channel("train") / "red/3.png", job.channel("validation") / "red/other.png")
    code, output = run(job, epochs=1)
    assert code == 0
    assert "the same picture is in training and validation: red/3.png and red/other.png" in output
    assert job.report["in_train_and_validation"] == [["red/3.png", "red/other.png"]]
    assert job.report["data"]["train"]["repeated_count"] == 0


def test_pictures_that_filled_no_batch_are_looked_at_too(job: Any, run: Run) -> None:
    job.pictures()
    for file in sorted((job.channel("train") / "red").iterdir()):
        shutil.copy(file, job.channel("validation") / f"red/copy-{file.name}")
    copies = len(list((job.channel("validation") / "red").glob("copy-*")))
    assert run(job, epochs=1, batch_size=20)[0] == 0  # of 24
    assert len(job.report["in_train_and_validation"]) == copies


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"weights": "channel"}, "no channel 'weights'"),
        ({"freeze": "backbone"}, "freeze=backbone needs pretrained weights"),
        ({"device": "cuda"}, "device=cuda was asked for"),
        ({"precision": "fp16"}, "precision=fp16 needs a GPU"),
        ({"arch": "vit_b_16"}, "arch=vit_b_16 does not take pictures of image_size=32"),
        ({"weights": "/nowhere"}, "no such file or folder"),
    ],
)
def test_what_cannot_work_is_one_readable_line(
    job: Any, run: Run, settings: dict[str, str], reason: str
) -> None:
    code, output = run(job.pictures(2, 2), **settings)
    assert code == 1
    assert reason in job.failure
    assert job.failure.count("\n") == 1
    assert len(job.failure) < 1024
    assert "Traceback" not in output


def test_no_channel_at_all(job: Any, run: Run) -> None:
    assert run(job)[0] == 1
    assert "no channel 'train'" in job.failure


def test_damaged_hyperparameters(job: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from train import train

    for name, value in job.pictures(2, 2).configure().items():
        monkeypatch.setenv(name, value)
    (job.base / "input/config/hyperparameters.json").write_text("{")
    assert train.main() == 1
    assert "hyperparameters.json cannot be read" in job.failure


def test_weights_of_a_larger_network_are_told(job: Any, run: Run) -> None:
    state = architecture.build("shufflenet_v2_x0_5", 5).state_dict()
    job.pictures().channel("weights").mkdir(parents=True)
    torch.save({**state, "layer5.0.conv1.weight": torch.zeros(1)}, job.channel("weights") / "backbone.pth")
    code, output = run(job, weights="auto", epochs=1)
    assert code == 0, output
    assert (
        "1 tensors of the weights have no place in shufflenet_v2_x0_5, e.g. layer5.0.conv1.weight" in output
    )


def test_weights_from_the_channel_and_a_frozen_backbone(job: Any, run: Run) -> None:
    torch.manual_seed(0)
    module = architecture.build("shufflenet_v2_x0_5", 1000)
    job.pictures().channel("weights").mkdir(parents=True)
    torch.save(module.state_dict(), job.channel("weights") / "backbone.pth")
    code, output = run(job, weights="auto", freeze="backbone")
    assert code == 0, output
    assert "new, random: fc.weight, fc.bias" in output
    trained, _ = weights.load(job.base / "model")
    for name, tensor in trained.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, module.state_dict()[name]), name


def test_a_time_limit_ends_with_the_best_model(job: Any, run: Run) -> None:
    code, output = run(job.pictures(), epochs=10_000, max_minutes=0.03)
    assert code == 0, output
    assert "stopped because max_minutes is over" in output
    weights.load(job.base / "model")


def test_early_stopping(job: Any, run: Run) -> None:
    code, output = run(job.pictures(), epochs=500, patience=2, lr=1e-7)
    assert code == 0, output
    assert "no better validation accuracy for 2 epochs" in output


def test_read_only_channels_as_in_fast_file_mode(job: Any, run: Run) -> None:
    for path in job.pictures().base.glob("input/data/**/*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert run(job, epochs=1)[0] == 0


def test_history_is_finite_json(job: Any, run: Run) -> None:
    run(job.pictures(), epochs=1)
    json.dumps(job.report, allow_nan=False)


@pytest.mark.parametrize(("name", "meant"), [("training", "train"), ("valid", "validation")])
def test_a_channel_of_another_name_is_told(job: Any, run: Run, name: str, meant: str) -> None:
    job.pictures()
    job.channel(meant).rename(job.channel(name))
    assert run(job)[0] == 1
    assert f"a channel '{name}': call it '{meant}'" in job.failure


def test_a_channel_of_no_use_is_named(job: Any, run: Run) -> None:
    job.pictures().channel("notes").mkdir()
    code, output = run(job, epochs=1)
    assert code == 0
    assert "the channel 'notes' is not used" in output


@pytest.mark.slow
def test_switches_for_other_images_are_ignored_in_words(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "other.py")
    process = job.pictures().start(
        epochs=1,
        sagemaker_mpi_enabled="False",
        sagemaker_program="other.py",
        sagemaker_submit_directory="s3://bucket/code.tar.gz",
    )
    output = process.communicate()[0]
    assert process.returncode == 0, output
    names = "sagemaker_mpi_enabled, sagemaker_program, sagemaker_submit_directory"
    assert output.count(f"ignored: {names}; this image runs its own training program") == 1
    assert "ignored: SAGEMAKER_PROGRAM; this image runs its own training program" in output
