// One trace: what happened in it as a tree along time, and what went in and out at each step.
import { control, list, s3, s3Path } from "./api.js";
import { content } from "./conversation.js";
import { brief, fill, h, icon, named, shown } from "./dom.js";
import { bytes, compact, count, moment } from "./format.js";
import { nested, newTrace, part, read, summary, text } from "./observations.js";
import { jsonTree } from "./preview.js";
import { T } from "./texts.js";
import { badge, button, card, copy, empty, iconButton, meter, note, stat, table } from "./ui.js";

const L = T.langfuse;
/** Bytes of one object that are read, and of all of them and their number at one go. */
const OBJECT_MAX = 8 * 1024 * 1024;
const GO_BYTES = 32 * 1024 * 1024;
const GO_OBJECTS = 200;
const AT_ONCE = 6;
/** Characters of a name that is a heading. */
const TITLE_MAX = 300;
/** Rows of the tree that are drawn at once. */
const ROWS_MAX = 400;

/** Media that are looked up by themselves; further ones where somebody asks for them. */
const MEDIA_MAX = 60;

/** Extensions that Langfuse gives media, by the end of their type, where it is another. */
const EXTENSIONS = {
  __proto__: null,
  jpeg: "jpg",
  plain: "txt",
  mpeg: "mp3",
  "svg+xml": "svg",
  "x-wav": "wav",
  quicktime: "mov",
};
const PICTURES = /^image\/(png|jpe?g|gif|webp|avif)$/i;
const NAMED_PICTURES = /\.(png|jpe?g|gif|webp|avif)$/i;

export async function trace(body, [project, id], { link, signal }, progress) {
  const state = {
    model: newTrace(),
    events: [],
    next: "",
    unread: [],
    selected: "",
    closed: new Set(),
    rows: ROWS_MAX,
  };
  const view = frame(project, id, progress, link, state);
  const page = await events(project, id, "");
  if (!page.events.length && !page.next) {
    return fill(
      body,
      view.crumbs,
      h("div", { class: "card" }, empty("trace", L.notFound, L.notFoundLead)),
    );
  }
  fill(body, view.element);
  const go = async (first) => {
    await readOn(state, first, { project, id, signal, tell: view.tell });
    if (!signal.aborted) view.draw(() => go(null));
  };
  // The page is there at once; what it shows comes while it is looked at.
  go(page).catch((error) => !signal.aborted && view.failed(error));
  return undefined;
}

const events = (project, id, after) =>
  control("GET", ["langfuse", "events"], undefined, {
    trace: id,
    project,
    limit: GO_OBJECTS,
    ...(after ? { after } : {}),
  });

// -- reading --------------------------------------------------------------------------------------

/** Read the next objects of a trace into `state`: at most so many, and so many bytes. */
async function readOn(state, first, { project, id, signal, tell }) {
  const waiting = state.left ?? [];
  if (!waiting.length) {
    const page = first ?? (await events(project, id, state.next));
    state.next = page.next;
    waiting.push(...page.events);
    state.events.push(...page.events);
  }
  let left = GO_BYTES;
  let done = 0;
  const total = waiting.length;
  const worker = async () => {
    while (waiting.length && left > 0 && !signal.aborted) {
      const event = waiting.shift();
      left -= event.size;
      try {
        if (event.kind !== "media" && event.kind !== "export")
          read(state.model, await documentOf(event), id, event);
      } catch (error) {
        state.unread.push([event, error.message]);
      }
      tell((done += 1), total);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  state.left = waiting;
}

/** The document that an object holds. Raises with why it can't be shown. */
async function documentOf(event) {
  if (event.size > OBJECT_MAX) throw new Error(L.tooLarge);
  const answer = await s3("GET", event.bucket, event.key);
  let data = new Uint8Array(await answer.arrayBuffer());
  if (data[0] === 0x1f && data[1] === 0x8b) data = await unpacked(data);
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    throw new Error(L.noJson);
  }
}

/** Bytes out of gzip; whatever they claim to be, not more than are read of any object. */
async function unpacked(data) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const pieces = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > OBJECT_MAX) {
      await reader.cancel();
      throw new Error(L.tooLarge);
    }
    pieces.push(value);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

