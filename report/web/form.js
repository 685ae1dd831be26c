// Start a training or a tuning job, or deploy a model. The fields are made of the definitions of the settings.
import { ask, confirm, dollars, fill, h, hourly, post, trouble } from "./dom.js";

export function open(main, kind, go) {
  let closed = false;
  const query = new URLSearchParams(location.search);
  fill(main, h("p", { class: "note", role: "status" }, "Reading the settings …"));
  ask(`/api/form/${encodeURIComponent(kind)}`).then((form) => {
    if (closed) return;
    document.title = `${form.title} – byoc`;
    if (kind === "deploy") deploy(main, form, query, go);
    else job(main, form, query, go);
  }, (error) => !closed && trouble(error));
  return () => { closed = true; };
}

function job(main, form, query, go) {
  const controls = new Map();
  const problem = h("p", { class: "problem", role: "alert", tabindex: "-1" });
  const price = h("p", { class: "quiet", role: "status" });
  const name = h("input", { type: "text", id: "name", pattern: "[a-zA-Z0-9](-*[a-zA-Z0-9])*", maxlength: form.kind === "tune" ? "32" : "63", placeholder: "made of the project's name and the time" });
  const submit = h("button", { type: "submit", class: "main" }, form.kind === "tune" ? "Start tuning" : "Start training");
  const from = query.get("from");
  let asked = "";

  const element = h("form", { class: "form", novalidate: false, onsubmit: send, oninput: changed },
    from ? h("p", { class: "note" }, `With the values of ${from}.`) : null,
    h("fieldset", {}, h("legend", {}, "Job"), row("name", "Name", name, "Letters, digits and hyphens.", "")),
    form.groups.map(group), problem, price, h("p", { class: "actions" }, submit, h("a", { class: "button", href: "/" }, "Cancel")));
  fill(main, h("div", { class: "head" }, h("div", {}, h("h1", {}, form.title), h("p", { class: "say quiet" }, "The fields have what byoc.toml says. What you change holds for this job only."))), element);
  changed();

  function group(item) {
    const first = item.fields.filter((field) => field.first), rest = item.fields.filter((field) => !field.first);
    const changed = rest.some((field) => query.has(field.key));
    return h("fieldset", {}, h("legend", {}, item.title), item.help ? h("p", { class: "quiet small wide-row" }, `${item.help}.`) : null, first.map(fieldRow),
      rest.length ? h("details", { open: changed }, h("summary", {}, `${rest.length} more`), h("div", { class: "rows" }, rest.map(fieldRow))) : null);
  }

  function fieldRow(field) {
    const id = field.key.replaceAll(".", "-");
    const value = query.get(field.key) ?? field.value;
    let control;
    if (field.type === "choice") control = h("select", { id }, field.choices.map((choice) => h("option", { value: choice, selected: choice === value }, choice)));
    else if (field.type === "bool") control = h("input", { id, type: "checkbox", checked: value === "true" });
    else if (field.type === "int" || field.type === "float") control = h("input", { id, type: "number", step: field.type === "int" ? "1" : "any", min: field.minimum === null ? null : String(field.minimum), max: field.maximum === null ? null : String(field.maximum), value, required: true });
    else control = h("input", { id, type: "text", value, pattern: field.pattern || null, title: field.form || null, required: Boolean(field.required), spellcheck: "false" });
    control.setAttribute("aria-describedby", `${id}-help`);
    controls.set(field.key, { field, control, original: field.value });
    return row(id, field.label, control, field.help, field.type === "text" || field.type === "list" ? field.form || (field.type === "list" ? "names with commas between them" : "") : "");
  }

  function text({ field, control }) {
    if (field.type === "bool") return String(control.checked);
    return control.value.trim();
  }

  function changes() {
    const set = {}, ranges = {};
    for (const [key, item] of controls) {
      const now = text(item);
      if (now === item.original) continue;
      if (key.startsWith("ranges.")) { if (now) ranges[key.slice(7)] = now; }
      else set[key] = item.field.type === "list" ? now.split(",").map((part) => part.trim()).filter(Boolean) : now;
    }
    return { set, ranges };
  }

  async function changed() {
    for (const { field, control, original } of controls.values()) control.closest(".row").classList.toggle("changed", text({ field, control }) !== original);
    const value = (key) => controls.has(key) ? text(controls.get(key)) : "";
    const machine = value("train.instance_type"), count = Number(value("train.instance_count")) || 1, minutes = Number(value("train.max_minutes")) || 0;
    const trials = form.kind === "tune" ? Number(value("tune.jobs")) || 1 : 1, parallel = form.kind === "tune" ? Number(value("tune.parallel")) || 1 : 1;
    const mine = JSON.stringify([machine, count, minutes, trials, parallel]);
    if (mine === asked) return;
    asked = mine;
    try {
      const { hourly: each, origin } = await ask(`/api/price?machine=${encodeURIComponent(machine)}&use=Training`);
      if (mine !== asked) return;
      const most = each === null ? null : each * count * trials * (minutes / 60);
      fill(price, each === 0 ? "It costs nothing: it runs on this machine." : each === null ? `The price of ${machine} is not known here.`
        : `${hourly(each * count * Math.min(parallel, trials))}; at most ${dollars(most)}, as ${trials > 1 ? `each of ${trials} trials` : "the job"} ends after ${minutes} minutes (${origin}).`);
    } catch { fill(price); }
  }

  async function send(event) {
    event.preventDefault();
    fill(problem);
    submit.disabled = true;
    for (const { control } of controls.values()) control.removeAttribute("aria-invalid");
    try {
      const { set, ranges } = changes();
      const made = await post(form.kind === "tune" ? "/api/tune" : "/api/train", { set, ranges, name: name.value.trim() });
      await go(made.tuning_job ? `/tuning/${made.tuning_job}` : `/training/${made.training_job}`);
    } catch (error) {
      if (!error?.message) throw error;
      fill(problem, h("strong", {}, error.message), " ", error.remedy ?? "");
      const wrong = [...controls.values()].find(({ field }) => new RegExp(`(^|[^a-z_])${field.label}([^a-z_]|$)`).test(error.message));
      if (wrong) {
        wrong.control.setAttribute("aria-invalid", "true");
        wrong.control.closest("details")?.setAttribute("open", "");
      }
      (wrong?.control ?? problem).focus();
    } finally {
      submit.disabled = false;
    }
  }
}

