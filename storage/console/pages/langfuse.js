// What Langfuse keeps in the store: project, day, trace, and its events in order.
import { control, list, s3, s3Path } from "./api.js";
import { bars } from "./charts.js";
import { fill, h, icon, named, shown } from "./dom.js";
import { bytes, compact, count, moment } from "./format.js";
import { jsonTree } from "./preview.js";
import { T } from "./texts.js";
import { badge, button, card, empty, head, meter, note, stat, table } from "./ui.js";

const L = T.langfuse;
/** Bytes of one object of events that are read and shown. */
const EVENT_MAX = 4 * 1024 * 1024;

/** A heading with what belongs to it. */
const block = (label, content) => h("section", {}, h("h3", { class: "muted small" }, label), content);
const api = (path, query) => control("GET", ["langfuse", ...(path ? [path] : [])], undefined, query);

export async function render(page, context) {
  const [what = "", ...rest] = context.parts;
  const progress = await api("");
  const body = h("div", { class: "stack" });
  const search = h("input", { type: "search", placeholder: L.search, "aria-label": L.search, spellcheck: "false" });
  const find = h("form", { class: "search", role: "search", on: { submit: (event) => (event.preventDefault(), search.value.trim() && (location.hash = context.link("langfuse", "search", search.value.trim()))) } }, icon("search"), search);
  const building = progress.state === "stocktaking" ? [note(L.indexing(progress.total ? Math.round((100 * progress.done) / progress.total) : 0)), meter(progress.total ? progress.done / progress.total : 0, L.title)] : [];
  fill(page, head(L.title, [find], L.lead), building, body);
  const pages = { "": projects, project, day, trace, search: found };
  await (pages[what] ?? projects)(body, rest, context, progress);
}

// -- projects and days ----------------------------------------------------------------------------

async function projects(body, _, { link }) {
  const { projects: all } = await api("projects");
  if (!all.length) return fill(body, h("div", { class: "card" }, empty("trace", L.noProjects, L.noProjectsLead)));
  const tiles = all.map((each) => h("a", { class: "card bucket", href: link("langfuse", "project", each.project) }, h("div", { class: "top" }, icon("trace"), h("b", {}, named(each.project))), h("div", { class: "figures" }, h("div", {}, h("b", {}, compact(each.objects)), h("span", {}, L.events)), h("div", {}, h("b", {}, bytes(each.bytes)), h("span", {}, T.buckets.bytes))), h("p", { class: "small muted" }, `${each.first} – ${each.last}`)));
  return fill(body, h("div", { class: "grid" }, tiles));
}

const path = (link, ...steps) => h("nav", { class: "crumbs", "aria-label": L.title }, h("a", { href: link("langfuse") }, L.projects), steps.map(([label, href], at) => [h("span", { class: "sep", "aria-hidden": "true" }, "/"), at === steps.length - 1 ? h("span", { "aria-current": "page" }, named(label)) : h("a", { href }, named(label))]));

async function project(body, [name], { link }) {
  const days = await api("days", { project: name });
  const total = (pick) => days.reduce((sum, each) => sum + pick(each), 0);
  const chart = [...days].reverse().slice(-60).map((each) => ({ label: each.day.slice(5), value: each.bytes }));
  const rows = days.map((each) => h("tr", {}, h("td", {}, h("a", { href: link("langfuse", "day", name, each.day) }, each.day)), h("td", { class: "num" }, count(each.traces)), h("td", { class: "num" }, count(each.objects)), h("td", { class: "num" }, bytes(each.bytes)), h("td", { class: "wide-only" }, h("span", { class: "row" }, each.kinds.map((kind) => badge(`${kind.kind} ${compact(kind.objects)}`))))));
  fill(body, path(link, [name]), h("div", { class: "grid" }, stat(L.traces, compact(total((each) => each.traces))), stat(L.events, compact(total((each) => each.objects))), stat(T.monitoring.stored, bytes(total((each) => each.bytes)))), card(L.usage, bars(L.usage, chart, bytes)), h("section", { class: "card" }, table([L.days, right(L.traces), right(L.events), right(T.common.size), h("th", { class: "wide-only" }, L.kinds)], rows)));
}

const right = (label) => h("th", { scope: "col", class: "num" }, label);