// -- the page -------------------------------------------------------------------------------------

function frame(project, id, progress, link, state) {
  const url = progress.url
    ? `${progress.url}/project/${encodeURIComponent(project)}/traces/${encodeURIComponent(id)}`
    : "";
  const crumbs = h(
    "nav",
    { class: "crumbs", "aria-label": L.title },
    h("a", { href: link("langfuse") }, L.projects),
    h("span", { class: "sep", "aria-hidden": "true" }, "/"),
    h("a", { href: link("langfuse", "project", project) }, named(project)),
    h("span", { class: "sep", "aria-hidden": "true" }, "/"),
    h("span", { "aria-current": "page" }, named(id)),
  );
  const title = h("h2", { class: "trace-title" });
  const facts = h("div", { class: "grid stats" });
  const state_ = h("div", { role: "status" });
  const tree = h("div", { class: "tree-view", role: "tree", "aria-label": L.tree });
  const detail = h("section", {
    class: "card detail",
    tabindex: "-1",
    "aria-label": L.observations,
  });
  const below = h("div", { class: "stack" });
  const split = h("div", { class: "split" }, h("section", { class: "card" }, tree), detail);
  const top = h(
    "div",
    { class: "row trace-head" },
    title,
    iconButton("copy", L.copyId, () => copy(id)),
    url
      ? h(
          "a",
          { class: "button", href: url, target: "_blank", rel: "noopener noreferrer" },
          icon("link"),
          L.openLangfuse,
        )
      : null,
  );
  const chips = h("div", { class: "row chips" });
  const element = h("div", { class: "stack" }, crumbs, top, chips, facts, state_, split, below);
  const media = mediaOf(progress.media, project, link);
  const bar = meter(0, L.title);

  const select = (chosen, { move = false, look = false } = {}) => {
    state.selected = chosen;
    tree.querySelectorAll("[role=treeitem]").forEach((row) => {
      const here = row.dataset.id === chosen;
      row.setAttribute("aria-selected", String(here));
      row.tabIndex = here ? 0 : -1;
      if (here && move) row.focus();
    });
    const observation = state.model.observations.get(chosen);
    fill(
      detail,
      observation ? observed(observation, state.model, media, link) : whole(state.model, media),
    );
    detail.scrollTop = 0;
    // On a narrow screen the details are below.
    if (look && detail.offsetTop > tree.offsetTop + tree.offsetHeight) detail.scrollIntoView();
  };
  const tell = (done, total) => {
    if (!state_.contains(bar))
      fill(state_, h("div", { class: "stack tight" }, h("span", { class: "muted" }), bar));
    bar.set(done / total);
    fill(state_.querySelector("span"), L.reading(count(done), count(total)));
  };
  const draw = (readMore) => {
    const found = summary(state.model);
    const more = state.next || state.left?.length;
    fill(title, named((state.model.about.name || rootName(state.model) || id).slice(0, TITLE_MAX)));
    fill(facts, factTiles(found, state.model));
    fill(chips, chipsOf(found, state.model));
    fill(
      state_,
      more
        ? note(
            h(
              "div",
              { class: "row" },
              h(
                "span",
                { class: "grow" },
                L.readSome(count(state.events.length - (state.left?.length ?? 0))),
              ),
              button(L.readMore, {}, readMore),
            ),
          )
        : null,
    );
    drawTree(tree, state, select, found);
    select(state.selected);
    fill(below, storedObjects(state, link));
  };
  const failed = (error) => fill(state_, note(error.message, "bad", "alert"));
  return { element, crumbs, tell, draw, failed };
}

const rootName = (model) => nested(model)[0]?.observation.name;

