"use strict";
// Everything that answers the mouse. User text enters the page through textContent alone.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
}

function make(parent, name, attributes = {}, text = null) {
  const inSvg = name === "svg" || parent.namespaceURI === SVG;
  const node = inSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  set(node, attributes);
  if (text !== null) node.textContent = text;
  return parent.appendChild(node);
}

const isNumber = (value) => typeof value === "number";
const round = (value) => String(Number(value.toPrecision(4)));

function show(value, percent = false) {
  if (value === null) return "–";
  if (!isNumber(value)) return value;
  return percent ? `${(100 * value).toFixed(2)} %` : Number.isInteger(value) ? String(value) : round(value);
}

// ---- the one tooltip
const tip = make(document.body, "div", { class: "tip", role: "status", hidden: "" });

function point(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const right = event.clientX + 14 + tip.offsetWidth > innerWidth;
  tip.style.left = `${Math.max(4, right ? event.clientX - tip.offsetWidth - 14 : event.clientX + 14)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4))}px`;
}

const unpoint = () => { tip.hidden = true; };

// ---- charts. spec: {xlabel, ylabel, percent, series: [{name, color, …}]}
function ticks(low, high, count) {
  const size = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * size).find((s) => (high - low) / s <= count);
  const result = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) result.push(k * step);
  return result;
}

const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");

