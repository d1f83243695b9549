// Charts as SVG: lines over time, bars over days; readable in both themes, and as a table by ear.
import { h, svg } from "./dom.js";

const HEIGHT = 180;
const LEFT = 62;
const BOTTOM = 22;

/** `series`: [{label, values}], `times`: dates, `format`: number -> text. */
export function lines(title, times, series, format, width = 560) {
  const top = Math.max(...series.flatMap(({ values }) => values), 0) || 1;
  const x = (at) => LEFT + ((width - LEFT - 8) * at) / Math.max(1, times.length - 1);
  const y = (value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - value / top);
  const chart = frame(title, top, format, times, width);
  series.forEach(({ values }, index) => {
    const path = values.map((value, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    if (index === 0 && values.length > 1) chart.append(svg("path", { class: "a1", d: `${path}L${x(values.length - 1)} ${HEIGHT - BOTTOM}L${LEFT} ${HEIGHT - BOTTOM}Z` }));
    chart.append(svg("path", { class: `lineplot s${index + 1}`, d: path }));
  });
  return h("figure", { class: "figure" }, chart, legend(series));
}

/** Bars: [{label, value}]. */
export function bars(title, entries, format, width = 1100) {
  const top = Math.max(...entries.map(({ value }) => value), 0) || 1;
  const chart = frame(title, top, format, [], width);
  const step = (width - LEFT - 8) / Math.max(1, entries.length);
  const thick = Math.max(1, Math.min(36, step * 0.7));
  entries.forEach(({ label, value }, at) => {
    const height = Math.max(value ? 1 : 0, (HEIGHT - BOTTOM - 8) * (value / top));
    const bar = svg("rect", { class: "bar1", x: LEFT + at * step + (step - thick) / 2, y: HEIGHT - BOTTOM - height, width: thick, height, rx: 2 });
    const told = svg("title");
    told.textContent = `${label}: ${format(value)}`;
    bar.append(told);
    chart.append(bar);
    if (at % Math.ceil(entries.length / 8) === 0) chart.append(text(LEFT + at * step + step / 2, HEIGHT - 6, label, "middle"));
  });
  return h("figure", { class: "figure" }, chart);
}

/** A line without axes: which way something goes. */
export function spark(title, values) {
  const top = Math.max(...values, 1);
  const x = (at) => (200 * at) / (values.length - 1);
  const path = values.map((value, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${(38 - 34 * (value / top)).toFixed(1)}`).join("");
  return svg("svg", { class: "spark", viewBox: "0 0 200 40", preserveAspectRatio: "none", role: "img", "aria-label": title }, svg("path", { class: "a1", d: `${path}L200 40L0 40Z` }), svg("path", { class: "lineplot s1", d: path, "vector-effect": "non-scaling-stroke" }));
}

function frame(title, top, format, times, width) {
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const share of [0, 0.5, 1]) {
    const y = 8 + (HEIGHT - BOTTOM - 8) * (1 - share);
    chart.append(svg("line", { class: "gridline", x1: LEFT, x2: width, y1: y, y2: y }), text(LEFT - 6, y + 4, format(top * share), "end"));
  }
  const clock = (time) => new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (times.length > 1) chart.append(text(LEFT, HEIGHT - 6, clock(times[0]), "start"), text(width - 4, HEIGHT - 6, clock(times.at(-1)), "end"));
  return chart;
}

function text(x, y, content, anchor) {
  const element = svg("text", { x, y, "text-anchor": anchor });
  element.textContent = content;
  return element;
}

function legend(series) {
  return h("figcaption", { class: "legend" }, series.map(({ label }, index) => h("span", {}, h("i", { class: `l${index + 1}` }), label)));
}
