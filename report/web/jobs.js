// All jobs and endpoints, live.
import { ago, ask, button, confirm, dollars, duration, fill, h, hourly, percent, pill, post, say, tile, time } from "./dom.js";
import { watch } from "./live.js";

const FIRST = 60, MORE = 200, BATCH = 40;
const DETAILS_AGAIN = 8000;

export function open(main) {
  document.title = "Jobs – byoc";
  let documents = new Map(), shown = FIRST, before = null;
  const rows = new Map(), details = new Map(), asked = new Map(), waiting = new Set();
  const filter = { text: "", kind: "", state: "", mine: true, trials: false };

  const summary = h("dl", { class: "tiles", "aria-label": "What runs now" });
  const count = h("p", { class: "count", "aria-live": "polite" });
  const body = h("tbody", { role: "rowgroup" });
  const more = h("button", { type: "button", class: "plain", onclick: () => { shown += MORE; draw(); } }, "Show more");
  const empty = h("div", { class: "empty" });
  const search = h("input", { type: "search", placeholder: "Filter by name", "aria-label": "Filter by name", oninput: (event) => { filter.text = event.target.value; again(); } });
  const choice = (label, key, options) => h("select", { "aria-label": label, onchange: (event) => { filter[key] = event.target.value; again(); } },
    options.map(([value, text]) => h("option", { value }, text)));
  const trials = h("input", { type: "checkbox", onchange: (event) => { filter.trials = event.target.checked; again(); } });
  const mine = h("input", { type: "checkbox", checked: true, onchange: (event) => { filter.mine = event.target.checked; again(); } });

  fill(main,
    h("div", { class: "head" }, h("h1", {}, "Jobs and endpoints"),
      h("p", { class: "actions" }, h("a", { class: "button main", href: "/new/train" }, "Train"), h("a", { class: "button", href: "/new/tune" }, "Tune"))),
    summary,
    h("div", { class: "filters", role: "search" }, search,
      choice("Kind", "kind", [["", "All kinds"], ["training", "Training jobs"], ["tuning", "Tuning jobs"], ["transform", "Transform jobs"], ["endpoint", "Endpoints"]]),
      choice("State", "state", [["", "Any state"], ["runs", "Running"], ["Completed", "Completed"], ["Failed", "Failed"], ["Stopped", "Stopped"]]),
      h("label", { class: "check" }, mine, " this project only"), h("label", { class: "check" }, trials, " with trials"), count),
    h("table", { class: "jobs list", role: "table" },
      h("caption", { class: "unseen" }, "Jobs and endpoints, newest first"),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ["Name", "Status", "Accuracy", "Created", "Took", "Machine", "Cost"].map((text, index) =>
        h("th", { scope: "col", role: "columnheader", class: ["name", "", "n", "wide", "n wide", "wide", "n"][index] }, text)), h("th", { scope: "col", role: "columnheader" }, h("span", { class: "unseen" }, "Action")))),
      body),
    empty, h("p", { class: "more" }, more));

  function again() { shown = FIRST; draw(); }

  // A tuning job's page lists them.
  function isTrial(row) {
    const parent = row.kind === "training" && /^(.+)-\d{3}-[0-9a-f]{8}$/.exec(row.name);
    return Boolean(parent) && documents.has(`tuning/${parent[1]}`);
  }

  function chosen() {
    const text = filter.text.trim().toLowerCase();
    return [...documents.values()]
      .filter((row) => (!filter.mine || row.ours) && (filter.trials || !isTrial(row)) && (!filter.kind || row.kind === filter.kind)
        && (!filter.state || (filter.state === "runs" ? row.runs : row.status === filter.state))
        && (!text || row.name.toLowerCase().includes(text)))
      .sort((a, b) => (a.at < b.at ? 1 : -1));
  }

  function draw() {
    const all = chosen(), part = all.slice(0, shown);
    const wanted = part.map((row) => {
      const key = `${row.kind}/${row.name}`, text = JSON.stringify(row);
      const old = rows.get(key);
      if (old?.text === text) return old.element;
      const element = rowOf(row);
      rows.set(key, { text, element });
      if (old) seen.unobserve(old.element);
      element.dataset.key = key;
      seen.observe(element);
      return element;
    });
    const focused = document.activeElement?.closest?.("tr")?.dataset.key;
    if (wanted.length !== body.children.length || wanted.some((element, index) => body.children[index] !== element)) {
      body.replaceChildren(...wanted);
      if (focused) body.querySelector(`tr[data-key="${CSS.escape(focused)}"] a`)?.focus();
    }
    more.parentElement.hidden = all.length <= shown;
    more.textContent = `Show more of ${all.length.toLocaleString("en")}`;
    fill(count, all.length === documents.size ? `${all.length.toLocaleString("en")} in all` : `${all.length.toLocaleString("en")} of ${documents.size.toLocaleString("en")}`);
    fill(empty, all.length ? null : documents.size ? "Nothing fits the filter." : ["There are no jobs yet. ", h("a", { href: "/new/train" }, "Train a model"), "."]);
    empty.hidden = all.length > 0;
    summarise();
  }

  function rowOf(row) {
    const page = row.kind === "transform" ? null : `/${row.kind}/${encodeURIComponent(row.name)}`;
    const kind = { training: "Training", tuning: "Tuning", transform: "Transform", endpoint: "Endpoint" }[row.kind];
    const element = h("tr", { class: row.runs ? "runs" : "", role: "row" },
      h("th", { scope: "row", role: "rowheader", class: "name" }, page ? h("a", { href: page }, row.name) : row.name,
        h("small", {}, kind, h("span", { class: "narrow" }, " · ", ago(row.at)))),
      cell("state", pill(row.status)), cell("n", "–", "accuracy"), cell("wide", time(row.at)),
      cell("n wide", "–", "took"), cell("wide quiet", "–", "machine"), cell("n", "–", "cost"),
      cell("act", row.runs && row.kind !== "endpoint" && row.status !== "Stopping" ? stopButton(row.name) : null));
    apply(element, row, details.get(`${row.kind}/${row.name}`));
    return element;
  }

  function cell(kind, content, of = null) {
    return h("td", { role: "cell", class: kind, "data-of": of }, content);
  }

  function apply(element, row, found) {
    if (!found) return;
    const put = (name, value) => fill(element.querySelector(`[data-of=${name}]`), value);
    const passed = row.runs && found.seconds !== null ? (Date.now() - found.asked) / 1000 : 0;
    const seconds = found.seconds === null ? null : found.seconds + passed;
    put("accuracy", found.trials && found.accuracy === null ? found.trials : percent(found.accuracy));
    put("took", duration(seconds));
    put("machine", found.machine ? (found.count > 1 ? `${found.count} × ` : "") + found.machine : "–");
    put("cost", found.hourly === null || seconds === null ? "–" : (found.spot && row.runs ? "≤ " : "") + dollars((seconds / 3600) * found.hourly));
  }

  function summarise() {
    const running = [...documents.values()].filter((row) => row.runs && (!filter.mine || row.ours));
    const jobs = running.filter((row) => row.kind !== "endpoint").length;
    const rates = running.map((row) => details.get(`${row.kind}/${row.name}`)?.hourly);
    const total = rates.includes(undefined) || rates.includes(null) ? null : rates.reduce((sum, rate) => sum + rate, 0);
    const failed = [...documents.values()].filter((row) => row.status === "Failed" && (!filter.mine || row.ours)).length;
    fill(summary, tile("Running jobs", String(jobs)), tile("Endpoints", String(running.length - jobs)),
      tile("Costs now", running.length ? hourly(total) : "nothing"), tile("Failed", String(failed)));
  }

  // What a row shows beside its list's values is asked for when it comes into sight, and again while it runs.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) waiting.add(entry.target.dataset.key);
      else waiting.delete(entry.target.dataset.key);
    }
    fetchDetails();
  });
  let fetching = false;
  async function fetchDetails() {
    if (fetching || document.hidden) return;
    const due = [...waiting].filter((key) => {
      const row = documents.get(key), last = asked.get(key);
      return row && (!last || (row.runs && Date.now() - last.at > DETAILS_AGAIN) || last.status !== row.status);
    }).slice(0, BATCH);
    if (!due.length) return;
    fetching = true;
    try {
      for (const key of due) asked.set(key, { at: Date.now(), status: documents.get(key).status });
      const found = await ask(`/api/details?${due.map((key) => `job=${encodeURIComponent(key)}`).join("&")}`);
      for (const [key, detail] of Object.entries(found)) {
        if (!detail) continue;
        details.set(key, { ...detail, asked: Date.now() });
        if (rows.has(key) && documents.has(key)) apply(rows.get(key).element, documents.get(key), details.get(key));
      }
      summarise();
    } catch { // the stream says what is wrong; it is asked again
      for (const key of due) asked.delete(key);
      fetching = false;
      return;
    }
    fetching = false;
    fetchDetails();
  }
  const clock = setInterval(() => {
    for (const [key, { element }] of rows) if (documents.get(key)?.runs) apply(element, documents.get(key), details.get(key));
    fetchDetails();
  }, 1000);
  const nearEnd = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !more.parentElement.hidden) { shown += MORE; draw(); }
  }, { rootMargin: "600px" });
  nearEnd.observe(more.parentElement);

  function keys(event) {
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement?.tagName ?? "")) { event.preventDefault(); search.focus(); }
  }
  document.addEventListener("keydown", keys);

  const end = watch("/live/jobs", (now) => {
    documents = now;
    if (before) {
      for (const [key, row] of now) {
        const old = before.get(key);
        if (old && old !== row.status) say(`${row.name} is ${row.status}`);
      }
    }
    before = new Map([...now].map(([key, row]) => [key, row.status]));
    draw();
  });
  return () => {
    end();
    clearInterval(clock);
    seen.disconnect();
    nearEnd.disconnect();
    document.removeEventListener("keydown", keys);
  };
}

export function stopButton(name, kind = "small") {
  const control = button("Stop", async () => {
    if (!(await confirm(`Stop ${name}?`, "A training keeps its best model so far. It cannot be started again where it stopped, unless it keeps checkpoints.", "Stop it"))) return;
    await post("/api/stop", { name });
    say(`${name} is being stopped`);
  }, kind);
  control.querySelector("button").setAttribute("aria-label", `Stop ${name}`);
  return control;
}
