const objectives = D.measures.filter(m => m.objective);
const yName = objectives[0].name, xs = D.measures.filter(m => m.name !== yName);
const state = {x: (objectives[1] || xs[0]).name, generation: Math.max(0, D.fronts.length - 1), chosen: null};
const papers = () => yName === "accuracy" && state.x === "flops" ? D.published : [];
const broken = at => value(at, "status") !== "ok";
const testOf = at => {
  const {test, std, seeds} = D.front.find(f => f.at === at) || {};
  return test == null ? {} : {"test accuracy after full training": number(test) + " %" + (std == null ? "" : `, std ${number(std)} of ${seeds} seeds`)};
};
let view = null;  // the drawn front

function said(m, v) { return number(+v) + (m.unit ? " " + m.unit : ""); }
function facts(head, of, rest) {  // what is told of one mark: a tooltip's rows
  return {...head, ...Object.fromEntries(D.measures.filter(m => of(m.name) != null).map(m => [m.label, said(m, of(m.name))])), ...rest};
}
const KIND = {other: "other candidates", limit: "candidates that break a limit", own: D.others.length ? D.name + " (this run)" : "front",
  test: "test accuracy after full training", paper: "published, test accuracy", base: D.others.length ? "base networks" : "base network"};
const runName = o => Object.values(KIND).includes(o.name) ? `"${o.name}"` : o.name;
const trainedOf = o => runName(o) + ", after full training";
const told = ({title, ...rest}) => `${title}: ` + Object.entries(rest).map(([name, v]) => `${name} ${v}`).join(", ");
function candidate(at) {
  return facts({title: value(at, "key")}, name => value(at, name), {
    ...testOf(at),
    ...(value(at, "latency_spread") != null ? {"latency spread": number(value(at, "latency_spread")) + " %"} : {}), candidate: value(at, "id"),
    generation: value(at, "generation"), from: value(at, "proposal"), ...(broken(at) ? {limits: "broken"} : {})});
}
function kinds() {  // of marks, in the order in which they are drawn and listed
  const dot = {size: 30, shape: "circle", color: css("dot")};
  return [{name: KIND.other, ...dot}, {name: KIND.limit, ...dot, shape: "triangle-down"},
    {name: KIND.own, size: 50, shape: "circle", color: css("front")},
    ...D.others.map((o, i) => ({name: runName(o), size: 36, shape: "circle", color: css("more" + i % 5)})),
    ...D.others.map((o, i) => ({name: trainedOf(o), size: 130, shape: STAR, color: css("more" + i % 5)})),
    {name: KIND.paper, size: 55, shape: "square", color: css("ink")},
    {name: KIND.test, size: 130, shape: STAR, color: css("pick")},
    {name: KIND.base, size: 160, shape: "diamond", color: css("base")}];
}
function marks(all) {
  const found = [];
  const looks = Object.fromEntries(all.map(({name, size, color}, rank) => [name, {size, color, rank}]));
  const add = (kind, x, y, tells, more) => {
    if (x != null && y != null) found.push({kind, x, y, ...looks[kind], facts: tells, told: told(tells), ...more});
  };
  const tested = (kind, x, f, tells, more) => { if (yName === "accuracy") add(kind, x, f.test, tells, more); };
  D.points.forEach((_, at) => add(broken(at) ? KIND.limit : KIND.other, value(at, state.x), value(at, yName), candidate(at),
    {at, since: value(at, "generation")}));
  D.fronts.forEach((front, of) => front.forEach(at => add(KIND.own, value(at, state.x), value(at, yName), candidate(at),
    {at, of, step: stepped()})));
  for (const f of D.front) tested(KIND.test, value(f.at, state.x), f, candidate(f.at), {since: value(f.at, "generation")});
  for (const o of D.others) {
    for (const f of o.front) {
      const tells = facts({title: f.key, run: o.name}, name => f[name], f.test != null ? {"test accuracy": number(f.test) + " %"} : {});
      add(runName(o), f[state.x], f[yName], tells, {step: stepped(), dashed: true});
      tested(trainedOf(o), f[state.x], f, tells);
    }
    add(KIND.base, o.base[state.x], o.base[yName], facts({title: "base network of " + o.name}, name => o.base[name]));
  }
  for (const p of papers()) add(KIND.paper, p.flops, p.accuracy, {title: p.method, "published test accuracy": p.accuracy + " %",
    "multiply-adds": number(p.flops), source: p.source});
  add(KIND.base, D.base[state.x], D.base[yName], facts({title: "base network"}, name => D.base[name]));
  return found;
}
const stepped = () => objectives.length === 2 && measure(state.x).objective;
async function draw() {
  const all = kinds(), more = measure(yName).more, step = more === !measure(state.x).more ? "step-after" : "step-before";
  view = await embed("plot", narrow() ? 340 : 440, frontChart(marks(all), all,
    [label(measure(state.x)), label(measure(yName))], {...state, step}));
  view.addEventListener("click", (_, item) => { if (item && item.datum && item.datum.at != null) choose(item.datum.at); });
  view.addEventListener("mouseover", (_, item) => { if (item && item.datum && item.datum.told) $("tip").textContent = item.datum.told; });
}
function signal(name, v) { state[name === "picked" ? "chosen" : name] = v; if (view) view.signal(name, v).runAsync(); }
function walk() {  // the front of the generation, along the horizontal axis
  return [...(D.fronts[state.generation] || [])].sort((a, b) => value(a, state.x) - value(b, state.x));
}
function choose(at, why, from) {  // from: the box of a table, which stays where it is
  signal("picked", at);
  $("tip").textContent = told(candidate(at));
  for (const row of document.querySelectorAll("tr[data-at]")) {
    markRow(row);
    const box = row.closest(".scroll");
    if (+row.dataset.at === at && box !== from) box.scrollTop = row.offsetTop - box.clientHeight / 2;
  }
  advise(at, why);
}
const quote = text => /^[\w./:-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'";
function advise(at, why) {
  const key = value(at, "key"), better = D.front.some(f => f.at === at) ? null : betterThan(at);
  const quoted = quote(D.run), source = D.source ? " --source " + quote(D.source) : "";  // code of one's own is named
  const box = $("choice"); box.textContent = "";
  make(box, "p", {}, (why ? why + " " : "") + told(candidate(at)));
  if (better) {
    make(box, "p", {}, "It is not on the front, and only networks of the front are trained." + (better.key ? " This one is, and is worse in nothing:" : ""));
    if (better.key) make(make(box, "p"), "button", {type: "button"}, better.key).onclick = () => choose(better.at);
    return;
  }
  for (const [what, command] of [["train it", `evoprune retrain ${quoted} --set 'retrain.select=[${key}]'`],
    ["export it, once it is trained", `evoprune export ${quoted}/models/${key} --format onnx${source}`]])
    make(make(box, "p", {}, what + ": "), "code", {}, command);
  if (!D.run.startsWith("/")) make(box, "p", {}, `Run them in the folder that has ${D.run}.`);
}
function betterThan(at) {  // of the front; without a key where there is none, as for a candidate that breaks a limit
  const [own, their] = [m => value(at, m.name), (f, m) => value(f.at, m.name)];
  return D.front.find(f => objectives.every(m => m.more ? their(f, m) >= own(m) : their(f, m) <= own(m))) || {};
}
function ask() {
  const name = $("of").value, limit = parseFloat($("limit").value), more = measure(yName).more ? 1 : -1;
  if (isNaN(limit)) { $("choice").textContent = ""; return; }
  const fit = D.front.filter(f => value(f.at, name) <= limit), rank = f => more * value(f.at, yName);
  if (!fit.length) { $("choice").textContent = "No network of the front is below that."; return; }
  choose(fit.reduce((a, b) => rank(b) > rank(a) ? b : a).at, "The best below the limit:");
}
function pickRow(event) {
  const row = event.target.closest("tr[data-at]");
  if (row && (event.type === "click" || event.key === "Enter")) choose(+row.dataset.at, "", row.closest(".scroll"));
}
function remember() {  // what was chosen, for the page that is read next
  const key = state.chosen == null ? null : value(state.chosen, "key");
  sessionStorage.setItem(D.run, JSON.stringify({key, x: state.x, limit: $("limit").value}));
}
async function recall() {
  const kept = D.live && JSON.parse(sessionStorage.getItem(D.run) || "null");
  if (!kept) return;
  $("limit").value = kept.limit;
  if (xs.some(m => m.name === kept.x) && kept.x !== state.x) { $("x").value = kept.x; await $("x").onchange(); }
  const at = D.points.findIndex((_, i) => value(i, "key") === kept.key);
  if (at >= 0) choose(at);
}
options($("x"), xs.map(m => [m.name, label(m)]));
$("x").value = state.x;
$("x").onchange = () => { state.x = $("x").value; return draw(); };
$("generation").max = state.generation;
$("generation").value = $("at").textContent = state.generation;
$("generation").oninput = () => {
  $("at").textContent = $("generation").value;
  signal("generation", +$("generation").value);
};
$("plot").onkeydown = event => {
  const step = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key], line = walk();
  if (!step || !line.length) return;
  event.preventDefault();
  const now = line.indexOf(state.chosen);
  choose(line[now < 0 ? 0 : Math.min(line.length - 1, Math.max(0, now + step))]);
};
document.addEventListener("click", pickRow);
document.addEventListener("keydown", pickRow);
options($("of"), xs.map(m => [m.name, label(m)]));
$("of").value = state.x;
$("goal").textContent = measure(yName).label;
$("limit").oninput = $("of").onchange = ask;
$("knee").disabled = !D.knee;
$("knee").onclick = () => {
  const knee = D.front.find(f => f.key === D.knee);
  if (knee) choose(knee.at, "The knee, where a gain in one objective begins to cost much:");
};
