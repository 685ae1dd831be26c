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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from model import quick

# ruff: noqa: E402 (this has to come before torch)
quick.import_torchvision()

import torch
from torch import nn

from contract import hyperparameters
from contract.folders import SPLITS
from contract.hyperparameters import HyperparameterError, Settings
from contract.log import RECIPE
from debugger.monitor import Monitor
from debugger.rules.rule import Plan
from model import architecture, weights
from model import device as devices
from train import checkpoints, convert, features, listing, lower_precision, outputs, precision, tensorboard
from train import recipe as recipes
from train.cache import Cache, disk_budget, memory_budget
from train.data import Pictures
from train.distributed import Process
from train.errors import TrainingError
from train.evaluation import Result, evaluate
from train.loader import Loader, worker_count
from train.log import log_metrics, start_logging
from train.loop import Trainer
from train.paths import Paths
from train.stopping import Stopped, Stopping

log = logging.getLogger("train")


def run(paths: Paths, stopping: Stopping) -> None:
    if convert.is_asked(paths):
        if os.environ.get("LOCAL_RANK", "0") == "0":
            convert.run(paths, stopping.asked)
        return
    settings = hyperparameters.parse(paths.hyperparameters())
    stopping.after_minutes(settings.max_minutes)

    machine = devices.probe()
    device = devices.choose(machine, settings.device)  # type: ignore[arg-type]
    number_format = precision.choose(settings.precision, device, precision.probe(device), settings.image_size)
    process = Process.start(os.environ, device)
    end_watch = watch(paths, stopping, process)
    start_logging(process.is_first)
    log.info(devices.describe(machine, device))
    log.info("precision %s: %s", number_format.name, number_format.reason)
    log.info("settings: %s", " ".join(f"{name}={value}" for name, value in settings.to_json().items()))
    torch.manual_seed(settings.seed)

    workers = worker_count(settings.workers, process.local_world)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        architecture.check_size(settings.arch, settings.image_size)
        pictures = find_pictures(paths, settings, process)
        loaders = make_loaders(pictures, settings, pool, workers, device)
        module, head, loaded = make_network(paths, settings, len(pictures["train"].listing.classes))
        module.to(device).to(memory_format=number_format.memory_format)  # type: ignore[call-overload]

        recipe = recipes.choose(
            settings,
            pretrained=bool(loaded.tensors),
            storable=features.storable(
                module.get_submodule(head), sum(map(len, pictures.values())), settings, process
            ),
            pictures=len(pictures["train"]),
            classes=len(pictures["train"].listing.classes),
        )
        if recipe.reason:
            log.info("%s%s", RECIPE, recipe.reason)
        own = checkpoints.folder_of_job(paths.checkpoints, os.environ, paths.hyperparameters())
        # The choice depends on memory too: a job that goes on elsewhere must not do so with another recipe.
        saver = checkpoints.Saver(own, recipe.settings, pictures["train"].listing, process)
        trainer = Trainer(
            module,
            head,
            make_criterion(settings, pictures["train"], device),
            loaders["train"],
            loaders["validation"],
            recipe.settings,
            pretrained=bool(loaded.tensors),
            device=device,
            precision=number_format,
            process=process,
            should_stop=stopping.asked,
            saver=saver,
            on_epoch=tensorboard_writer(paths, process),
        )
        trainer.monitor = Monitor.start(
            model=module,
            loss=trainer.criterion,
            output=paths.output_data,
            rank=process.rank,
            world=process.world,
            local_rank=process.local_rank,
            plan=Plan(trainer.steps, trainer.warmup, recipe.settings.epochs, trainer.joins),
        )
        try:
            if state := saver.resume(module.state_dict()):
                trainer.restore(state)
            log.info("training for %d epochs, %d steps in all", recipe.settings.epochs, trainer.steps)
            trainer.run()
        except Stopped:
            saver.save(trainer.progress.step, trainer.state())
            log.info("stopped %s, at step %d", stopping.reason, trainer.progress.step)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            raise explain(error, settings) from error
        finally:
            end_watch()
            trainer.monitor.close()

        info = outputs.describe_model(
            settings, recipe.reason, pictures, loaded, machine, number_format, trainer
        )
        if process.is_first:
            outputs.save_model(paths, module, trainer, info)
        examined = None
        if not process.any(stopping.asked())[0]:
            examined = examine(paths, trainer, pictures, loaders, device, process, stopping)
        cut = process.any(trainer.progress.complete and (examined is None or stopping.signalled()))[0]
        if cut:  # where the job goes on, only the final evaluation is left
            saver.save(trainer.progress.step, trainer.state())
            log.info("stopped %s, after the training", stopping.reason)
        if examined:
            if process.is_first:
                outputs.write_report(paths, *examined, pictures, settings, info, trainer)
                if own != paths.checkpoints and not cut:
                    checkpoints.clear(own)
            outputs.share_model(paths, process, outputs.MEASURED)
        elif process.is_first and (kept := outputs.kept_metrics(trainer)):
            log_metrics(**kept)
        if not settings.save_model:
            outputs.discard_model(paths, process)
        process.end()


