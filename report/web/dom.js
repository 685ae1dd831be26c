// Elements, words and numbers. What comes from a job becomes text, never markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string" && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Puts `children` in the place of what is there. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const made = new WeakMap();

/** The same, if `key` is another than last time: focus, selection and what is unfolded stay otherwise. */
export function refill(element, key, make) {
  const text = JSON.stringify(key);
  if (made.get(element) === text) return;
  made.set(element, text);
  fill(element, [make()]);
}

export const $ = (id) => document.getElementById(id);

/** Says something to those who do not see the page. */
export function say(text) {
  const region = $("said");
  if (region.textContent !== text) region.textContent = text;
}

export function trouble(error) {
  const place = $("trouble");
  place.hidden = !error;
  if (error) fill(place, h("strong", {}, error.message), " ", error.remedy ?? "");
  else place.replaceChildren();
}

/** Asks the server; an error of it has message and remedy. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw { message: "byoc web does not answer.", remedy: "Is it still running in its terminal?", kind: "Gone" };
  }
  const type = response.headers.get("content-type") ?? "";
  const body = type.includes("json") ? await response.json() : null;
  if (!response.ok) throw body?.error ?? { message: `The answer is ${response.status}.`, remedy: "", kind: "Strange" };
  return body;
}

export function post(path, body) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !isFinite(seconds)) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`.replace(" 60 s", " 59 s");
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.round((minutes % 1440) / 60)} h`;
}

export function ago(moment) {
  if (!moment) return "–";
  const date = new Date(moment);
  const seconds = (Date.now() - date) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return date.toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

export function time(moment) {
  if (!moment) return h("span", {}, "–");
  return h("time", { datetime: moment, title: new Date(moment).toLocaleString() }, ago(moment));
}

export function dollars(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "free";
  return value < 0.1 ? `$${value.toFixed(3)}` : `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export function hourly(value) {
  if (value === null || value === undefined) return "price unknown";
  if (value === 0) return "free on this machine";
  return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 3 })} an hour`;
}

const GOOD = ["Completed", "InService"];
const BAD = ["Failed", "RollingBack", "UpdateRollbackFailed", "OutOfService"];
const QUIET = ["Stopped", "Deleted"];

export function pill(status) {
  const tone = GOOD.includes(status) ? "good" : BAD.includes(status) ? "bad" : QUIET.includes(status) ? "quiet" : "busy";
  return h("span", { class: `pill ${tone}` }, status.replace(/([a-z])([A-Z])/g, "$1 $2"));
}

export function tile(label, value, note = "") {
  return h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, value, note && h("small", {}, note)));
}

/** A question that has to be answered before something is stopped, deleted or paid for. */
export function confirm(title, text, action, { danger = true } = {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const dialog = h("dialog", { "aria-labelledby": "ask-title", "aria-describedby": "ask-text" },
      h("form", { method: "dialog" },
        h("h2", { id: "ask-title" }, title),
        h("p", { id: "ask-text" }, text),
        h("div", { class: "buttons" },
          h("button", { value: "no", class: "plain" }, "Cancel"),
          h("button", { value: "yes", class: danger ? "danger" : "main" }, action))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

/** A button that is busy while its action runs, and says beside it what went wrong. */
export function button(label, action, kind = "plain") {
  const problem = h("span", { class: "problem", role: "alert" });
  const control = h("button", { type: "button", class: kind, onclick: async () => {
    fill(problem);
    control.disabled = true;
    try {
      await action(control);
    } catch (error) {
      if (!error?.message) throw error;
      fill(problem, h("strong", {}, error.message), " ", error.remedy ?? "");
    } finally {
      control.disabled = false;
      if (document.activeElement === document.body) control.focus();  // which a disabled button loses
    }
  } }, label);
  return h("span", { class: "with-problem" }, control, problem);
}
