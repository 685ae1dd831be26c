// The end of a log, which follows what comes unless one has scrolled up.
import { h } from "./dom.js";

const MOST = 2000;

export class Log {
  constructor(whole) {
    this.lines = [];
    this.text = h("pre", { class: "log", role: "log", "aria-live": "off", "aria-label": "Log", tabindex: "0" });
    this.empty = h("p", { class: "note" }, "No lines yet.");
    this.element = h("div", {}, this.empty, this.text, h("p", { class: "small" }, h("a", { href: whole, target: "_blank", rel: "noopener" }, "The whole log as text")));
    this.text.hidden = true;
  }

  add(lines, fresh) {
    if (fresh) { this.lines = []; this.text.replaceChildren(); }
    if (!lines.length) return;
    const atEnd = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 30;
    this.empty.hidden = true;
    this.text.hidden = false;
    this.lines.push(...lines);
    if (this.lines.length > MOST) {
      this.lines = this.lines.slice(-MOST);
      this.text.textContent = this.lines.join("\n") + "\n";
    } else {
      this.text.append(lines.join("\n") + "\n");
    }
    if (atEnd || fresh) this.text.scrollTop = this.text.scrollHeight;
  }
}
