// How the store is: requests, latency, errors, capacity, drives. What is not watched is left out.
import { control, may } from "./api.js";
import { lines } from "./charts.js";
import { fill, h, named } from "./dom.js";
import { bytes, compact, count, duration, moment } from "./format.js";
import { T } from "./texts.js";
import { badge, card, head, meter, note, stat, table } from "./ui.js";

const M = T.monitoring;
/** Milliseconds between two looks, and seconds that charts show. */
const EVERY = 5000;
const SPAN = 3600;

const optional = (call) => call.catch(() => null);

export async function render(page, { signal }) {
  const body = h("div", { class: "stack" });
  fill(page, head(M.title, [badge(M.live, "good")]), body);
  const look = async () => {
    const [status, drives, live, requests, capacity, errors] = await Promise.all([
      control("GET", ["status"]),
      may("admin:StorageInfo") ? optional(control("GET", ["drives"])) : null,
      optional(control("GET", ["monitoring", "live"])),
      optional(control("GET", ["monitoring", "requests"], undefined, { span: SPAN, points: 60 })),
      optional(control("GET", ["monitoring", "capacity"])),
      optional(control("GET", ["monitoring", "errors"], undefined, { limit: 20 })),
    ]);
    if (!signal.aborted) draw(body, { status, drives, live, requests, capacity, errors });
  };
  await look();
  const timer = setInterval(() => document.hidden || look().catch(() => {}), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

const rate = (value) => (value >= 100 ? compact(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 2).replace(/\.?0+$/, ""));
const seconds = (value) => (value >= 1 ? `${value.toFixed(1)} s` : value >= 0.001 ? `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms` : `${Math.round(value * 1e6)} µs`);

function draw(body, { status, drives, live, requests, capacity, errors }) {
  fill(
    body,
    status.warnings.map((warning) => note(warning, "warn", "alert")),
    h("div", { class: "grid stats" }, live ? [stat(M.requests, rate(live.requests / Math.max(1, live.seconds)), `${M.slots}: ${live.in_flight}`), stat(`${M.latency} ${M.p99}`, seconds(live.p99), `${M.p50}: ${seconds(live.p50)}`)] : null, stat(M.objects, compact(status.objects), T.buckets.count(status.buckets)), stat(M.stored, bytes(status.bytes)), stat(M.uptime, duration(status.uptime), `${M.version} ${status.version}`), stat(M.workers, String(status.workers), live ? bytes(live.resident) : "")),
    requests ? charts(requests) : null,
    h("div", { class: "grid wide" }, space(status, capacity), health(status, drives)),
    requests?.operations.length ? operations(requests.operations) : null,
    errors ? failures(errors) : null,
  );
}

function charts({ points }) {
  if (points.length < 2) return note(M.noRequests);
  const times = points.map(({ time }) => time);
  const each = (value) => points.map((point) => value(point) / Math.max(1, point.seconds));
  const plain = (value) => points.map(value);
  return h(
    "div",
    { class: "grid wide" },
    card(M.requests, lines(M.requests, times, [{ label: M.count, values: each((p) => p.requests) }], rate)),
    card(M.throughput, lines(M.throughput, times, [{ label: M.writes, values: each((p) => p.bytes_out) }, { label: M.reads, values: each((p) => p.bytes_in) }], bytes)),
    card(M.latency, lines(M.latency, times, [{ label: M.p50, values: plain((p) => p.p50) }, { label: M.p95, values: plain((p) => p.p95) }, { label: M.p99, values: plain((p) => p.p99) }], seconds)),
    card(M.errorsRate, lines(M.errorsRate, times, [{ label: "4xx", values: each((p) => p.client_errors) }, { label: "5xx", values: each((p) => p.server_errors) }], rate)),
  );
}

function space(status, capacity) {
  const { total, free } = status.capacity;
  const used = total ? 1 - free / total : 0;
  const outlook = capacity && (capacity.full ? M.full(new Date(capacity.full).toLocaleDateString("en-GB", { dateStyle: "long" })) : capacity.growth === null ? null : M.notSoon);
  return card(M.capacity, [h("div", { class: "row" }, h("b", {}, M.used(Math.round(used * 100))), h("span", { class: "muted" }, M.free(bytes(free)))), meter(used, M.capacity, used > 0.9 ? "bad" : ""), outlook ? h("p", {}, outlook) : null, capacity?.growth ? h("p", { class: "muted" }, `${M.growth}: ${bytes(capacity.growth)} / ${M.day}`) : null]);
}

function health(status, drives) {
  const damages = status.scrub.damages + status.damages;
  return card(M.drives, [
    drives ? table([T.common.name, T.people.status], drives.drives.map((drive) => h("tr", {}, h("td", {}, h("code", {}, drive.path)), h("td", {}, badge(drive.online ? M.online : M.offline, drive.online ? "good" : "bad"))))) : null,
    h("p", {}, `${M.scrub}: `, status.scrub.finished ? M.scrubbed(moment(status.scrub.finished)) : M.neverScrubbed, ". ", `${M.damages}: `, badge(String(damages), damages ? "bad" : "good")),
    drives?.inodes_total ? h("p", { class: "muted" }, `${M.inodes}: ${compact(drives.inodes_free)}`) : null,
  ]);
}

const right = (label) => h("th", { scope: "col", class: "num" }, label);

function operations(rows) {
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, M.operations)), table([M.operation, right(M.count), right(M.p50), right(M.p99), right(M.errors)], rows.map((row) => h("tr", {}, h("td", {}, row.operation), h("td", { class: "num" }, count(row.requests)), h("td", { class: "num" }, seconds(row.p50)), h("td", { class: "num" }, seconds(row.p99)), h("td", { class: "num" }, count(row.client_errors + row.server_errors))))));
}

function failures(rows) {
  if (!rows.length) return card(M.lastErrors, h("p", { class: "muted" }, M.noErrors));
  return h("section", { class: "card" }, h("header", {}, h("h2", {}, M.lastErrors)), table([M.when, M.operation, M.code, M.bucket, M.request], rows.map((row) => h("tr", {}, h("td", {}, moment(row.time)), h("td", {}, row.operation), h("td", {}, badge(String(row.status), row.status >= 500 ? "bad" : "warn")), h("td", {}, named(row.bucket + (row.key ? `/${row.key}` : ""))), h("td", {}, h("code", {}, row.request_id))))));
}
