const spreads = col("latency_spread") >= 0;
const beside = (cells, test) => [...cells.slice(0, 2), test, ...cells.slice(2)];  // behind the first measure
const heads = beside(["network", ...D.measures.flatMap(m => m.more ? [label(m)] : [label(m), "% of base"]),
  ...(spreads ? ["latency spread (%)"] : [])], "test accuracy (%)");
const cells = (name, of, test) => beside([name, ...D.measures.flatMap(m => [of(m.name), ...share(of(m.name), m)]),
  ...(spreads ? [of("latency_spread")] : [])], test);
table($("table"), heads, [cells("base network", name => D.base[name], D.base.test),
  ...D.front.map(f => cells(f.key, name => value(f.at, name), f.test))],
  [null, ...D.front.map(f => f.at)]);
table($("heat"), ["network", ...D.segments.map(s => `${s[0]} /${s[1]}`)],
  D.front.map(f => [f.key, ...f.kept.map((k, i) => ({value: k, shade: +(.75 * k / D.segments[i][1]).toFixed(3)}))]),
  D.front.map(f => f.at));
$("all").parentElement.ontoggle = () => { if (!$("all").firstChild)
  table($("all"), D.columns.map(name => measure(name) ? label(measure(name)) : name), D.points, D.points.map((_, i) => i)); };
if (D.others.length) {
  $("compared").hidden = false;
  const own = {name: D.name, network: D.network, dataset: D.dataset, base: D.base,
    front: D.front.map(f => ({...f, ...Object.fromEntries(D.measures.map(m => [m.name, value(f.at, m.name)]))}))};
  table($("fronts"), ["run", "network", "of", "images", ...D.measures.map(label), "test accuracy (%)"],
    [own, ...D.others].flatMap(o => [{...o.base, key: "base network"}, ...o.front].map(f =>
      [o.name, f.key, o.network, o.dataset, ...D.measures.map(m => f[m.name]), f.test])));
}
if (D.published.length) {
  $("papers").hidden = false;
  table($("published"), ["method", "multiply-adds", "% of its base", "test accuracy (%)", "base network (%)", "source"],
    D.published.map(p => [p.method, p.flops, +(100 * p.flops / p.base_flops).toFixed(1), p.accuracy, p.base_accuracy, p.source]));
}
const curves = () => D.sensitivity[+$("measured").value || 0].curves;
async function drawCurves() {
  if (!D.sensitivity.length) return;
  const rows = curves().flatMap(c => c.points.map(p => {
    const [pruned, lost] = [+(100 * p[0]).toFixed(1), p[1]], title = c.segment + (c.fragile ? ", to leave alone" : "");
    const facts = {title, "pruned (%)": pruned, "lost (points)": lost};
    return {segment: c.segment, fragile: c.fragile, pruned, lost, facts, told: told(facts)};
  }));
  await embed("curves", 300, curvesChart(rows, curves().map(c => c.segment), $("segment").value));
}
function fillCurves() {
  options($("segment"), [["", "all"], ...curves().map(c => [c.segment, c.segment])]);
  $("losses").textContent = "";
  table($("losses"), ["segment", "channels", "leave alone", "channels pruned (%)", "accuracy lost (points)"],
    curves().flatMap(c => c.points.map(p => [c.segment, c.width, c.fragile ? "yes" : "", +(100 * p[0]).toFixed(1), p[1]])));
}
if (D.sensitivity.length) {
  $("sensitive").hidden = false;
  options($("measured"), D.sensitivity.map((one, i) => [i, one.name]));
  $("measured").onchange = () => { fillCurves(); return drawCurves(); };
  $("segment").onchange = drawCurves;
  fillCurves();
}
const drawVolume = () => embed("volume", 240, volumeChart(D.hypervolume.map((h, i, all) => {
  const facts = {title: "evaluation " + (i + 1), hypervolume: h};
  return {evaluation: i + 1, hypervolume: h, better: i === 0 || h !== all[i - 1], facts, told: told(facts)};
})));
{
  const v = D.hypervolume;
  table($("volumes"), ["evaluation", "hypervolume"], v.map((h, i) => [i + 1, h])
    .filter((r, i) => i === 0 || i === v.length - 1 || r[1] !== v[i - 1]));
}
const from = {}; for (const f of D.front) from[f.proposal] = (from[f.proposal] || 0) + 1;
table($("origin"), ["proposal", "networks of the front"], Object.entries(from));
if (D.failures.length) table($("failures"), ["candidate", "key", "what", "reason"], D.failures);
const untrained = D.facts.failed_trainings || [];
if (untrained.length) table($("untrained"), ["network, seed and reason"], untrained.map(text => [text]));
table($("costs"), ["stage", "seconds"], Object.entries(D.facts.seconds || {}));
$("facts").textContent = [`${number(D.total)} candidates of ${D.space}`,
  ...Object.entries(D.status).map(([name, n]) => `${number(n)} ${name}`), `${D.front.length} on the front`,
  ...(D.front.length ? [] : ["no candidate keeps all limits of search.limits"]),
  ...(D.points.length < (D.status.ok || 0) + (D.status.infeasible || 0) ? [`${number(D.points.length)} drawn: the fronts and a sample`] : []),
  ...(D.rank_correlation != null ? [`rank correlation of search and test accuracy ${D.rank_correlation}, of ${D.front.filter(f => f.test != null).length} networks`] : []),
  ...(D.facts.latency ? [D.facts.latency] : []),
  ...(D.facts.hardware ? [D.facts.hardware.gpus && D.facts.hardware.gpus.join(", ") || D.facts.hardware.cpu] : []),
  ...(D.facts.finished && !D.live ? [`last stage ended ${D.facts.finished.slice(0, 16).replace("T", " ")} UTC`] : [])].join("; ") + ".";
$("live").hidden = !D.live;
$("stage").textContent = D.stage;
if (D.live) setInterval(() => { if ($("reload").checked) { remember(); location.reload(); } }, 30000);
const drawAll = () => Promise.all([draw(), drawVolume(), drawCurves()]);
matchMedia("(prefers-color-scheme: dark)").onchange = drawAll;
matchMedia("(max-width: 599px)").onchange = drawAll;
const drawn = drawAll().then(recall);