def find_pictures(paths: Paths, settings: Settings, process: Process) -> dict[str, Pictures]:
    """The splits train, validation and, if the job has that channel, test; the same in all processes."""
    listings, problem = dict[str, listing.Listing](), ""
    try:
        listings = list_pictures(paths, settings)
    except TrainingError as error:
        problem = str(error)
    # If one process raised here alone, the others would wait for it in a collective.
    listing.check_same(process.gather(listing.View.of(listings, os.environ, problem)), process.rank)
    cache = Cache(
        memory_budget(settings.cache_mb, process.local_world),
        disk_budget(settings.cache_disk_mb, paths.base, process.local_world),
        paths.base / "tmp",
    )
    preprocessing = architecture.preprocessing(
        settings.arch, settings.image_size, pretrained=settings.weights != "none"
    )
    return {
        name: Pictures(
            those,
            preprocessing,
            augmentation=settings.augment if name == "train" else "none",
            cache=cache,
            max_skipped_share=settings.max_skipped_share,
        )
        for name, those in listings.items()
    }


def list_pictures(paths: Paths, settings: Settings) -> dict[str, listing.Listing]:
    folders = {name: paths.channel(name) for name in ("train", "validation", "test")}
    for name in paths.channels():
        if name not in (*folders, "weights"):
            meant = SPLITS.get(name.lower(), "")
            if meant and folders[meant] is None:
                raise TrainingError(f"the job has a channel '{name}': call it '{meant}'")
            log.warning(
                "the channel '%s' is not used; the trainer reads %s, weights", name, ", ".join(folders)
            )
    if folders["train"] is None:
        raise TrainingError(
            "the job has no channel 'train': add one, with a folder of pictures for each class"
        )
    listings = {"train": listing.scan(folders["train"], "train")}
    if folders["validation"] is None:
        listings["train"], listings["validation"] = listing.split(
            listings["train"], settings.validation_share, settings.seed
        )
        log.info("no channel 'validation': %d pictures of 'train' are set aside", len(listings["validation"]))
    for name in ("validation", "test"):
        folder = folders[name]
        if folder is not None:
            listings[name] = listing.scan(folder, name, listings["train"].classes)
    for name, those in listings.items():
        listing.check_skipped(those, name, settings.max_skipped_share)
        counts = ", ".join(f"{key} {count}" for key, count in list(those.per_class().items())[:20])
        log.info("%s: %d pictures of %d classes (%s)", name, len(those), len(those.classes), counts)
        for skipped in those.skipped[:20]:
            log.warning("skipped %s: %s", skipped.file, skipped.reason)
        if len(those.skipped) > 20:
            log.warning("skipped %d more such files", len(those.skipped) - 20)
    return listings


def make_loaders(
    pictures: dict[str, Pictures], settings: Settings, pool: ThreadPoolExecutor, workers: int, device: str
) -> dict[str, Loader]:
    return {
        name: Loader(
            those,
            settings.batch_size,
            pool,
            workers,
            sampling=settings.sampling if name == "train" else "natural",
            gpu=device == "cuda",
        )
        for name, those in pictures.items()
    }


def make_network(
    paths: Paths, settings: Settings, classes: int
) -> tuple[nn.Module, str, architecture.Loaded]:
    """The network, the name of its head, and the weights that it starts from."""
    module = architecture.build(settings.arch, classes)
    chosen = chosen_weights(paths, settings)
    loaded = architecture.load_weights(module, settings.arch, chosen)
    log.info("%s: %s", settings.arch, loaded)
    head = architecture.head_name(module)
    strangers = [name for name in loaded.unused if not name.startswith(f"{head}.")]
    if strangers and chosen != "imagenet":  # torchvision's may hold auxiliary heads
        log.warning(
            "%d tensors of the weights have no place in %s, e.g. %s: were they made for another network?",
            len(strangers), settings.arch, strangers[0],
        )  # fmt: skip
    if settings.freeze == "backbone" and not loaded.tensors:
        raise TrainingError("freeze=backbone needs pretrained weights: a random backbone has nothing to keep")
    return module, head, loaded


def chosen_weights(paths: Paths, settings: Settings) -> str:
    """Resolve the setting `weights`: "none", "imagenet" or a path."""
    folder = paths.channel("weights")
    if settings.weights == "channel" and folder is None:
        raise TrainingError(
            "weights=channel, but the job has no channel 'weights': add it, or set weights=imagenet"
        )
    if settings.weights == "channel" or (settings.weights == "auto" and folder is not None):
        return str(folder)
    if folder is not None:
        log.warning("the channel 'weights' is not used, because weights=%s", settings.weights)
    return "imagenet" if settings.weights == "auto" else settings.weights


