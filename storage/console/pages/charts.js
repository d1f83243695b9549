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

function plot(title, format, options) {
  const chart = new Plot(title, format, options);
  chart.figure.update = (next) => {
    chart.update(next);
    return chart.figure;
  };
  return chart.figure;
}

/** A chart with its legend, the values of the moment that is pointed at, and its table. */
class Plot {
  /** `draw` puts the data on the canvas and tells where each moment is; `top` is their highest
   * value; `label` names a moment; with `sum` a moment's values are parts of a whole. */
  constructor(title, format, { draw, top, label, sum = false, unit = 1000, wide = () => false }) {
    Object.assign(this, { title, format, draw, top, label, sum, unit, wide });
    this.data = { times: [], series: [] };
    /** The moment that is pointed at, and where moments are on the canvas. */
    this.at = null;
    this.place = () => 0;
    this.width = 0;
    this.#build();
    this.#listen();
  }

  #build() {
    this.readout = h("output", { class: "readout", "aria-live": "off" });
    this.canvas = svg("svg", { class: "chart", height: HEIGHT, "aria-hidden": "true" });
    const says = { "aria-roledescription": C.chart, "aria-label": this.title };
    this.area = h("div", { class: "plot", tabindex: "0", role: "group", ...says }, this.canvas);
    this.legend = h("div", { class: "legend" });
    this.asTable = h(
      "details",
      { class: "as-table", on: { toggle: () => this.#tabulate() } },
      h("summary", {}, C.table),
      h("div"),
    );
    const caption = h("figcaption", {}, this.legend, this.readout, this.asTable);
    this.figure = h("figure", { class: "figure" }, this.area, caption);
  }

  #listen() {
    const { area } = this;
    area.addEventListener("keydown", (event) => this.#key(event));
    area.addEventListener("pointermove", (event) => this.#point(event));
    for (const leave of ["pointerleave", "blur"])
      area.addEventListener(leave, () => this.#move(null));
    new ResizeObserver(() => {
      const now = Math.round(area.clientWidth);
      if (now === this.width) return;
      this.width = now;
      this.#redraw();
    }).observe(area);
  }

  /** Show other data; the moment that is pointed at stays where it is still there. */
  update(next) {
    const kept = this.at === null ? null : this.data.times[this.at];
    this.data = next;
    const found = kept === null ? -1 : next.times.indexOf(kept);
    this.at = found < 0 ? null : found;
    const name = (time) => this.#name(time);
    const told = described(next, this.format, name);
    this.area.setAttribute("aria-label", `${this.title}. ${told} ${C.keys}`);
    const colour = (index) => h("i", { class: `f${index % COLOURS}` });
    const entries = next.series.map(({ label }, index) => h("span", {}, colour(index), label));
    fill(this.legend, entries.length > 1 ? entries : null);
    this.#redraw();
    this.#tell();
    this.#tabulate();
  }

  #name(time) {
    const { times } = this.data;
    return this.label(time, this.wide(), new Date(times.at(-1)) - new Date(times[0]));
  }

  #tell() {
    const { times, series } = this.data;
    if (!times.length) return fill(this.readout);
    const here = this.at ?? times.length - 1;
    const several = series.length > 1;
    const values = series.map(
      (each) => (several ? `${each.label} ` : "") + this.format(each.values[here]),
    );
    const total = () => this.format(series.reduce((all, each) => all + each.values[here], 0));
    const whole = this.sum && several ? ` = ${total()}` : "";
    this.readout.setAttribute("aria-live", this.at === null ? "off" : "polite");
    return fill(
      this.readout,
      h("b", {}, this.#name(times[here])),
      ` ${values.join(" · ")}${whole}`,
    );
  }

  #redraw() {
    const { canvas, data, width, unit } = this;
    if (!width) return;
    const highest = nice(this.top(data.series) || (unit === 1024 ? 1024 : 1), unit);
    canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    canvas.setAttribute("width", width);
    canvas.replaceChildren(
      ...frame(highest, this.format, width),
      ...ticks(data.times, width, (time) => this.#name(time), this.sum),
    );
    const y = (value) => TOP + (HEIGHT - BOTTOM - TOP) * (1 - value / highest);
    this.place = this.draw(canvas, data, width, y);
    if (this.at !== null) {
      const x = this.place(this.at);
      canvas.append(svg("line", { class: "guide", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.#tell();
  }

  #tabulate() {
    if (!this.asTable.open) return;
    const { times, series } = this.data;
    const cell = (value) => h("td", { class: "num" }, this.format(value));
    const rows = times.map((time, row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, this.#name(time)),
        series.map(({ values }) => cell(values[row])),
      ),
    );
    const heads = series.map(({ label }) => h("th", { scope: "col", class: "num" }, label));
    fill(this.asTable.lastElementChild, table([C.time, ...heads], rows.reverse()));
  }

  #move(to) {
    const last = this.data.times.length - 1;
    this.at = to === null || last < 0 ? null : Math.max(0, Math.min(last, to));
    this.#redraw();
  }

  #key(event) {
    const { at } = this;
    const last = this.data.times.length - 1;
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
    this.#move(steps[event.key]);
  }

  #point(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const away = (each) => Math.abs(this.place(each) - x);
    const nearer = (best, _, each) => (best === null || away(each) < away(best) ? each : best);
    const nearest = this.data.times.reduce(nearer, null);
    if (nearest !== this.at) this.#move(nearest);
  }
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
