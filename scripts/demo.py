"""The main job, from pictures to a queried endpoint, on this machine: `python -m scripts.demo`.

It runs the commands that the README teaches, as a user would, in out/demo, and prints each before it runs it.
What came out lies in out/demo/summary.json. `--diverging` plays the debugger's story instead, in
out/demo-diverging: absurd learning rates, a rule that notices, and the same again with sane ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from report.words import duration, percent
from scripts.localstatus import free_port
from scripts.output import short
from scripts.state import write_json

ENOUGH = 0.97
_MARK = ".demo"
_PATIENCE = 20.0  # seconds that an interrupted command gets to end by itself


class Failed(Exception):
    """A command failed, or the result is not good enough."""


@dataclass
class Demo:
    """A folder to work in, and the seconds that each step took."""

    folder: Path
    steps: int
    runtime: str = "process"
    console: Console = field(default_factory=lambda: Console(highlight=False))
    seconds: dict[str, float] = field(default_factory=dict)
    _begun: int = 0

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        self._begun += 1
        self.console.print()
        self.console.rule(f"[bold]{self._begun}/{self.steps} {name}[/]: {text}", align="left", style="cyan")
        begin = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - begin, 1)

    def byoc(self, command: str) -> None:
        """Run `byoc COMMAND` in the folder."""
        self.console.print(f"[bold]$ byoc {command}[/]", soft_wrap=True)
        program = Path(sys.executable).with_name("byoc")
        process: subprocess.Popen[bytes] | None = None
        try:
            process = subprocess.Popen([program, *shlex.split(command)], cwd=self.folder, env=_environment())
            code = process.wait()
        except BaseException:
            if process is not None:
                _end(process)
            raise
        if code:
            raise Failed(f"`byoc {command}` ended with exit code {code}.")

    def state(self) -> dict[str, Any]:
        """What the commands left behind."""
        remembered: dict[str, Any] = json.loads((self.folder / ".byoc" / "state.json").read_text())
        return remembered

    @contextmanager
    def service(self) -> Iterator[None]:
        """A fresh folder with the local SageMaker up; stopped afterwards, whatever happens."""
        self._stop(quiet=True)
        if self.folder.exists():
            if any(self.folder.iterdir()) and not (self.folder / _MARK).exists():
                raise Failed(f"{self.folder} is no folder of an earlier demo: not emptied. Name another one.")
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        (self.folder / _MARK).write_text("`python -m scripts.demo` empties this folder when it begins.\n")
        try:
            url = f"http://127.0.0.1:{free_port()}"
            self.byoc(f"init --example digits --region us-east-1 --endpoint-url {url}")
            self.byoc("local up" if self.runtime == "process" else f"local up --runtime {self.runtime}")
            yield
        finally:
            self._stop(quiet=sys.exc_info()[0] is None)

    def _stop(self, *, quiet: bool) -> None:
        """`byoc local down`, deaf to a second Ctrl-C: nothing must be left running."""
        if not self.folder.is_dir():
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if not quiet:
                self.console.print("Stopping the local SageMaker …", style="yellow")
            subprocess.run(
                [Path(sys.executable).with_name("byoc"), "local", "down"],
                cwd=self.folder,
                env=_environment(),
                stdout=subprocess.DEVNULL,
                check=False,
            )
        finally:
            signal.signal(signal.SIGINT, before)


def main_job(demo: Demo) -> None:
    """Data, tune, train, report, deploy, predict, clean up."""
    with demo.service():
        _data(demo)
        with demo.step("tune", "several training jobs look for a learning rate and a batch size"):
            demo.byoc("tune")
        with demo.step("train", "with the best of them; debugger and profiler watch"):
            demo.byoc("train --best")
        with demo.step("report", "verdicts, curves, step times, utilisation"):
            demo.byoc("report")
        with demo.step("deploy", "model, endpoint configuration, endpoint"):
            demo.byoc("deploy")
        with demo.step("predict", "pictures that training has not seen"):
            demo.byoc("predict --held-out 10")
            demo.byoc("evaluate")
        state = demo.state()
        with demo.step("delete", "the endpoint goes, the results stay"):
            demo.byoc("delete")
            demo.byoc("local down")
    evaluation = state["evaluation"]
    trained, served = evaluation["test_accuracy_of_training"], evaluation["accuracy"]
    if trained is not None:
        # A metric has six digits, and on AWS single precision; an accuracy is a count of pictures.
        trained = round(trained * evaluation["pictures"]) / evaluation["pictures"]
    best = state["best"]["hyperparameters"]
    summary = {
        "test_accuracy": trained,
        "endpoint_accuracy": served,
        "best_hyperparameters": best,
        "seconds": demo.seconds,
        "report": state["report"],
        "training_job": state["training_job"],
        "rules": state["verdicts"][state["training_job"]],
        "tuning_job": state["tuning_job"],
        "test_pictures": evaluation["pictures"],
    }
    write_json(demo.folder / "summary.json", summary)
    if trained is None or trained < ENOUGH:
        raise Failed(
            f"The test accuracy is {percent(trained, 2)}, but {percent(ENOUGH, 2)} was to be reached."
        )
    _tell(demo, summary)


def _data(demo: Demo) -> None:
    with demo.step("data", "handwritten digits as PNG files, split and sent to S3"):
        demo.byoc("digits")
        demo.byoc("upload")


def _tell(demo: Demo, summary: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    values = ", ".join(f"{key} {short(value)}" for key, value in summary["best_hyperparameters"].items())
    table.add_row("Best hyperparameters", f"[bold]{values}[/]")
    table.add_row(
        "Test accuracy", f"[bold green]{percent(summary['test_accuracy'], 2)}[/], as training computed it"
    )
    table.add_row(
        "",
        f"[bold green]{percent(summary['endpoint_accuracy'], 2)}[/], "
        f"as the endpoint answered on the same {summary['test_pictures']} pictures",
    )
    table.add_row("Report", _link(Path(summary["report"])))
    table.add_row("Time", ", ".join(f"{name} {duration(s)}" for name, s in demo.seconds.items()))
    table.add_row("", f"[bold]{duration(sum(demo.seconds.values()))}[/] in all")
    table.add_row(
        "Everything", f"{_relative(demo.folder)}/  (byoc.toml, summary.json, reports, the S3 bucket)"
    )
    table.add_row("Next, on AWS", "[bold]byoc init --aws --force && byoc setup[/], then the same commands")
    demo.console.print()
    demo.console.print(Panel(table, title="It works", title_align="left", border_style="green", expand=False))


def diverging(demo: Demo) -> None:
    """Absurd learning rates, the rule that notices, sane ones, and both side by side."""
    with demo.service():
        _data(demo)
        with demo.step("tune badly", "learning rates of 0.9 to 1.0, batches of 10 and 100"):
            demo.byoc("tune --jobs 2 --range lr=0.9:1.0 --range batch_size=10,100 --stop-hopeless")
        bad = demo.state()["best"]
        with demo.step("train badly", "the best of these; watch the rule LossNotDecreasing"):
            demo.byoc("train --best --name digits-diverging")
            demo.byoc("report")
        with demo.step("tune well", "learning rates of 0.0001 to 0.1 on a logarithmic scale"):
            demo.byoc("tune")
        good = demo.state()["best"]
        with demo.step("train well", "and compare"):
            demo.byoc("train --best --name digits-sane")
            demo.byoc("report digits-diverging digits-sane --output reports/compared.html")
        rules = demo.state()["verdicts"]
    noticed = rules["digits-diverging"].get("LossNotDecreasing")
    table = Table("", "diverging", "sane", title="Compared", title_justify="left")
    for label, key in (("learning rate", "lr"), ("batch size", "batch_size")):
        table.add_row(label, *(short(one["hyperparameters"][key]) for one in (bad, good)))
    table.add_row("LossNotDecreasing", str(noticed), str(rules["digits-sane"].get("LossNotDecreasing")))
    demo.console.print(table)
    if noticed != "IssuesFound":
        raise Failed(f"The rule LossNotDecreasing says {noticed} of the diverging training.")


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _link(path: Path) -> str:
    return f"[bold link=file://{path}]{_relative(path)}[/]"


def _environment() -> dict[str, str]:
    """The user's environment without what would lead the demo elsewhere."""
    led_astray = (
        "AWS_ENDPOINT_URL",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    )
    return {key: value for key, value in os.environ.items() if not key.startswith(led_astray)}


def _end(process: subprocess.Popen[bytes]) -> None:
    """An interrupted command: let it end, then insist."""
    for number in (None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            process.send_signal(number)
        try:
            process.wait(_PATIENCE if number is not None else 3)
        except subprocess.TimeoutExpired:
            continue
        return


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--diverging", action="store_true", help="the debugger's story")
    parser.add_argument("--folder", type=Path, help="where to work; emptied first (default: out/demo)")
    parser.add_argument(
        "--runtime", choices=("process", "docker"), default="process", help="what jobs run in"
    )
    arguments = parser.parse_args()
    story = diverging if arguments.diverging else main_job
    default = "demo-diverging" if arguments.diverging else "demo"
    folder = arguments.folder or Path(__file__).resolve().parent.parent / "out" / default
    demo = Demo(folder.absolute(), 5 if arguments.diverging else 7, arguments.runtime)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        story(demo)
    except Failed as error:
        demo.console.print(f"[bold red]The demo failed:[/] {error}")
        return 1
    except KeyboardInterrupt:
        demo.console.print("Interrupted. Nothing is left running.", style="yellow")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
