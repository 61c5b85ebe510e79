const objectives = D.measures.filter(m => m.objective);
const yName = objectives[0].name, xs = D.measures.filter(m => m.name !== yName);
let x = (objectives[1] || xs[0]).name, generation = D.fronts.length - 1, chosen = null, marks = [];
const shades = D.others.map((_, i) => `var(--more${i % 5})`);
const papers = () => yName === "accuracy" && x === "flops" ? D.published : [];

function walk() {  // the front of the generation, along the horizontal axis
  return [...(D.fronts[generation] || [])].sort((a, b) => value(a, x) - value(b, x));
}
function mark(a, b, text, at) { marks.push({a, b, text, at}); }
function ranges() {  // of all that is drawn: candidates, base networks, other runs, tests, published results
  const tests = yName === "accuracy" ? [...D.front, ...D.others.flatMap(o => o.front)].map(f => f.test) : [];
  const beside = D.others.flatMap(o => [o.base, ...o.front]), all = D.points.map((_, i) => i), p = papers();
  return [range([...all.map(i => value(i, x)), D.base[x], ...beside.map(o => o[x]), ...p.map(o => o.flops)]),
    range([...all.map(i => value(i, yName)), D.base[yName], ...tests, ...beside.map(o => o[yName]), ...p.map(o => o.accuracy)])];
}
function draw() {
  const svg = $("plot"), box = fit(svg, innerWidth < 600 ? 360 : 460), all = D.points.map((_, i) => i);
  const {px, py} = axes(svg, box, ...ranges(), label(measure(x)), label(measure(yName)));
  marks = [];
  const dot = (at, r, fill) => {
    const cx = px(value(at, x)), cy = py(value(at, yName)), hollow = broken(at) ? {fill: "none", stroke: fill} : {};
    make(svg, "circle", {cx, cy, r, fill, "data-at": at, ...hollow});
    mark(cx, cy, () => describe(at), at);
  };
  for (const at of all) if (value(at, "generation") <= generation) dot(at, 2.6, "var(--dot)");
  D.others.forEach((other, i) => drawOther(svg, px, py, other, shades[i]));
  const line = walk();
  if (stepped() && line.length) {
    const path = steps(line.map(at => [px(value(at, x)), py(value(at, yName))]), upward());
    make(svg, "path", {d: path, fill: "none", stroke: "var(--front)", "stroke-width": 1.5});
  }
  for (const at of line) dot(at, 4, "var(--front)");
  for (const one of D.front) if (one.test != null && yName === "accuracy")
    star(svg, px(value(one.at, x)), py(one.test), "var(--pick)");
  for (const one of papers()) {
    const a = px(one.flops), b = py(one.accuracy);
    make(svg, "rect", {x: a - 4, y: b - 4, width: 8, height: 8, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5});
    mark(a, b, () => `${one.method}: published test accuracy ${one.accuracy} %, multiply-adds ${one.flops.toLocaleString("en")} (${one.source})`);
  }
  drawBase(svg, px, py);
  if (chosen != null) make(svg, "circle", {cx: px(value(chosen, x)), cy: py(value(chosen, yName)), r: 8, fill: "none",
    stroke: "var(--pick)", "stroke-width": 2.5});
  $("at").textContent = generation;
}
const broken = at => value(at, "status") !== "ok";
const stepped = () => objectives.length === 2 && measure(x).objective;
const upward = () => measure(yName).more === !measure(x).more;
function drawBase(svg, px, py) {
  if (D.base[x] == null || D.base[yName] == null) return;
  const a = px(D.base[x]), b = py(D.base[yName]);
  diamond(svg, a, b, 8, "var(--base)");
  mark(a, b, () => `base network: ${told(m => D.base[m.name])}`);
  make(svg, "text", {x: a + 8, y: b + 26, "text-anchor": "end", style: "fill:var(--base)"}, "base network");
}
function drawOther(svg, px, py, other, color) {  // the front of a run that is compared
  const line = other.front.filter(f => f[x] != null && f[yName] != null).sort((a, b) => a[x] - b[x]);
  const places = line.map(f => [px(f[x]), py(f[yName])]);
  if (stepped() && line.length) make(svg, "path", {d: steps(places, upward()), fill: "none", stroke: color, "stroke-width": 1.5,
    "stroke-dasharray": "6 3", "data-run": other.name});
  line.forEach((f, i) => {
    make(svg, "circle", {cx: places[i][0], cy: places[i][1], r: 3.5, fill: color, "data-run": other.name});
    mark(...places[i], () => `${other.name}, ${f.key}: ${told(m => f[m.name])}`);
    if (f.test != null && yName === "accuracy") star(svg, places[i][0], py(f.test), color);
  });
  if (other.base[x] == null || other.base[yName] == null) return;
  diamond(svg, px(other.base[x]), py(other.base[yName]), 6, color);
  mark(px(other.base[x]), py(other.base[yName]), () => `base network of ${other.name}: ${told(m => other.base[m.name])}`);
}
const told = of => D.measures.filter(m => of(m) != null).map(m => `${m.label} ${(+of(m)).toLocaleString("en")}`
  + (m.unit === "%" ? " %" : m.unit && m.name !== "bandwidth" ? " " + m.unit : "")).join(", ");