function row(id, label, control, help, form) {
  return h("div", { class: "row" }, h("label", { for: id }, label), control, h("p", { class: "help", id: `${id}-help` }, help, form && form !== "text" ? ` (${form})` : ""));
}

function deploy(main, form, query, go) {
  const problem = h("p", { class: "problem", role: "alert", tabindex: "-1" }), price = h("p", { class: "quiet", role: "status" });
  const wanted = query.get("job") ?? form.job, jobs = wanted && !form.jobs.includes(wanted) ? [wanted, ...form.jobs] : form.jobs;
  const trained = h("select", { id: "job", required: true }, jobs.map((name) => h("option", { value: name, selected: name === wanted }, name)));
  const endpoint = h("input", { type: "text", id: "endpoint", value: query.get("endpoint") ?? form.endpoint, required: true, pattern: form.pattern, maxlength: "63" });
  const machine = h("input", { type: "text", id: "machine", value: query.get("machine") ?? form.machine, required: true, pattern: "ml\\..+", title: "as in ml.m5.large", spellcheck: "false" });
  const note = h("p", { class: "note" });
  const submit = h("button", { type: "submit", class: "main" });
  const element = h("form", { class: "form", onsubmit: send, oninput: changed }, h("fieldset", {}, h("legend", {}, "Endpoint"),
    row("job", "Model of", trained, "A training job that has ended with a model.", ""), row("endpoint", "Endpoint", endpoint, "A new name makes an endpoint; the name of one that is there updates it.", ""),
    row("machine", "Machine", machine, "ml.g5.xlarge has a GPU.", "")), note, problem, price, h("p", { class: "actions" }, submit, h("a", { class: "button", href: "/" }, "Cancel")));
  fill(main, h("div", { class: "head" }, h("h1", {}, form.title)), jobs.length ? element : h("p", { class: "note" }, "No training job has ended yet. ", h("a", { href: "/new/train" }, "Train a model"), "."));
  let rate = null, asked = "", pricing = Promise.resolve();
  changed();

  function updates() { return endpoint.value.trim() in form.endpoints; }

  function changed() {
    const name = endpoint.value.trim();
    submit.textContent = updates() ? "Update the endpoint" : "Create the endpoint";
    fill(note, updates() ? `${name} is ${form.endpoints[name]}. Its model answers until the new one does, and stays if that one does not start.` : "It takes some minutes on AWS, seconds here. It costs money from then on until it is deleted.");
    if (asked === machine.value) return;
    asked = machine.value;
    pricing = askPrice(asked);
  }

  async function askPrice(kind) {
    rate = null;
    try {
      const { hourly: each, origin } = await ask(`/api/price?machine=${encodeURIComponent(kind)}&use=Hosting`);
      if (kind !== machine.value) return;
      rate = each === null ? null : each * form.count;
      fill(price, rate === 0 ? "It costs nothing: it runs on this machine." : rate === null ? `The price of ${kind} is not known here.` : `${hourly(rate)}: ${dollars(rate * 730)} a month until it is deleted (${origin}).`);
    } catch { fill(price); }
  }

  async function send(event) {
    event.preventDefault();
    fill(problem);
    const name = endpoint.value.trim(), update = updates();
    await pricing;
    if (rate !== 0 && !(await confirm(`${update ? "Update" : "Create"} ${name}?`, rate === null ? "AWS charges for its machine until it is deleted; the price is not known here." : `AWS charges ${hourly(rate)} until it is deleted.`, update ? "Update it" : "Create it", { danger: false }))) return;
    submit.disabled = true;
    try {
      await post("/api/deploy", { job: trained.value, endpoint: name, machine: machine.value.trim(), update });
      await go(`/endpoint/${encodeURIComponent(name)}`);
    } catch (error) {
      if (!error?.message) throw error;
      fill(problem, h("strong", {}, error.message), " ", error.remedy ?? "");
      problem.focus();
    } finally {
      submit.disabled = false;
    }
  }
}