// Axes for these values: {svg, x, y, top, floor} with scales from values to pixels.
function frame(host, spec, xs, ys) {
  host.querySelector("svg")?.remove();
  const width = Math.max(host.clientWidth, 280), height = host.classList.contains("tall") ? 340 : 270;
  const left = 52, right = width - 14, top = 12, floor = height - 42;
  const scale = (values, share, least, from, to) => {
    const low = Math.min(...values), high = Math.max(...values), spare = high > low ? share * (high - low) : least(high);
    const place = (value) => from + ((value - low + spare) / (high - low + 2 * spare)) * (to - from);
    return [place, low - spare, high + spare];
  };
  const [x, x0, x1] = scale(xs, 0.02, () => 0.5, left, right);
  const own = spec.log ? Math.log10 : (value) => value, back = spec.log ? (value) => 10 ** value : own;
  const [place, y0, y1] = scale(ys.filter(isNumber).map(own), 0.05, (value) => Math.abs(value) * 0.05 || 0.5, floor, top);
  const y = (value) => place(own(value));
  const svg = make(host, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${spec.ylabel} by ${spec.xlabel}` });
  for (const tick of ticks(y0, y1, 6).filter((tick) => !spec.log || Number.isInteger(tick)).map(back)) {
    make(svg, "line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) });
    make(svg, "text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, spec.percent ? `${round(100 * tick)} %` : round(tick));
  }
  for (const tick of ticks(x0, x1, Math.min(9, width / 60)).filter(Number.isInteger))
    make(svg, "text", { x: x(tick), y: floor + 17, "text-anchor": "middle" }, tick);
  make(svg, "line", { class: "axis", x1: left, x2: right, y1: floor, y2: floor });
  make(svg, "text", { class: "title", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, spec.xlabel);
  return { svg, x, y, top, floor };
}

// `paint(frame)` draws the series and returns [mark, spots]: the mark goes to the spot {x, y, text} that the mouse is
// nearest to, whose y is null where only x counts; to others only within 30 pixels. Returns what paints it again.
function chart(host, spec, xs, ys, paint) {
  const legend = make(host, "div", { class: "legend" });
  for (const { name, color, dots } of spec.series) {
    const entry = make(legend, "span");
    make(entry, "i", dots ? { class: "dot" } : {}).style.background = color;
    entry.append(name);
  }
  const draw = () => {
    const axes = frame(host, spec, xs, ys), { svg } = axes;
    let [mark, spots] = paint(axes);
    const hide = () => { unpoint(); set(mark, { visibility: "hidden" }); };
    hide();
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const a = (event.clientX - box.left) * scale, b = (event.clientY - box.top) * scale;
      let near = null, least = Infinity;
      if (typeof spots === "function") spots = spots(); // thousands of them, not made before they are needed
      for (const spot of spots) {
        const distance = spot.y === null ? Math.abs(spot.x - a) : Math.hypot(spot.x - a, spot.y - b);
        if (distance < least && (spot.y === null || distance < 30)) [near, least] = [spot, distance];
      }
      if (!near) return hide();
      set(mark, { visibility: "visible", transform: `translate(${near.x} ${near.y ?? 0})` });
      point(event, near.text ?? near.say());
    });
  };
  onWidth(host, draw);
  return draw;
}

function onWidth(host, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    if (width) draw();
  }).observe(host);
}

// Begins a drawing of thousands of lines when it comes near the window, or when the page is printed.
function whenNear(host, begin) {
  const watch = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) start(); }, { rootMargin: "500px" });
  const start = () => { watch.disconnect(); removeEventListener("beforeprint", print); return begin(); };
  const print = () => start()();
  addEventListener("beforeprint", print);
  watch.observe(host);
}

// spec also: {x: […], mark}, series also: {y: […], sd: […]}
function lineChart(host, spec) {
  const hasBand = ({ y, sd }, i) => isNumber(y[i]) && isNumber(sd[i]);
  const edge = ({ y, sd }, i, sign) => y[i] + sign * sd[i];
  const ends = spec.series.flatMap((s) => s.y.flatMap((v, i) => (hasBand(s, i) ? [edge(s, i, -1), edge(s, i, 1)] : [v])));
  chart(host, spec, spec.x, ends, ({ svg, x, y, top, floor }) => {
    if (spec.mark !== null) make(svg, "line", { class: "mark", x1: x(spec.mark), x2: x(spec.mark), y1: top, y2: floor });
    for (const series of spec.series) {
      const known = spec.x.map((_, i) => i).filter((i) => hasBand(series, i));
      const band = [...known.map((i) => [i, 1]), ...known.reverse().map((i) => [i, -1])];
      const corners = band.map(([i, sign]) => [x(spec.x[i]), y(edge(series, i, sign))]);
      if (band.length) make(svg, "path", { d: path(corners) + "Z", fill: series.color, "fill-opacity": 0.2 });
      const runs = [[]]; // a missing value parts the line
      series.y.forEach((value, i) => (isNumber(value) ? runs.at(-1).push([x(spec.x[i]), y(value)]) : runs.push([])));
      for (const points of runs.filter((run) => run.length)) {
        make(svg, "path", { d: path(points), fill: "none", stroke: series.color, "stroke-width": 2 });
        if (spec.x.length <= 25) for (const [a, b] of points) make(svg, "circle", { cx: a, cy: b, r: 3.2, fill: series.color });
      }
    }
    const shown = (value) => show(value, spec.percent);
    const line = ({ name, y: values, sd }, i) => `${name}: ${shown(values[i])}${isNumber(sd[i]) ? ` ± ${shown(sd[i])}` : ""}`;
    const spots = spec.x.map((value, i) => {
      const title = `${spec.xlabel} ${value}${value === spec.mark ? " (best)" : ""}`;
      return { x: x(value), y: null, text: [title, ...spec.series.map((series) => line(series, i))].join("\n") };
    });
    return [make(svg, "line", { class: "axis", y1: top, y2: floor }), spots];
  });
}

// spec also: {threshold, reason}, series also: {dots, x: […], y: […], labels: […]}; y null lies on the floor
function dotChart(host, spec) {
  const xs = spec.series.flatMap((s) => s.x), ys = spec.series.flatMap((s) => s.y);
  chart(host, spec, xs, ys.some(isNumber) ? ys : [0, 1], ({ svg, x, y, floor }) => {
    const spots = [];
    if (spec.threshold !== null) {
      const right = x(Math.max(...xs)), at = y(spec.threshold);
      make(svg, "line", { class: "mark", x1: x(Math.min(...xs)), x2: right, y1: at, y2: at });
      const reason = make(svg, "text", { class: "reason", x: right, y: at - 5, "text-anchor": "end" }, spec.reason);
      if (reason.getComputedTextLength() > right - x(Math.min(...xs))) reason.textContent = spec.reason.split(":")[0];
    }
    const size = xs.length > 2000 ? 3.2 : 6;
    for (const s of spec.series) {
      const points = s.x.map((value, i) => [x(value), isNumber(s.y[i]) ? y(s.y[i]) : floor]);
      if (s.dots) {
        const d = points.map((p) => `${path([p])}h0`).join("");
        make(svg, "path", { d, stroke: s.color, "stroke-width": size, "stroke-linecap": "round", "stroke-opacity": 0.65 });
        const text = (i) => `${s.labels[i]}\n${spec.ylabel}: ${show(s.y[i], spec.percent)}`;
        points.forEach(([a, b], i) => spots.push({ x: a, y: b, text: text(i) }));
      } else {
        const steps = points.flatMap((p, i) => (i ? [[p[0], points[i - 1][1]], p] : [p]));
        make(svg, "path", { d: path(steps), class: "best" });
      }
    }
    return [make(svg, "circle", { r: 6, class: "ring" }), spots];
  });
}

// ---- tables that sort: numbers as numbers, before text; what is missing last, in both directions
function compare(a, b, sign) {
  const missing = (value) => value === null || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1;
  return sign * (isNumber(a) ? a - b : a.localeCompare(b, undefined, { numeric: true }));
}

// `rows`: arrays of raw values; `draw(order)` shows the rows with these numbers. Returns the function that sorts.
function sortable(table, rows, draw) {
  const heads = [...table.tHead.rows[0].cells];
  const sort = (column, sign) => {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    set(heads[column], { "aria-sort": sign > 0 ? "ascending" : "descending" });
    draw(rows.map((_, i) => i).sort((a, b) => compare(rows[a][column], rows[b][column], sign) || a - b));
  };
  heads.forEach((head, column) => {
    const parts = head.textContent.split(/(?<=[_/])/);
    head.textContent = "";
    const button = make(head, "button", { type: "button" });
    parts.forEach((part, i) => { if (i) make(button, "wbr"); button.append(part); });
    button.addEventListener("click", () => {
      const first = rows.some((row) => isNumber(row[column])) && column ? -1 : 1; // numbers: the largest first
      const now = { ascending: 1, descending: -1 }[head.getAttribute("aria-sort")];
      sort(column, now ? -now : first);
    });
  });
  return sort;
}

function sortTable(table) {
  const body = table.tBodies[0], lines = [...body.rows];
  const number = (text) => (text === "" ? null : Number(text));
  const raw = (cell) => (cell.dataset.value === undefined ? cell.textContent : number(cell.dataset.value));
  sortable(table, lines.map((line) => [...line.cells].map(raw)), (order) => body.append(...order.map((i) => lines[i])));
}

// ---- all trials. data.trials: {columns: [{name, percent, number, hidden}], rows, links, score: column, larger}
const followers = []; // told which trials are kept, as flags, or null for all; and when the colours change
let flags = null, color = (i) => `rgb(${blend(data.order[i])})`;
const tell = () => followers.forEach((follow) => follow());
const isKept = (i) => !flags || flags[i];

// What a trial is called where the mouse points at it.
function called(i) {
  const { rows, columns, score, label } = data.trials;
  return `${rows[i].at(label)}\n${columns[score].name}: ${show(rows[i][score], columns[score].percent)}`;
}

// Boxes that show and hide what is named; `shown` holds the flags.
function chooser(host, names, shown, change) {
  names.forEach((name, i) => {
    const label = make(host, "label"), box = make(label, "input", { type: "checkbox" });
    box.checked = shown[i];
    label.append(` ${name}`);
    box.addEventListener("change", () => { shown[i] = box.checked; change(); });
  });
}

function trialTable(table) {
  const { columns, rows, score, larger, links } = data.trials, more = byId("more");
  const head = make(make(table, "thead"), "tr"), body = make(table, "tbody");
  const kind = ({ number }) => (number ? { class: "number" } : {}), shown = columns.map(({ hidden }) => !hidden);
  for (const column of columns) make(head, "th", { scope: "col", ...kind(column) }, column.name);
  let limit = 100, order = [];
  const draw = () => {
    const kept = order.filter(isKept), listed = kept.slice(0, limit);
    columns.forEach((_, c) => { head.cells[c].hidden = !shown[c]; });
    body.replaceChildren();
    for (const i of listed) {
      const line = make(body, "tr");
      columns.forEach((column, c) => {
        if (!shown[c]) return;
        const cell = make(line, "td", kind(column)), text = show(rows[i][c], column.percent);
        if (c === 0 && links[i]) make(cell, "a", { href: links[i] }, text);
        else cell.textContent = text;
      });
    }
    byId("listed").textContent = `${listed.length} of ${rows.length} listed`;
    more.hidden = listed.length === kept.length;
    more.textContent = `List all ${kept.length}`;
  };
  const sort = sortable(table, rows, (sorted) => { order = sorted; draw(); });
  more.addEventListener("click", () => { limit = Infinity; draw(); });
  chooser(byId("columns"), columns.map(({ name }) => name), shown, draw);
  byId("csv").addEventListener("click", () => {
    const quote = (value) => (/[",\n]/.test(value ?? "") ? `"${value.replaceAll('"', '""')}"` : String(value ?? ""));
    const lines = [columns.map(({ name }) => name), ...order.filter(isKept).map((i) => rows[i])];
    const file = new Blob(lines.map((line) => `${line.map(quote).join(",")}\n`), { type: "text/csv" });
    const link = make(document.body, "a", { href: URL.createObjectURL(file), download: "trials.csv" });
    link.click();
    link.remove();
  });
  followers.push(draw);
  sort(score, larger ? -1 : 1);
}

