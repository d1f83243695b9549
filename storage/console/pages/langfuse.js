// What Langfuse keeps in the store: usage across projects, project, day, and the traces of a day.
import { control } from "./api.js";
import { COLOURS, spark, stacks } from "./charts.js";
import { brief, fill, h, icon, named } from "./dom.js";
import { bytes, compact, count, duration, moment } from "./format.js";
import { T } from "./texts.js";
import { trace } from "./trace.js";
import { button, card, empty, fail, head, meter, note, stat } from "./ui.js";

const L = T.langfuse;
/** Days that charts may show, and pages that are asked for at most. */
const PERIODS = [30, 90, 365];
const PAGES_MAX = 25;
/** Milliseconds between two looks at how far the index is, while it is not up to date. */
const EVERY = 2000;
/** Seconds of being behind that are worth a word. */
const BEHIND = 60;
const DAY_MS = 86_400_000;

const api = (path, query) =>
  control("GET", ["langfuse", ...(path ? [path] : [])], undefined, query);
const right = (label, more = "") => h("th", { scope: "col", class: `num ${more}` }, label);
const wideOnly = "wide-only";

export async function render(page, context) {
  const [what = "", ...rest] = context.parts;
  const progress = await api("");
  const body = h("div", { class: "stack langfuse" });
  const search = h("input", {
    type: "search",
    placeholder: L.search,
    "aria-label": L.search,
    spellcheck: "false",
    autocapitalize: "none",
    value: what === "search" ? (rest[0] ?? "") : "",
  });
  const find = h(
    "form",
    {
      class: "search",
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          const id = search.value.trim();
          if (id) location.hash = context.link("langfuse", "search", id);
        },
      },
    },
    icon("search"),
    search,
  );
  fill(page, head(L.title, [find], what ? "" : L.lead), howFar(progress, context), body);
  const pages = { "": projects, project, day, trace, search: found };
  await (pages[what] ?? projects)(body, rest, context, progress);
}

/** How far the index is, kept up to date while it is not. */
function howFar(progress, { signal }) {
  const place = h("div", { role: "status" });
  const draw = ({ state, progress: share, done, total, behind, lag }) => {
    const taking = state === "stocktaking";
    // It looks every second, also where nothing changes: one that does not look knows no changes.
    const late = !taking && lag > BEHIND;
    if (taking) {
      const so = total ? L.ofObjects(count(done), count(total)) : "";
      fill(
        place,
        note(
          h(
            "div",
            { class: "stack tight" },
            L.stocktaking(so, Math.floor(100 * share)),
            meter(share, L.title),
          ),
        ),
      );
    } else
      fill(
        place,
        late ? note(L.behind(duration(lag), behind ? L.changes(count(behind)) : ""), "warn") : null,
      );
    return taking || late;
  };
  const again = async () => {
    if (signal.aborted) return;
    const now = document.hidden ? null : await api("").catch(() => null);
    if (signal.aborted || (now && !draw(now))) return;
    setTimeout(again, EVERY);
  };
  if (draw(progress)) setTimeout(again, EVERY);
  return place;
}

/** Every page of a paged answer, up to a bound: {rows, more}. */
async function every(path, what, query) {
  const rows = [];
  let after = "";
  for (let number = 0; number < PAGES_MAX; number += 1) {
    const page = await api(path, { ...query, ...(after ? { after } : {}) });
    rows.push(...page[what]);
    after = page.next;
    if (!after) break;
  }
  return { rows, more: Boolean(after) };
}

const path = (link, ...steps) =>
  h(
    "nav",
    { class: "crumbs", "aria-label": L.title },
    h("a", { href: link("langfuse") }, L.projects),
    steps.map(([label, href], at) => [
      h("span", { class: "sep", "aria-hidden": "true" }, "/"),
      at === steps.length - 1
        ? h("span", { "aria-current": "page" }, named(label))
        : h("a", { href }, named(label)),
    ]),
  );

// -- usage across projects ------------------------------------------------------------------------

