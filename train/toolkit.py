"""sagemaker-training's `train` command, which reads SageMaker's files and runs SAGEMAKER_PROGRAM; three
things mended."""

from __future__ import annotations

import os
import re
import signal

import psutil
from sagemaker_training import files, process
from sagemaker_training.cli.train import main


def _pass_on(number: int, frame: object) -> None:
    """SIGTERM is for train.py, which then writes a checkpoint and ends.

    The toolkit would die of it, and with it the container, or as PID 1 ignore it. Where the platform signals
    the whole process group, train.py gets it twice, which changes nothing.
    """
    children = psutil.Process().children()
    for child in children:
        child.send_signal(signal.SIGTERM)
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
        "smaller batch_size or cache_mb. The checkpoints are whole: the same job again goes on from the last one"
    )


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(signal.Signals[name], _pass_on)
    process.get_debugger_exception_classes = _no_exception_classes
    files.write_failure_file = lambda message: _write_failure_file(explain(message))  # keeps what is there
    main()