// ---- colours: of a rank or place in 0 (worst, lowest) … 1
function blend(share) {
  const stops = [[213, 94, 0], [217, 195, 176], [185, 207, 221], [0, 114, 178]];
  const at = Math.min(share * 3, 2.999), i = Math.floor(at), t = at - i;
  return stops[i].map((v, k) => Math.round(v + t * (stops[i + 1][k] - v)));
}

// The scale of an axis by which lines are coloured, or of the ranks where there is none.
function ramp(host, axis, turned) {
  host.replaceChildren();
  const svg = make(host, "svg", { viewBox: "0 0 230 30", width: 230, height: 30, role: "img", "aria-label": "scale of the colours" });
  for (let k = 0; k < 40; k++)
    make(svg, "rect", { x: 15 + 5 * k, width: 5.2, y: 2, height: 9, fill: `rgb(${blend(turned ? 1 - k / 39 : k / 39)})` });
  let free = -Infinity;
  for (const [place, text] of axis ? axis.ticks : [[0, "worst"], [1, "best"]]) {
    const x = 15 + 200 * share(axis, place), half = 3.4 * String(text).length;
    if (text === "–" || x - half < free) continue;
    make(svg, "text", { x, y: 25, "text-anchor": "middle" }, text);
    free = x + half + 6;
  }
}

