"""The pages as files: whole, self-contained, safe to open, honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import pytest

from contract.findings import Outcome, RuleResult
from report.charts.curves import loss_sentence, rate_figure
from report.pages.compare import compare_page
from report.pages.job import job_page, read_job
from report.pages.tuning import tuning_page
from report.read.inputs import ReportInputs
from report.read.metrics import Log, Metric
from report.read.series import Curve
from tests.report import samples

LIMIT = 3_000_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {
        "healthy": job_page(samples.healthy()),
        "diverging": job_page(samples.diverging()),
        "nan": job_page(samples.diverging("nan", nan=True)),
        "resnet50": job_page(samples.healthy("deep", samples.RESNET50)),
        "bare": job_page(samples.bare()),
        "stopped": job_page(samples.stopped()),
        "spread": job_page(samples.spread()),
        "running": job_page(samples.running()),
        "tuning": tuning_page(samples.tuning()),
        "compare": compare_page([samples.diverging(), samples.healthy()]),
    }


def found_in(value: Any, key: str) -> Iterator[Any]:
    """What stands under a key, however deep."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and key in value:
        yield value[key]
    for child in children:
        yield from found_in(child, key)


def scripts_of(page: str) -> list[tuple[str, str]]:
    return re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)


def charts(page: str) -> list[dict[str, Any]]:
    data = next(content for attributes, content in scripts_of(page) if "application/json" in attributes)
    figures: list[dict[str, Any]] = json.loads(data)["figures"]
    return figures


def text(page: str) -> str:
    """What a reader sees without any script."""
    body = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


