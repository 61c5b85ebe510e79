const $ = id => document.getElementById(id);
const col = name => D.columns.indexOf(name);
const value = (at, name) => D.points[at][col(name)];
const measure = name => D.measures.find(m => m.name === name);
const short = v => v == null ? "" : Math.abs(v) >= 1e6 ? +(v / 1e6).toPrecision(4) + " M"
  : Math.abs(v) >= 1e4 ? +(v / 1e3).toPrecision(4) + " k" : String(+(+v).toPrecision(5));
const label = m => m.label + (m.unit ? " (" + m.unit + ")" : "");

function make(parent, name, attributes, text) {
  const svg = parent.namespaceURI === "http://www.w3.org/2000/svg";
  const node = svg ? document.createElementNS(parent.namespaceURI, name) : document.createElement(name);
  for (const [key, v] of Object.entries(attributes || {})) node.setAttribute(key, v);
  if (text != null) node.textContent = text;
  return parent.appendChild(node);
}
function ticks(low, high) {
  const step0 = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(step0));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= step0), found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step / 1e6; t += step) found.push(t);
  return found;
}
const scale = v => Math.abs(v) >= 1e6 ? [1e6, " M"] : Math.abs(v) >= 1e4 ? [1e3, " k"] : [1, ""];
function texts(found) {  // of ticks, with as many digits as tell them apart
  const [unit, sign] = scale(Math.max(...found.map(Math.abs))), step = Math.abs(found[1] - found[0]) / unit || 1;
  return found.map(t => (t / unit).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))) + sign);
}
function axes(svg, box, xr, yr, xText, yText) {
  svg.textContent = "";
  const px = v => box.l + (v - xr[0]) / (xr[1] - xr[0] || 1) * (box.r - box.l);
  const py = v => box.b - (v - yr[0]) / (yr[1] - yr[0] || 1) * (box.b - box.t);
  const across = ticks(...xr), along = ticks(...yr), under = texts(across), left = texts(along);
  across.forEach((t, i) => {
    make(svg, "line", {x1: px(t), x2: px(t), y1: box.t, y2: box.b, stroke: "var(--line)", "stroke-width": .5});
    make(svg, "text", {x: px(t), y: box.b + 18, "text-anchor": "middle"}, under[i]);
  });
  along.forEach((t, i) => {
    make(svg, "line", {x1: box.l, x2: box.r, y1: py(t), y2: py(t), stroke: "var(--line)", "stroke-width": .5});
    make(svg, "text", {x: box.l - 8, y: py(t) + 4, "text-anchor": "end"}, left[i]);
  });
  make(svg, "text", {x: (box.l + box.r) / 2, y: box.b + 38, "text-anchor": "middle"}, xText);
  make(svg, "text", {x: 14, y: (box.t + box.b) / 2, "text-anchor": "middle",
    transform: `rotate(-90 14 ${(box.t + box.b) / 2})`}, yText);
  return {px, py};
}
const range = values => {
  const v = values.filter(n => n != null), low = v.reduce((a, b) => Math.min(a, b), Infinity);
  const high = v.reduce((a, b) => Math.max(a, b), -Infinity), pad = (high - low) * .04 || 1;
  return [low - pad, high + pad];
};
function fit(svg, height) {  // a narrow screen gets a narrow picture, whose letters stay readable
  const wide = innerWidth < 600 ? 400 : 800;
  svg.setAttribute("viewBox", `0 0 ${wide} ${height}`);
  return {l: 66, r: wide - 15, t: 12, b: height - 50};
}
function steps(places, upward) {  // places of a front from left to right, as the steps that it is
  return places.map(([a, b], i) => i === 0 ? `M${a},${b}` : upward ? `H${a}V${b}` : `V${b}H${a}`).join("");
}
function diamond(svg, a, b, size, color) {
  make(svg, "path", {d: `M${a},${b - size}l${size},${size}l-${size},${size}l-${size},-${size}z`, fill: "none",
    stroke: color, "stroke-width": 2});
}
function star(svg, a, b, color) {
  make(svg, "text", {x: a, y: b + 6, "text-anchor": "middle", style: `fill:${color};font-size:18px`}, "\u2605");
}
function table(parent, heads, rows, places) {
  const node = make(parent, "table"), head = make(make(node, "thead"), "tr"), body = make(node, "tbody");
  const order = rows.map((_, i) => i);
  let by = null, up = true;
  const fill = () => {
    body.textContent = "";
    for (const i of order) {
      const line = make(body, "tr", places && places[i] != null ? {"data-at": places[i], tabindex: 0} : {});
      for (const cell of rows[i]) {
        const shade = cell && cell.shade != null ? {style: `background:rgba(var(--heat),${cell.shade})`} : {};
        const v = cell && cell.shade != null ? cell.value : cell;
        make(line, "td", shade, v == null ? "" : typeof v === "number" ? v.toLocaleString("en") : v);
      }
    }
  };
  heads.forEach((text, i) => {
    const cell = make(head, "th", {scope: "col"}), press = make(cell, "button", {type: "button"}, text);
    press.onclick = () => {
      up = by === i ? !up : true; by = i;
      const plain = r => r[i] && r[i].shade != null ? r[i].value : r[i];
      const sign = up ? 1 : -1;
      order.sort((a, b) => { const [p, q] = [plain(rows[a]), plain(rows[b])];
        return p == null ? 1 : q == null ? -1 : (p > q ? 1 : p < q ? -1 : 0) * sign; });
      for (const one of head.children) one.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending"); fill();
    };
  });
  fill();
}
const share = (v, m) => m.more || !D.base[m.name] ? [] : [+(100 * v / D.base[m.name]).toFixed(1)];
