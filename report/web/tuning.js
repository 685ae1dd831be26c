// One tuning job: trials, charts over the hyperparameters, the best.
import { ago, button, dollars, duration, fill, h, hourly, pill, refill, say, tile } from "./dom.js";
import { Charts } from "./charts.js";
import { stopButton } from "./jobs.js";
import { watch } from "./live.js";

export function open(main, name, go) {
  document.title = `${name} – byoc`;
  let job = null, received = 0, best = "", status = "";
  const state = h("span"), said = h("p", { class: "say" }), buttons = h("p", { class: "actions" }), tiles = h("dl", { class: "tiles" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Trials that have ended" }), far = h("p", { class: "far" });
  const how = h("div", { class: "progress", hidden: true }, bar, far);
  const failure = h("section", { class: "card failure", hidden: true });
  const charts = new Charts(), trials = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the trials" });
  const nothing = h("p", { class: "note" }, "No trial has an objective yet.");
  let drawn = "";

  fill(main,
    h("div", { class: "head" }, h("div", {}, h("p", { class: "over" }, "Tuning job"), h("h1", {}, name), h("p", { class: "line" }, state), said), buttons),
    how, tiles, failure,
    h("section", { "aria-labelledby": "charts" }, h("h2", { id: "charts" }, "What the trials show"), nothing, charts.element),
    h("section", { "aria-labelledby": "trials" }, h("h2", { id: "trials" }, "Trials"), trials));

  function head() {
    refill(state, job.status, () => pill(job.status));
    fill(said, job.best ? [`The best ${job.runs ? "so far " : ""}is trial ${job.best.number} with ${job.metric} ${job.best.objective}: ${words(job.best.values)}.`] : null);
    refill(buttons, [job.status, job.best?.name], () => [
      job.best ? button("Train with the best", () => train(job.best), "main") : null,
      job.runs && job.status !== "Stopping" ? stopButton(name, "plain") : null,
      h("a", { class: "button", href: `/report/tuning/${encodeURIComponent(name)}`, target: "_blank", rel: "noopener" }, "Report", h("span", { class: "unseen" }, " in a tab of its own"))]);
    how.hidden = !job.runs;
    bar.value = job.total ? job.done / job.total : 0;
    fill(far, `${job.done} of ${job.total} trials, ${job.running} running, ${job.parallel} at a time, ${job.strategy}`);
    failure.hidden = !job.reason;
    if (job.reason) fill(failure, h("h2", {}, "Why it failed"), h("pre", { tabindex: "0" }, job.reason));
    if (job.best && best && job.best.name !== best) say(`Trial ${job.best.number} is the best now: ${job.best.objective}`);
    if (status && status !== job.status) say(`${name} is ${job.status}`);
    best = job.best?.name ?? "";
    status = job.status;
    clock();
    const text = JSON.stringify([job.trials, job.best, job.names]);
    if (text !== drawn && !trials.contains(document.activeElement)) { drawn = text; table(); }
  }

  function clock() {
    if (!job) return;
    const seconds = job.seconds + (job.runs ? (job.running * (Date.now() - received)) / 1000 : 0);
    fill(tiles, tile(`Best ${job.metric}`, job.best?.objective || "–", job.maximise ? "larger is better" : "smaller is better"),
      tile("Trials", `${job.done} of ${job.total}`, job.strategy),
      tile("Training in all", duration(seconds), `created ${ago(job.created)}`),
      tile(job.runs ? "Cost so far" : "Cost", job.hourly === null ? "–" : dollars((seconds / 3600) * job.hourly * job.count), job.hourly === 0 ? "on this machine" : hourly(job.hourly === null ? null : job.hourly * job.count) + " each"),
      tile("Machine", job.machine || "–", job.count > 1 ? `${job.count} each` : ""));
  }

  const words = (values) => Object.entries(values).map(([key, value]) => `${key} ${short(value)}`).join(", ");
  const short = (text) => (isNaN(text) || text === "" ? text : String(Number(Number(text).toPrecision(4))));

  function table() {
    fill(trials, h("table", { class: "jobs trials" },
      h("caption", { class: "unseen" }, "Trials, the best first"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "n" }, "#"), h("th", { scope: "col", class: "n" }, job.metric.replace("validation:", "")), job.names.map((key) => h("th", { scope: "col", class: "n" }, key)),
        h("th", { scope: "col", class: "n wide" }, "Took"), h("th", { scope: "col" }, "Status"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "Action")))),
      h("tbody", {}, job.trials.map((trial) => h("tr", { class: trial.name === job.best?.name ? "best" : "" },
        h("th", { scope: "row", class: "n" }, h("a", { href: `/training/${encodeURIComponent(trial.name)}`, "aria-label": `Trial ${trial.number}` }, trial.number)),
        h("td", { class: "n" }, trial.objective || "–"), job.names.map((key) => h("td", { class: "n" }, short(trial.values[key] ?? "–"))),
        h("td", { class: "n wide" }, duration(trial.seconds)), h("td", {}, pill(trial.status), trial.epoch && h("small", { class: "quiet" }, ` ${trial.epoch}`), trial.reason && h("small", { class: "problem" }, trial.reason)),
        h("td", { class: "act" }, trial.objective ? useButton(trial) : null))))),
      job.truncated ? h("p", { class: "small quiet" }, "There are more trials; the report lists them.") : null);
  }

  function useButton(trial) {
    const control = button("Train", () => train(trial), "small");
    control.querySelector("button").setAttribute("aria-label", `Train with the values of trial ${trial.number}`);
    return control;
  }

  async function train(trial) {
    const query = new URLSearchParams(Object.entries(trial.values).map(([key, value]) => [`hyperparameters.${key}`, value]));
    query.set("from", `trial ${trial.number} of ${name}`);
    await go(`/new/train?${query}`);
  }

  const timer = setInterval(() => job?.runs && clock(), 1000);
  const end = watch(`/live/tuning/${encodeURIComponent(name)}`, (documents, changed) => {
    if (changed.has("tuning")) { job = documents.get("tuning"); received = Date.now(); head(); }
    const ids = documents.get("figures") ?? [];
    charts.update(ids, documents, changed);
    nothing.hidden = ids.length > 0;
  });
  return () => { end(); clearInterval(timer); charts.close(); };
}
