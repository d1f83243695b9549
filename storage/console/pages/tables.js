// Tables: rows that become elements as they are scrolled to, and the beginning of Parquet files.
import { table } from "./api.js";
import { fill, h, shown } from "./dom.js";
import { compact, count } from "./format.js";
import { T } from "./texts.js";
import { copyable, empty, note } from "./ui.js";

/** Cells that are drawn at once. */
const CELLS = 10_000;
const NUMBERS = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL.*)$/;

/** A table of `columns` [{name, type}] and `rows` of texts; null stands for no value. What is longer
 * than `cut` was cut off there. */
export function drawTable(columns, rows, cut = Infinity) {
  const heads = columns.map(({ name, type }) =>
    h(
      "th",
      { scope: "col", class: NUMBERS.test(type) ? "num" : "" },
      h("bdi", {}, shown(name)),
      type ? h("small", {}, shown(type)) : null,
    ),
  );
  const classes = columns.map(({ type }) => (NUMBERS.test(type) ? "num" : ""));
  const body = h("tbody");
  const wrap = h(
    "div",
    { class: "table-wrap sheet", tabindex: "0", role: "group", "aria-label": T.tables.label },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h("tr", {}, h("th", { class: "at" }, h("span", { class: "sr" }, T.tables.row)), heads),
      ),
      body,
    ),
  );
  const step = Math.max(20, Math.floor(CELLS / Math.max(1, columns.length)));
  let drawn = 0;
  const more = () => {
    const some = rows.slice(drawn, drawn + step).map((row, at) =>
      h(
        "tr",
        {},
        h("td", { class: "at" }, count(drawn + at + 1)),
        row.map((cell, place) => drawCell(cell, classes[place], cut)),
      ),
    );
    drawn += some.length;
    body.append(...some);
  };
  more();
  wrap.addEventListener(
    "scroll",
    () =>
      drawn < rows.length && wrap.scrollTop + 3 * wrap.clientHeight > wrap.scrollHeight && more(),
    { passive: true },
  );
  return wrap;
}

function drawCell(cell, kind, cut) {
  if (cell === null) return h("td", { class: `nil ${kind ?? ""}` }, T.tables.nothing);
  const text = shown(cell.length > cut ? `${cell.slice(0, cut)}…` : cell);
  return h("td", { class: kind, title: text.length > 40 ? text : undefined }, text);
}

/** Fill `place` with the beginning of a Parquet file. */
export async function parquet(place, object) {
  let found;
  try {
    found = await table(object.bucket, object.key, object.version);
  } catch (error) {
    const why = T.tables.errors[error.code];
    if (!why) throw error;
    return fill(
      place,
      empty(
        "table",
        why,
        error.code === "TableBroken" ? shown(error.message) : (T.tables.hints[error.code] ?? ""),
      ),
      error.code === "TablesNotInstalled"
        ? h("div", { class: "body" }, copyable(T.tables.install))
        : null,
    );
  }
  const { rows, columns, total } = found;
  const facts = [
    T.tables.rows(count(total.rows)),
    T.tables.columns(count(total.columns)),
    T.tables.groups(total.groups),
    found.codecs.join(", ").toLowerCase(),
    shown(found.writer),
  ];
  const parts = [
    rows.length < total.rows && T.tables.firstRows(count(rows.length), compact(total.rows)),
    columns.length < total.columns && T.tables.firstColumns(columns.length, count(total.columns)),
  ];
  return fill(
    place,
    h("p", { class: "small muted facts-line" }, facts.filter(Boolean).join(" · ")),
    parts.some(Boolean) ? note(parts.filter(Boolean).join(" ")) : null,
    drawTable(columns, rows, found.cut),
  );
}
