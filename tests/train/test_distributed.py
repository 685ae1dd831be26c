"""Several processes, as torchrun starts them, over gloo on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model import architecture, artifact, weights
from train.distributed import Process

ROOT = Path(__file__).resolve().parents[2]


def test_alone_everything_is_its_own_sum() -> None:
    process = Process.start({}, "cpu")
    assert process.is_first
    assert process.sum([1.0, 2.0]) == [1.0, 2.0]
    assert process.gather("x") == process.gather_to_first("x") == ["x"]
    assert process.broadcast("x") == "x"
    assert process.any(True, False) == (True, False)
    module = torch.nn.Linear(2, 2)
    assert process.wrap(module) is module


@pytest.mark.slow
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
    done = job.torchrun(2, program=["talking.py"])
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
    done = job.torchrun(2, program=["host.py"], max_skipped_share=0.5)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = job.base / "host 0", job.base / "host 1"
    models = [
        {path.name: path.read_bytes() for path in (host / "model").iterdir() if path.name in artifact.FILES}
        for host in (first, second)
    ]
    assert {artifact.WEIGHTS_FILE, artifact.GRAPH_FILE, artifact.INFO_FILE} <= set(models[0])
    assert models[0] == models[1]
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
    reports, states = [], []
    for name in ("one", "two"):
        job = new_job(name).pictures(10, 5)
        job.channel("weights").mkdir(parents=True)
        torch.save(state, job.channel("weights") / "backbone.pth")
        (job.channel("train") / "red/0.png").write_bytes(b"")  # an unreadable one: the shares differ
        if name == "one":
            assert run(job, **settings)[0] == 0
        else:
            done = job.torchrun(2, **settings)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count("epoch=2 ") == 1
        reports.append(job.report)
        states.append(weights.load(job.base / "model")[0].state_dict())
    for one, other in zip(*(report["history"] for report in reports), strict=True):
        for key, value in one.items():
            if key not in ("images_per_second", "data_wait_share"):
                assert other[key] == pytest.approx(value, abs=2e-3), key
    assert reports[0]["confusion_matrix"] == reports[1]["confusion_matrix"]
    assert sum(map(sum, reports[1]["confusion_matrix"])) == 15
    assert reports[1]["environment"]["processes"] == 2
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], atol=2e-3), name


@pytest.mark.slow
def test_two_processes_go_on_where_they_were_killed(new_job: Callable[[str], Any]) -> None:
    whole, broken = new_job("whole").pictures(10, 5), new_job("broken").pictures(10, 5)
    settings = {"epochs": 3, "checkpoint_every_steps": 2, "augment": "trivial"}
    assert whole.torchrun(2, **settings).returncode == 0
    program = (  # dies in the middle of the second epoch, as abruptly as a machine
        "import os; from train import loop, train; original = loop.Trainer._step\n"
        "def step(self, batch):\n"
        "    if self.progress.step == 5: os.kill(os.getpid(), 9)\n"
        "    original(self, batch)\n"
        "loop.Trainer._step = step; train.main()"
    )
    (broken.base / "dying.py").write_text(program)
    assert broken.torchrun(2, program=["dying.py"], **settings).returncode != 0
    assert list((broken.base / "checkpoints").glob("*.pt"))
    done = broken.torchrun(2, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert broken.weights == whole.weights
    validations = [
        [
            {name: epoch[name] for name in epoch if name.startswith("validation_")}
            for epoch in one.report["history"]
        ]
        for one in (whole, broken)
    ]
    assert validations[0] == validations[1]
    # What was validated after an epoch is the network that is kept: the last evaluation has it from its file.
    kept = next(
        epoch for epoch in whole.report["history"] if epoch["epoch"] == whole.report["metrics"]["epoch"]
    )
    assert whole.report["metrics"]["validation_loss"] == pytest.approx(kept["validation_loss"], rel=1e-4)
    assert json.dumps(broken.report["confusion_matrix"]) == json.dumps(whole.report["confusion_matrix"])


HOSTS = (
    "import os, pathlib, shutil\n"
    "here, rank = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR']), os.environ['RANK']\n"
    "mine = here / ('host ' + rank)\n"
    "shutil.copytree(here / 'input', mine / 'input')\n"
    "os.environ.update(SAGEMAKER_BASE_DIR=str(mine), LOCAL_RANK='0', LOCAL_WORLD_SIZE='1')\n"
    "os.environ['SM_CURRENT_HOST'] = 'algo-' + str(int(rank) + 1)\n"
    "{change}\n"
    "from train import train; raise SystemExit(train.main())"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        # What ShardedByS3Key does to the second host, with fewer pictures or as many others.
        ("(mine / f'input/data/train/red/{rank}.png').unlink()", "'train' (23 on algo-1, 23 on algo-2)"),
        ("if rank == '1': (mine / 'input/data/train/red/0.png').unlink()", "(24 on algo-1, 23 on algo-2)"),
    ],
)
def test_hosts_that_see_different_pictures_stop_at_once(job: Any, change: str, words: str) -> None:
    (job.pictures().base / "host.py").write_text(HOSTS.replace("{change}", change))
    assert job.torchrun(2, program=["host.py"]).returncode != 0
    for rank in (0, 1):
        reason = (job.base / f"host {rank}" / "output/failure").read_text()
        assert words in reason
        assert "S3DataDistributionType=FullyReplicated" in reason


@pytest.mark.slow
def test_a_host_without_a_channel_stops_the_others_too(job: Any) -> None:
    change = "if rank == '1': shutil.rmtree(mine / 'input/data/train')"
    (job.pictures().base / "host.py").write_text(HOSTS.replace("{change}", change))
    assert job.torchrun(2, program=["host.py"]).returncode != 0
    assert "algo-2: the job has no channel 'train'" in (job.base / "host 0/output/failure").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("told", ["signal", "minutes"])
def test_a_process_that_waits_for_another_in_vain_ends(job: Any, told: str) -> None:
    program = (
        "import os, pathlib, signal, threading, time\n"
        "from train.distributed import Process\n"
        "from train.stopping import Stopping\n"
        "process = Process.start(os.environ, 'cpu')\n"
        "if process.rank == 1: time.sleep(300)\n"
        "stopping = Stopping(); stopping.listen()\n"
        f"if {told!r} == 'minutes': stopping.after_minutes(0.01)\n"
        "def give_up(): pathlib.Path('gave up').touch(); os._exit(7)\n"
        "stopping.watch(give_up, 0.3)\n"
        f"if {told!r} == 'signal': threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "process.any(stopping.asked())\n"
    )
    (job.base / "waiting.py").write_text(program)
    assert job.torchrun(2, program=["waiting.py"]).returncode != 0
    assert (job.base / "gave up").exists()


@pytest.mark.slow
def test_a_process_ends_that_waits_for_a_host_which_lists_its_pictures_for_ever(job: Any) -> None:
    program = (
        "import os, time; from train import train; from train.stopping import Stopping\n"
        "if os.environ['RANK'] == '1': train.list_pictures = lambda *_: time.sleep(300)\n"
        "watch = Stopping.watch; Stopping.watch = lambda self, give_up: watch(self, give_up, 0.3)\n"
        "raise SystemExit(train.main())"
    )
    (job.pictures().base / "waiting.py").write_text(program)
    assert job.torchrun(2, program=["waiting.py"], max_minutes=0.05).returncode != 0
    assert "waits in vain for another process" in job.failure


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
    done = job.torchrun(2, program=["failing.py"])
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
