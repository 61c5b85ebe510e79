const STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z";
const css = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const narrow = () => innerWidth < 600;
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const AS_READ = "abs(datum.value) < 1 ? format(datum.value, '.3~r') : datum.label";  // 0.5, not 500m
const axis = title => ({title, format: "~s", labelExpr: AS_READ, labelOverlap: "greedy", labelSeparation: 8, tickCount: narrow() ? 5 : 8});
function around(values) {  // a scale that holds all of them, whatever is drawn now
  const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const pad = (high - low) * .04 || 1;
  return {domain: values.length ? [low - pad, high + pad] : [0, 1], nice: false, zero: false};
}

async function embed(id, height, spec) {  // draws a Vega-Lite chart; without `eval`, which the page forbids itself
  const [ink, soft, line] = ["ink", "soft", "line"].map(css);
  const whole = {
    description: $(id).getAttribute("aria-label"), width: "container", height, background: null, autosize: {type: "fit-x", contains: "padding"}, ...spec,
    config: {view: {stroke: null}, axis: {labelColor: soft, titleColor: ink, gridColor: line, domainColor: line,
      tickColor: line, labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal"},
      legend: {labelColor: ink, titleColor: ink, labelFontSize: 13, labelLimit: narrow() ? 320 : 700, orient: "bottom"}},
  };
  const done = await vegaEmbed("#" + id, whole, {ast: true, renderer: "svg", hover: false, tooltip: {theme: dark() ? "dark" : "light"},
    actions: {export: true, source: false, compiled: false, editor: false}, downloadFileName: `${D.name} ${id}`});
  return done.view;
}
function legendOf(names, more) {  // in as many columns as there is room for
  const longest = Math.max(0, ...names.map(name => name.length));
  return {title: null, columns: Math.max(1, Math.floor($("plot").clientWidth / (50 + 8 * longest))), ...more};
}
function frontChart(marks, kinds, titles, state) {
  const used = kinds.filter(kind => marks.some(mark => mark.kind === kind.name));
  const scaled = of => ({field: "kind", type: "nominal", title: null, legend: legendOf(used.map(kind => kind.name)),
    scale: {domain: used.map(kind => kind.name), range: used.map(of)}});
  const at = {x: {field: "x", type: "quantitative", axis: axis(titles[0]), scale: around(marks.map(mark => mark.x))},
    y: {field: "y", type: "quantitative", axis: axis(titles[1]), scale: around(marks.map(mark => mark.y))}};
  const drawn = "(datum.of == null || datum.of == generation) && (datum.since == null || datum.since <= generation)";
  return {
    data: {values: marks},
    params: [{name: "picked", value: state.chosen}, {name: "generation", value: state.generation}],
    transform: [{filter: drawn}],
    layer: [
      {name: "steps", transform: [{filter: "datum.step"}], mark: {type: "line", interpolate: state.step, strokeWidth: 1.5},
       encoding: {...at, stroke: {field: "color", type: "nominal", scale: null}, detail: {field: "kind"},
         strokeDash: {condition: {test: "datum.dashed", value: [6, 3]}, value: [1, 0]}, order: {field: "x"}}},
      {name: "points", mark: {type: "point", filled: true, opacity: 1, stroke: "transparent", strokeWidth: 6, tooltip: {expr: "datum.facts"}},
       params: [{name: "zoom", bind: "scales", select: {type: "interval", zoom: "wheel![event.shiftKey]"}}],
       encoding: {...at, shape: scaled(kind => kind.shape), size: {field: "size", type: "quantitative", scale: null}, order: {field: "rank"}, color: scaled(kind => kind.color),
         description: {field: "told"}}},
      {name: "ring", transform: [{filter: "datum.since != null && datum.at === picked"}],
       mark: {type: "point", size: 260, strokeWidth: 2.5, opacity: 1, stroke: css("pick")}, encoding: at},
    ],
  };
}
function curvesChart(rows, segments, picked) {
  const at = {x: {field: "pruned", type: "quantitative", axis: axis("channels pruned (%)")},
    y: {field: "lost", type: "quantitative", axis: axis("accuracy lost (points)")},
    color: {field: "segment", type: "nominal", sort: null, legend: legendOf(segments, {symbolType: "stroke"}), scale: {domain: segments, scheme: "turbo"}},
    opacity: {condition: {test: "picked == '' || datum.segment === picked", value: 1}, value: .25}};
  const dash = {strokeDash: {condition: {test: "datum.fragile", value: [5, 3]}, value: [1, 0]},
    strokeWidth: {condition: {test: "datum.segment === picked", value: 4}, value: 1.3}};
  return {
    data: {values: rows}, params: [{name: "picked", value: picked}],
    layer: [
      {name: "curves", mark: "line", encoding: {...at, ...dash}},
      {name: "measured", mark: {type: "point", filled: true, size: 22, tooltip: {expr: "datum.facts"}},
       encoding: {...at, description: {field: "told"}}},
    ],
  };
}
function volumeChart(rows) {
  return {
    data: {values: rows},
    layer: [{mark: {type: "line", interpolate: "step-after", stroke: css("front"), strokeWidth: 1.5, aria: false}},
      {transform: [{filter: "datum.better"}],
       mark: {type: "point", filled: true, opacity: 0, size: 120, tooltip: {expr: "datum.facts"}},
       encoding: {description: {field: "told"}}}],
    encoding: {x: {field: "evaluation", type: "quantitative", axis: axis("evaluations")},
      y: {field: "hypervolume", type: "quantitative", axis: axis("hypervolume"), scale: {zero: false}}},
  };
}