const share = (axis, place) => (axis && !axis.band ? (place - axis.foot) / (1 - axis.foot) : place);

// ---- curves: `all` has a list of numbers for each trial, one an epoch, or null; spec: {ylabel, percent, log}
function curves(host, { all, ...spec }) {
  const { label, rows } = data.trials, known = rows.map((_, i) => i).filter((i) => all[i]?.some(isNumber));
  const longest = Math.max(...known.map((i) => all[i].length)), numbers = known.flatMap((i) => all[i]);
  const low = numbers.reduce((a, b) => (isNumber(b) && b < a ? b : a), Infinity);
  const high = numbers.reduce((a, b) => (isNumber(b) && b > a ? b : a), -Infinity);
  spec.series = data.palette ? known.map((i) => ({ name: rows[i].at(label), color: data.palette[i] })) : [];
  const lines = known.sort((a, b) => data.order[a] - data.order[b]);
  const draw = chart(host, { ...spec, xlabel: "epoch" }, [1, Math.max(longest, 2)], [low, high], ({ svg, x, y }) => {
    const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
    host.querySelector("canvas")?.remove();
    const pen = drawing(make(host, "canvas", { style: `height:${height}px` }), width, height, lines.length);
    const chosen = make(svg, "path", { class: "chosen" }), kept = lines.filter(isKept);
    const points = (i) => all[i].flatMap((value, e) => (isNumber(value) ? [[x(e + 1), y(value)]] : []));
    for (const i of kept) {
      pen.strokeStyle = data.palette ? data.palette[i] : color(i, kept.length);
      pen.beginPath();
      const own = points(i);
      for (const [a, b] of own) pen.lineTo(a, b);
      if (own.length === 1) pen.arc(...own[0], 2, 0, 7);
      pen.stroke();
    }
    svg.addEventListener("pointerleave", () => set(chosen, { d: "" }));
    const said = (i, e) => { set(chosen, { d: path(points(i)) }); return `${called(i)}\nepoch ${e + 1}: ${show(all[i][e], spec.percent)}`; };
    const spots = () => kept.flatMap((i) => all[i].flatMap((v, e) => (isNumber(v) ? [{ x: x(e + 1), y: y(v), say: () => said(i, e) }] : [])));
    return [make(svg, "circle", { r: 5, class: "ring" }), spots];
  });
  followers.push(draw);
  return draw;
}