async function projects(body, _, { link }) {
  const { rows: all, more } = await every("projects", "projects", {});
  if (!all.length)
    return fill(body, h("div", { class: "card" }, empty("trace", L.noProjects, L.noProjectsLead)));
  const usage = usageChart(
    "",
    all.reduce((last, each) => (each.last > last ? each.last : last), ""),
  );
  const table = h("div");
  usage.whenRead((rows) => fill(table, overview(all, rows, link)));
  const sum = (pick) => all.reduce((whole, each) => whole + pick(each), 0);
  fill(
    body,
    more ? note(L.notAll) : null,
    h(
      "div",
      { class: "grid stats" },
      stat(L.projects, count(all.length)),
      stat(L.objects, compact(sum((each) => each.objects))),
      stat(T.monitoring.stored, bytes(sum((each) => each.bytes))),
      kindStats(all),
    ),
    usage.element,
    table,
  );
  return usage.read();
}

const capital = (word) => word[0].toUpperCase() + word.slice(1);

/** What projects keep, by kind, the largest first. */
function kindStats(all) {
  const kinds = new Map();
  for (const each of all)
    for (const kind of each.kinds) kinds.set(kind.kind, (kinds.get(kind.kind) ?? 0) + kind.bytes);
  return [...kinds]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3)
    .map(([kind, size]) => stat(capital(L.kind[kind] ?? kind), bytes(size)));
}

/** Projects with their growth: the last seven days that were read against the seven before. */
function overview(all, rows, link) {
  const weeks = growth(rows);
  const line = (each) => {
    const { week, before, days } = weeks.get(each.project) ?? { week: 0, before: 0, days: [] };
    const change = before ? Math.round((100 * (week - before)) / before) : null;
    const kinds = each.kinds
      .map(
        (kind) =>
          `${L.kind[kind.kind] ?? kind.kind} ${compact(kind.objects)} (${bytes(kind.bytes)})`,
      )
      .join(", ");
    return h(
      "tr",
      {},
      h(
        "td",
        {},
        h(
          "div",
          { class: "name" },
          icon("trace"),
          h(
            "div",
            {},
            h("a", { href: link("langfuse", "project", each.project) }, named(each.project)),
            h("div", { class: "small muted" }, kinds),
          ),
        ),
      ),
      h("td", { class: "num" }, compact(each.objects)),
      h("td", { class: "num" }, bytes(each.bytes)),
      h("td", { class: `num ${wideOnly}` }, bytes(week / 7)),
      h(
        "td",
        { class: `num ${wideOnly}` },
        change === null
          ? week
            ? L.fresh
            : "–"
          : `${change > 0 ? "+" : change < 0 ? "−" : ""}${Math.abs(change)} %`,
      ),
      h("td", { class: `${wideOnly} sparks` }, days.length > 1 ? spark(L.usage, days) : null),
      h("td", { class: `${wideOnly} when` }, each.last),
    );
  };
  const heads = h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("th", { scope: "col" }, L.project),
      right(L.objects),
      right(T.common.size),
      right(L.perDay, wideOnly),
      right(L.change, wideOnly),
      h("th", { scope: "col", class: wideOnly }, L.usage),
      h("th", { scope: "col", class: wideOnly }, L.lastDay),
    ),
  );
  const sorted = [...all].sort((a, b) => b.bytes - a.bytes);
  return h(
    "section",
    { class: "card" },
    h("header", {}, h("h2", {}, L.projects)),
    h(
      "div",
      { class: "table-wrap overview" },
      h("table", {}, heads, h("tbody", {}, sorted.map(line))),
    ),
  );
}

/** Bytes by project in the last week, the one before, and by day. */
function growth({ rows, days }) {
  const found = new Map();
  const place = new Map(days.map((day, at) => [day, at]));
  for (const row of rows) {
    if (!found.has(row.project))
      found.set(row.project, { week: 0, before: 0, days: days.map(() => 0) });
    const each = found.get(row.project);
    const at = place.get(row.day);
    if (at === undefined) continue;
    const age = days.length - 1 - at;
    if (age < 7) each.week += row.bytes;
    else if (age < 14) each.before += row.bytes;
    each.days[at] += row.bytes;
  }
  return found;
}

