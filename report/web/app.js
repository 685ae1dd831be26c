// Which page is shown, and what all pages share.
import { $, ask, fill, h, trouble } from "./dom.js";

const PAGES = [
  [/^\/$/, "./jobs.js"],
  [/^\/training\/([^/]+)$/, "./training.js"],
  [/^\/tuning\/([^/]+)$/, "./tuning.js"],
  [/^\/endpoint\/([^/]+)$/, "./endpoint.js"],
  [/^\/data$/, "./data.js"],
  [/^\/new\/([^/]+)$/, "./form.js"],
];
let close = () => {};
let turn = 0;
let shown = "";

export async function go(path, { replace = false } = {}) {
  if (path !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"]({}, "", path);
  await show(true);
}

async function show(moved) {
  const mine = ++turn;
  close();
  close = () => {};
  trouble(null);
  const path = location.pathname;
  shown = path + location.search;
  const [pattern, file] = PAGES.find(([each]) => each.test(path)) ?? PAGES[0];
  for (const link of document.querySelectorAll("nav [data-page]")) {
    if (link.dataset.page === path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const page = await import(file);
  if (mine !== turn) return;
  const main = $("main");
  main.replaceChildren();
  const end = page.open(main, decoded(pattern.exec(path)?.[1] ?? ""), go);
  close = typeof end === "function" ? end : () => {};
  if (moved) { main.focus({ preventScroll: true }); window.scrollTo(0, 0); }
}

// What is not UTF-8 stays as it is: the page then reports that there is no such job.
function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || link.target || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
// The skip link changes what follows the # only: what was typed and unfolded stays.
window.addEventListener("popstate", () => location.pathname + location.search !== shown && show(true));

show(false);
ask("/api/project").then((project) => {
  const place = project.url ? project.url.replace(/^https?:\/\//, "") : `AWS ${project.region}`.trim();
  fill($("where"), h("strong", {}, project.project), h("span", {}, place));
}, () => {});
