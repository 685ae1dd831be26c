"""The page in Chromium, over jobs that say what the test tells them."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.scripts.web.acting import IMAGE, PNG, ROLE, Stage, machine, progress

expect = pytest.importorskip("playwright.sync_api").expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
SECONDS = 60_000
WIDE, NARROW = 1280, 390
FINDING = (
    'debugger.finding {"rule": "LossNotDecreasing", "step": 20, "severity": "high", '
    '"message": "The loss rose.", "remedy": "Take a smaller lr."}'
)
METRICS = (
    "epoch={0} step={1} train_loss=0.9 train_accuracy=0.7 validation_loss=0.8 validation_accuracy=0.75 "
    "learning_rate=0.01"
)
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium or Chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The service with a data set, `byoc web` over it, a job that runs, one that ended, one that failed."""
    stage = Stage(tmp_path_factory.mktemp("it's a stage"))
    try:
        stage.up()
        stage.upload()
        stage.train("digits-runs")
        stage.say(
            "digits-runs",
            progress(10, 1.2),
            progress(20, 1.1),
            machine(80),
            machine(90),
            METRICS.format(1, 20),
        )
        stage.train("digits-done")
        stage.say(
            "digits-done", progress(10, 1.0), progress(20, 0.5), METRICS.format(1, 20), FINDING, "END 0"
        )
        stage.train("digits-failed")
        stage.say("digits-failed", "ValueError: out of luck", "END 1")
        waiter = stage.client().get_waiter("training_job_completed_or_stopped")
        waiter.wait(TrainingJobName="digits-done", WaiterConfig={"Delay": 1})
        stage.serve()
        yield stage
    finally:
        stage.close()


@pytest.fixture
def opened(browser: Browser, stage: Stage) -> Iterator[Open]:
    """Opens pages; none of them may write an error to the console, the policy's refusals included."""
    contexts: list[Any] = []
    errors: list[str] = []

    def page(path: str = "/", *, width: int = WIDE, scheme: str = "light", quiet: bool = True) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page: Page = context.new_page()
        page.set_default_timeout(SECONDS)
        if quiet:
            page.on(
                "console", lambda message: errors.append(message.text) if message.type == "error" else None
            )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(stage.address)
        assert "token" not in page.url
        if path != "/":
            page.goto(stage.own + path)
        return page

    yield page
    for context in contexts:
        context.close()
    assert not errors


def pill(page: Page, status: str) -> None:
    page.locator("main .line .pill", has_text=status).wait_for()


