"""Several processes, as torchrun starts them, over gloo on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from model import architecture, artifact
from train.distributed import Process

ROOT = Path(__file__).resolve().parents[2]


def torchrun(
    job: Any, processes: int, program: Sequence[str] = ("-m", "train.train"), **settings: object
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **job.configure(**settings), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
    ]
    return subprocess.run(
        [*command, *program],
        check=False, cwd=job.base, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_alone_everything_is_its_own_sum() -> None:
    process = Process.start({}, "cpu")
    assert process.is_first
    assert process.sum([1.0, 2.0]) == [1.0, 2.0]
    assert process.gather("x") == process.gather_to_first("x") == ["x"]
    assert process.broadcast("x") == "x"
    assert process.any(True, False) == (True, False)
    module = torch.nn.Linear(2, 2)
    assert process.wrap(module) is module


def test_what_two_processes_say_to_each_other(job: Any) -> None:
    program = (
        "import json, os, pathlib; from train.distributed import Process\n"
        "process = Process.start(os.environ, 'cpu')\n"
        "mine = {'rank': process.rank}\n"
        "found = [process.sum([1.0, process.rank]), process.gather(mine), process.gather_to_first(mine),\n"
        "         process.broadcast(mine), process.any(False, process.rank == 1)]\n"
        "pathlib.Path(f'{process.rank}.json').write_text(json.dumps(found))\n"
        "process.end()"
    )
    (job.base / "talking.py").write_text(program)
    done = torchrun(job, 2, program=["talking.py"])
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in (0, 1):
        total, everyone, first, broadcast, flags = json.loads((job.base / f"{rank}.json").read_text())
        assert total == [2.0, 1.0]
        assert everyone == [{"rank": 0}, {"rank": 1}]
        assert first == (everyone if rank == 0 else [])
        assert broadcast == {"rank": 0}
        assert flags == [False, True]


@pytest.mark.slow
def test_each_host_has_the_model_in_its_own_folder(job: Any) -> None:
    """Two hosts with a folder each; a picture that only the second can have found unreadable is told."""
    broken = job.pictures(10, 5).channel("train") / "red/7.png"
    broken.write_bytes(b"no picture")
    twin = job.channel("validation") / "red/1001.png"
    twin.write_bytes((job.channel("validation") / "red/1000.png").read_bytes())
    program = (
        "import os, pathlib, shutil\n"
        "here = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'])\n"
        "mine = here / ('host ' + os.environ['RANK'])\n"
        "shutil.copytree(here / 'input', mine / 'input')\n"
        "os.environ.update(SAGEMAKER_BASE_DIR=str(mine), LOCAL_RANK='0', LOCAL_WORLD_SIZE='1')\n"
        "from train import train; raise SystemExit(train.main())"
    )
    (job.base / "host.py").write_text(program)
    done = torchrun(job, 2, program=["host.py"], max_skipped_share=0.5)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = job.base / "host 0", job.base / "host 1"
    for name in artifact.FILES:
        assert (first / "model" / name).read_bytes() == (second / "model" / name).read_bytes()
    assert not (second / "output/data/report.json").exists()
    assert not list(second.glob("checkpoints/*"))
    data = json.loads((first / "output/data/report.json").read_text())["data"]
    assert [one["file"] for one in data["train"]["skipped"]] == ["red/7.png"]
    assert data["train"]["images"] == 29
    assert data["validation"]["repeated"] == [["red/1000.png", "red/1001.png"]]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_the_same_global_batch(
    new_job: Callable[[str], Any], run: Any
) -> None:
    """Batch norms frozen: those of two processes see half a batch each, as everywhere."""
    torch.manual_seed(0)
    state = architecture.build("shufflenet_v2_x0_5", 10).state_dict()
    settings = {
        "weights": "channel",
        "freeze": "backbone",
        "batch_size": 8,
        "epochs": 2,
        "lr": 0.05,
        "patience": 5,
    }
    reports, weights = [], []
    for name in ("one", "two"):
        job = new_job(name).pictures(10, 5)
        job.channel("weights").mkdir(parents=True)
        torch.save(state, job.channel("weights") / "backbone.pth")
        (job.channel("train") / "red/0.png").write_bytes(b"")  # an unreadable one: the shares differ
        if name == "one":
            assert run(job, **settings)[0] == 0
        else:
            done = torchrun(job, 2, **settings)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count("epoch=2 ") == 1
        reports.append(job.report)
        weights.append(artifact.load(job.base / "model")[0].state_dict())
    for one, other in zip(*(report["history"] for report in reports), strict=True):
        for key, value in one.items():
            if key not in ("images_per_second", "data_wait_share"):
                assert other[key] == pytest.approx(value, abs=2e-3), key
    assert reports[0]["confusion_matrix"] == reports[1]["confusion_matrix"]
    assert sum(map(sum, reports[1]["confusion_matrix"])) == 15
    assert reports[1]["environment"]["processes"] == 2
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=2e-3), name


@pytest.mark.slow
def test_two_processes_go_on_where_they_were_killed(new_job: Callable[[str], Any]) -> None:
    whole, broken = new_job("whole").pictures(10, 5), new_job("broken").pictures(10, 5)
    settings = {"epochs": 3, "checkpoint_every_steps": 2, "augment": "trivial"}
    assert torchrun(whole, 2, **settings).returncode == 0
    program = (  # dies in the middle of the second epoch, as abruptly as a machine
        "import os; from train import loop, train; original = loop.Trainer._step\n"
        "def step(self, batch):\n"
        "    if self.progress.step == 5: os.kill(os.getpid(), 9)\n"
        "    original(self, batch)\n"
        "loop.Trainer._step = step; train.main()"
    )
    (broken.base / "dying.py").write_text(program)
    assert torchrun(broken, 2, program=["dying.py"], **settings).returncode != 0
    assert list((broken.base / "checkpoints").glob("*.pt"))
    done = torchrun(broken, 2, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert broken.weights == whole.weights
    assert json.dumps(broken.report["confusion_matrix"]) == json.dumps(whole.report["confusion_matrix"])


@pytest.mark.slow
def test_the_reason_of_the_process_that_failed_first_is_kept(job: Any) -> None:
    """The other one only finds its neighbour gone."""
    program = (
        "import os; from train import loop, train; from train.errors import TrainingError\n"
        "original = loop.Trainer._step\n"
        "def step(self, batch):\n"
        "    if self.progress.step == 2 and self.process.rank == 1: raise TrainingError('gone')\n"
        "    original(self, batch)\n"
        "loop.Trainer._step = step; raise SystemExit(train.main())"
    )
    (job.pictures().base / "failing.py").write_text(program)
    done = torchrun(job, 2, program=["failing.py"])
    assert done.returncode != 0
    assert job.failure == "gone\n"


@pytest.mark.slow
def test_sagemakers_own_switch_starts_torchrun(job: Any) -> None:
    """The failure of one process ends the job with its reason."""
    process = job.pictures(4, 2).start(sagemaker_torch_distributed_enabled="true", nonsense=1)
    output = process.communicate(timeout=200)[0]
    assert process.returncode != 0
    assert "torchrun" in output
    assert job.failure.startswith("unknown hyperparameter 'nonsense'")
