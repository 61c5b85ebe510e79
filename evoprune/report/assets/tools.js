const $ = id => document.getElementById(id);
const col = name => D.columns.indexOf(name);
const value = (at, name) => D.points[at][col(name)];
const measure = name => D.measures.find(m => m.name === name);
const label = m => m.label + (m.unit ? " (" + m.unit + ")" : "");
const share = (v, m) => m.more || !D.base[m.name] ? [] : [+(100 * v / D.base[m.name]).toFixed(1)];
const markRow = row => {
  const is = state.chosen != null && +row.dataset.at === state.chosen;
  row.classList.toggle("chosen", is); row.setAttribute("aria-selected", is);
};
const most = {maximumFractionDigits: 3, useGrouping: "min2"};  // 1007 and 40,813,184
const number = (v, decimals = 0) => typeof v === "number" ? v.toLocaleString("en", {...most, minimumFractionDigits: decimals})
  : v == null ? "" : v;
const decimals = v => typeof v === "number" ? (String(+v.toFixed(3)).split(".")[1] || "").length : 0;

function make(parent, name, attributes, text) {
  const node = document.createElement(name);
  for (const [key, v] of Object.entries(attributes || {})) node.setAttribute(key, v);
  if (text != null) node.textContent = text;
  return parent.appendChild(node);
}
function options(select, pairs) {
  select.textContent = "";
  for (const [v, text] of pairs) make(select, "option", {value: v}, text);
}
function table(parent, heads, rows, places) {  // sortable; a cell is a value, or {value, shade}
  const named = parent.closest("details"), caption = parent.dataset.caption;
  const node = make(parent, "table", named ? {"aria-label": named.querySelector("summary").textContent} : {});
  if (caption) make(node, "caption", {}, caption);
  const head = make(make(node, "thead"), "tr"), body = make(node, "tbody");
  const order = rows.map((_, i) => i), plain = cell => cell && cell.shade != null ? cell.value : cell;
  const behind = heads.map((_, i) => rows.reduce((most, row) => Math.max(most, decimals(plain(row[i]))), 0));
  const written = heads.map((_, i) => rows.some(row => typeof plain(row[i]) === "string") ? {class: "text"} : {});
  let by = null, up = true;
  const fill = () => {
    body.textContent = "";
    for (const i of order) {
      const line = make(body, "tr", places && places[i] != null ? {"data-at": places[i], tabindex: 0} : {});
      rows[i].forEach((cell, place) => {
        const shade = cell && cell.shade != null ? {style: `background:rgba(var(--heat),${cell.shade})`} : written[place];
        make(line, "td", shade, number(plain(cell), behind[place]));
      });
      if (line.dataset.at) markRow(line);
    }
  };
  heads.forEach((text, i) => {
    const cell = make(head, "th", {scope: "col", ...written[i]}), press = make(cell, "button", {type: "button"}, text);
    press.onclick = () => {
      up = by === i ? !up : true; by = i;
      const sign = up ? 1 : -1;
      order.sort((a, b) => { const [p, q] = [plain(rows[a][i]), plain(rows[b][i])];
        return p == null ? 1 : q == null ? -1 : (p > q ? 1 : p < q ? -1 : 0) * sign; });
      for (const one of head.children) one.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", up ? "ascending" : "descending"); fill();
    };
  });
  fill();
}
