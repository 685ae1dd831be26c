"""Trains an image classifier on the channels of a SageMaker training job.

Started by sagemaker-training's `train` command; `SAGEMAKER_PROGRAM` names this file.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from model import architecture, artifact
from model import device as devices
from model.preprocess import Preprocessing
from train import checkpoints, interface, listing, precision, report, schedule
from train.data import Budget, Loader, Pictures, cache_bytes, same_pictures, worker_count
from train.debug import Monitor
from train.distributed import Process
from train.errors import TrainingError
from train.evaluation import Result, Stopped, evaluate
from train.interface import HyperparameterError, Settings, format_metrics
from train.log import start_logging
from train.loop import Trainer
from train.paths import Paths
from train.stopping import Stopping

log = logging.getLogger("train")


def run(paths: Paths, stopping: Stopping) -> None:
    settings = interface.parse(paths.hyperparameters())
    stopping.after_minutes(settings.max_minutes)

    machine = devices.probe()
    device = devices.choose(machine, settings.device)  # type: ignore[arg-type]
    number_format = precision.choose(settings.precision, device, precision.probe(device), settings.image_size)
    process = Process.start(os.environ, device)
    start_logging(process.is_first)
    log.info(devices.describe(machine, device))
    log.info("precision %s: %s", number_format.name, number_format.reason)
    log.info("settings: %s", " ".join(f"{name}={value}" for name, value in settings.to_json().items()))
    torch.manual_seed(settings.seed)

    workers = worker_count(settings.workers)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        pictures = find_pictures(paths, settings)
        loaders = {
            name: Loader(those, settings.batch_size, pool, workers) for name, those in pictures.items()
        }
        classes = pictures["train"].listing.classes

        module = architecture.build(settings.arch, len(classes))
        loaded = architecture.load_weights(module, settings.arch, chosen_weights(paths, settings))
        log.info("%s: %s", settings.arch, loaded)
        head = architecture.head_name(module)
        if settings.freeze == "backbone":
            freeze_backbone(module, head, bool(loaded.tensors))
        module.to(device).to(memory_format=number_format.memory_format)  # type: ignore[call-overload]
        criterion = make_criterion(settings, pictures["train"], device)

        saver = checkpoints.Saver(paths.checkpoints, settings, pictures["train"].listing, process)
        trainer = Trainer(
            module,
            criterion,
            schedule.parameter_groups(module, head, settings, pretrained=bool(loaded.tensors)),
            loaders["train"],
            loaders["validation"],
            settings,
            device=device,
            precision=number_format,
            process=process,
            should_stop=stopping.asked,
            on_step=saver.after_step,
        )
        saver.resume(trainer)
        trainer.monitor = Monitor.from_environment(
            model=module, loss=criterion, optimizer=trainer.optimizer, rank=process.rank
        )
        log.info("training for %d epochs of %d steps", settings.epochs, len(loaders["train"]))
        try:
            trainer.run()
        except Stopped:
            saver.save(trainer)
            log.info("stopped %s, at step %d", stopping.reason, trainer.progress.step)
        finally:
            trainer.monitor.close()

        duplicates = tell_duplicates(pictures["train"], pictures["validation"])
        if process.is_first:
            info = describe_model(settings, pictures, loaded, machine, number_format, trainer)
            save_model(paths, module, trainer, info)
        if not stopping.asked():
            result, split = final_evaluation(paths, trainer, loaders, device, process)
            if process.is_first:
                report.write(
                    paths.output_data / "report.json",
                    result,
                    split,
                    pictures,
                    settings=settings.to_json(),
                    environment=info.training["environment"],
                    history=trainer.progress.history,
                    metrics={**trainer.progress.best, **result.metrics(split)},
                    duplicates=duplicates,
                )
        process.end()


def find_pictures(paths: Paths, settings: Settings) -> dict[str, Pictures]:
    """The splits train, validation and, where the job has the channel, test."""
    folders = {name: paths.channel(name) for name in ("train", "validation", "test")}
    if folders["train"] is None:
        raise TrainingError(
            "the job has no channel 'train': add one, with a folder of pictures for each class"
        )
    found = {"train": listing.scan(folders["train"], "train")}
    if folders["validation"] is None:
        found["train"], found["validation"] = listing.split(
            found["train"], settings.validation_share, settings.seed
        )
        log.info("no channel 'validation': %d pictures of 'train' are set aside", len(found["validation"]))
    for name in ("validation", "test"):
        folder = folders[name]
        if folder is not None:
            found[name] = listing.scan(folder, name, found["train"].classes)
    for name, those in found.items():
        counts = ", ".join(f"{key} {count}" for key, count in list(those.per_class().items())[:20])
        log.info("%s: %d pictures of %d classes (%s)", name, len(those), len(those.classes), counts)
        for skipped in those.skipped[:20]:
            log.warning("skipped %s: %s", skipped.file, skipped.reason)
        if len(those.skipped) > 20:
            log.warning("skipped %d more such files", len(those.skipped) - 20)
    budget = Budget(cache_bytes(settings.cache_mb))
    return {
        name: Pictures(
            those,
            Preprocessing.for_size(settings.image_size),
            augmentation=settings.augment if name == "train" else "none",
            budget=budget,
            max_skipped_share=settings.max_skipped_share,
        )
        for name, those in found.items()
    }


def chosen_weights(paths: Paths, settings: Settings) -> str:
    """What `weights` means here: "none", "imagenet" or a path."""
    folder = paths.channel("weights")
    if settings.weights == "channel" and folder is None:
        raise TrainingError(
            "weights=channel, and the job has no channel 'weights': add it, or set weights=imagenet"
        )
    if settings.weights == "channel" or (settings.weights == "auto" and folder is not None):
        return str(folder)
    if folder is not None:
        log.warning("the channel 'weights' is not used, because weights=%s", settings.weights)
    return "imagenet" if settings.weights == "auto" else settings.weights


def freeze_backbone(module: nn.Module, head: str, pretrained: bool) -> None:
    if not pretrained:
        raise TrainingError("freeze=backbone needs pretrained weights: a random backbone has nothing to keep")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(head + "."))


def make_criterion(settings: Settings, pictures: Pictures, device: str) -> nn.Module:
    weight = None
    if settings.class_weights == "balanced":
        counts = torch.tensor(list(pictures.listing.per_class().values()), dtype=torch.float32)
        weight = counts.sum() / (len(counts) * counts)
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=settings.label_smoothing).to(device)


def tell_duplicates(train: Pictures, validation: Pictures) -> list[tuple[str, str]]:
    duplicates = same_pictures(train, validation)
    for first, second in duplicates[:10]:
        log.warning("the same picture is in training and validation: %s and %s", first, second)
    if duplicates:
        log.warning(
            "%d pictures of validation were trained on: its accuracy is too good to be true", len(duplicates)
        )
    return duplicates


def describe_model(
    settings: Settings,
    pictures: dict[str, Pictures],
    loaded: architecture.Loaded,
    machine: devices.Machine,
    number_format: precision.Precision,
    trainer: Trainer,
) -> artifact.ModelInfo:
    best = trainer.progress.best
    return artifact.ModelInfo(
        architecture=settings.arch,
        classes=pictures["train"].listing.classes,
        preprocessing=pictures["train"].preprocessing,
        metrics={name.replace("_", ":", 1): best[name] for name in best if name.startswith("validation_")},
        training={
            "job": os.environ.get("TRAINING_JOB_NAME", ""),
            "epoch": best.get("epoch", 0),
            "steps": trainer.progress.step,
            "settings": settings.to_json(),
            "weights": str(loaded),
            "pictures": {name: len(those) - those.unreadable for name, those in pictures.items()},
            "environment": {
                "torch": machine.torch,
                "cuda": machine.cuda,
                "driver": machine.driver,
                "device": machine.gpus[0].name if trainer.device == "cuda" else "cpu",
                "processes": trainer.process.world,
                "threads": torch.get_num_threads(),
                "precision": number_format.name,
            },
        },
    )


def save_model(paths: Paths, module: nn.Module, trainer: Trainer, info: artifact.ModelInfo) -> None:
    if trainer.best_state is None:
        log.warning("no epoch was finished: the model that is saved was never validated")
    else:
        module.load_state_dict(trainer.best_state)
        log.info("kept the weights of epoch %d", info.training["epoch"])
    artifact.save(paths.model, module, info)


def final_evaluation(
    paths: Paths, trainer: Trainer, loaders: dict[str, Loader], device: str, process: Process
) -> tuple[Result, str]:
    """Test what was saved, as it was saved and in full precision: what an endpoint will compute."""
    process.gather(None)  # wait until the first process has written
    module, _ = artifact.load(paths.model, device)
    split = "test" if "test" in loaders else "validation"
    full = precision.Precision("fp32", "as the endpoint computes")
    result = evaluate(
        module, trainer.criterion, loaders[split], device, full, process=process, monitor=Monitor()
    )
    log.info(format_metrics(**result.metrics(split)))
    return result, split


def main() -> int:
    """Returns the exit code; the reason of a failure is in output/failure, in one line."""
    start_logging(True)
    paths = Paths.from_environment(os.environ)
    paths.failure.unlink(missing_ok=True)  # of an interrupted run on the same volume
    started = time.monotonic()
    stopping = Stopping()
    stopping.listen()
    try:
        run(paths, stopping)
    except (TrainingError, HyperparameterError, architecture.WeightsError, devices.DeviceError) as error:
        return fail(paths, str(error))
    except (torch.OutOfMemoryError, MemoryError):
        return fail(paths, "out of memory: try half the batch_size, a smaller image_size or precision=bf16")
    except OSError as error:
        traceback.print_exc()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "the disk is full: give the job a larger volume" if full else "see the log"
        return fail(paths, f"{error}; {remedy}")
    except Exception as error:
        traceback.print_exc()
        return fail(
            paths, f"unexpected {type(error).__name__}: {error} (a fault of the program; see the log)"
        )
    log.info("done in %.1f s", time.monotonic() - started)
    return 0


def fail(paths: Paths, reason: str) -> int:
    line = " ".join(reason.split())
    log.error(line)
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        paths.failure.write_text(line + "\n", encoding="utf-8")
    except OSError as error:
        log.error("%s could not be written: %s", paths.failure, error)
    return 1


if __name__ == "__main__":
    sys.exit(main())
