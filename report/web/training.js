// One training job: progress, findings, curves, machine, log, and the report.
import { ago, dollars, duration, fill, h, hourly, pill, refill, say, tile } from "./dom.js";
import { Charts } from "./charts.js";
import { Log } from "./log.js";
import { stopButton } from "./jobs.js";
import { watch } from "./live.js";

export function open(main, name) {
  document.title = `${name} – byoc`;
  let job = null, received = 0, status = "", known = new Set(), framed = false;
  const over = h("p", { class: "over" }, "Training job");
  const state = h("span"), said = h("p", { class: "say" }), buttons = h("p", { class: "actions" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress of the training" }), far = h("p", { class: "far" });
  const how = h("div", { class: "progress", hidden: true }, bar, far);
  const tiles = h("dl", { class: "tiles" });
  const failure = h("section", { class: "card failure", hidden: true });
  const rules = h("div", { class: "rules" }), charts = new Charts(), log = new Log(`/log/training/${encodeURIComponent(name)}`);
  const nothing = h("p", { class: "note" }, "No curves yet: the training has not begun.");
  const facts = h("div");
  const report = h("section", { hidden: true });

  const curves = h("section", { "aria-labelledby": "curves" }, h("h2", { id: "curves" }, "Curves"), nothing, charts.element);
  const found = h("section", { "aria-labelledby": "rules" }, h("h2", { id: "rules" }, "What the rules found"), rules);

  fill(main,
    h("div", { class: "head" }, h("div", {}, over, h("h1", {}, name), h("p", { class: "line" }, state), said), buttons),
    how, tiles, failure,
    curves, found,
    h("section", { "aria-labelledby": "log" }, h("h2", { id: "log" }, "Log"), log.element),
    h("section", { "aria-labelledby": "facts" }, h("h2", { id: "facts" }, "Settings"), facts),
    report);

  function head() {
    refill(state, [job.status, job.secondary, job.message, job.runs], () => [pill(job.status), job.runs && job.secondary && job.secondary !== job.status ? h("span", { class: "quiet" }, ` ${job.secondary}: ${job.message}`) : null]);
    fill(said, job.headline);
    refill(buttons, [job.status, job.model], () => [
      job.runs ? (job.status === "Stopping" ? null : stopButton(name, "plain")) : null,
      job.model && !job.runs ? h("a", { class: "button main", href: `/new/deploy?job=${encodeURIComponent(name)}` }, "Deploy") : null,
      h("a", { class: "button", href: `/report/training/${encodeURIComponent(name)}`, target: "_blank", rel: "noopener" }, "Report", h("span", { class: "unseen" }, " in a tab of its own"))]);
    how.hidden = !job.progress;
    if (job.progress) { bar.value = job.progress.share; fill(far, job.progress.text); }
    failure.hidden = !job.reason;
    refill(failure, job.reason, () => [h("h2", {}, "Why it failed"), h("pre", { tabindex: "0" }, job.reason)]);
    clock();
    drawRules();
    refill(facts, [job.settings, job.tuning, job.phases], () => [h("table", { class: "facts" }, h("caption", { class: "unseen" }, "Hyperparameters"), h("tbody", {}, Object.entries(job.settings).map(([key, value]) =>
      h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value))))),
      h("table", { class: "facts" }, h("caption", { class: "unseen" }, "Phases of the job"), h("tbody", {},
        job.tuning ? h("tr", {}, h("th", { scope: "row" }, "Trial of"), h("td", {}, h("a", { href: `/tuning/${encodeURIComponent(job.tuning)}` }, job.tuning))) : null,
        job.phases.map((phase) => h("tr", {}, h("th", { scope: "row" }, phase.name), h("td", {}, phase.seconds === null ? "" : duration(phase.seconds), " ", h("span", { class: "quiet" }, phase.text))))))]);
    if (!job.runs && !framed) frame();
    if (status && job.status !== status) say(`${name} is ${job.status}`);
    status = job.status;
  }

  function clock() {
    if (!job) return;
    const passed = job.runs && job.seconds !== null ? (Date.now() - received) / 1000 : 0;
    const seconds = job.seconds === null ? null : job.seconds + passed;
    const cost = job.hourly === null || seconds === null ? null : (seconds / 3600) * job.hourly * job.count;
    fill(tiles, job.tiles.map((item) => tile(item.label, item.value)),
      tile(job.runs ? "Trains for" : "Trained", duration(seconds), `created ${ago(job.created)}`),
      tile(job.runs ? "Cost so far" : "Cost", job.hourly === 0 ? "free" : (job.spot && job.runs ? "≤ " : "") + dollars(cost), job.hourly === 0 ? "on this machine" : hourly(job.hourly === null ? null : job.hourly * job.count)),
      tile("Machine", job.machine || "–", job.count > 1 ? `${job.count} of them` : job.spot ? "spot capacity" : ""));
  }

  function drawRules() {
    const bad = job.verdicts.filter((item) => item.bad), rest = job.verdicts.filter((item) => !item.bad);
    for (const item of bad) {
      if (!known.has(item.rule) && job.runs) say(`${item.rule}: ${item.advice[0]?.messages[0] ?? item.summary}`);
      known.add(item.rule);
    }
    // What is wrong comes first.
    if (bad.length && found.previousElementSibling === curves) main.insertBefore(found, curves);
    refill(rules, [job.verdicts, job.runs], () => [job.verdicts.length ? null : h("p", { class: "note" }, job.runs ? "Nothing so far. A finding is here a second after it is made." : "The log says nothing of rules."),
      bad.map((item) => h("article", { class: "issue" }, h("h3", {}, item.rule, " ", h("span", { class: "quiet" }, item.question)), item.summary && h("p", {}, item.summary),
        item.advice.map((advice) => h("div", { class: "advice" }, h("p", { class: "where" }, h("span", { class: `severity ${advice.severity}` }, advice.severity), " ", advice.span),
          h("ul", {}, advice.messages.map((text) => h("li", {}, text))), advice.cause && h("p", { class: "quiet" }, advice.cause), advice.remedy && h("p", {}, h("strong", {}, "To do: "), advice.remedy))))),
      rest.length ? h("ul", { class: "passed" }, rest.map((item) => h("li", {}, h("span", { class: `mark ${item.outcome}`, "aria-hidden": "true" }, item.outcome === "NoIssuesFound" ? "✓" : "–"),
        h("span", { class: "rule" }, item.rule, h("small", {}, item.label)), h("span", { class: "quiet" }, item.summary)))) : null]);
  }

  function frame() {
    framed = true;
    report.hidden = false;
    const place = h("iframe", { title: `Report on ${name}`, sandbox: "allow-scripts", loading: "lazy", src: `/report/training/${encodeURIComponent(name)}` });
    fill(report, h("h2", {}, "Report"), place);
  }

  const timer = setInterval(() => job?.runs && clock(), 1000);
  const end = watch(`/live/training/${encodeURIComponent(name)}`, (documents, changed, lines, fresh) => {
    if (changed.has("job")) { job = documents.get("job"); received = Date.now(); if (job) head(); }
    const ids = documents.get("figures") ?? [];
    charts.update(ids, documents, changed);
    nothing.hidden = ids.length > 0;
    if (job && !job.runs) nothing.textContent = "No curves: the log has no metrics.";
    log.add(lines, fresh);
  });
  return () => { end(); clearInterval(timer); charts.close(); };
}
