// How the store is: requests, latency, errors, capacity, drives. What is not watched is left out.
import { control, may } from "./api.js";
import { lines } from "./charts.js";
import { fill, h, icon, named } from "./dom.js";
import { bytes, compact, count, duration, moment } from "./format.js";
import { T } from "./texts.js";
import {
  badge,
  button,
  card,
  copy,
  head,
  iconButton,
  meter,
  note,
  released,
  stat,
  table,
} from "./ui.js";

const M = T.monitoring;
/** Milliseconds between two looks. */
const EVERY = 5000;
const HOUR = 3600;
const DAY = 86400;
/** Points of a chart, failures, and days of capacity that are asked for. */
const POINTS = 120;
const FAILURES = 25;
const CAPACITY_DAYS = 30;

const optional = (call) => call.catch(() => null);

export async function render(page, { signal }) {
  const chosen = { span: HOUR, operation: "", paused: false };
  const view = frame(chosen, () => look());
  fill(page, head(M.title, [view.pause]), view.body);
  let latest = 0;
  const look = async () => {
    const number = (latest += 1);
    const asked = {
      span: chosen.span,
      points: POINTS,
      ...(chosen.operation ? { operation: chosen.operation } : {}),
    };
    const [status, drives, live, requests, capacity, errors, langfuse] = await Promise.all([
      control("GET", ["status"]),
      may("admin:StorageInfo") ? optional(control("GET", ["drives"])) : null,
      optional(control("GET", ["monitoring", "live"])),
      optional(control("GET", ["monitoring", "requests"], undefined, asked)),
      optional(control("GET", ["monitoring", "capacity"], undefined, { days: CAPACITY_DAYS })),
      optional(control("GET", ["monitoring", "errors"], undefined, { limit: FAILURES })),
      optional(control("GET", ["langfuse"])),
    ]);
    // An answer that was overtaken by a later question is of no use.
    await released();
    if (!signal.aborted && number === latest)
      view.update({ status, drives, live, requests, capacity, errors, langfuse });
  };
  await look();
  // One look at a time: while somebody is asked to sign in again, the others would heap up.
  let looking = false;
  const again = async () => {
    if (document.hidden || chosen.paused || looking) return;
    looking = true;
    await look().catch(() => {});
    looking = false;
  };
  const timer = setInterval(again, EVERY);
  document.addEventListener("visibilitychange", again, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
}

const rate = (value) =>
  value >= 100
    ? compact(Math.round(value))
    : value.toFixed(value >= 10 ? 1 : 2).replace(/\.?0+$/, "");
const seconds = (value) =>
  value === null
    ? "–"
    : value >= 0.9995
      ? `${value.toFixed(1)} s`
      : value >= 0.0009995
        ? `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)} ms`
        : `${Math.round(value * 1e6)} µs`;
/** Where nothing was asked, nothing took 0 seconds. */
const taken = (counts, which) => (counts.requests ? counts[which] : null);
const right = (label) => h("th", { scope: "col", class: "num" }, label);

/** The page's parts, made once: an update changes what is in them, and takes nobody's place away. */
function frame(chosen, again) {
  const place = () => h("div");
  const parts = {
    warnings: place(),
    tiles: h("div", { class: "grid stats eight" }),
    operations: place(),
    failures: place(),
    workers: place(),
    space: place(),
    drives: place(),
    index: place(),
  };
  const charts = newCharts(chosen);
  const pick = pickers(chosen, again);
  const over = overTime(charts, pick);
  const history = h("div", {}, charts.capacity);
  const body = h(
    "div",
    { class: "stack" },
    parts.warnings,
    parts.tiles,
    over,
    h(
      "div",
      { class: "grid wide" },
      h(
        "div",
        { class: "stack" },
        card(M.capacity, [parts.space, history]),
        card(M.drives, parts.drives),
      ),
      h("div", { class: "stack" }, card(M.workers, parts.workers), parts.index),
    ),
    parts.operations,
    parts.failures,
  );

  const update = ({ status, drives, live, requests, capacity, errors, langfuse }) => {
    const warnings = status.warnings.map((warning) => note(warning, "warn", "alert"));
    fill(parts.warnings, warnings);
    fill(parts.tiles, tiles(status, live));
    over.hidden = !requests;
    if (requests) {
      drawOver(charts, requests);
      pick.offer(requests.operations.map((row) => row.operation));
      const rows = requests.operations;
      const shown = rows.length
        ? operations(rows, chosen.operation, pick.choose)
        : note(M.noRequests);
      fill(parts.operations, shown);
    }
    fill(parts.space, space(status, capacity));
    history.hidden = !(capacity?.history.length > 1);
    if (!history.hidden) drawHistory(charts.capacity, capacity.history);
    fill(parts.workers, workers(status, live));
    fill(parts.drives, health(status, drives));
    fill(parts.index, langfuse && langfuse.state !== "off" ? index(langfuse) : null);
    keepingFocus(parts.failures, () => fill(parts.failures, errors ? failures(errors) : null));
  };
  return { body, pause: pauseButton(chosen, again), update };
}

function newCharts(chosen) {
  const wide = () => chosen.span > HOUR;
  return {
    requests: lines(M.requests, rate, { wide }),
    throughput: lines(M.throughput, (value) => `${bytes(value)}/s`, { wide, unit: 1024 }),
    latency: lines(M.latency, seconds, { wide }),
    errors: lines(M.errorsRate, rate, { wide }),
    capacity: lines(M.history, bytes, { wide: () => true, unit: 1024 }),
  };
}

/** What the charts are of: a span of time, and one operation or all. */
function pickers(chosen, again) {
  const option = (value, label) => h("option", { value }, label);
  const span = h(
    "select",
    {
      "aria-label": M.span,
      on: {
        change: () => {
          chosen.span = Number(span.value);
          again();
        },
      },
    },
    option(String(HOUR), M.lastHour),
    option(String(DAY), M.lastDay),
  );
  const operation = h(
    "select",
    { "aria-label": M.operation, on: { change: () => choose(operation.value) } },
    option("", M.allOperations),
  );
  const choose = (name) => {
    chosen.operation = operation.value = name;
    again();
  };
  /** Operations that were seen once stay on offer: what is chosen must not vanish. */
  const offer = (names) => {
    const known = new Set([...operation.options].map((each) => each.value));
    const fresh = names.filter((name) => !known.has(name));
    operation.append(...fresh.sort().map((name) => option(name, name)));
  };
  return { span, operation, choose, offer };
}

function overTime(charts, { span, operation }) {
  const pick = (element) => h("label", { class: "pick" }, element);
  return h(
    "section",
    { class: "stack" },
    h(
      "div",
      { class: "row bar over-time" },
      h("h2", { class: "grow" }, M.over),
      pick(span),
      pick(operation),
    ),
    h(
      "div",
      { class: "grid four" },
      card(M.requests, charts.requests),
      card(M.throughput, charts.throughput),
      card(M.latency, charts.latency),
      card(M.errorsRate, charts.errors),
    ),
  );
}

function pauseButton(chosen, again) {
  const pause = button(M.pause, { icon: "history", "aria-pressed": "false" }, () => {
    chosen.paused = !chosen.paused;
    pause.setAttribute("aria-pressed", String(chosen.paused));
    fill(pause, icon("history"), chosen.paused ? M.resume : M.pause);
    if (!chosen.paused) again();
  });
  return pause;
}

function drawHistory(chart, hours) {
  const values = hours.map(({ total, free }) => total - free);
  chart.update({ times: hours.map(({ time }) => time), series: [{ label: M.taken, values }] });
}

/** Draw a part anew without taking the focus away from the button of the same name in it. */
function keepingFocus(part, draw) {
  const held = part.contains(document.activeElement)
    ? document.activeElement.getAttribute("data-id")
    : null;
  draw();
  if (held !== null) part.querySelector(`[data-id="${CSS.escape(held)}"]`)?.focus();
}

function tiles(status, live) {
  const per = (value) => value / Math.max(1, live?.seconds ?? 1);
  return [
    live && [
      stat(M.requests, rate(per(live.requests)), `${M.slots}: ${count(live.in_flight)}`),
      stat(
        `${M.latency} (${M.p99})`,
        seconds(taken(live, "p99")),
        `${M.p50} ${seconds(taken(live, "p50"))} · ${M.p95} ${seconds(taken(live, "p95"))}`,
      ),
      stat(
        M.errorsRate,
        rate(per(live.client_errors + live.server_errors)),
        M.errorShare(
          live.requests ? (100 * (live.client_errors + live.server_errors)) / live.requests : 0,
        ),
      ),
      stat(
        M.throughput,
        `${bytes(per(live.bytes_out))}/s`,
        `${M.reads} ${bytes(per(live.bytes_in))}/s`,
      ),
    ],
    stat(M.objects, compact(status.objects), T.buckets.count(count(status.buckets))),
    stat(M.stored, bytes(status.bytes), M.free(bytes(status.capacity.free))),
    stat(M.uptime, duration(status.uptime), `${M.version} ${status.version}`),
    live && stat(M.memory, bytes(live.resident), M.cpu(duration(live.cpu_seconds))),
  ]
    .flat()
    .filter(Boolean);
}

function drawOver(charts, { points }) {
  const times = points.map(({ time }) => time);
  const each = (value) => points.map((point) => value(point) / Math.max(1, point.seconds));
  const plain = (value) => points.map(value);
  charts.requests.update({
    times,
    series: [{ label: M.requests, values: each((p) => p.requests) }],
  });
  charts.throughput.update({
    times,
    series: [
      { label: M.writes, values: each((p) => p.bytes_out) },
      { label: M.reads, values: each((p) => p.bytes_in) },
    ],
  });
  charts.latency.update({
    times,
    series: [
      { label: M.p50, values: plain((p) => taken(p, "p50")) },
      { label: M.p95, values: plain((p) => taken(p, "p95")) },
      { label: M.p99, values: plain((p) => taken(p, "p99")) },
    ],
  });
  charts.errors.update({
    times,
    series: [
      { label: "4xx", values: each((p) => p.client_errors) },
      { label: "5xx", values: each((p) => p.server_errors) },
    ],
  });
}

function space(status, capacity) {
  const { total, free } = status.capacity;
  const used = total ? 1 - free / total : 0;
  const outlook = !capacity
    ? null
    : capacity.full
      ? M.full(new Date(capacity.full).toLocaleDateString("en-GB", { dateStyle: "long" }))
      : capacity.growth === null
        ? M.tooEarly
        : M.notSoon;
  return [
    h(
      "div",
      { class: "row" },
      h("b", {}, M.used(Math.round(used * 100))),
      h("span", { class: "muted" }, M.ofTotal(bytes(total), bytes(free))),
    ),
    meter(used, M.capacity, used > 0.9 ? "bad" : ""),
    outlook ? h("p", {}, icon(capacity.full ? "alert" : "info"), " ", outlook) : null,
    capacity?.growth
      ? h(
          "p",
          { class: "muted" },
          M.perDay(`${capacity.growth < 0 ? "−" : "+"}${bytes(Math.abs(capacity.growth))}`),
        )
      : null,
  ];
}

function workers(status, live) {
  if (!live) return h("p", {}, count(status.workers));
  const most = Math.max(...live.workers.map((each) => each.in_flight), 1);
  return table(
    [M.worker, right(M.slots), h("th", { class: "wide-only" }, "")],
    live.workers.map((each) =>
      h(
        "tr",
        {},
        h("td", {}, String(each.number + 1)),
        h("td", { class: "num" }, count(each.in_flight)),
        h("td", { class: "wide-only load" }, meter(each.in_flight / most, M.slots)),
      ),
    ),
  );
}

function health(status, drives) {
  const damages = status.scrub.damages + status.damages;
  return [
    drives
      ? table(
          [T.common.name, T.people.status],
          drives.drives.map((drive) =>
            h(
              "tr",
              {},
              h("td", {}, h("code", {}, drive.path)),
              h(
                "td",
                {},
                badge(drive.online ? M.online : M.offline, drive.online ? "good" : "bad"),
              ),
            ),
          ),
        )
      : h(
          "p",
          {},
          `${M.online}: ${count(status.drives_online)}, ${M.offline}: ${count(status.drives_offline)}`,
        ),
    h(
      "p",
      {},
      `${M.scrub}: `,
      status.scrub.finished ? M.scrubbed(moment(status.scrub.finished)) : M.neverScrubbed,
      ". ",
      `${M.damages}: `,
      badge(String(damages), damages ? "bad" : "good"),
    ),
    drives?.inodes_total
      ? h("p", { class: "muted" }, `${M.inodes}: ${compact(drives.inodes_free)}`)
      : null,
  ];
}

/** The index of Langfuse's objects: how far it is. */
function index(found) {
  const taking = found.state === "stocktaking";
  const late = found.lag > 60;
  return card(M.index, [
    taking
      ? [
          h("p", {}, M.stocktaking(count(found.done), count(found.total))),
          meter(found.progress, M.index),
        ]
      : h(
          "p",
          {},
          badge(late ? M.catchingUp : M.upToDate, found.lag > 600 ? "warn" : "good"),
          " ",
          late || found.behind ? M.behind(count(found.behind ?? 0), duration(found.lag ?? 0)) : "",
        ),
    found.objects === null
      ? null
      : h("p", { class: "muted" }, M.indexed(count(found.objects), count(found.flawed))),
  ]);
}

function operations(rows, chosen, choose) {
  const row = (each) =>
    h(
      "tr",
      {},
      h(
        "td",
        {},
        h(
          "button",
          {
            type: "button",
            class: "plain cell",
            "data-id": each.operation,
            "aria-pressed": String(each.operation === chosen),
            on: { click: () => choose(each.operation === chosen ? "" : each.operation) },
          },
          each.operation,
        ),
      ),
      h("td", { class: "num" }, count(each.requests)),
      h("td", { class: "num" }, seconds(each.p50)),
      h("td", { class: "num wide-only" }, seconds(each.p95)),
      h("td", { class: "num" }, seconds(each.p99)),
      h("td", { class: "num wide-only" }, bytes(each.bytes_in)),
      h("td", { class: "num wide-only" }, bytes(each.bytes_out)),
      h("td", { class: "num" }, count(each.client_errors)),
      h("td", { class: "num" }, count(each.server_errors)),
    );
  const wide = (label) => h("th", { scope: "col", class: "num wide-only" }, label);
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, M.operations)),
    table(
      [
        M.operation,
        right(M.count),
        right(M.p50),
        wide(M.p95),
        right(M.p99),
        wide(M.reads),
        wide(M.writes),
        right("4xx"),
        right("5xx"),
      ],
      rows.map(row),
    ),
  );
}

function failures(rows) {
  if (!rows.length) return card(M.lastErrors, h("p", { class: "muted" }, M.noErrors));
  const row = (each) =>
    h(
      "tr",
      {},
      h("td", { class: "when" }, moment(each.time)),
      h("td", {}, badge(String(each.status), each.status >= 500 ? "bad" : "warn")),
      h("td", {}, each.operation),
      h("td", { class: "where" }, named(each.bucket + (each.key ? `/${each.key}` : ""))),
      h("td", { class: "num wide-only" }, seconds(each.seconds)),
      h(
        "td",
        {},
        h("span", { class: "row tight" }, h("code", {}, each.request_id), copier(each.request_id)),
      ),
    );
  return h(
    "section",
    { class: "card" },
    h(
      "header",
      {},
      h("h2", {}, M.lastErrors),
      h("span", { class: "muted small" }, M.lastErrorsLead),
    ),
    table(
      [
        M.when,
        M.code,
        M.operation,
        M.where,
        h("th", { scope: "col", class: "num wide-only" }, M.took),
        M.request,
      ],
      rows.map(row),
    ),
  );
}

function copier(text) {
  const element = iconButton("copy", M.copyRequest, () => copy(text));
  element.dataset.id = text;
  return element;
}