/** Usage by day as stacked bars, of one project or (split by project) of all. */
function usageChart(project, last) {
  const readers = [];
  const select = (label, change, options) =>
    h(
      "select",
      { "aria-label": label, on: { change } },
      options.map(([value, text]) => h("option", { value }, text)),
    );
  const period = select(
    L.span,
    () => again().catch(fail),
    PERIODS.map((days) => [String(days), L.period(days)]),
  );
  const what = select(L.usageOf, () => draw(), [
    ["bytes", L.bytes],
    ["objects", L.objects],
  ]);
  const by = select(
    L.by,
    () => draw(),
    project
      ? [["kind", L.byKind]]
      : [
          ["project", L.byProject],
          ["kind", L.byKind],
        ],
  );
  const sized = stacks(L.usage, bytes, { unit: 1024 });
  const counted = stacks(L.usage, compact);
  const chart = h("div", {}, sized);
  let read = null;
  let latest = 0;
  const draw = () => {
    if (!read) return;
    const plot = what.value === "bytes" ? sized : counted;
    fill(chart, plot);
    plot.update({ times: read.days, series: seriesOf(read, by.value, what.value) });
  };
  const again = async () => {
    const number = (latest += 1);
    const days = Number(period.value);
    // Up to today, or up to the last day that there is where that is long ago.
    const today = new Date().toISOString().slice(0, 10);
    const until = last && Date.parse(today) - Date.parse(last) > days * DAY_MS ? last : today;
    const first = Date.parse(until) - (days - 1) * DAY_MS;
    const since = new Date(first).toISOString().slice(0, 10);
    const { rows } = await every("usage", "rows", {
      since,
      until,
      ...(project ? { project } : {}),
    });
    if (number !== latest) return; // another period was chosen meanwhile
    read = {
      rows,
      days: Array.from({ length: days }, (_, at) =>
        new Date(first + at * DAY_MS).toISOString().slice(0, 10),
      ),
    };
    draw();
    readers.forEach((reader) => reader(read));
  };
  return {
    element: card(L.usage, [
      h("div", { class: "row picks" }, period, what, project ? null : by),
      chart,
    ]),
    whenRead: (reader) => readers.push(reader),
    read: again,
  };
}

/** Series of a chart: the largest have colours of their own, the others share one. */
function seriesOf({ rows, days }, by, what) {
  const place = new Map(days.map((day, at) => [day, at]));
  const found = new Map();
  const add = (label, day, value) => {
    if (!found.has(label))
      found.set(
        label,
        days.map(() => 0),
      );
    if (place.has(day)) found.get(label)[place.get(day)] += value;
  };
  for (const row of rows) {
    if (by === "project") add(row.project, row.day, row[what]);
    else for (const kind of row.kinds) add(L.kind[kind.kind] ?? kind.kind, row.day, kind[what]);
  }
  const total = (values) => values.reduce((a, b) => a + b, 0);
  const sorted = [...found]
    .sort((a, b) => total(b[1]) - total(a[1]))
    .map(([label, values]) => ({ label, values }));
  if (sorted.length <= COLOURS)
    return sorted.length ? sorted : [{ label: L.usage, values: days.map(() => 0) }];
  const others = sorted.slice(COLOURS - 1);
  return [
    ...sorted.slice(0, COLOURS - 1),
    {
      label: L.others,
      values: days.map((_, at) => others.reduce((sum, { values }) => sum + values[at], 0)),
    },
  ];
}

// -- one project ----------------------------------------------------------------------------------

