"""sagemaker-training's `train` command, which reads SageMaker's files and runs SAGEMAKER_PROGRAM; four
things mended."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
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


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(signal.Signals[name], _pass_on)
    process.get_debugger_exception_classes = _no_exception_classes
    entry_point.run = _run_with_torchrun
    torch_distributed.TorchDistributedRunner.run = _torchrun_and_wait
    files.write_failure_file = lambda message: _write_failure_file(explain(message))  # keeps what is there
    main()