/** Whose trace it is, and with which models, in a line. */
function chipsOf(found, { about }) {
  const tags = tagsOf(about)
    .slice(0, 20)
    .map((tag) => badge(shown(tag).slice(0, 100), "accent"));
  const facts = [
    [L.model, found.models.slice(0, 4).join(", ")],
    [L.user, about.user],
    [L.session, about.session],
    [L.environment, about.environment],
    [L.release, about.release],
    [L.version, about.version],
  ];
  return [
    ...facts
      .filter(([, value]) => value)
      .map(([name, value]) =>
        h(
          "span",
          { class: "chip" },
          h("span", { class: "muted" }, `${name} `),
          named(value.slice(0, 200)),
        ),
      ),
    ...tags,
  ];
}

const tagsOf = ({ tags }) => (Array.isArray(tags) ? tags : tags ? [tags] : []).map(text);

function factTiles(found, { observations, scores }) {
  const { usage } = [...observations.values()].find((each) => Object.keys(each.usage).length) ?? {};
  return [
    found.start ? stat(L.duration, took(found.milliseconds), moment(found.start)) : null,
    stat(L.observations, count(observations.size), found.errors ? L.errors(found.errors) : ""),
    usage
      ? stat(L.tokens, compact(found.tokens), L.inOut(compact(found.input), compact(found.output)))
      : null,
    found.cost ? stat(L.cost, dollars(found.cost), L.costLead) : null,
    scores.length
      ? stat(
          L.scores,
          count(scores.length),
          scores
            .slice(0, 2)
            .map((each) => `${shown(each.name)} ${scored(each.value)}`)
            .join(" · "),
        )
      : null,
  ];
}

// -- the tree -------------------------------------------------------------------------------------

const ICONS = {
  __proto__: null,
  generation: "trace",
  span: "move",
  event: "info",
  tool: "code",
  agent: "users",
  chain: "link",
  retriever: "search",
  embedding: "table",
  evaluator: "check",
  guardrail: "shield",
};

function drawTree(place, state, select, found) {
  const rows = nested(state.model);
  const visible = [];
  let closedAt = Infinity;
  for (const row of rows) {
    if (row.depth > closedAt) continue;
    closedAt = state.closed.has(row.observation.id) ? row.depth : Infinity;
    visible.push(row);
  }
  const redraw = (focus) => {
    drawTree(place, state, select, found);
    select(state.selected);
    place.querySelector(`[data-id="${CSS.escape(focus)}"]`)?.focus();
  };
  const fold = (id, close) => {
    if (close) state.closed.add(id);
    else state.closed.delete(id);
    redraw(id);
  };
  const drawn = visible.slice(0, state.rows);
  fill(
    place,
    wholeRow(state, select),
    drawn.map((row) => treeRow(row, state, select, fold, found)),
  );
  if (visible.length > drawn.length) {
    place.append(
      h(
        "div",
        { class: "foot", role: "none" },
        button(T.object.moreEntries(visible.length - drawn.length), { role: "treeitem" }, () => {
          state.rows += ROWS_MAX;
          redraw(drawn.at(-1).observation.id);
        }),
      ),
    );
  }
  place.onkeydown = (event) => walk(event, place, state, select, fold);
}

function wholeRow(state, select) {
  return h(
    "div",
    {
      class: "observation",
      role: "treeitem",
      tabindex: "0",
      "aria-level": "1",
      "data-id": "",
      "aria-selected": "false",
      on: { click: () => select("", { look: true }) },
    },
    h("span", { class: "kind type-trace", "aria-hidden": "true" }, icon("trace")),
    h("span", { class: "what" }, h("b", {}, L.whole)),
    h(
      "span",
      { class: "took" },
      state.model.scores.length ? `${L.scores} ${state.model.scores.length}` : "",
    ),
  );
}

