"""How soon the page of `byoc web` shows something, beside MLflow's page on as many runs.

    python -m bench.web
    python -m bench.web --mlflow .venv-mlflow/bin/python      an environment with MLflow; else ours alone

The list: from the navigation to the first rows on the screen, in a browser that has never been there, with
1,000 jobs of which the service keeps the state on disk. A curve: from the moment when a job writes its log
line to the new point in the chart. Both in Chromium on this machine, in turns, the median and the worst of
several. MLflow's page gets as many runs with three metrics each; its charts are read anew by its own
interval or by hand, so that its curve is the time of a load of the run's page of charts.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.localservice import free_port
from tests.scripts.web.acting import Stage, progress

JOBS = 1_000
TARGETS = {"list": 1.0, "curve": 2.0}
_MLFLOW_FILL = """
import sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("digits")
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("digits").experiment_id
from mlflow.entities import Metric, Param
for number in range(int(sys.argv[2])):
    run = client.create_run(experiment, run_name=f"digits-many-{number:04}")
    metrics = [Metric(name, 0.5, number, step) for name in ("loss", "accuracy", "lr") for step in range(3)]
    client.log_batch(run.info.run_id, metrics=metrics, params=[Param("lr", "0.01")])
    client.set_terminated(run.info.run_id)
print(run.info.run_id, experiment)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mlflow", type=Path, help="Python of an environment with MLflow")
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("left out: there is no Chromium or Chrome on this machine")
        return
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        contenders: dict[str, Callable[[], float]] = {}
        stage = Stage(Path(folder) / "stage")
        peer = Peer(options.mlflow, Path(folder)) if options.mlflow else None
        try:
            prepare(stage)
            contenders["byoc web, list"] = lambda: ours_list(browser, stage)
            if peer:
                contenders["MLflow, list"] = lambda: peer.open_list(browser)
                contenders["MLflow, charts of a run"] = lambda: peer.open_run(browser)
            report(contenders, options.times)
            report({"byoc web, log line to curve": ours_curve(browser, stage)}, options.times)
        finally:
            stage.close()
            if peer:
                peer.close()
            browser.close()


def report(contenders: dict[str, Callable[[], float]], times: int) -> None:
    """Measure in turns, the first of each apart; print medians and worst in milliseconds."""
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(times + 1):
        for name, measure in contenders.items():
            measured[name].append(measure())
    for name, (first, *rest) in measured.items():
        middle, worst = 1000 * statistics.median(rest), 1000 * max(rest)
        target = next((seconds for key, seconds in TARGETS.items() if name.endswith(key)), None)
        wanted = f", target {1000 * target:.0f}" if target and name.startswith("byoc") else ""
        print(
            f"{name:32} median {middle:7.0f} ms, worst {worst:7.0f}, first {1000 * first:7.0f}{wanted}",
            flush=True,
        )


def prepare(stage: Stage) -> None:
    """A service with a thousand jobs, and the page over it."""
    stage.up()
    stage.upload()
    stage.train("digits-first")
    stage.say("digits-first", "END 0")
    waiter = stage.client().get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="digits-first", WaiterConfig={"Delay": 1})
    stage.down()
    stage.fill(JOBS)
    stage.up()
    stage.serve()


def ours_list(browser: Any, stage: Stage) -> float:
    """Seconds from the navigation, the redirect of the token included, to the paint of the rows."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        begun = time.perf_counter()
        page.goto(stage.address, wait_until="commit")
        page.locator("tr", has_text="digits-many-0999").wait_for()
        page.evaluate(_PAINTED)
        return time.perf_counter() - begun
    finally:
        context.close()


_PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def ours_curve(browser: Any, stage: Stage) -> Callable[[], float]:
    """A measure of the seconds from a log line to its point in the chart."""
    stage.train("digits-curve")
    step = 2
    stage.say("digits-curve", progress(1, 2.0, 1_000), progress(2, 1.9, 1_000))
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(stage.address)
    page.goto(f"{stage.own}/training/digits-curve")
    page.locator(".chart svg").first.wait_for()

    def measure() -> float:
        nonlocal step
        step += 1
        page.evaluate(_WATCH)
        begun = time.perf_counter()
        stage.say("digits-curve", progress(step, 2.0 / step, 1_000))
        page.evaluate("window.changed")
        elapsed = time.perf_counter() - begun
        time.sleep(0.7 + 0.13 * (step % 7))  # not in step with what the server does each half a second
        return elapsed

    return measure


# The path of the curve is another one, and painted.
_WATCH = """() => {
  const place = document.querySelector(".chart-place"), marks = ".mark-line path, .mark-symbol path";
  const drawn = (path) => path.getAttribute("d") + path.getAttribute("transform");
  const curve = () => [...place.querySelectorAll(marks)].map(drawn).join();
  const painted = (done) => requestAnimationFrame(() => requestAnimationFrame(done));
  const before = curve();
  window.changed = new Promise((done) => {
    const observer = new MutationObserver(() => {
      if (curve() !== before) { observer.disconnect(); painted(done); }
    });
    observer.observe(place, { subtree: true, childList: true, attributes: true });
  });
}"""


class Peer:
    """MLflow's server with as many runs, in a database of its own."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        store = f"sqlite:///{folder / 'mlflow.db'}"
        filled = subprocess.run(
            [python, "-c", _MLFLOW_FILL, store, str(JOBS)],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        self.run, self.experiment = filled.stdout.split()[-2:]
        self._log = (folder / "mlflow.log").open("ab")
        self._process = subprocess.Popen(
            [python, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port)],
            cwd=folder, stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        import urllib.request

        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()  # noqa: S310
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.2)

    def open_list(self, browser: Any) -> float:
        return self._open(browser, f"/#/experiments/{self.experiment}/runs", f"digits-many-{JOBS - 1:04}")

    def open_run(self, browser: Any) -> float:
        return self._open(
            browser, f"/#/experiments/{self.experiment}/runs/{self.run}/model-metrics", "accuracy"
        )

    def _open(self, browser: Any, path: str, text: str) -> float:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        try:
            page = context.new_page()
            begun = time.perf_counter()
            page.goto(self.url + path, wait_until="commit")
            page.get_by_text(text).first.wait_for(timeout=60_000)
            page.evaluate(_PAINTED)
            return time.perf_counter() - begun
        finally:
            context.close()

    def close(self) -> None:
        import os
        import signal

        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)
        self._log.close()


if __name__ == "__main__":
    main()