// The pen of a canvas as large as the drawing below it; thin lines where there are many.
function drawing(canvas, width, height, count) {
  const ratio = Math.max(count > 500 ? 1 : 2, devicePixelRatio || 1), pen = canvas.getContext("2d");
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  pen.scale(ratio, ratio);
  pen.lineWidth = count > 500 ? 1 : 1.4;
  return pen;
}

// ---- parallel coordinates. data.order: 0 worst … 1 best; data.axes: of choices {name, places, ticks: [[place, text]],
// band}, of numbers {name, column, log, percent}, whose places and ticks follow from the numbers
function place(axis) {
  if (axis.band) return;
  const values = data.trials.rows.map((row) => row[axis.column]), own = axis.log ? Math.log10 : (value) => value;
  const known = values.filter(isNumber), low = own(Math.min(...known)), high = own(Math.max(...known));
  const back = (mark) => (axis.log ? 10 ** mark : mark), text = (value) => (axis.percent ? `${round(100 * value)} %` : round(value));
  axis.foot = known.length < values.length ? 0.1 : 0; // where those without a number lie
  axis.positive = Math.min(...known) > 0 && high > low;
  const at = (mark) => axis.foot + (1 - axis.foot) * (high > low ? (mark - low) / (high - low) : 0.5);
  axis.places = values.map((value) => (isNumber(value) ? at(own(value)) : 0));
  let marks = high > low ? ticks(low, high, 6) : known.length ? [low] : [];
  if (axis.log && high > low) marks = marks.filter(Number.isInteger).length > 1 ? marks.filter(Number.isInteger) : [low, high];
  axis.ticks = [...(axis.foot ? [[0, "–"]] : []), ...marks.map((mark) => [at(mark), text(back(mark))])];
}

function summary(kept) {
  const { rows, score, columns, larger } = data.trials;
  const scores = rows.filter((_, i) => kept[i]).map((row) => row[score]).filter(isNumber).sort((a, b) => a - b);
  if (!scores.length) return "none of them with a score";
  const half = scores.length / 2, median = (scores[Math.ceil(half) - 1] + scores[Math.floor(half)]) / 2;
  const [best, middle] = [scores.at(larger ? -1 : 0), median].map((value) => show(value, columns[score].percent));
  return `best ${best}, median ${middle}`;
}

