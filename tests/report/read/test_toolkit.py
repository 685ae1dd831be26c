"""The log of a training job without what SageMaker's toolkit says first; the lines are those of real jobs."""

import pytest

from report.read.toolkit import Preamble

BEFORE = """\
bash: cannot set terminal process group (-1): Inappropriate ioctl for device
2026-11-26 01:07:43,396 sagemaker-training-toolkit INFO     Failed to parse hyperparameter arch value resnet18 to Json.
Returning the value itself
2026-11-26 01:07:43,403 sagemaker_training.entry_point INFO     Bypass DNS check in case of Studio Local Mode.
2026-11-26 01:07:43,420 sagemaker-training-toolkit INFO     Invoking user script

Training Env:

{
    "additional_framework_parameters": {}
}

Environment variables:

SM_HOSTS=["algo-1"]
PYTHONPATH=/opt/ml/code
""".splitlines()  # noqa: E501
SCRIPT = """\
Invoking script with the following command:

/usr/bin/python3 -- train/train.py

2026-11-26 01:07:43,420 sagemaker-training-toolkit INFO     Exceptions not imported for SageMaker TF.
torch 2.10.0
Training Env:
""".splitlines()
NOTE = "({} lines of SageMaker's toolkit are left out; `byoc logs --all` shows them.)"


def test_the_environment_is_left_out_and_counted() -> None:
    assert list(Preamble().shorten(BEFORE + SCRIPT)) == [BEFORE[0], NOTE.format(15), *SCRIPT]


def test_each_machine_begins_by_itself() -> None:
    preamble = Preamble()
    for line in BEFORE[1:]:
        assert preamble.take(f"[algo-1] {line}") == []
    assert preamble.take("[algo-2] torch 2.10.0") == ["[algo-2] torch 2.10.0"]
    assert preamble.take(f"[algo-2] {BEFORE[4]}") == []
    assert preamble.take(f"[algo-1] {SCRIPT[0]}") == [NOTE.format(16), f"[algo-1] {SCRIPT[0]}"]
    assert preamble.take("[algo-1] ") == ["[algo-1] "]
    assert preamble.take(f"[algo-2] {SCRIPT[0]}") == [f"[algo-2] {SCRIPT[0]}"]


def test_an_error_before_the_script_is_shown() -> None:
    error = "2026-11-26 01:07:47,107 sagemaker-training-toolkit ERROR    Reporting training FAILURE"
    for failed in ([error, "ExitCode 1"], ["Traceback (most recent call last):", "KeyError: 1"]):
        assert list(Preamble().shorten(BEFORE + failed)) == [BEFORE[0], *failed, NOTE.format(15)]


@pytest.mark.parametrize("place", range(BEFORE.index("Training Env:") + 1, len(BEFORE) + 1))
def test_an_error_amid_the_environment_is_shown(place: int) -> None:
    failed = [
        "train: error: unrecognized arguments: --lrr",
        "UserWarning: few pictures",
        "SM_HP_LR=warning: no number",
        '    "RuntimeError": "CUDA"',
        "/usr/bin/env: 'python3': No such file or directory",
        "Killed",
    ]
    lines = [*BEFORE[:place], *failed, *BEFORE[place:]]
    assert list(Preamble().shorten(lines)) == [BEFORE[0], *failed, NOTE.format(15)]


def test_what_follows_the_dumped_environment_is_shown() -> None:
    end = BEFORE.index("}") + 1
    said = ['    "of": "the script"', "loss=nan"]
    assert list(Preamble().shorten([*BEFORE[:end], *said])) == [BEFORE[0], *said, NOTE.format(10)]


def test_other_logs_stay_as_they_are() -> None:
    assert list(Preamble().shorten(["epoch=1", "warning: few pictures"])) == [
        "epoch=1",
        "warning: few pictures",
    ]