function treeRow({ observation, depth, size }, state, select, fold, found) {
  const { id, name, type, usage, cost, level, model } = observation;
  const closed = state.closed.has(id);
  const told = [
    model,
    usage.total ? `${compact(usage.total)} tok` : "",
    cost.total ? dollars(cost.total) : "",
  ]
    .filter(Boolean)
    .join(" · ");
  const lane = h("i");
  const length = found.end - found.start || 1;
  const end = observation.end || observation.start;
  lane.style.setProperty(
    "left",
    `${Math.min(99, (100 * Math.max(0, observation.start - found.start)) / length)}%`,
  );
  lane.style.setProperty(
    "width",
    `${Math.max(0.6, (100 * Math.max(0, end - (observation.start || end))) / length)}%`,
  );
  const toggle = size
    ? h(
        "button",
        {
          type: "button",
          class: "fold",
          tabindex: "-1",
          "aria-hidden": "true",
          on: {
            click: (event) => {
              event.stopPropagation();
              fold(id, !closed);
            },
          },
        },
        closed ? "▸" : "▾",
      )
    : h("span", { class: "fold" });
  const row = h(
    "div",
    {
      class: `observation ${level === "ERROR" ? "failed" : ""}`,
      role: "treeitem",
      tabindex: "-1",
      "data-id": id,
      "aria-level": String(depth + 2),
      "aria-selected": "false",
      "aria-expanded": size ? String(!closed) : undefined,
      on: { click: () => select(id, { look: true }) },
    },
    toggle,
    h("span", { class: `kind type-${kindClass(type)}`, title: type }, icon(ICONS[type] ?? "move")),
    h(
      "span",
      { class: "what" },
      h("b", {}, h("bdi", {}, brief(name || id))),
      h("span", { class: "sr" }, ` ${shown(type)} `),
      level && level !== "DEFAULT" ? badge(shown(level), level === "ERROR" ? "bad" : "warn") : null,
      told ? h("span", { class: "small muted" }, shown(told)) : null,
    ),
    h("span", { class: "took" }, observation.start ? took(end - observation.start) : ""),
    h("span", { class: `lane type-${kindClass(type)}`, "aria-hidden": "true" }, lane),
  );
  row.style.setProperty("--depth", String(Math.min(depth, 12)));
  return row;
}

const kindClass = (type) => (type in ICONS ? type : "span");

/** Arrow keys in the tree, as trees have them. */
function walk(event, place, state, select, fold) {
  const rows = [...place.querySelectorAll(".observation")];
  const at = rows.indexOf(document.activeElement);
  if (at < 0) return;
  const { id } = rows[at].dataset;
  const open = rows[at].getAttribute("aria-expanded");
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    select(rows[Math.max(0, Math.min(rows.length - 1, to))].dataset.id, { move: true });
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    event.preventDefault();
    const wants = event.key === "ArrowLeft" ? "true" : "false";
    if (open === wants) fold(id, event.key === "ArrowLeft");
    else if (event.key === "ArrowLeft") {
      const level = Number(rows[at].getAttribute("aria-level"));
      const parent = rows
        .slice(0, at)
        .findLast((row) => Number(row.getAttribute("aria-level")) < level);
      if (parent) select(parent.dataset.id, { move: true });
    } else if (open === "true") select(rows[at + 1]?.dataset.id ?? id, { move: true });
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    select(id, { look: true });
    place.closest(".split").querySelector(".detail").focus();
  }
}

// -- what is chosen -------------------------------------------------------------------------------

/** A heading with what belongs to it. */
const block = (label, element) => h("section", { class: "block" }, h("h3", {}, label), element);