// -- traces ---------------------------------------------------------------------------------------

async function day(body, [name, date], { link }) {
  const rows = h("tbody");
  const more = h("div", { class: "foot" });
  const load = async (after) => {
    const page = await api("traces", { project: name, day: date, ...(after ? { after } : {}) });
    rows.append(...page.traces.map((each) => traceRow(each, link)));
    fill(more, page.next ? button(T.common.more, {}, () => load(page.next)) : null);
    if (!rows.children.length && !page.next) fill(more, L.noTraces);
  };
  await load("");
  fill(body, path(link, [name, link("langfuse", "project", name)], [date]), h("section", { class: "card" }, h("div", { class: "table-wrap" }, h("table", {}, heads(), rows)), more));
}

const heads = () => h("thead", {}, h("tr", {}, h("th", {}, L.trace), h("th", { class: "wide-only" }, L.first), right(L.events), right(T.common.size)));

function traceRow(each, link) {
  return h("tr", {}, h("td", {}, h("div", { class: "name" }, icon("trace"), h("div", {}, h("a", { href: link("langfuse", "trace", each.project, each.trace) }, named(each.name || each.trace)), h("div", { class: "small muted mono" }, named(each.trace))))), h("td", { class: "wide-only muted" }, moment(each.first)), h("td", { class: "num" }, `${count(each.objects)}${each.more ? "+" : ""}`), h("td", { class: "num" }, bytes(each.bytes)));
}

async function found(body, [text], { link }) {
  const { traces } = await api("search", { trace: text });
  fill(body, path(link, [text]), traces.length ? h("section", { class: "card" }, h("div", { class: "table-wrap" }, h("table", {}, heads(), h("tbody", {}, traces.map((each) => traceRow(each, link)))))) : h("div", { class: "card" }, empty("search", L.notFound, "")));
}

// -- one trace ------------------------------------------------------------------------------------

async function trace(body, [name, id], { link }, progress) {
  const page = await api("events", { trace: id, project: name });
  const url = progress.url ? `${progress.url}/project/${encodeURIComponent(name)}/traces/${encodeURIComponent(id)}` : "";
  const cards = h("div", { class: "stack" });
  fill(body, h("div", { class: "row" }, path(link, [name, link("langfuse", "project", name)], [id]), url ? h("a", { class: "button", href: url, target: "_blank", rel: "noopener noreferrer" }, icon("link"), L.openLangfuse) : null), page.events.length ? cards : h("div", { class: "card" }, empty("trace", L.notFound, "")));
  const more = h("div");
  const add = (events, next) => {
    cards.append(...events.map((event, at) => eventCard(event, id, link, at < 4)));
    more.remove();
    if (next) {
      fill(more, button(T.common.more, {}, async () => {
        const following = await api("events", { trace: id, project: name, after: next });
        add(following.events, following.next);
      }));
      cards.append(more);
    }
  };
  add(page.events, page.next);
}

function eventCard(event, id, link, open) {
  const content = h("div", { class: "body stack" }, h("p", { class: "muted" }, T.common.loading));
  const details = h("details", { class: "card event", open }, h("summary", {}, h("span", { class: "row" }, badge(event.kind, "accent"), h("b", {}, named(event.name || event.key.split("/").at(-1))), h("span", { class: "muted small" }, moment(event.time)), h("span", { class: "muted small" }, bytes(event.size)), event.flaw ? badge(event.flaw, "warn") : null)), content);
  const load = () => show(content, event, id, link).catch((error) => fill(content, note(error.message, "bad", "alert")));
  if (open) load();
  else details.addEventListener("toggle", load, { once: true });
  return details;
}

async function show(place, event, id, link) {
  const source = h("p", { class: "small" }, h("a", { href: link("object", event.bucket, event.key) }, named(event.key)));
  if (event.kind === "media") return fill(place, media(event.bucket, event.key), source);
  const answer = await s3("GET", event.bucket, event.key, {}, { headers: event.size > EVENT_MAX ? { range: `bytes=0-${EVENT_MAX - 1}` } : {} });
  const text = await answer.text();
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    return fill(place, h("pre", { tabindex: "0" }, text.slice(0, EVENT_MAX)), source);
  }
  const parts = partsOf(document, id);
  const shownMedia = await referred(text, event);
  return fill(place, parts.map((part) => [part.name ? h("h3", {}, named(part.name)) : null, part.input === undefined ? null : block(L.input, value(part.input)), part.output === undefined ? null : block(L.output, value(part.output))]), shownMedia.length ? block(L.media, h("div", { class: "grid" }, shownMedia)) : null, h("details", {}, h("summary", {}, L.raw), jsonTree(document, 1)), source);
}

