// Charts as the report has them. Expressions are interpreted (ast), never compiled: the policy forbids eval.
import { ask, h, fill } from "./dom.js";

let loaded = null;

function load() {
  loaded ??= Promise.all([
    new Promise((resolve, reject) => {
      document.head.append(h("script", { src: "/assets/vega.js", onload: resolve, onerror: reject }));
    }),
    ask("/api/project"),
  ]).then(([, project]) => project.charts);
  return loaded;
}

function rows(table) {
  const names = Object.keys(table);
  const count = names.length ? table[names[0]].length : 0;
  return Array.from({ length: count }, (_, index) => Object.fromEntries(names.map((name) => [name, table[name][index]])));
}

/** A place for one figure; `show` draws it, and what is drawn is only given new data where no more changed. */
export class Chart {
  constructor() {
    this.title = h("h3");
    this.caption = h("p");
    this.place = h("div", { class: "chart-place", role: "img" });
    this.element = h("figure", { class: "chart" }, h("figcaption", {}, this.title, this.caption), this.place);
    this.signature = "";
    this.view = null;
    this.work = Promise.resolve();
    this.latest = null;
  }

  show(figure) {
    this.latest = figure;
    this.title.textContent = figure.title;
    this.caption.textContent = figure.caption;
    this.element.classList.toggle("wide", figure.wide);
    this.place.setAttribute("aria-label", `${figure.title}. ${figure.caption}`);
    this.work = this.work.then(() => this.latest === figure && this.draw(figure)).catch((error) => {
      fill(this.place, `This chart could not be drawn: ${error.message}`);
      console.error(figure.id, error);
    });
    return this.work;
  }

  async draw(figure) {
    const config = await load();
    const { description, ...spec } = figure.spec;
    const signature = JSON.stringify([spec, Object.keys(figure.tables)]);
    if (this.view && signature === this.signature) {
      for (const [name, table] of Object.entries(figure.tables)) this.view.data(name, rows(table));
      await this.view.runAsync();
      return;
    }
    this.view?.finalize();
    const datasets = Object.fromEntries(Object.entries(figure.tables).map(([name, table]) => [name, rows(table)]));
    const result = await window.vegaEmbed(this.place, { ...spec, datasets }, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, config,
      tooltip: { theme: "custom", disableDefaultStyle: true }, defaultStyle: false, hover: false,
    });
    // The label of the place says what is in it.
    this.place.querySelector("svg")?.setAttribute("aria-hidden", "true");
    this.view = result.view;
    this.signature = signature;
  }

  close() {
    this.view?.finalize();
    this.view = null;
  }
}

/** A grid of charts by the figures' ids, in their order. */
export class Charts {
  constructor() {
    this.element = h("div", { class: "charts" });
    this.charts = new Map();
  }

  update(ids, documents, changed) {
    for (const [id, chart] of this.charts) {
      if (!ids.includes(id)) { chart.close(); chart.element.remove(); this.charts.delete(id); }
    }
    ids.forEach((id, place) => {
      if (!this.charts.has(id)) this.charts.set(id, new Chart());
      const chart = this.charts.get(id);
      if (this.element.children[place] !== chart.element) this.element.insertBefore(chart.element, this.element.children[place] ?? null);
      if (changed.has(`figure/${id}`)) chart.show(documents.get(`figure/${id}`));
    });
  }

  close() {
    for (const chart of this.charts.values()) chart.close();
  }
}