async function project(body, [name], { link }) {
  const days = await api("days", { project: name, limit: 400 });
  const total = (pick) => days.reduce((sum, each) => sum + pick(each), 0);
  const usage = usageChart(name, days[0]?.day ?? "");
  const row = (each) =>
    h(
      "tr",
      {},
      h("td", {}, h("a", { href: link("langfuse", "day", name, each.day) }, each.day)),
      h("td", { class: "num" }, each.traces === null ? "–" : count(each.traces)),
      h("td", { class: "num" }, count(each.objects)),
      h("td", { class: "num" }, bytes(each.bytes)),
      h(
        "td",
        { class: `${wideOnly} muted` },
        each.kinds
          .map((kind) => `${L.kind[kind.kind] ?? kind.kind} ${compact(kind.objects)}`)
          .join(" · "),
      ),
    );
  const heads = h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("th", { scope: "col" }, L.day),
      right(L.traces),
      right(L.objects),
      right(T.common.size),
      h("th", { scope: "col", class: wideOnly }, L.kinds),
    ),
  );
  fill(
    body,
    path(link, [name]),
    h(
      "div",
      { class: "grid stats" },
      days[0]?.traces === null ? null : stat(L.traces, compact(total((each) => each.traces))),
      stat(L.objects, compact(total((each) => each.objects))),
      stat(T.monitoring.stored, bytes(total((each) => each.bytes))),
    ),
    usage.element,
    h(
      "section",
      { class: "card" },
      h("div", { class: "table-wrap" }, h("table", {}, heads, h("tbody", {}, days.map(row)))),
    ),
  );
  await usage.read();
}

// -- traces ---------------------------------------------------------------------------------------

const day = (body, [name, date], { link, signal }) =>
  listed(
    body,
    path(link, [name, link("langfuse", "project", name)], [date]),
    (after) => api("traces", { project: name, day: date, ...after }),
    link,
    signal,
    h("p", { class: "muted" }, L.noTraces),
  );

const found = (body, [text], { link, signal }) =>
  listed(
    body,
    path(link, [text]),
    (after) => api("search", { trace: text, ...after }),
    link,
    signal,
    empty("search", L.notFound, L.notFoundLead),
  );

/** Traces page by page. A page may be short, or empty, and have a next one all the same. */
async function listed(body, crumbs, ask, link, signal, nothing) {
  const rows = h("tbody");
  const foot = h("div", { class: "foot" });
  const section = h(
    "section",
    { class: "card" },
    h("div", { class: "table-wrap" }, h("table", {}, heads(), rows)),
    foot,
  );
  const load = async (after) => {
    const page = await ask(after ? { after } : {});
    if (signal.aborted) return;
    rows.append(...page.traces.map((each) => traceRow(each, link)));
    fill(
      foot,
      page.next
        ? [
            rows.children.length ? null : h("span", { class: "muted" }, L.looked),
            button(L.more, {}, () => load(page.next)),
          ]
        : null,
    );
    if (!rows.children.length && !page.next)
      section.replaceWith(h("div", { class: "card" }, h("div", { class: "body" }, nothing)));
  };
  fill(body, crumbs, section);
  await load("");
}

const heads = () =>
  h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("th", { scope: "col" }, L.trace),
      h("th", { scope: "col", class: wideOnly }, L.first),
      right(L.events),
      right(T.common.size),
    ),
  );

function traceRow(each, link) {
  const name = h(
    "div",
    { class: "name" },
    icon("trace"),
    h(
      "div",
      {},
      h(
        "a",
        { href: link("langfuse", "trace", each.project, each.trace) },
        named(each.name || each.trace),
      ),
      h(
        "div",
        { class: "small muted" },
        h("span", { class: "mono" }, h("bdi", {}, brief(each.trace))),
        " · ",
        named(each.project),
      ),
    ),
  );
  return h(
    "tr",
    {},
    h("td", {}, name),
    h("td", { class: `${wideOnly} muted` }, moment(each.first)),
    h("td", { class: "num" }, `${count(each.objects)}${each.more ? "+" : ""}`),
    h("td", { class: "num" }, bytes(each.bytes)),
  );
}