def make_criterion(settings: Settings, pictures: Pictures, device: str) -> nn.Module:
    weight = None
    if settings.class_weights == "balanced":
        counts = torch.tensor(list(pictures.listing.per_class().values()), dtype=torch.float32)
        weight = counts.sum() / (len(counts) * counts)
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=settings.label_smoothing).to(device)


def watch(paths: Paths, stopping: Stopping, process: Process) -> Callable[[], None]:
    """End this process if it should stop but hangs in a collective, because another process is gone.

    Returns a function that ends this watch.
    """

    def give_up() -> None:
        fail(
            paths,
            "the job should end, but waits in vain for another process: see the logs of the other hosts",
        )
        os._exit(1)

    return stopping.watch(give_up) if process.world > 1 else lambda: None


def tensorboard_writer(paths: Paths, process: Process) -> Callable[[dict[str, float]], None]:
    """A function that writes the metrics of an epoch for TensorBoard, if the job asks for that."""
    folder = tensorboard.folder(os.environ, paths.base)
    if folder is None or not process.is_first:
        return lambda metrics: None
    file = tensorboard.EventFile(folder)
    log.info("TensorBoard: %s", file.path)
    return lambda metrics: file.write(int(metrics["step"]), metrics)


def explain(error: Exception, settings: Settings) -> Exception:
    """The error itself; if memory ran out or torch.compile failed, one with a remedy."""
    text = str(error)
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = text.strip().partition("\n")[0]
        return TrainingError(f"compile=true does not work here: {reason}; set compile=false")
    if (
        isinstance(error, RuntimeError)
        and "out of memory" not in text
        and "can't allocate memory" not in text
    ):
        return error
    return TrainingError(
        f"out of memory with batch_size={settings.batch_size} and image_size={settings.image_size}: try "
        f"batch_size={max(2, settings.batch_size // 2)} with lr={settings.lr / 2:g}, a smaller image_size, "
        "or precision=bf16"
    )


def examine(
    paths: Paths,
    trainer: Trainer,
    pictures: dict[str, Pictures],
    loaders: dict[str, Loader],
    device: str,
    process: Process,
    stopping: Stopping,
) -> tuple[Result, str] | None:
    """Evaluate the saved model, keep samples of its answers, and measure it in lower precisions.

    Returns:
        The result and its split; None if the job was asked to end before there was one.
    """
    try:
        result, split = final_evaluation(paths, trainer, loaders, device, process, stopping.signalled)
    except Stopped:
        return None
    outputs.collect_hashes(pictures, process)
    if process.is_first:
        outputs.save_samples(paths, result, pictures[split])
        if trainer.settings.save_model and trainer.settings.quantize == "auto":
            lower_precision.measure(
                paths.model, pictures, split, scratch=paths.base / "tmp",
                should_stop=stopping.asked, seconds_left=stopping.seconds_left,
            )  # fmt: skip
    return result, split


def final_evaluation(
    paths: Paths,
    trainer: Trainer,
    loaders: dict[str, Loader],
    device: str,
    process: Process,
    should_stop: Callable[[], bool],
) -> tuple[Result, str]:
    """Evaluate the saved model in fp32, as an endpoint will.

    Raises:
        Stopped: as soon as should_stop says so.
    """
    outputs.share_model(paths, process)
    module, _ = weights.load(paths.model, device)
    split = "test" if "test" in loaders else "validation"
    result = evaluate(
        module, trainer.criterion, loaders[split], device, precision.FULL,
        process=process, monitor=Monitor(), should_stop=should_stop,
    )  # fmt: skip
    if process.is_first:
        if result.absent:
            count = len(loaders[split].pictures.listing.classes)
            log.info(
                "macro F1 covers %d of %d classes: the others have no pictures in %s and were not predicted",
                count - result.absent, count, split,
            )  # fmt: skip
        scored = {
            f"{name}_pictures": len(loader.pictures) - loader.pictures.unreadable
            for name, loader in loaders.items()
            if name in ("validation", "test")
        }
        # If the split is validation, its metrics in fp32 replace those of the training.
        log_metrics(**{**outputs.kept_metrics(trainer), **result.metrics(split), **scored})
    return result, split


def main() -> int:
    """Return the exit code. After a failure, output/failure holds the reason in one line."""
    start_logging(True)
    paths = Paths.from_environment(os.environ)
    paths.failure.unlink(missing_ok=True)  # left by an interrupted run on the same volume
    started = time.monotonic()
    stopping = Stopping()
    stopping.listen()
    try:
        run(paths, stopping)
    except (TrainingError, HyperparameterError, architecture.WeightsError, devices.DeviceError) as error:
        return fail(paths, str(error))
    except MemoryError:
        return fail(paths, "out of memory: take an instance with more, or a smaller cache_mb")
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
        with paths.failure.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")
    except FileExistsError:
        pass  # another rank failed first and wrote the reason
    except OSError as error:
        log.error("%s could not be written: %s", paths.failure, error)
    return 1


if __name__ == "__main__":
    sys.exit(main())
