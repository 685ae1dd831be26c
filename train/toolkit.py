"""sagemaker-training's `train` command, which reads SageMaker's files and runs SAGEMAKER_PROGRAM; two things
mended."""

from __future__ import annotations

import os
import signal

import psutil
from sagemaker_training import process
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


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(signal.Signals[name], _pass_on)
    process.get_debugger_exception_classes = _no_exception_classes
    main()