NAMES = (
    "healthy", "diverging", "nan", "resnet50", "bare", "stopped", "spread", "running", "tuning", "compare",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_small_and_refers_to_nothing_outside(pages: dict[str, str], name: str) -> None:
    page = pages[name]
    assert len(page.encode()) < LIMIT
    without = page
    for _, content in scripts_of(page):
        without = without.replace(content, "")
    assert not re.search(r"(src|href|action)\s*=\s*[\"']?(https?:)?//", without)
    assert "@import" not in without
    assert not re.search(r"url\((?!data:)", without)


@pytest.mark.parametrize("name", NAMES)
def test_the_policy_allows_the_pages_own_two_scripts_and_nothing_else(
    pages: dict[str, str], name: str
) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', pages[name])
    assert policy is not None
    rule = policy[1].replace("&#39;", "'")
    assert rule.startswith("default-src 'none'; script-src ")
    assert "unsafe-eval" not in rule
    assert "script-src 'unsafe-inline'" not in rule
    for attributes, content in scripts_of(pages[name]):
        if "application/json" not in attributes:
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in rule


@pytest.mark.parametrize("name", NAMES)
def test_every_chart_is_valid_and_has_a_place(pages: dict[str, str], name: str) -> None:
    for item in charts(pages[name]):
        alt.Chart.from_dict({**item["spec"], "data": {"name": "x"}}, validate=True)
        assert f'id="chart-{item["id"]}"' in pages[name]
        for table in item["tables"].values():
            assert len({len(column) for column in table.values()}) == 1


def test_the_verdicts_come_first_with_cause_and_remedy(pages: dict[str, str]) -> None:
    seen = text(pages["diverging"])
    assert seen.index("1 of 10 rules found something to change: LossNotDecreasing") < seen.index("Learning")
    assert "What to change Lower lr" in seen
    assert "The smallest mean absolute gradient was 3.1e-05" in seen  # evidence of a rule that passed
    figures = {item["id"] for item in charts(pages["diverging"])}
    assert figures >= {"loss", "accuracy", "rate", "steps", "histogram", "utilisation", "cores", "traffic"}
    assert figures >= {"confusion", "classes", "gradients"}


def test_findings_are_marked_at_their_steps_in_the_curves(pages: dict[str, str]) -> None:
    loss = next(item for item in charts(pages["diverging"]) if item["id"] == "loss")
    assert loss["tables"]["finding_0"]["step"] == [20]
    # A slow step is no finding about the loss.
    healthy = next(item for item in charts(pages["healthy"]) if item["id"] == "loss")
    assert not [name for name in healthy["tables"] if name.startswith("finding")]


def test_a_rule_made_of_rules_shows_their_evidence_once(pages: dict[str, str]) -> None:
    seen = text(pages["healthy"])
    assert "61 samples; CPU median 87 % and p95 96 %." in seen
    assert seen.count("Step 97 took 139 ms") == 1


def test_operators_and_the_machine_are_tabled(pages: dict[str, str]) -> None:
    seen = text(pages["healthy"])
    assert "aten::mkldnn_convolution 60 61.2 ms" in seen
    assert "Written to disk" in seen
    assert "The machine has no GPU" in seen


def test_pictures_that_are_there_twice_are_told(pages: dict[str, str]) -> None:
    seen = text(pages["healthy"])
    assert "The same picture twice in validation: 1,200" in seen
    assert "2/copy of digit_0007.png 2/digit_0007.png" in seen
    assert "and 1,199 more" in seen
    assert "1 picture of validation was trained on" in seen
    assert "2/again.png 2/digit_0009.png" in seen


def test_a_bare_job_is_a_page_of_reasons(pages: dict[str, str]) -> None:
    seen = text(pages["bare"])
    assert "No verdicts: the archive does not exist." in seen
    assert "No gradients, weights or activations: see Learning." in seen
    assert "No machine utilisation was recorded: see Learning." in seen
    assert len(pages["bare"]) < 100_000  # no chart, no library


def test_a_job_that_ended_before_its_first_step_is_not_told_to_save_more() -> None:
    inputs = samples.bare()
    inputs.missing.clear()
    page = text(job_page(inputs))
    assert "no step was recorded, the job ended before its first one" in page
    assert "leaves out the collections" not in page


def test_one_point_is_no_course() -> None:
    one = Curve(np.array([0.0]), np.array([1.7]))
    assert loss_sentence(one) == "Training loss was 1.7 at the only point there is: no course to see."
    rate = Log(metrics={"learning_rate": Metric(value=[0.01], step=[8], epoch=[1.0])})
    figure = rate_figure(rate)
    assert figure is not None
    assert figure.caption == "0.01 at the only point there is."


def test_dashes_mean_validation_in_each_chart_of_a_comparison(pages: dict[str, str]) -> None:
    scales = [json.dumps(dashes) for dashes in found_in(charts(pages["compare"]), "strokeDash")]
    assert len(scales) > 2
    assert all('"domain": ["Training", "Validation"]' in scale for scale in scales if "Validation" in scale)


def test_a_hook_that_switched_itself_off_is_told_at_the_top() -> None:
    inputs = samples.healthy()
    inputs.problems = ["The hook switched itself off at step 30: OSError: disk full"]
    seen = text(job_page(inputs))
    assert "The debugger had a problem. The hook switched itself off at step 30" in seen
    assert seen.index("switched itself off") < seen.index("Training loss fell")


def test_what_a_job_says_cannot_become_script() -> None:
    inputs = samples.diverging()
    inputs.describe["FailureReason"] = HOSTILE
    inputs.describe["HyperParameters"]["lr"] = HOSTILE
    inputs.report["classes"][0] = HOSTILE
    assert inputs.findings is not None
    first, *others = inputs.findings.rules
    finding = replace(first.findings[0], message=HOSTILE)
    first = replace(first, rule=HOSTILE, name=HOSTILE, findings=(finding,), parameters={HOSTILE: HOSTILE})
    inputs.findings = replace(inputs.findings, rules=(first, *others), stopped_by=HOSTILE)
    inputs.log.tail = [HOSTILE]
    inputs.series["operators"]["rows"][0]["name"] = HOSTILE
    inputs.series["cores"]["units"][HOSTILE] = inputs.series["cores"]["units"].pop("cpu0")
    page = job_page(inputs)
    assert "<img src=x" not in page
    assert len(scripts_of(page)) == 3
    assert "alert(1)" not in "".join(
        content for attributes, content in scripts_of(page) if "application/json" not in attributes
    )


@pytest.mark.parametrize("part", ["series", "report"])
@pytest.mark.parametrize("garbage", [{}, {"x": 1}, {"0": {"step": [1], "loss": "x"}}, None])
def test_parts_of_any_shape_are_survived(part: str, garbage: object) -> None:
    inputs = samples.healthy()
    raw = getattr(inputs, part)
    setattr(inputs, part, dict.fromkeys(raw, garbage))
    assert "</html>" in job_page(inputs)


@pytest.mark.parametrize("size", [1e300, -1e300, 10**400])
def test_numbers_of_any_size_are_survived(size: float) -> None:
    inputs = samples.healthy()
    curve = {"step": [0, 1, 2], "value": [size, -size, 1]}
    inputs.series |= {
        "losses": {"loss": {"TRAIN": curve}},
        "system": {"time": [size, 1, 2, -size], "cpu_percent": [1, 2, 3, size]},
        "step_time": {"step": [0, 1, 2], "total_ms": [size] * 3},
        "interruptions": [size, 1.7e9, *[1.8e9] * 100_000],
    }
    page = job_page(inputs)
    assert "went on from its last checkpoint at 2023-11-14" in text(page)
    assert len(page) < 2_000_000


def test_what_the_trainer_chose_is_told(pages: dict[str, str]) -> None:
    assert "Chosen by the trainer: the head learns first." in pages["healthy"]
    assert "Chosen by the trainer" not in pages["bare"]


def test_secrets_are_hidden(pages: dict[str, str]) -> None:
    assert "WANDB_API_KEY" in pages["healthy"]
    assert "hidden: looks like a secret" in pages["healthy"]


def test_the_cost_is_told_where_the_price_is_known() -> None:
    inputs: ReportInputs = samples.healthy()
    inputs.describe["BillableTimeInSeconds"] = 1800
    assert read_job(inputs).cost is None
    inputs.price = 0.5
    assert read_job(inputs).cost == pytest.approx(0.25)
    assert "$0.250" in job_page(inputs)


def test_two_jobs_differ_where_they_differ(pages: dict[str, str]) -> None:
    page = pages["compare"]
    assert re.search(r'<tr class="differs"><td[^>]*>lr', page)
    assert not re.search(r'<tr class="differs"><td[^>]*>arch', page)
    assert "LossNotDecreasing" in text(page)


def test_a_tuning_job_shows_each_setting_in_order(pages: dict[str, str]) -> None:
    figures = {item["id"]: item for item in charts(pages["tuning"])}
    assert set(figures) == {"progress", "setting-0", "setting-1", "parallel", "timeline"}
    assert figures["setting-1"]["spec"]["layer"][0]["encoding"]["x"]["sort"] == ["16", "32", "64", "128"]
    assert "the loss is not finite at step 12" in text(pages["tuning"])  # why a trial failed


def test_the_headline_is_of_the_kept_weights_and_the_last_epoch_comes_second(pages: dict[str, str]) -> None:
    seen = text(pages["healthy"])
    assert "Validation accuracy 98.0 % kept weights, of epoch 13; the last epoch had 97.5 %" in seen
    assert "Test accuracy 97.8 % on 180 pictures, kept weights" in seen
    assert "Validation accuracy 10.3 % of the last epoch" in text(pages["diverging"])
    compared = text(pages["compare"])
    assert "Validation accuracy 10.3 % 98.0 %" in compared
    assert "– epoch 13, which were kept" in compared


def test_rules_that_could_not_judge_are_counted_and_say_why() -> None:
    inputs = samples.healthy()
    assert inputs.findings is not None

    def short(result: RuleResult) -> RuleResult:
        if result.rule != "WeightUpdateRatio":
            return result
        return replace(result, outcome=Outcome.COULD_NOT_JUDGE, summary="Saved once: train longer.")

    inputs.findings = replace(inputs.findings, rules=tuple(map(short, inputs.findings.rules)))
    page = text(job_page(inputs))
    assert "2 could not judge: PoorWeightInitialization and WeightUpdateRatio" in page
    assert "found issues, 2 could not judge, 2 do not apply without a GPU" in page
    assert (
        "WeightUpdateRatio Could not judge Do the weights move at a sensible pace? Saved once: train longer."
        in page
    )
    assert "Could not judge Saved once" in text(compare_page([inputs, samples.diverging()]))


def test_a_confusion_matrix_that_was_left_out_is_told() -> None:
    inputs = samples.healthy()
    inputs.report |= {
        "confusion_matrix": [],
        "confusion_matrix_omitted": "left out above 2,000 classes, and there are 2,345",
    }
    assert "No confusion matrix: left out above 2,000 classes, and there are 2,345." in text(job_page(inputs))


def test_what_lower_precisions_were_found_to_do_is_in_a_table() -> None:
    inputs = samples.healthy()
    assert "In lower precision" not in text(job_page(inputs))
    measured = {"accepted": True, "reason": "it agrees", "pictures": 1234, "agreement": 0.9957}
    inputs.report |= {
        "precisions": {
            "bf16": {**measured, "agreement_clear": 1.0, "accuracy": 0.9312, "accuracy_fp32": 0.9308},
            "int8": {"accepted": False, "reason": "120 pictures to judge it by", "pictures": 120},
            "odd": 7,
        }
    }
    seen = text(job_page(inputs))
    assert "bf16 accepted 1,234 99.57 % 100.00 % 93.1 % 93.1 % it agrees" in seen
    assert "int8 not accepted 120 – – – – 120 pictures to judge it by" in seen


def test_a_rule_that_stopped_the_job_is_named_first_and_in_its_phases(pages: dict[str, str]) -> None:
    seen = text(pages["stopped"])
    said = "LossNotDecreasing stopped the training after step 120."
    assert seen.index(said) < seen.index("Verdicts Learning")
    assert f"Stopped by a rule {said}" in seen
    assert seen.index("Training image download completed") < seen.index("Stopped by a rule")
    assert "It found 14 more of the kind, which are only counted." in seen
    assert said not in text(pages["diverging"])
    assert f"Completed. {said}" in text(compare_page([samples.stopped(), samples.healthy()]))


def test_an_interruption_is_said_and_marked(pages: dict[str, str]) -> None:
    seen = text(pages["spread"])
    assert seen.count("The training was interrupted once; it went on from its last checkpoint at 2025-") == 2
    machine = next(item for item in charts(pages["spread"]) if item["id"] == "utilisation")
    (place,) = machine["tables"]["interruptions"]["time"]
    assert 0 < place < max(machine["tables"]["system"]["time"])
    assert "interrupted" not in text(pages["healthy"])


def test_each_rank_has_a_line_of_its_own(pages: dict[str, str]) -> None:
    figures = {item["id"]: item for item in charts(pages["spread"])}
    for name in ("rank-losses", "rank-gradients"):
        assert set(figures[name]["tables"]["ranks"]["rank"]) == {0, 1, 2, 3}
    assert "4 ranks; their medians lie between" in text(pages["spread"])
    assert not any(item["id"].startswith("rank") for item in charts(pages["healthy"]))


@pytest.mark.parametrize("ranks", [1, 2, 100])
def test_ranks_are_drawn_from_two_on_and_however_many(ranks: int) -> None:
    inputs = samples.spread(ranks=ranks)
    inputs.series["ranks"]["0"]["loss"][300:] = [None] * 150
    page = job_page(inputs)
    assert len(page.encode()) < LIMIT
    drawn = [item for item in charts(page) if item["id"] == "rank-losses"]
    assert len(drawn) == (ranks > 1)
    for item in drawn:
        alt.Chart.from_dict({**item["spec"], "data": {"name": "x"}}, validate=True)
        assert item["tables"]["broken"]["what"][0] == "rank 0 is NaN or infinite"


def test_a_running_job_is_drawn_from_its_log(pages: dict[str, str]) -> None:
    seen = text(pages["running"])
    assert "LossNotDecreasing found something to change; the other rules have given no verdict." in seen
    assert "What to change Lower lr" in seen
    assert "Why it happens" not in seen
    assert "Training loss 3.54 so far" in seen
    assert "The losses are those of the log." in seen
    loss = next(item for item in charts(pages["running"]) if item["id"] == "loss")
    assert len(loss["tables"]["loss_raw"]["step"]) == 25
    assert loss["tables"]["finding_0"]["step"] == [20]


def test_each_trial_says_which_rules_found_issues(pages: dict[str, str]) -> None:
    seen = text(pages["tuning"])
    assert "12 Completed, 1 Failed, 1 Stopped; 1 stopped by a rule" in seen
    assert "LossNotDecreasing stopped the training after step 120. Issues found: LossNotDecreasing." in seen
    assert "Completed Issues found: Overfit." in seen
    assert "the loss is not finite at step 12 –" in seen


def test_a_tuning_job_whose_trials_logs_were_not_read_says_so() -> None:
    job = samples.tuning(51)
    job = replace(job, trials=tuple(replace(trial, findings=None) for trial in job.trials))
    seen = text(tuning_page(job))
    assert "is left out" in seen
    assert "Status Rules" not in seen