const REFERENCE = /@@@langfuseMedia:type=[^|@]{1,100}\|id=([A-Za-z0-9_-]{1,64})\|source=[^@]{1,40}@@@/g;
const MEDIA_MAX = 12;

/** Media that an object refers to, shown; their ids begin the names of their objects. */
async function referred(text, event) {
  const ids = [...new Set([...text.matchAll(REFERENCE)].map(([, id]) => id))].slice(0, MEDIA_MAX);
  const listings = await Promise.all(ids.map((id) => list(event.bucket, { prefix: `media/${event.project}/${id}`, max: 1 }).catch(() => ({ objects: [] }))));
  return listings.flatMap(({ objects }) => objects).map(({ key }) => media(event.bucket, key)).filter(Boolean);
}

/** What an object says of a trace: spans of OpenTelemetry, or events of Langfuse's own API. */
function partsOf(document, id) {
  const resources = (Array.isArray(document) ? document : [document]).flatMap((each) => each?.resourceSpans ?? [each]);
  const spans = resources.flatMap((each) => each?.scopeSpans ?? []).flatMap((each) => each.spans ?? []);
  if (spans.length) return spans.filter((span) => hex(span.traceId) === id.toLowerCase()).map((span) => ({ name: span.name, input: attribute(span, ["langfuse.observation.input", "langfuse.trace.input", "input.value", "gen_ai.prompt"]), output: attribute(span, ["langfuse.observation.output", "langfuse.trace.output", "output.value", "gen_ai.completion"]) }));
  return (Array.isArray(document) ? document : [document]).filter(Boolean).map((event) => event.body ?? event).map(({ name, input, output }) => ({ name, input: input ?? undefined, output: output ?? undefined }));
}

// Trace ids come as hexadecimal digits, as base64, or as the bytes of a Node.js Buffer.
function hex(id) {
  if (typeof id === "string") {
    if (/^[0-9a-f]{32}$/i.test(id)) return id.toLowerCase();
    try {
      return [...atob(id)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
    } catch {
      return id;
    }
  }
  return (id?.data ?? []).map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function attribute(span, names) {
  for (const name of names) {
    const found = (span.attributes ?? []).find(({ key }) => key === name)?.value;
    if (found) return found.stringValue ?? found.intValue ?? found.doubleValue ?? found.boolValue ?? found;
  }
  return undefined;
}

/** An input or output: chat messages one below the other, documents as trees, text as text. */
function value(content) {
  let document = content;
  if (typeof content === "string") {
    try {
      document = JSON.parse(content);
    } catch {
      return h("pre", { class: "said", tabindex: "0" }, content);
    }
  }
  const messages = Array.isArray(document) ? document : document?.messages;
  if (Array.isArray(messages) && messages.length && messages.every((each) => each && typeof each === "object" && "role" in each && "content" in each)) {
    return h("div", { class: "stack tight" }, messages.map((each) => h("div", { class: "message" }, badge(shown(String(each.role)), "accent"), typeof each.content === "string" ? h("pre", { class: "said" }, each.content) : jsonTree(each.content, 3))));
  }
  if (document === null || typeof document !== "object") return h("pre", { class: "said", tabindex: "0" }, String(document));
  return jsonTree(document, 3);
}

function media(bucket, key) {
  const source = s3Path(bucket, key);
  if (/\.(png|jpe?g|gif|webp|avif)$/i.test(key)) return h("div", { class: "preview" }, h("img", { src: source, alt: shown(key) }));
  if (/\.(mp3|wav|ogg|m4a)$/i.test(key)) return h("div", { class: "preview" }, h("audio", { src: source, controls: true, preload: "metadata" }));
  if (/\.(mp4|webm|mov)$/i.test(key)) return h("div", { class: "preview" }, h("video", { src: source, controls: true, preload: "metadata" }));
  return null;
}