function describe(at) {
  const test = (D.front.find(f => f.at === at) || {}).test;
  return `${value(at, "key")}: ` + told(m => value(at, m.name))
    + (test != null ? `, test accuracy after full training ${test} %` : "")
    + ` (candidate ${value(at, "id")} of generation ${value(at, "generation")}, from ${value(at, "proposal")}`
    + (broken(at) ? ", breaks a limit)" : ")");
}
function legend() {
  const items = [["\u25cf", "var(--front)", D.others.length ? D.name + " (this run)" : "front"], ...D.others.map((o, i) => ["\u25cf", shades[i], o.name]),
    ["\u25cf", "var(--dot)", "other candidates"],
    ...(D.points.some((_, at) => broken(at)) ? [["\u25cb", "var(--dot)", "candidates that break a limit"]] : []), ["\u25c7", "var(--base)", D.others.length ? "base networks" : "base network"],
    ...(D.front.concat(D.others.flatMap(o => o.front)).some(f => f.test != null) ? [["\u2605", "var(--pick)", "test accuracy after full training"]] : []),
    ...(papers().length ? [["\u25a1", "var(--ink)", "published, test accuracy"]] : [])];
  $("legend").textContent = "";
  for (const [sign, color, text] of items) {
    const item = make($("legend"), "li");
    make(item, "span", {style: `color:${color}`, "aria-hidden": "true"}, sign + " ");
    make(item, "span", {}, text);
  }
}
function choose(at, told) {
  chosen = at; draw();
  if (at == null) return;
  $("tip").textContent = describe(at);
  for (const row of document.querySelectorAll("tr[data-at]"))
    row.classList.toggle("chosen", +row.dataset.at === at);
  if (told !== false) advise(at);
}
function advise(at, why) {
  const key = value(at, "key"), quoted = /^[\w./-]+$/.test(D.run) ? D.run : "'" + D.run.replaceAll("'", "'\\''") + "'";
  const box = $("choice"); box.textContent = "";
  make(box, "p", {}, (why ? why + " " : "") + describe(at));
  for (const [what, command] of [["train it", `evoprune retrain ${quoted} --set 'retrain.select=[${key}]'`],
    ["export it, once it is trained", `evoprune export ${quoted}/models/${key} --format onnx`]])
    make(make(box, "p", {}, what + ": "), "code", {}, command);
  if (!D.run.startsWith("/")) make(box, "p", {}, "Run them in the folder in which the run was started.");
}
const nearest = event => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform($("plot").getScreenCTM().inverse());
  let best = null, least = 20;
  for (const one of marks) {
    const far = Math.hypot(one.a - point.x, one.b - point.y);
    if (far <= least) { least = far; best = one; }
  }
  return best;
};
for (const m of xs) make($("x"), "option", {value: m.name}, label(m));
$("x").value = x;
$("x").onchange = () => { x = $("x").value; draw(); legend(); };
$("generation").max = Math.max(0, D.fronts.length - 1);
$("generation").value = generation;
$("generation").oninput = () => { generation = +$("generation").value; draw(); };
$("plot").onpointermove = event => { const near = nearest(event); if (near) $("tip").textContent = near.text(); };
$("plot").onclick = event => { const near = nearest(event);
  if (near && near.at != null) choose(near.at); };
$("plot").onkeydown = event => {
  const step = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key], line = walk();
  if (!step || !line.length) return;
  event.preventDefault();
  const now = line.indexOf(chosen);
  choose(line[now < 0 ? 0 : Math.min(line.length - 1, Math.max(0, now + step))]);
};
const pickRow = event => {
  const row = event.target.closest("tr[data-at]");
  if (row && (event.type === "click" || event.key === "Enter")) choose(+row.dataset.at);
};
document.addEventListener("click", pickRow);
document.addEventListener("keydown", pickRow);
for (const m of xs) make($("of"), "option", {value: m.name}, label(m));
$("of").value = x;
$("goal").textContent = measure(yName).label;
const ask = () => {
  const name = $("of").value, limit = parseFloat($("limit").value), more = measure(yName).more ? 1 : -1;
  if (isNaN(limit)) { $("choice").textContent = ""; return; }
  const fit = D.front.filter(f => value(f.at, name) <= limit);
  const rank = f => more * value(f.at, yName);
  if (!fit.length) { $("choice").textContent = "No network of the front is below that."; return; }
  const best = fit.reduce((a, b) => rank(b) > rank(a) ? b : a);
  choose(best.at, false); advise(best.at, "The best below the limit:");
};
$("limit").oninput = ask;
$("of").onchange = ask;
$("knee").disabled = !D.knee;
$("knee").onclick = () => {
  const knee = D.front.find(f => f.key === D.knee);
  if (knee) { choose(knee.at, false); advise(knee.at, "The knee, where a gain in one objective begins to cost much:"); }
};
