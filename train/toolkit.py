"""sagemaker-training's `train` command, which reads SageMaker's files and runs SAGEMAKER_PROGRAM.

Mended here, in the running process: what it imports for nothing, signals, torchrun, the reason of a failure,
and switches that this image does not have.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
import types
from pathlib import Path
from typing import Any, Final

import psutil

# A shared library that `mpirun` preloads, which nothing here uses; the toolkit imports it in every mode.
# Where there was no compiler it is missing.
if importlib.util.find_spec("gethostname") is None:
    sys.modules["gethostname"] = types.ModuleType("gethostname")


class _Late(types.ModuleType):
    """A module that is imported when something of it is used.

    The toolkit imports these for what few jobs need; together they cost every job 0.3 s of CPU.
    """

    NAMES = ("boto3", "boto3.s3", "boto3.s3.transfer", "paramiko")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # `inspect` looks at every module
            raise AttributeError(name)
        for other in self.NAMES:
            if isinstance(sys.modules.get(other), _Late):
                del sys.modules[other]
        return getattr(importlib.import_module(self.__name__), name)

    @classmethod
    def stand_in(cls) -> None:
        for name in cls.NAMES:
            sys.modules[name] = cls(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
        # All that every job asks: where a container has no file with another answer.
        region = types.SimpleNamespace(region_name=os.environ.get("AWS_DEFAULT_REGION"))
        setattr(sys.modules["boto3"], "session", types.SimpleNamespace(Session=lambda: region))  # noqa: B010


_Late.stand_in()

# ruff: noqa: E402 (this has to come after)
from sagemaker_training import entry_point, environment, files, process, runner, torch_distributed
from sagemaker_training.cli.train import main


def _pass_on(number: int, frame: object) -> None:
    """SIGTERM is for train.py, which then writes a checkpoint and ends.

    The toolkit would die of it, and with it the container, or as PID 1 ignore it. Where the platform signals
    the whole process group, train.py gets it twice, which changes nothing.
    """
    children = psutil.Process().children()
    for child in children:
        # Between here and train.py there may be torchrun, which would end the others before they are ready.
        for program in child.children() or [child]:
            program.send_signal(signal.SIGTERM)
    if not children:
        os._exit(128 + number)  # nothing has begun yet


def _no_exception_classes() -> list[str]:
    """The toolkit imports smdebug, and with it torch, for the names of its exceptions: two seconds of every
    job.

    It looks for them in output that it captures, and it captures none.
    """
    return []


_write_failure_file = files.write_failure_file


def explain(message: str) -> str:
    """The reason of a failure that train.py could not write itself, for it was killed.

    Args:
        message: the toolkit's, e.g. 'ExecuteUserScriptError: ExitCode -9 ErrorMessage "" Command ...'.
    """
    if not message.startswith("ExecuteUserScriptError") or not (
        code := re.search(r"ExitCode (-?\d+)", message)
    ):
        return message
    how = "was killed" if code[1] in ("-9", "137") else f"ended without a reason, exit code {code[1]}"
    return (
        f"the training process {how}: most likely the machine ran out of memory; take a larger instance or a "
        "smaller batch_size or cache_mb. The checkpoints are whole: where they are kept, a job can go on"
    )


_run = entry_point.run
_torchrun = torch_distributed.TorchDistributedRunner.run


def _torchrun_and_wait(self: Any, wait: bool = True, capture_error: bool = False) -> Any:
    """The toolkit's caller and its torchrun runner disagree about the order of these two.

    Left alone, the runner would not wait, and a job that failed would be reported as a success.
    """
    return _torchrun(self, capture_error=capture_error, wait=wait)


def _run_with_torchrun(*arguments: Any, **options: Any) -> Any:
    """One process for each GPU where the job asks for it with SageMaker's switch.

    The toolkit reads sagemaker_torch_distributed_enabled, but only AWS's own framework images act upon it:
    here a machine with eight GPUs would train on one of them without a word.
    """
    wanted = environment.Environment().additional_framework_parameters
    if str(wanted.get("sagemaker_torch_distributed_enabled", "")).lower() in ("true", "1"):
        options["runner_type"] = runner.RunnerType.TorchDistributed
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return _run(*arguments, **options)


# What of its own hyperparameters the toolkit may act upon here.
_OBEYED: Final = frozenset(
    (
        "sagemaker_torch_distributed_enabled", "sagemaker_region", "sagemaker_job_name",
        "sagemaker_container_log_level", "sagemaker_s3_output", "sagemaker_enable_cloudwatch_metrics",
    )
)  # fmt: skip
# Variables by which a job could make the toolkit run something else.
_OTHER_PROGRAMS: Final = ("SAGEMAKER_SUBMIT_DIRECTORY", "SAGEMAKER_TRAINING_MODULE")
_read_hyperparameters = environment.read_hyperparameters


def _hyperparameters_for_this_image() -> dict[str, Any]:
    """Without the switches that the toolkit would obey and this image cannot.

    With sagemaker_mpi_enabled, be it "False", it would look for an sshd; sagemaker_submit_directory would put
    other code in the place of ours.
    """
    hyperparameters: dict[str, Any] = _read_hyperparameters()
    return {name: value for name, value in hyperparameters.items() if not is_ignored(name)}


def is_ignored(name: str) -> bool:
    return name.startswith("sagemaker_") and name not in _OBEYED


def tell_ignored() -> None:
    """One line about what a job asks for that this image does not do."""
    try:
        names = sorted(filter(is_ignored, _read_hyperparameters()))
    except Exception:  # the toolkit says what is wrong with the file
        names = []
    names += [name for name in _OTHER_PROGRAMS if os.environ.pop(name, None)]
    if names:
        print(
            f"ignored: {', '.join(names)}; this image runs its own training program, without MPI or "
            "parameter servers",
            flush=True,
        )


if __name__ == "__main__":
    tell_ignored()
    environment.read_hyperparameters = _hyperparameters_for_this_image
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(signal.Signals[name], _pass_on)
    process.get_debugger_exception_classes = _no_exception_classes
    entry_point.run = _run_with_torchrun
    torch_distributed.TorchDistributedRunner.run = _torchrun_and_wait
    files.write_failure_file = lambda message: _write_failure_file(explain(message))  # keeps what is there
    main()