function observed(each, model, media, link) {
  const end = each.end || 0;
  const scores = model.scores.filter(({ observation }) => observation === each.id);
  const facts = [
    [L.started, each.start ? precise(each.start) : ""],
    [L.duration, end && each.start ? took(end - each.start) : ""],
    [L.toFirst, each.completion && each.start ? took(each.completion - each.start) : ""],
    [L.model, each.model],
    [
      L.tokens,
      each.usage.total !== undefined
        ? `${count(each.usage.total)} (${L.inOut(count(part(each.usage, "input")), count(part(each.usage, "output")))})`
        : "",
    ],
    [L.usageDetails, detailed(each.usage, count)],
    [L.cost, each.cost.total !== undefined ? dollars(each.cost.total) : ""],
    [L.costDetails, detailed(each.cost, dollars)],
    [L.prompt, each.prompt],
    [L.from, each.scope],
  ].filter(([, value]) => value);
  return [
    h(
      "header",
      {},
      h(
        "span",
        { class: `kind type-${kindClass(each.type)}`, "aria-hidden": "true" },
        icon(ICONS[each.type] ?? "move"),
      ),
      h("h2", {}, named((each.name || each.id).slice(0, TITLE_MAX))),
      badge(shown(each.type || "span"), "accent"),
      each.level && each.level !== "DEFAULT"
        ? badge(shown(each.level), each.level === "ERROR" ? "bad" : "warn")
        : null,
    ),
    h(
      "div",
      { class: "body stack" },
      each.status ? note(shown(each.status), each.level === "ERROR" ? "bad" : "", "alert") : null,
      scores.length ? block(L.scores, scoreList(scores)) : null,
      each.input === undefined ? null : block(L.input, content(each.input, media)),
      each.output === undefined ? null : block(L.output, content(each.output, media)),
      h(
        "dl",
        { class: "facts" },
        facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, shown(String(value)))]),
      ),
      each.parameters ? folded(L.parameters, () => jsonTree(each.parameters, 2)) : null,
      each.metadata === undefined ? null : folded(L.metadata, () => content(each.metadata, media)),
      folded(L.raw, () => jsonTree(each.raw, 2)),
      h(
        "p",
        { class: "small muted" },
        `${L.source}: `,
        h(
          "a",
          { href: link("object", each.source.bucket, each.source.key) },
          named(each.source.key),
        ),
      ),
    ),
  ];
}

/** The trace as a whole: what it was asked and what it answered, and what was thought of it. */
function whole(model, media) {
  const { about, scores } = model;
  const root = nested(model)[0]?.observation;
  const input = about.input ?? root?.input;
  const output = about.output ?? root?.output;
  return [
    h(
      "header",
      {},
      h("span", { class: "kind type-trace", "aria-hidden": "true" }, icon("trace")),
      h("h2", {}, L.whole),
    ),
    h(
      "div",
      { class: "body stack" },
      scores.length ? block(L.scores, scoreList(scores)) : null,
      input === undefined ? null : block(L.input, content(input, media)),
      output === undefined ? null : block(L.output, content(output, media)),
      input === undefined && output === undefined ? h("p", { class: "muted" }, L.nothing) : null,
      about.metadata && typeof about.metadata === "object" && Object.keys(about.metadata).length
        ? block(L.metadata, jsonTree(about.metadata, 2))
        : null,
    ),
  ];
}

/** Details that are made when they are first opened. */
function folded(label, make) {
  const element = h("details", { class: "rest" }, h("summary", {}, label));
  element.addEventListener("toggle", () => element.append(make()), { once: true });
  return element;
}

const detailed = (found, format) => {
  const others = Object.entries(found).filter(
    ([name]) => !["input", "output", "total"].includes(name),
  );
  return others.length ? others.map(([name, value]) => `${name} ${format(value)}`).join(", ") : "";
};

function scoreList(scores) {
  return h(
    "ul",
    { class: "scores" },
    scores
      .slice(0, 100)
      .map((each) =>
        h(
          "li",
          {},
          h("b", {}, named(each.name)),
          badge(shown(scored(each.value)), "accent"),
          each.kind ? h("span", { class: "small muted" }, shown(each.kind)) : null,
          each.comment ? h("p", { class: "small" }, shown(each.comment)) : null,
        ),
      ),
  );
}

const scored = (value) =>
  typeof value === "number"
    ? String(Math.abs(value) < 1e12 ? Math.round(value * 1000) / 1000 : value)
    : text(value).slice(0, 100);

// -- media ----------------------------------------------------------------------------------------

