// Draws the charts whose specifications and data lie in the page. Expressions are interpreted (ast), never compiled,
// so that the page's Content-Security-Policy can forbid eval.
(function () {
  "use strict";
  var source = document.getElementById("charts");
  if (!source || typeof vegaEmbed !== "function") return;
  var book = JSON.parse(source.textContent);

  function rows(table) {
    var names = Object.keys(table);
    var count = names.length ? table[names[0]].length : 0;
    var out = new Array(count);
    for (var i = 0; i < count; i++) {
      var row = {};
      for (var j = 0; j < names.length; j++) row[names[j]] = table[names[j]][i];
      out[i] = row;
    }
    return out;
  }

  // A legend in more columns than a narrow place has room for would be cut.
  function narrow(part) {
    if (!part || typeof part !== "object") return;
    if (part.legend && part.legend.columns > 2) part.legend.columns = 2;
    Object.keys(part).forEach(function (key) { narrow(part[key]); });
  }

  function draw(item) {
    var place = document.getElementById("chart-" + item.id);
    if (!place) return Promise.resolve();
    var spec = item.spec;
    if (place.clientWidth < 480) narrow(spec);
    spec.datasets = {};
    Object.keys(item.tables).forEach(function (name) { spec.datasets[name] = rows(item.tables[name]); });
    return vegaEmbed(place, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: book.config,
      tooltip: { theme: "custom", disableDefaultStyle: true }, defaultStyle: false, hover: false
    }).then(function () { place.classList.add("drawn"); }, function (error) {
      place.textContent = "This chart could not be drawn: " + error.message;
      console.error(item.id, error);
    });
  }

  // One after the other: the first charts are there while the last ones are still being made.
  book.figures.reduce(function (before, item) {
    return before.then(function () { return draw(item); });
  }, Promise.resolve()).then(function () { document.documentElement.dataset.charts = "done"; });

  // Paper cannot be unfolded.
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.prototype.slice.call(document.querySelectorAll("details.print:not([open])"));
    closed.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () { closed.forEach(function (part) { part.open = false; }); });
})();
