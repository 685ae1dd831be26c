// The data set: classes, duplicates, and labels that the last model contradicts.
import { ask, fill, h, percent, tile } from "./dom.js";

const SHOWN = 40;

export function open(main) {
  document.title = "Data – byoc";
  let closed = false;
  const body = h("div", { "aria-busy": "true" }, h("p", { class: "note", role: "status" }, "Reading the list of pictures …"));
  const doubts = h("div", { "aria-busy": "true" }, h("p", { class: "note" }, "Reading the last model's report …"));
  fill(main, h("div", { class: "head" }, h("h1", {}, "Data")), body,
    h("section", { "aria-labelledby": "doubts" }, h("h2", { id: "doubts" }, "Labels that are likely wrong"), doubts));

  ask("/api/data").then((data) => !closed && show(data), (error) => !closed && fill(body, problem(error)));
  ask("/api/doubtful").then((data) => !closed && showDoubts(data), (error) => !closed && fill(doubts, problem(error)));

  const problem = (error) => h("p", { class: "note", role: "alert" }, h("strong", {}, error.message), " ", error.remedy ?? "");
  const picture = (key, label) => {
    const image = h("img", { src: `/api/picture?key=${encodeURIComponent(key)}`, alt: label, title: key, width: 72, height: 72, loading: "lazy" });
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 64));
    return image;
  };

  function show(data) {
    const sums = Object.fromEntries(data.channels.map((channel) => [channel, data.classes.reduce((sum, item) => sum + item.counts[channel], 0)]));
    const most = Math.max(...data.classes.map((item) => total(item)));
    const trained = data.classes.map((item) => item.counts.train).filter((count) => count > 0);
    const skew = trained.length ? Math.max(...trained) / Math.min(...trained) : 0;
    const crossing = data.repeated.filter((group) => new Set(group.map((file) => file.channel)).size > 1).length;
    let limit = SHOWN;
    const classes = h("tbody");
    const more = h("p", { class: "more" }, h("button", { type: "button", class: "plain", onclick: () => { limit = Infinity; rows(); } }, `Show all ${data.classes.length} classes`));
    function rows() {
      fill(classes, data.classes.slice(0, limit).map((item) => h("tr", {}, h("th", { scope: "row", class: "name" }, item.name),
        data.channels.map((channel) => h("td", { class: `n ${channel === "train" ? "" : "wide"}` }, item.counts[channel].toLocaleString("en"))),
        h("td", { class: "wide" }, bar(total(item) / most)),
        h("td", {}, h("span", { class: "thumbs" }, item.samples.map((key) => picture(key, `A picture of ${item.name}`)))))));
      more.hidden = data.classes.length <= limit;
    }
    rows();
    body.setAttribute("aria-busy", "false");
    fill(body, h("p", { class: "quiet where-from" }, "In ", h("code", {}, data.where)), h("dl", { class: "tiles" }, tile("Pictures", data.total.toLocaleString("en"), data.truncated ? "the first of them" : ""), tile("Classes", String(data.classes.length)),
      data.channels.map((channel) => tile(channel[0].toUpperCase() + channel.slice(1), sums[channel].toLocaleString("en"), percent(sums[channel] / data.total, 0))),
      tile("Largest to smallest", skew ? `${skew.toFixed(1)} : 1` : "–", skew > 10 ? "skewed: see sampling" : "class, in training"),
      tile("Same content", data.repeated_count.toLocaleString("en"), crossing ? `${crossing} across splits` : "groups of files")),
    h("table", { class: "jobs classes" }, h("caption", { class: "unseen" }, "Classes"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Class"),
      data.channels.map((channel) => h("th", { scope: "col", class: `n ${channel === "train" ? "" : "wide"}` }, channel[0].toUpperCase() + channel.slice(1))), h("th", { scope: "col", class: "wide" }, h("span", { class: "unseen" }, "Share")), h("th", { scope: "col" }, "Pictures"))), classes), more,
    h("section", { "aria-labelledby": "same" }, h("h2", { id: "same" }, "Files with the same content"), duplicates(data)));
  }

  const total = (item) => Object.values(item.counts).reduce((sum, count) => sum + count, 0);
  function bar(share) {
    const element = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
    element.firstChild.style.width = `${Math.max(1, 100 * share)}%`;
    return element;
  }

  function duplicates(data) {
    if (!data.repeated.length) return h("p", { class: "note" }, data.compared ? "None: every file has a content of its own." : "S3 does not say of all files which have the same content (they are encrypted, or came in parts).");
    return [h("p", { class: "quiet small" }, "The same bytes, by S3's checksums. In two classes, one label is wrong; in two splits, the evaluation is too good."),
      h("ul", { class: "groups" }, data.repeated.slice(0, SHOWN).map((group) => {
        const labels = new Set(group.map((file) => file.label)), splits = new Set(group.map((file) => file.channel));
        return h("li", {}, picture(group[0].key, ""), h("div", {}, labels.size > 1 ? h("span", { class: "severity high" }, "Two labels ") : null, splits.size > 1 ? h("span", { class: "severity" }, "Across splits ") : null,
          h("ul", {}, group.slice(0, 5).map((file) => h("li", {}, h("code", {}, `${file.channel}/${file.label}/${file.key.split("/").pop()}`))), group.length > 5 ? h("li", {}, `and ${group.length - 5} more`) : null)));
      })), data.repeated_count > SHOWN ? h("p", { class: "small quiet" }, `and ${data.repeated_count - SHOWN} more groups.`) : null];
  }

  function showDoubts(data) {
    doubts.setAttribute("aria-busy", "false");
    if (!data.job) return fill(doubts, h("p", { class: "note" }, "No training has completed yet: its model is what doubts labels."));
    const link = h("a", { href: `/training/${encodeURIComponent(data.job)}` }, data.job);
    if (!data.good) return fill(doubts, h("p", { class: "note" }, "The model of ", link, ` is right on ${percent(data.accuracy)} of the pictures: too few for it to doubt labels.`));
    if (!data.mistakes.length) return fill(doubts, h("p", { class: "note" }, "The model of ", link, " makes no mistake, or left no report of them."));
    return fill(doubts, h("p", { class: "quiet small" }, "What the model of ", link, ` is surest of and the label contradicts, in the ${data.split} set. Look: either the label is wrong, or the picture is hard.`),
      h("div", { class: "mistakes" }, data.mistakes.map((item) => {
        const image = item.image ? h("img", { src: item.image, alt: `Labelled ${item.truth}` }) : h("div", { class: "noimage" });
        if (item.image) image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 100));
        return h("figure", {}, image, h("figcaption", {}, h("span", {}, "label ", h("strong", {}, item.truth)), h("br"), "model says ", h("strong", { class: "wrong" }, item.predicted), ` ${percent(item.probability, 0)}`, h("br"), h("code", {}, item.file)));
      })));
  }

  return () => { closed = true; };
}