/** What makes the element that stands for a reference to media: (id, type) -> element. */
function mediaOf({ bucket, prefix }, project, link) {
  const keys = new Map();
  const find = async (id, type) => {
    const start = `${prefix}${project}/${id}.`;
    const found = await list(bucket, { prefix: start, max: 1 }).catch(() => null);
    if (found) return found.objects[0]?.key;
    // Who may not list may still read: the key follows from the type.
    const end = type.split("/")[1]?.split(";")[0] ?? "";
    const key = `${start}${EXTENSIONS[end] ?? end}`;
    return (await s3("HEAD", bucket, key, {}, { raw: true })).ok ? key : undefined;
  };
  return (id, type) => {
    const what = `${L.media}: ${shown(type)}`;
    const place = h("div", { class: "preview media" }, h("p", { class: "muted small" }, what));
    const show = () => {
      if (!keys.has(id)) keys.set(id, find(id, type));
      keys.get(id).then(
        (key) =>
          fill(
            place,
            key
              ? medium(bucket, key, type, link)
              : h("p", { class: "muted small" }, `${shown(type)}: ${L.noMedia}`),
          ),
        (error) => fill(place, note(error.message, "warn", "alert")),
      );
    };
    // A text that names thousands must not ask the store thousands of questions.
    if (keys.has(id) || keys.size < MEDIA_MAX) show();
    else fill(place, button(what, { class: "plain" }, show));
    return place;
  };
}

function medium(bucket, key, type, link) {
  const source = s3Path(bucket, key);
  const below = h(
    "p",
    { class: "small" },
    h("a", { href: link("object", bucket, key) }, named(key.split("/").at(-1))),
    h("span", { class: "muted" }, ` ${shown(type)}`),
  );
  if (PICTURES.test(type) || NAMED_PICTURES.test(key))
    return [h("img", { src: source, alt: shown(key), loading: "lazy" }), below];
  if (/^audio\//i.test(type))
    return [h("audio", { src: source, controls: true, preload: "metadata" }), below];
  if (/^video\//i.test(type))
    return [h("video", { src: source, controls: true, preload: "metadata" }), below];
  return below;
}

// -- below ----------------------------------------------------------------------------------------

function storedObjects(state, link) {
  const why = new Map(state.unread.map(([event, reason]) => [event, reason]));
  const row = (each) =>
    h(
      "tr",
      {},
      h("td", {}, badge(each.kind, "accent")),
      h(
        "td",
        { class: "where" },
        h("a", { href: link("object", each.bucket, each.key) }, named(each.key)),
        why.has(each) ? h("div", { class: "small error" }, why.get(each)) : null,
      ),
      h("td", { class: "wide-only muted" }, moment(each.time)),
      h("td", { class: "num" }, bytes(each.size)),
      h("td", { class: "wide-only" }, each.flaw ? badge(each.flaw, "warn") : ""),
    );
  const heads = [
    L.kinds,
    T.common.name,
    h("th", { scope: "col", class: "wide-only" }, L.first),
    h("th", { scope: "col", class: "num" }, T.common.size),
    h("th", { scope: "col", class: "wide-only" }, ""),
  ];
  const rows = table(heads, state.events.map(row));
  return [
    why.size ? note(L.unread(why.size), "warn", "alert") : null,
    why.size
      ? card(L.stored, rows)
      : h(
          "details",
          { class: "card stored" },
          h("summary", {}, `${L.stored} (${count(state.events.length)})`),
          rows,
        ),
  ];
}

// -- numbers --------------------------------------------------------------------------------------

/** Milliseconds as people read them. */
export function took(milliseconds) {
  if (!(milliseconds > 0)) return milliseconds === 0 ? "0 ms" : "";
  if (milliseconds < 0.9995) return `${Math.round(milliseconds * 1000)} µs`;
  if (milliseconds < 999.5)
    return `${milliseconds < 9.95 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
  if (milliseconds < 59_995) return `${(milliseconds / 1000).toFixed(2)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 2880
    ? `${Math.floor(minutes / 60)} h ${minutes % 60} min`
    : `${count(Math.floor(minutes / 1440))} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** Costs: Langfuse keeps them in US dollars. */
export function dollars(value) {
  if (value < 0) return `−${dollars(-value)}`;
  if (value > 0 && value < 0.00001) return "< $0.00001";
  if (value >= 0.01) return `$${value >= 1e6 ? compact(value) : value.toFixed(value >= 1 ? 2 : 4)}`;
  return `$${value === 0 ? "0" : value.toFixed(6).replace(/0+$/, "")}`;
}
const PRECISE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const precise = (milliseconds) =>
  `${PRECISE.format(new Date(milliseconds))}.${String(Math.floor(milliseconds) % 1000).padStart(3, "0")}`;
