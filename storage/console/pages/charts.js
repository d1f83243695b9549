// Charts as SVG: lines over time, stacks of bars over days. In colours of both themes, drawn anew
// for the width they get, read by pointer, by arrow keys, aloud, and as a table.
import { fill, h, svg } from "./dom.js";
import { T } from "./texts.js";
import { table } from "./ui.js";

const C = T.charts;
const HEIGHT = 190;
const TOP = 10;
const BOTTOM = 24;
const LEFT = 76;
const RIGHT = 10;
/** Series that have a colour of their own. */
export const COLOURS = 6;

/** Lines over time. `update({times, series: [{label, values}]})` shows other data; a value of null
 * is a gap. */
export function lines(title, format, options = {}) {
  return plot(title, format, {
    ...options,
    draw: drawLines,
    top: (series) => Math.max(...series.flatMap(({ values }) => values), 0),
    label: moment,
  });
}

/** Bars over days, one series on the other; `times` are days as text. */
export function stacks(title, format, options = {}) {
  return plot(title, format, {
    ...options,
    draw: drawStacks,
    top: (series) =>
      Math.max(
        ...(series[0]?.values ?? []).map((_, at) =>
          series.reduce((sum, { values }) => sum + values[at], 0),
        ),
        0,
      ),
    label: (day) => day,
    sum: true,
  });
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
/** Milliseconds below which times are told with their seconds. */
const SHORT = 15 * 60_000;
const DAY = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const moment = (time, wide, length) =>
  (wide ? DAY : length < SHORT ? SECONDS : CLOCK).format(new Date(time));

function plot(title, format, { draw, top, label, sum = false, unit = 1000, wide = () => false }) {
  const readout = h("output", { class: "readout", "aria-live": "off" });
  const canvas = svg("svg", { class: "chart", height: HEIGHT, "aria-hidden": "true" });
  const area = h(
    "div",
    {
      class: "plot",
      tabindex: "0",
      role: "group",
      "aria-roledescription": C.chart,
      "aria-label": title,
    },
    canvas,
  );
  const legend = h("div", { class: "legend" });
  const asTable = h(
    "details",
    { class: "as-table", on: { toggle: () => tabulate() } },
    h("summary", {}, C.table),
    h("div"),
  );
  const figure = h(
    "figure",
    { class: "figure" },
    area,
    h("figcaption", {}, legend, readout, asTable),
  );
  let data = { times: [], series: [] };
  let at = null;
  let width = 0;
  let place = () => 0;

  const name = (time) => label(time, wide(), new Date(data.times.at(-1)) - new Date(data.times[0]));
  const tell = () => {
    const { times, series } = data;
    if (!times.length) return fill(readout);
    const here = at ?? times.length - 1;
    const whole =
      sum && series.length > 1
        ? ` = ${format(series.reduce((all, { values }) => all + values[here], 0))}`
        : "";
    readout.setAttribute("aria-live", at === null ? "off" : "polite");
    return fill(
      readout,
      h("b", {}, name(times[here])),
      ` ${series.map((each) => `${series.length > 1 ? `${each.label} ` : ""}${format(each.values[here])}`).join(" · ")}${whole}`,
    );
  };
  const redraw = () => {
    if (!width) return;
    const highest = nice(top(data.series) || (unit === 1024 ? 1024 : 1), unit);
    canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    canvas.setAttribute("width", width);
    canvas.replaceChildren(
      ...frame(highest, format, width),
      ...ticks(data.times, width, name, sum),
    );
    const y = (value) => TOP + (HEIGHT - BOTTOM - TOP) * (1 - value / highest);
    place = draw(canvas, data, width, y);
    if (at !== null)
      canvas.append(
        svg("line", { class: "guide", x1: place(at), x2: place(at), y1: TOP, y2: HEIGHT - BOTTOM }),
      );
    tell();
  };
  const tabulate = () => {
    if (!asTable.open) return;
    const rows = data.times.map((time, row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, name(time)),
        data.series.map(({ values }) => h("td", { class: "num" }, format(values[row]))),
      ),
    );
    fill(
      asTable.lastElementChild,
      table(
        [C.time, ...data.series.map((each) => h("th", { scope: "col", class: "num" }, each.label))],
        rows.reverse(),
      ),
    );
  };
  const move = (to) => {
    at =
      to === null || !data.times.length ? null : Math.max(0, Math.min(data.times.length - 1, to));
    redraw();
  };
  area.addEventListener("keydown", (event) => {
    const last = data.times.length - 1;
    const steps = {
      ArrowLeft: (at ?? last + 1) - 1,
      ArrowRight: (at ?? last) + 1,
      Home: 0,
      End: last,
      PageUp: (at ?? last) - 10,
      PageDown: (at ?? last) + 10,
      Escape: null,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(steps[event.key]);
  });
  area.addEventListener("pointermove", (event) => {
    const x = event.clientX - canvas.getBoundingClientRect().left;
    let nearest = null;
    data.times.forEach((_, each) => {
      if (nearest === null || Math.abs(place(each) - x) < Math.abs(place(nearest) - x))
        nearest = each;
    });
    if (nearest !== at) move(nearest);
  });
  for (const leave of ["pointerleave", "blur"]) area.addEventListener(leave, () => move(null));
  new ResizeObserver(() => {
    const now = Math.round(area.clientWidth);
    if (now === width) return;
    width = now;
    redraw();
  }).observe(area);

  figure.update = (next) => {
    const kept = at === null ? null : data.times[at];
    data = next;
    const found = kept === null ? -1 : data.times.indexOf(kept);
    at = found < 0 ? null : found;
    area.setAttribute("aria-label", `${title}. ${described(data, format, name)} ${C.keys}`);
    fill(
      legend,
      data.series.length > 1
        ? data.series.map((each, index) =>
            h("span", {}, h("i", { class: `f${index % COLOURS}` }), each.label),
          )
        : null,
    );
    redraw();
    tell();
    tabulate();
    return figure;
  };
  return figure;
}

/** What a chart shows, in a sentence. */
function described({ times, series }, format, name) {
  if (!times.length) return C.nothing;
  return `${C.span(name(times[0]), name(times.at(-1)))} ${series.map(({ label, values }) => C.series(label, format(values.at(-1)), format(Math.max(...values)))).join(" ")}`;
}

function drawLines(canvas, { times, series }, width, y) {
  const x = (at) => LEFT + ((width - LEFT - RIGHT) * at) / Math.max(1, times.length - 1);
  series.forEach(({ values }, index) => {
    const there = (at) => values[at] !== undefined && values[at] !== null;
    const path = values
      .map((value, at) =>
        there(at) ? `${there(at - 1) ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}` : "",
      )
      .join("");
    if (series.length === 1 && values.length > 1)
      canvas.append(
        svg("path", {
          class: "area f0",
          d: `${path}L${x(values.length - 1)} ${HEIGHT - BOTTOM}L${LEFT} ${HEIGHT - BOTTOM}Z`,
        }),
      );
    canvas.append(svg("path", { class: `lineplot s${index % COLOURS} d${index % 3}`, d: path }));
    // One value by itself, as there is right after a start, makes no line.
    values.forEach(
      (value, at) =>
        there(at) &&
        !there(at - 1) &&
        !there(at + 1) &&
        canvas.append(
          svg("circle", { class: `f${index % COLOURS}`, cx: x(at), cy: y(value), r: 3 }),
        ),
    );
  });
  return x;
}

function drawStacks(canvas, { times, series }, width, y) {
  const step = (width - LEFT - RIGHT) / Math.max(1, times.length);
  const thick = Math.max(1, Math.min(42, step * 0.74));
  const x = (at) => LEFT + at * step + step / 2;
  times.forEach((_, at) => {
    let below = 0;
    series.forEach(({ values }, index) => {
      const value = values[at];
      if (value)
        canvas.append(
          svg("rect", {
            class: `f${index % COLOURS}`,
            x: x(at) - thick / 2,
            y: y(below + value),
            width: thick,
            height: Math.max(0.75, y(below) - y(below + value)),
          }),
        );
      below += value;
    });
  });
  return x;
}

/** A line without axes: which way something goes. */
export function spark(title, values) {
  const top = Math.max(...values, 1);
  const x = (at) => (200 * at) / (values.length - 1);
  const path = values
    .map(
      (value, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${(38 - 34 * (value / top)).toFixed(1)}`,
    )
    .join("");
  return svg(
    "svg",
    {
      class: "spark",
      viewBox: "0 0 200 40",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": title,
    },
    svg("path", { class: "area f0", d: `${path}L200 40L0 40Z` }),
    svg("path", { class: "lineplot s0", d: path, "vector-effect": "non-scaling-stroke" }),
  );
}

// -- axes -----------------------------------------------------------------------------------------

/** The end of an axis: a round number not below `value`; `unit` is what it is counted in. */
export function nice(value, unit = 1000) {
  let scale = 1;
  if (unit === 1024) while (value / scale >= 1024) scale *= 1024;
  const power = 10 ** Math.floor(Math.log10(value / scale));
  const step = [1, 2, 4, 5, 8, 10].find((each) => each * power * scale >= value) ?? 10;
  return step * power * scale;
}

function frame(top, format, width) {
  return [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const y = TOP + (HEIGHT - BOTTOM - TOP) * (1 - share);
    const line = svg("line", {
      class: share ? "gridline" : "gridline base",
      x1: LEFT,
      x2: width - RIGHT,
      y1: y,
      y2: y,
    });
    return share % 0.5 ? [line] : [line, text(LEFT - 8, y + 4, format(top * share), "end")];
  });
}

function ticks(times, width, name, bars) {
  if (!times.length) return [];
  const most = Math.max(2, Math.floor((width - LEFT) / 110));
  const every = Math.max(1, Math.ceil(times.length / most));
  const inner = width - LEFT - RIGHT;
  const x = (at) =>
    bars
      ? LEFT + ((at + 0.5) * inner) / times.length
      : LEFT + (inner * at) / Math.max(1, times.length - 1);
  const found = [];
  for (let at = 0; at < times.length; at += every) {
    const anchor = bars ? "middle" : at === 0 ? "start" : x(at) > width - 50 ? "end" : "middle";
    found.push(text(x(at), HEIGHT - 6, name(times[at]), anchor));
  }
  return found;
}

function text(x, y, content, anchor) {
  const element = svg("text", { x, y, "text-anchor": anchor });
  element.textContent = content;
  return element;
}