// On an axis of choices a brush takes whole choices: every one whose tick it covers, or the one it was drawn in.
function snapped({ ticks, band }, a, b) {
  const low = Math.max(0, Math.min(a, b)), high = Math.min(1, Math.max(a, b)), middle = (low + high) / 2;
  if (!band) return [low, high];
  const places = ticks.map(([place]) => place), covered = places.filter((place) => place >= low && place <= high);
  if (!covered.length) covered.push(places.reduce((p, q) => (Math.abs(q - middle) < Math.abs(p - middle) ? q : p)));
  return [Math.min(...covered) - band, Math.max(...covered) + band];
}

function parallel(host) {
  const { axes, order } = data, count = order.length, brushes = axes.map(() => null), shown = axes.map(() => true);
  const last = axes.length - 1, by = byId("by"), clear = byId("clear");
  const drawn = order.map((_, i) => i).sort((a, b) => order[a] - order[b]), all = axes.map((_, a) => a);
  const top = 46, height = 436, bottom = 30, left = 46, right = 66;
  const seen = () => all.filter((a) => shown[a]); // axes from left to right
  const y = (place) => top + (1 - place) * (height - top - bottom);
  const x = (position) => left + (position / Math.max(seen().length - 1, 1)) * (host.clientWidth - left - right);
  const inside = (i) => brushes.every((b, a) => !b || (axes[a].places[i] >= b[0] - 1e-9 && axes[a].places[i] <= b[1] + 1e-9));
  let canvas = null, svg = null, chosen = null, pending = 0, dragged = false;
  axes.forEach(place);

  const recolor = () => {
    const axis = axes[by.value], turned = Number(by.value) === last && !data.trials.larger;
    const shares = axis ? axis.places.map((at) => Math.max(0, share(axis, at))) : order;
    const colors = shares.map((at, i) => (axis?.foot && axis.places[i] === 0 ? [154, 163, 174] : blend(turned ? 1 - at : at)));
    color = (i, number) => `rgba(${colors[i]},${Math.min(0.85, Math.max(0.12, 60 / Math.max(number, 1)))})`;
    ramp(byId("ramp"), axis, turned);
  };

  // While the mouse drags, at most a thousand lines are drawn; what is counted is always all of them.
  const paint = (dragging = false) => {
    pending = 0;
    const kept = order.map((_, i) => inside(i)), number = kept.filter(Boolean).length, brushed = brushes.some(Boolean);
    const every = dragging ? Math.ceil(count / 1000) : 1, lines = drawn.filter((_, k) => k % every === 0);
    const pen = drawing(canvas, host.clientWidth, height, count), axesSeen = seen(), xs = axesSeen.map((_, p) => x(p));
    const stroke = (color, chosen) => {
      pen.beginPath();
      pen.strokeStyle = color;
      for (const i of chosen) axesSeen.forEach((a, p) => (p ? pen.lineTo(xs[p], y(axes[a].places[i])) : pen.moveTo(xs[p], y(axes[a].places[i]))));
      pen.stroke();
    };
    if (brushed) stroke("rgba(150,160,170,0.16)", lines.filter((i) => !kept[i]));
    pen.lineWidth = number > 500 ? 1 : 1.4;
    for (const i of lines) if (kept[i]) stroke(color(i, number), [i]);
    byId("brushed").textContent = `${number} of ${count} runs`;
    byId("summary").textContent = summary(kept);
    clear.disabled = !brushed;
    svg.querySelectorAll(".brush").forEach((node, p) => {
      const [low, high] = brushes[axesSeen[p]] || [0, 0];
      set(node, { visibility: brushes[axesSeen[p]] ? "visible" : "hidden", y: y(high), height: Math.max(1, y(low) - y(high)) });
    });
    if (!dragging) flags = brushed ? kept : null;
  };

  const drag = (event, a) => {
    const area = event.target, box = svg.getBoundingClientRect();
    const at = (e) => 1 - (((e.clientY - box.top) * height) / box.height - top) / (height - top - bottom);
    const isClick = (e) => Math.abs(e.clientY - event.clientY) < 3;
    area.setPointerCapture(event.pointerId);
    dragged = true;
    area.onpointermove = (e) => {
      if (isClick(e)) return;
      brushes[a] = snapped(axes[a], at(event), at(e));
      pending ||= requestAnimationFrame(() => paint(true));
    };
    area.onpointerup = (e) => {
      area.onpointermove = area.onpointerup = null;
      dragged = false;
      if (isClick(e)) brushes[a] = null; // it frees this axis
      cancelAnimationFrame(pending);
      paint();
      tell();
    };
  };

  // The axis `a` to another position among those seen.
  const move = (a, position) => {
    const others = seen().filter((b) => b !== a), after = others[Math.min(position, others.length) - 1];
    all.splice(all.indexOf(a), 1);
    all.splice(position > 0 ? all.indexOf(after) + 1 : 0, 0, a);
    draw();
    svg.querySelector(`[data-name="${a}"]`).focus();
  };

  const carry = (event, a) => {
    const name = event.currentTarget;
    name.setPointerCapture(event.pointerId);
    name.onpointermove = (e) => set(name, { transform: `translate(${e.clientX - event.clientX} 0)` });
    name.onpointerup = (e) => {
      const step = seen().length > 1 ? x(1) - x(0) : 1, from = seen().indexOf(a);
      move(a, Math.max(0, from + Math.round((e.clientX - event.clientX) / step)));
    };
  };

  // The kept line nearest to the mouse, within 8 pixels, is named.
  const hover = (event) => {
    const box = svg.getBoundingClientRect(), axesSeen = seen(), gap = axesSeen.length > 1 ? x(1) - x(0) : 1;
    const at = (event.clientX - box.left - left) / gap, p = Math.min(Math.max(Math.floor(at), 0), axesSeen.length - 2), t = at - p;
    let near = -1, least = 8;
    if (!dragged && t >= 0 && t <= 1 && p >= 0)
      for (const i of drawn) {
        const [from, to] = [axes[axesSeen[p]].places[i], axes[axesSeen[p + 1]].places[i]];
        const distance = Math.abs(y(from + t * (to - from)) - event.clientY + box.top);
        if (distance <= least && isKept(i)) [near, least] = [i, distance];
      }
    if (near < 0) { unpoint(); return set(chosen, { d: "" }); }
    set(chosen, { d: path(axesSeen.map((a, q) => [x(q), y(axes[a].places[near])])) });
    point(event, called(near));
  };

  const draw = () => {
    host.replaceChildren();
    canvas = make(host, "canvas");
    const label = "parallel coordinates of all runs";
    svg = make(host, "svg", { viewBox: `0 0 ${host.clientWidth} ${height}`, role: "img", "aria-label": label });
    chosen = make(svg, "path", { class: "chosen" });
    svg.addEventListener("pointermove", hover);
    svg.addEventListener("pointerleave", () => { unpoint(); set(chosen, { d: "" }); });
    seen().forEach((a, p) => {
      const axis = axes[a], { name, ticks, log, positive } = axis;
      const parts = name.length > 12 ? name.split(/(?<=[_ /])/) : [name], half = Math.ceil(parts.length / 2);
      const lines = [parts.slice(0, half), parts.slice(half)].map((part) => part.join("")).filter(Boolean);
      const title = make(svg, "g", { class: "title", tabindex: 0, "data-name": a, "aria-label": `${name}, moved with the arrow keys` });
      lines.forEach((line, i) => make(title, "text", { class: "name", x: x(p), y: 30 - 14 * (lines.length - 1 - i), "text-anchor": "middle" }, line));
      title.addEventListener("pointerdown", (event) => carry(event, a));
      title.addEventListener("keydown", ({ key }) => { if (key.startsWith("Arrow")) move(a, Math.max(0, p + (/Right|Down/.test(key) ? 1 : -1))); });
      make(svg, "line", { class: "axis", x1: x(p), x2: x(p), y1: top, y2: height - bottom });
      make(svg, "rect", { class: "brush", x: x(p) - 8, width: 16 });
      for (const [place, text] of ticks) {
        make(svg, "line", { class: "axis", x1: x(p) - 3, x2: x(p) + 3, y1: y(place), y2: y(place) });
        make(svg, "text", { class: "tick", x: x(p) + 7, y: y(place) + 4 }, text);
      }
      const area = { x: x(p) - 16, width: 32, y: top - 6, height: height - top - bottom + 12 };
      const hit = make(svg, "rect", { class: "hit", ...area, "data-axis": name });
      hit.addEventListener("pointerdown", (event) => drag(event, a));
      if (!positive) return;
      const scale = make(svg, "text", { class: "log", x: x(p), y: height - 6, "text-anchor": "middle", role: "button", tabindex: 0 }, log ? "log" : "linear");
      const turn = () => { axis.log = !log; brushes[a] = null; place(axis); recolor(); draw(); tell(); };
      scale.addEventListener("click", turn);
      scale.addEventListener("keydown", ({ key }) => { if (key === "Enter") turn(); });
    });
    paint();
  };

  [["", `rank of ${axes[last].name}`], ...axes.map(({ name }, a) => [a, name]).reverse()]
    .forEach(([value, text]) => make(by, "option", { value }, text));
  by.value = last;
  by.addEventListener("change", () => { recolor(); draw(); tell(); });
  chooser(byId("axes"), axes.map(({ name }) => name), shown, () => {
    brushes.forEach((_, a) => { if (!shown[a]) brushes[a] = null; });
    draw();
    tell();
  });
  clear.addEventListener("click", () => { brushes.fill(null); paint(); tell(); });
  recolor();
  onWidth(host, draw);
}