def drawn(page: Page, figure: str = "") -> None:
    page.locator(".chart", has_text=figure).locator("svg").first.wait_for()


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.fixture(scope="module")
def tuned(stage: Stage) -> str:
    """A tuning job that has ended, made of what the page sends."""
    import json
    import subprocess
    import sys

    command = [
        sys.executable,
        "-m",
        "scripts.cli",
        "tune",
        "--json",
        "--config",
        str(stage.folder / "byoc.toml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    return str(json.loads(done.stdout)["tuning_job"])


@pytest.fixture(scope="module")
def endpoint(stage: Stage) -> str:
    sagemaker = stage.client()
    sagemaker.create_model(ModelName="tried", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "A",
        "ModelName": "tried",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="tried", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="digits-tried", EndpointConfigName="tried")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="digits-tried", WaiterConfig={"Delay": 1})
    return "digits-tried"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_axe_finds_nothing_and_nothing_is_cut(
    stage: Stage, opened: Open, tuned: str, endpoint: str, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for path, ready in {
        "/": "tbody tr td:has-text('ml.m5')" if width == WIDE else "tbody tr",
        "/training/digits-runs": ".chart svg",
        "/training/digits-done": ".issue",
        "/training/digits-failed": ".failure:not([hidden])",
        f"/tuning/{tuned}": ".chart svg",
        f"/endpoint/{endpoint}": ".tile",
        "/data": ".groups img",
        "/new/train": "fieldset",
        "/new/tune": "fieldset",
        "/new/deploy": "fieldset",
    }.items():
        page = opened(path, width=width, scheme=scheme)
        page.locator(ready).first.wait_for()
        page.wait_for_load_state("load")
        if "/new/" in path:
            for details in page.locator("details").all():
                details.evaluate("element => element.open = true")
        found = axe.run(page, options={"iframes": False})
        problems = [
            (item["id"], node["html"][:200])
            for item in found.response["violations"]
            for node in item["nodes"]
        ]
        assert not problems, path
        assert fits(page), path


def test_a_job_that_ends_while_two_tabs_look(stage: Stage, opened: Open) -> None:
    stage.train("digits-ends")
    stage.say("digits-ends", progress(1, 2.0), progress(2, 1.5), machine(10), machine(20))
    first, second = opened("/training/digits-ends"), opened("/training/digits-ends")
    overview = opened("/")
    for page in (first, second):
        pill(page, "In Progress")
        drawn(page, "Loss")
        drawn(page, "Utilisation")
        page.get_by_text("step 2 of 100").wait_for()
    overview.locator("tr", has_text="digits-ends").get_by_text("In Progress").wait_for()
    stage.say("digits-ends", progress(3, 1.0), FINDING, METRICS.format(1, 3))
    for page in (first, second):
        page.locator(".issue", has_text="Take a smaller lr.").wait_for()
        page.get_by_text("step 3 of 100").wait_for()
        drawn(page, "Accuracy")
    assert "LossNotDecreasing: The loss rose." in first.locator("#said").inner_text()
    stage.say("digits-ends", "<img src=x onerror=alert(1)>", "the last words", "END 0")
    for page in (first, second):
        pill(page, "Completed")
        page.locator(".log", has_text="the last words").wait_for()
        assert "<img src=x" in page.locator(".log").inner_text()  # text, and no element
        page.locator("progress").wait_for(state="hidden")
        frame = page.frame_locator("iframe")
        page.locator("iframe").scroll_into_view_if_needed()
        frame.locator("h1", has_text="digits-ends").wait_for()
        assert "digits-ends is Completed" in page.locator("#said").inner_text()
    overview.locator("tr", has_text="digits-ends").get_by_text("Completed").wait_for()


def test_the_report_draws_its_charts_in_the_frame(stage: Stage, opened: Open) -> None:
    page = opened("/training/digits-done", quiet=False)  # it warns of what a sandbox forbids
    page.locator("iframe").scroll_into_view_if_needed()
    page.frame_locator("iframe").locator(".chart-place.drawn").first.wait_for()


def test_a_job_is_stopped_after_a_question(stage: Stage, opened: Open) -> None:
    stage.train("digits-stops")
    stage.say("digits-stops", progress(1, 2.0))
    page = opened("/training/digits-stops")
    pill(page, "In Progress")
    stop = page.get_by_role("button", name="Stop digits-stops")
    stop.focus()
    stage.say("digits-stops", progress(2, 1.9))
    page.get_by_text("step 2 of 100").wait_for()
    page.keyboard.press("Enter")  # what comes does not take the focus away
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    expect(stop).to_be_focused()
    assert (
        stage.client().describe_training_job(TrainingJobName="digits-stops")["TrainingJobStatus"]
        == "InProgress"
    )
    stop.click()
    page.get_by_role("button", name="Stop it").click()
    pill(page, "Stopped")


def test_a_training_is_started_from_the_form(stage: Stage, opened: Open) -> None:
    page = opened("/new/train", quiet=False)  # a refused request is an error of the console
    page.get_by_text("It costs nothing").wait_for()
    page.get_by_label("lr", exact=True).fill("0.002")
    page.get_by_label("arch", exact=True).select_option("resnet34")
    page.get_by_label("weights", exact=True).fill("nonsense of course/")
    page.get_by_label("instance_type", exact=True).fill("ml.nonsense")
    page.get_by_role("button", name="Start training").click()
    page.locator(".problem", has_text="nonsense").wait_for()
    page.get_by_label("instance_type", exact=True).fill("ml.m5.large")
    page.get_by_label("weights", exact=True).fill("none")
    page.get_by_label("Name", exact=True).fill("digits-formed")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/training/digits-formed")
    pill(page, "Completed")
    job = stage.client().describe_training_job(TrainingJobName="digits-formed")
    assert (job["HyperParameters"]["lr"], job["HyperParameters"]["arch"]) == ("0.002", "resnet34")
    assert job["ResourceConfig"]["InstanceType"] == "ml.m5.large"


def test_a_tuning_job_is_started_and_its_best_taken_over(stage: Stage, opened: Open) -> None:
    page = opened("/new/tune")
    page.get_by_label("lr", exact=True).fill("0.001:0.5:log")
    page.get_by_label("Name", exact=True).fill("digits-sought")
    page.get_by_role("button", name="Start tuning").click()
    page.wait_for_url("**/tuning/digits-sought")
    pill(page, "Completed")
    assert page.locator("table.trials tbody tr").count() == 3
    drawn(page, "All settings together")
    best = page.locator("tr.best td").nth(2).inner_text()
    page.get_by_role("button", name="Train with the best").click()
    page.get_by_text("of digits-sought").wait_for()
    assert f"{float(page.get_by_label('lr', exact=True).input_value()):.4g}" == f"{float(best):.4g}"
    assert page.locator(".row.changed").count() == 2


def test_pictures_are_tried_on_an_endpoint(stage: Stage, opened: Open, endpoint: str) -> None:
    page = opened(f"/endpoint/{endpoint}", quiet=False)
    pill(page, "In Service")
    file = {"name": "a.png", "mimeType": "image/png", "buffer": base64.b64decode(PNG)}
    page.locator("#files").set_input_files([file, {**file, "name": "b.png", "buffer": b"no picture"}])
    answer = page.locator(".answer", has_text="a.png")
    answer.get_by_text("87.5 %").first.wait_for()
    answer.get_by_alt_text("Where the network saw cat").wait_for()
    assert " ms" in answer.inner_text()
    page.locator(".answer", has_text="b.png").get_by_text("picture 0 is no picture").wait_for()
    page.get_by_role("button", name="Use the camera").click()
    page.locator("video").wait_for()
    expect(page.locator("video")).to_have_js_property("paused", False)
    taken = page.get_by_role("button", name="Take a picture")
    taken.click()
    page.locator(".answer", has_text="camera.jpg").wait_for()
    page.get_by_role("button", name="Switch it off").click()
    page.locator("video").wait_for(state="detached")


def test_a_model_is_deployed_updated_and_deleted(stage: Stage, opened: Open) -> None:
    stage.client().get_waiter("training_job_completed_or_stopped")
    page = opened("/new/deploy?job=digits-done&endpoint=digits-new")
    page.get_by_role("button", name="Create the endpoint").click()
    page.wait_for_url("**/endpoint/digits-new")
    pill(page, "In Service")
    page.get_by_text("Creating the endpoint digits-new: done.").wait_for()
    page.get_by_role("link", name="digits-done").wait_for()
    page.get_by_role("link", name="Update the model").click()
    page.get_by_label("Model of").select_option("digits-done")
    page.get_by_role("button", name="Update the endpoint").click()
    page.get_by_text("Updating the endpoint digits-new: done.").wait_for()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    pill(page, "Deleted")
    page.get_by_text("Deleting the endpoint digits-new: done.").wait_for()
    assert [item["EndpointName"] for item in stage.client().list_endpoints()["Endpoints"]] in (
        [],
        ["digits-tried"],
    )


def test_the_data_set_with_what_is_wrong_in_it(stage: Stage, opened: Open) -> None:
    page = opened("/data")
    page.locator(".thumbs img").first.wait_for()
    assert page.locator("table.classes tbody tr").count() == 2
    group = page.locator(".groups > li", has_text="Two labels")
    assert "train/cat/2.png" in group.inner_text()
    assert "train/dog/2.png" in group.inner_text()
    page.get_by_text("makes no mistake, or left no report").wait_for()


def test_an_address_that_is_no_utf_8_is_answered_in_words(stage: Stage, opened: Open) -> None:
    page = opened("/training/%E0")
    page.get_by_text(re.compile("%E0|no training job|not found", re.IGNORECASE)).first.wait_for()


def test_keys_alone_lead_everywhere(stage: Stage, opened: Open) -> None:
    page = opened("/")
    page.locator("tr", has_text="digits-done").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.evaluate("document.querySelector('h1').dataset.kept = 'yes'")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    page.keyboard.type("digits-done")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.locator("h1").get_attribute("data-kept") == "yes", "the page was drawn anew"
    page.locator("tbody a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/training/digits-done")
    pill(page, "Completed")
    page.go_back()
    page.locator("tr", has_text="digits-runs").wait_for()


def test_the_service_is_restarted_under_the_page(stage: Stage, opened: Open) -> None:
    page, job = opened("/", quiet=False), opened("/training/digits-done", quiet=False)
    page.locator("tr", has_text="digits-done").wait_for()
    pill(job, "Completed")
    stage.train("digits-outlives")
    stage.say("digits-outlives", progress(1, 2.0), progress(2, 1.9))
    watched = opened("/training/digits-outlives", quiet=False)
    drawn(watched, "Loss")
    stage.down()
    for each in (page, watched):
        each.locator("#trouble", has_text="local").wait_for()
        assert each.locator("#trouble").get_attribute("role") == "alert"
    page.locator("tr", has_text="digits-done").wait_for()  # what was there stays
    stage.up()
    for each in (page, watched):
        each.locator("#trouble").wait_for(state="hidden")
    page.locator("tr", has_text="digits-outlives").wait_for()


def test_byoc_web_is_restarted_under_the_page(stage: Stage, opened: Open) -> None:
    page = opened("/", quiet=False)
    page.locator("tr", has_text="digits-done").wait_for()
    said = stage.unserve()
    assert "Traceback" not in said
    page.locator("#trouble", has_text="byoc web does not answer").wait_for()
    stage.serve()
    page.locator("#trouble", has_text="The token is missing or is that of another start").wait_for()
    page.goto(stage.address)
    page.locator("tr", has_text="digits-done").wait_for()


def test_a_thousand_jobs(stage: Stage, opened: Open) -> None:
    stage.train("digits-first")
    stage.say("digits-first", "END 0")
    waiter = stage.client().get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="digits-first", WaiterConfig={"Delay": 1})
    stage.unserve()
    stage.down()
    stage.fill(1000)
    stage.up()
    stage.serve()
    page = opened("/")
    page.locator("tr", has_text="digits-many-0999").wait_for()
    page.get_by_label("State").select_option("Completed")
    expect(page.locator(".count")).to_contain_text("1,00")
    assert page.locator("tbody tr").count() < 400
    while page.locator("tbody tr").count() < 1000:
        page.mouse.wheel(0, 5_000)
    page.get_by_label("Filter by name").fill("many-0500")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tr", has_text="digits-many-0500").get_by_text("ml.m5.large").wait_for()
