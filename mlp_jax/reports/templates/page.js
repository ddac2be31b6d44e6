"use strict";
// Everything that answers the mouse. User text enters the page through textContent alone.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function make(parent, name, attributes = {}, text = null) {
  const inSvg = name === "svg" || parent.namespaceURI === SVG;
  const node = inSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return parent.appendChild(node);
}

const isNumber = (value) => typeof value === "number";

function show(value, percent = false) {
  if (value === null || value === undefined) return "–";
  if (!isNumber(value)) return String(value);
  if (percent) return `${(100 * value).toFixed(2)} %`;
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

// ---- the one tooltip
const tip = make(document.body, "div", { class: "tip", role: "status", hidden: "" });

function point(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const width = tip.offsetWidth, height = tip.offsetHeight;
  const right = event.clientX + 14 + width > innerWidth;
  tip.style.left = `${Math.max(4, right ? event.clientX - width - 14 : event.clientX + 14)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 4))}px`;
}

const unpoint = () => { tip.hidden = true; };

// ---- charts
function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const size = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * size).find((s) => (high - low) / s <= count);
  const result = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) result.push(k * step);
  return result;
}

// An empty chart: {svg, x, y} with scales from values to pixels. `spec`: xlabel, ylabel, percent.
function frame(host, spec, xs, ys) {
  host.querySelector("svg")?.remove();
  const width = Math.max(host.clientWidth, 280), height = host.classList.contains("tall") ? 340 : 270;
  const left = 52, right = 14, top = 12, bottom = 42;
  const finite = ys.filter(isNumber);
  let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...finite), Math.max(...finite)];
  const padX = x1 > x0 ? 0.02 * (x1 - x0) : 0.5, padY = y1 > y0 ? 0.05 * (y1 - y0) : Math.abs(y1) * 0.05 || 0.5;
  [x0, x1, y0, y1] = [x0 - padX, x1 + padX, y0 - padY, y1 + padY];
  const x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
  const y = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - top - bottom);
  const svg = make(host, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${spec.ylabel} by ${spec.xlabel}` });
  for (const tick of ticks(y0, y1, 6)) {
    make(svg, "line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) });
    const label = spec.percent ? `${Number((100 * tick).toPrecision(4))} %` : String(Number(tick.toPrecision(4)));
    make(svg, "text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, label);
  }
  for (const tick of ticks(x0, x1, Math.min(9, width / 60)).filter(Number.isInteger))
    make(svg, "text", { x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, tick);
  make(svg, "line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom });
  make(svg, "text", { class: "title", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, spec.xlabel);
  const scale = () => width / svg.getBoundingClientRect().width;
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [(event.clientX - box.left) * scale(), (event.clientY - box.top) * scale()];
  };
  return { svg, x, y, at, top, floor: height - bottom };
}

const PATH = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");

function legend(host, series) {
  const box = make(host, "div", { class: "legend" });
  for (const item of series) {
    const entry = make(box, "span");
    make(entry, "i", item.dots ? { class: "dot" } : {}).style.background = item.color;
    entry.append(item.name);
  }
}

// spec: {xlabel, ylabel, percent, x: […], mark, series: [{name, color, y: […]}]}
function lineChart(host, spec) {
  legend(host, spec.series);
  const ends = ({ y, sd }) => y.flatMap((value, i) => (isNumber(value) && isNumber(sd[i]) ? [value - sd[i], value + sd[i]] : [value]));
  const draw = () => {
    const { svg, x, y, at, top, floor } = frame(host, spec, spec.x, spec.series.flatMap(ends));
    if (spec.mark !== null) make(svg, "line", { class: "mark", x1: x(spec.mark), x2: x(spec.mark), y1: top, y2: floor });
    for (const { color, y: values, sd } of spec.series) {
      const known = sd.map((_, i) => i).filter((i) => isNumber(values[i]) && isNumber(sd[i]));
      const edge = (i, sign) => [x(spec.x[i]), y(values[i] + sign * sd[i])];
      const band = [...known.map((i) => edge(i, 1)), ...known.reverse().map((i) => edge(i, -1))];
      if (band.length) make(svg, "path", { d: PATH(band) + "Z", fill: color, "fill-opacity": 0.2 });
      let run = [];
      const runs = [run];
      values.forEach((value, i) => {
        if (isNumber(value)) run.push([x(spec.x[i]), y(value)]);
        else if (run.length) runs.push((run = []));
      });
      for (const points of runs.filter((r) => r.length)) {
        make(svg, "path", { d: PATH(points), fill: "none", stroke: color, "stroke-width": 2 });
        if (spec.x.length <= 25) for (const [a, b] of points) make(svg, "circle", { cx: a, cy: b, r: 3.2, fill: color });
      }
    }
    const ruler = make(svg, "line", { class: "axis", y1: top, y2: floor, visibility: "hidden" });
    svg.addEventListener("pointermove", (event) => {
      const [mouse] = at(event);
      const near = spec.x.reduce((best, value, i) => (Math.abs(x(value) - mouse) < Math.abs(x(spec.x[best]) - mouse) ? i : best), 0);
      for (const name of ["x1", "x2"]) ruler.setAttribute(name, x(spec.x[near]));
      ruler.setAttribute("visibility", "visible");
      const lines = spec.series.map((s) => `${s.name}: ${show(s.y[near], spec.percent)}${isNumber(s.sd[near]) ? ` ± ${show(s.sd[near], spec.percent)}` : ""}`);
      const best = spec.x[near] === spec.mark ? " (best)" : "";
      point(event, [`${spec.xlabel} ${spec.x[near]}${best}`, ...lines].join("\n"));
    });
    svg.addEventListener("pointerleave", () => { unpoint(); ruler.setAttribute("visibility", "hidden"); });
  };
  onWidth(host, draw);
}

// spec: {xlabel, ylabel, percent, threshold, series: [{name, color, dots, x: […], y: […], labels: […]}]}; y null lies on the floor
function dotChart(host, spec) {
  legend(host, spec.series);
  const draw = () => {
    const all = spec.series.flatMap((s) => s.x), values = spec.series.flatMap((s) => s.y);
    const { svg, x, y, at, floor } = frame(host, spec, all, values.some(isNumber) ? values : [0, 1]);
    const places = [];
    if (spec.threshold !== null)
      make(svg, "line", { class: "mark", x1: x(Math.min(...all)), x2: x(Math.max(...all)), y1: y(spec.threshold), y2: y(spec.threshold) });
    const size = all.length > 2000 ? 3.2 : 6;
    for (const s of spec.series) {
      const points = s.x.map((value, i) => [x(value), isNumber(s.y[i]) ? y(s.y[i]) : floor]);
      if (s.dots) {
        const d = points.map(([a, b]) => `M${a.toFixed(1)} ${b.toFixed(1)}h0`).join("");
        make(svg, "path", { d, stroke: s.color, "stroke-width": size, "stroke-linecap": "round", "stroke-opacity": 0.65 });
        points.forEach((p, i) => places.push([...p, s.labels[i], s.y[i]]));
      } else {
        const steps = points.flatMap((p, i) => (i ? [[p[0], points[i - 1][1]], p] : [p]));
        make(svg, "path", { d: PATH(steps), fill: "none", stroke: s.color, "stroke-width": 1.6 });
      }
    }
    const ring = make(svg, "circle", { r: 6, fill: "none", stroke: "#1f2933", "stroke-width": 2, visibility: "hidden" });
    svg.addEventListener("pointermove", (event) => {
      const [a, b] = at(event);
      let near = null, least = 30 ** 2;
      for (const place of places) {
        const distance = (place[0] - a) ** 2 + (place[1] - b) ** 2;
        if (distance < least) [near, least] = [place, distance];
      }
      ring.setAttribute("visibility", near ? "visible" : "hidden");
      if (!near) return unpoint();
      ring.setAttribute("cx", near[0]);
      ring.setAttribute("cy", near[1]);
      point(event, `${near[2]}\n${spec.ylabel}: ${show(near[3], spec.percent)}`);
    });
    svg.addEventListener("pointerleave", () => { unpoint(); ring.setAttribute("visibility", "hidden"); });
  };
  onWidth(host, draw);
}

function onWidth(host, draw) {
  let width = -1;
  new ResizeObserver(() => {
    if (host.clientWidth === width || !host.clientWidth) return;
    width = host.clientWidth;
    draw();
  }).observe(host);
}

// ---- tables that sort: numbers as numbers, before text; what is missing last, in both directions
function compare(a, b, sign) {
  const missing = (v) => v === null || v === undefined || v === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1;
  return sign * (isNumber(a) ? a - b : a.localeCompare(b, undefined, { numeric: true }));
}

// `rows`: arrays of raw values; `draw(order)` shows the rows with these numbers. Returns a function that sorts again.
function sortable(table, rows, draw) {
  const heads = [...table.tHead.rows[0].cells];
  let order = rows.map((_, i) => i);
  const sort = (column, sign) => {
    heads.forEach((head, i) => (i === column ? head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
    order = rows.map((_, i) => i).sort((a, b) => compare(rows[a][column], rows[b][column], sign) || a - b);
    draw(order);
  };
  heads.forEach((head, column) => {
    const text = head.textContent;
    head.textContent = "";
    make(head, "button", { type: "button" }, text).addEventListener("click", () => {
      const first = rows.some((row) => isNumber(row[column])) && column ? -1 : 1; // numbers: the largest first
      const now = { ascending: 1, descending: -1 }[head.getAttribute("aria-sort")];
      sort(column, now ? -now : first);
    });
  });
  return { sort, again: () => draw(order) };
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], lines = [...body.rows];
  const value = (cell) => (cell.dataset.value === undefined ? cell.textContent : cell.dataset.value === "" ? null : Number(cell.dataset.value));
  sortable(table, lines.map((line) => [...line.cells].map(value)), (order) => body.append(...order.map((i) => lines[i])));
}

// ---- all trials. data.trials: {columns: [{name, percent, number}], rows, best: column}
let chosenTrials = null;
let redrawTrials = () => {};

function trialTable(table) {
  const { columns, rows, score, larger } = data.trials, limit = 100;
  const head = make(make(table, "thead"), "tr"), body = make(table, "tbody");
  for (const column of columns) make(head, "th", column.number ? { scope: "col", class: "number" } : { scope: "col" }, column.name);
  const more = document.getElementById("more"), note = document.getElementById("listed");
  let all = rows.length <= limit;
  const draw = (order) => {
    const kept = chosenTrials ? order.filter((i) => chosenTrials[i]) : order;
    const listed = all ? kept : kept.slice(0, limit);
    const lines = document.createDocumentFragment();
    for (const i of listed) {
      const line = document.createElement("tr");
      rows[i].forEach((value, c) => make(line, "td", columns[c].number ? { class: "number" } : {}, show(value, columns[c].percent)));
      lines.append(line);
    }
    body.replaceChildren(lines);
    note.textContent = `${listed.length} of ${rows.length} trials listed`;
    more.hidden = listed.length === kept.length;
    more.textContent = `List all ${kept.length}`;
  };
  const { sort, again } = sortable(table, rows, draw);
  more.addEventListener("click", () => { all = true; again(); });
  redrawTrials = again;
  sort(score, larger ? -1 : 1);
}

// ---- parallel coordinates. data.axes: [{name, places, ticks: [[place, text]], band}], data.order: 0 worst … 1 best
function blend(order) {
  const stops = [[213, 94, 0], [217, 195, 176], [185, 207, 221], [0, 114, 178]];
  const at = Math.min(order * 3, 2.999), i = Math.floor(at), t = at - i;
  return stops[i].map((v, k) => Math.round(v + t * (stops[i + 1][k] - v)));
}

function parallel(host) {
  const axes = data.axes, count = data.order.length, brushes = axes.map(() => null);
  const drawn = data.order.map((_, i) => i).sort((a, b) => data.order[a] - data.order[b]);
  const output = document.getElementById("brushed"), clear = document.getElementById("clear");
  const top = 46, height = 420, bottom = 14, left = 46, right = 66;
  const y = (place) => top + (1 - place) * (height - top - bottom);
  let x = () => 0, canvas = null, svg = null, pending = 0;

  const inside = (i) => brushes.every((b, a) => !b || (axes[a].places[i] >= b[0] - 1e-9 && axes[a].places[i] <= b[1] + 1e-9));

  // While the mouse drags, at most a thousand lines are drawn; what is counted is always all of them.
  const paint = (dragging = false) => {
    pending = 0;
    const kept = data.order.map((_, i) => inside(i));
    const number = kept.filter(Boolean).length, brushed = brushes.some(Boolean);
    const ratio = count > 500 ? devicePixelRatio || 1 : Math.max(2, devicePixelRatio || 1), width = host.clientWidth;
    const every = dragging ? Math.ceil(count / 1000) : 1, lines = drawn.filter((_, k) => k % every === 0);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const trace = (i) => axes.forEach((axis, a) => (a ? pen.lineTo(x(a), y(axis.places[i])) : pen.moveTo(x(a), y(axis.places[i]))));
    if (brushed) {
      pen.beginPath();
      pen.strokeStyle = count > 500 ? "rgb(240,242,245)" : "rgb(228,232,237)";
      lines.forEach((i) => { if (!kept[i]) trace(i); });
      pen.stroke();
    }
    const alpha = Math.min(0.85, Math.max(0.12, 60 / Math.max(number, 1)));
    pen.lineWidth = number > 500 ? 1 : 1.4;
    for (const i of lines) {
      if (!kept[i]) continue;
      pen.beginPath();
      pen.strokeStyle = `rgba(${blend(data.order[i])},${alpha})`;
      trace(i);
      pen.stroke();
    }
    output.textContent = `${number} of ${count} runs`;
    document.getElementById("summary").textContent = summary(kept);
    clear.disabled = !brushed;
    svg.querySelectorAll(".brush").forEach((node, a) => {
      const b = brushes[a];
      node.setAttribute("visibility", b ? "visible" : "hidden");
      if (b) { node.setAttribute("y", y(b[1])); node.setAttribute("height", Math.max(1, y(b[0]) - y(b[1]))); }
    });
    chosenTrials = brushed ? kept : null;
  };
  const repaint = () => { pending ||= requestAnimationFrame(() => paint(true)); };

  // On an axis of choices a brush takes whole choices: every one whose tick it covers, or the one it was drawn in.
  const snapped = (axis, a, b) => {
    let [low, high] = [Math.max(0, Math.min(a, b)), Math.min(1, Math.max(a, b))];
    if (!axis.band) return [low, high];
    const covered = axis.ticks.map((t) => t[0]).filter((t) => t >= low && t <= high);
    const middle = (low + high) / 2;
    const near = axis.ticks.map((t) => t[0]).reduce((p, q) => (Math.abs(q - middle) < Math.abs(p - middle) ? q : p));
    if (!covered.length) covered.push(near);
    return [Math.min(...covered) - axis.band, Math.max(...covered) + axis.band];
  };

  const drag = (event, a) => {
    const start = event.clientY, box = svg.getBoundingClientRect();
    const place = (e) => 1 - (((e.clientY - box.top) * height) / box.height - top) / (height - top - bottom);
    const from = place(event);
    event.target.setPointerCapture(event.pointerId);
    const move = (e) => {
      if (Math.abs(e.clientY - start) < 3) return;
      brushes[a] = snapped(axes[a], from, place(e));
      repaint();
    };
    const end = (e) => {
      event.target.removeEventListener("pointermove", move);
      if (Math.abs(e.clientY - start) < 3) brushes[a] = null; // a click clears this axis
      cancelAnimationFrame(pending);
      paint();
      redrawTrials();
    };
    event.target.addEventListener("pointermove", move);
    event.target.addEventListener("pointerup", end, { once: true });
  };

  const draw = () => {
    host.replaceChildren();
    const width = host.clientWidth;
    x = (a) => left + (a / Math.max(axes.length - 1, 1)) * (width - left - right);
    canvas = make(host, "canvas");
    svg = make(host, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "parallel coordinates of all runs" });
    axes.forEach((axis, a) => {
      const parts = axis.name.length > 12 ? axis.name.split(/(?<=[_ /])/) : [axis.name];
      const half = Math.ceil(parts.length / 2);
      const lines = parts.length > 1 ? [parts.slice(0, half).join(""), parts.slice(half).join("")] : parts;
      lines.forEach((line, i) => make(svg, "text", { class: "name", x: x(a), y: 30 - 14 * (lines.length - 1 - i), "text-anchor": "middle" }, line));
      make(svg, "line", { class: "axis", x1: x(a), x2: x(a), y1: top, y2: height - bottom });
      make(svg, "rect", { class: "brush", x: x(a) - 8, width: 16, y: 0, height: 0, visibility: "hidden" });
      for (const [place, text] of axis.ticks) {
        make(svg, "line", { class: "axis", x1: x(a) - 3, x2: x(a) + 3, y1: y(place), y2: y(place) });
        make(svg, "text", { class: "tick", x: x(a) + 7, y: y(place) + 4 }, text);
      }
      const hit = make(svg, "rect", { class: "hit", x: x(a) - 16, width: 32, y: top - 6, height: height - top - bottom + 12, "data-axis": axis.name });
      hit.addEventListener("pointerdown", (event) => drag(event, a));
    });
    paint();
  };
  clear.addEventListener("click", () => { brushes.fill(null); paint(); redrawTrials(); });
  onWidth(host, draw);
}

function summary(kept) {
  const { rows, score, columns, larger } = data.trials;
  const scores = rows.filter((_, i) => kept[i]).map((row) => row[score]).filter(isNumber).sort((a, b) => a - b);
  if (!scores.length) return "none of them with a score";
  const half = scores.length / 2;
  const median = Number.isInteger(half) ? (scores[half - 1] + scores[half]) / 2 : scores[Math.floor(half)];
  const best = larger ? scores[scores.length - 1] : scores[0];
  const percent = columns[score].percent;
  return `best ${show(best, percent)}, median ${show(median, percent)}`;
}

// ---- confusion matrix
function confusion(table) {
  const toggle = document.getElementById("shares"), gallery = document.getElementById("of-cell"), title = document.getElementById("cell");
  const { names, matrix, mistakes } = data.confusion;
  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-pressed", table.classList.toggle("shares"));
  });
  const sentence = (row, column) => {
    const total = matrix[row].reduce((a, b) => a + b, 0), count = matrix[row][column];
    const share = total ? ` (${((100 * count) / total).toFixed(1)} %)` : "";
    const what = row === column ? "were recognised" : `were taken for ${names[column]}`;
    return `${count} of ${total} images of ${names[row]} ${what}${share}`;
  };
  const choose = (cell) => {
    const row = Number(cell.dataset.row), column = Number(cell.dataset.column);
    table.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
    cell.classList.add("chosen");
    title.textContent = sentence(row, column) + (row === column ? "." : ". The most confident of these mistakes:");
    gallery.replaceChildren();
    for (const mistake of mistakes.filter((m) => m.true === row && m.predicted === column && row !== column)) {
      const item = make(gallery, "li");
      make(item, "img", { src: mistake.image, alt: `image ${mistake.index}` });
      item.append(`image ${mistake.index}, ${mistake.sure}`);
    }
  };
  for (const cell of table.querySelectorAll(".cell")) {
    cell.addEventListener("pointermove", (event) => point(event, sentence(Number(cell.dataset.row), Number(cell.dataset.column))));
    cell.addEventListener("pointerleave", unpoint);
    cell.addEventListener("click", () => choose(cell));
    cell.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(cell); });
  }
}

for (const host of document.querySelectorAll("[data-lines]")) lineChart(host, data.lines[host.dataset.lines]);
for (const host of document.querySelectorAll("[data-dots]")) dotChart(host, data.dots[host.dataset.dots]);
for (const table of document.querySelectorAll("table.confusion")) confusion(table);
for (const table of document.querySelectorAll("table.trials")) trialTable(table);
for (const host of document.querySelectorAll(".parallel")) parallel(host);