// ---- confusion matrix. data.confusion: {names, matrix, rows, mistakes: [{index, true, predicted, sure, image}]}
function confusion(table) {
  const { names, matrix, rows, mistakes } = data.confusion, gallery = byId("of-cell"), toggle = byId("shares");
  toggle.addEventListener("click", () => set(toggle, { "aria-pressed": table.classList.toggle("shares") }));
  for (const cell of table.querySelectorAll(".cell")) {
    const row = Number(cell.dataset.row), column = Number(cell.dataset.column), hit = row === column;
    const total = matrix[row].reduce((a, b) => a + b, 0), count = matrix[row][column];
    const what = hit ? "were recognised" : `were taken for ${names[column]}`;
    const share = total ? ` (${((100 * count) / total).toFixed(1)} %)` : "";
    const sentence = `${count} of ${total} ${rows} of ${names[row]} ${what}${share}`;
    const choose = () => {
      table.querySelector(".chosen")?.classList.remove("chosen");
      cell.classList.add("chosen");
      const own = mistakes.filter((m) => m.true === row && m.predicted === column);
      const which = own.length < count ? `The ${own.length} surest of them` : "All of them, the surest first";
      byId("cell").textContent = sentence + (hit || !count ? "." : `. ${which}:`);
      gallery.replaceChildren();
      for (const mistake of own) {
        const item = make(gallery, "li");
        if (mistake.image) make(item, "img", { src: mistake.image, alt: `image ${mistake.index}` });
        item.append(`${rows.slice(0, -1)} ${mistake.index}, ${mistake.sure}`);
      }
    };
    cell.addEventListener("pointermove", (event) => point(event, sentence));
    cell.addEventListener("pointerleave", unpoint);
    cell.addEventListener("click", choose);
    cell.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
  }
}

const each = (selector, draw) => document.querySelectorAll(selector).forEach(draw);
each("[data-lines]", (host) => lineChart(host, data.lines[host.dataset.lines]));
each("[data-dots]", (host) => dotChart(host, data.dots[host.dataset.dots]));
each("table.sortable", sortTable);
each("table.confusion", confusion);
each("table.trials", trialTable);
each(".parallel", parallel);
each("[data-curves]", (host) => whenNear(host, () => curves(host, data.curves[host.dataset.curves])));
