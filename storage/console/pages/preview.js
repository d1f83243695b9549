// What is in an object, shown so that it can do nothing: as text, or by elements that run nothing.
import { s3, s3Path, sign } from "./api.js";
import { fill, h, icon, shown } from "./dom.js";
import { bytes } from "./format.js";
import { kindOf } from "./kinds.js";
import { T } from "./texts.js";
import { empty, note, table } from "./ui.js";
import { isTidiedUp } from "./transfers.js";

/** Bytes of text that are fetched and shown; what is larger is shown in part. */
const TEXT_MAX = 1024 * 1024;
/** Bytes of JSON that become a tree, and rows of a table. */
const TREE_MAX = 8 * 1024 * 1024;
const ROWS_MAX = 1000;
const CHILDREN_MAX = 200;

/** Fill `place` with a preview of an object: {bucket, key, size, type, encoding, version}. */
export async function preview(place, object) {
  const { kind } = kindOf(object.key, object.type);
  if (!object.size) return fill(place, empty("file", T.object.empty, ""));
  const source = s3Path(object.bucket, object.key, object.version ? { versionId: object.version } : {});
  const broken = () => fill(place, empty("alert", T.object.broken, ""));
  const watched = { on: { error: broken } };
  switch (kind) {
    case "image":
      return fill(place, h("div", { class: "checker" }, h("img", { src: source, alt: shown(object.key), ...watched })));
    case "video":
      return fill(place, h("video", { src: source, controls: true, preload: "metadata", ...watched }));
    case "audio":
      return fill(place, h("div", { class: "body" }, h("audio", { src: source, controls: true, preload: "metadata", ...watched })));
    case "pdf":
      return pdf(place, object);
    case "json":
      return object.size <= TREE_MAX && !object.encoding ? tree(place, await text(object, TREE_MAX)) : part(place, object);
    case "csv":
      return rows(place, object);
    case "text":
      return part(place, object);
    default:
      return fill(place, empty("file", T.object.noPreview, ""));
  }
}

async function text(object, most) {
  const answer = await s3("GET", object.bucket, object.key, object.version ? { versionId: object.version } : {}, { headers: object.size > most ? { range: `bytes=0-${most - 1}` } : {} });
  return new TextDecoder().decode(await answer.arrayBuffer());
}

async function part(place, object) {
  const content = await text(object, TEXT_MAX);
  fill(place, object.size > TEXT_MAX ? note(T.object.only(bytes(TEXT_MAX), bytes(object.size))) : null, h("pre", { tabindex: "0" }, content));
}

// From the S3 port: another origin, where its scripts (PDFs may have some) can't touch the console.
async function pdf(place, object) {
  if (isTidiedUp(object.key)) return fill(place, empty("file", T.object.noPreview, T.browse.dots));
  const [url] = await sign([{ method: "GET", bucket: object.bucket, key: object.key, query: { "response-content-type": "application/pdf", "response-content-disposition": "inline" }, seconds: 900 }]);
  return fill(place, h("iframe", { src: url, title: shown(object.key), referrerpolicy: "no-referrer" }), h("p", { class: "hint body" }, T.object.pdfHint, " ", h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, T.object.openPdf)));
}

// -- JSON -----------------------------------------------------------------------------------------

function tree(place, content) {
  let document;
  try {
    document = JSON.parse(content);
  } catch {
    return fill(place, h("pre", { tabindex: "0" }, content));
  }
  return fill(place, jsonTree(document));
}

/** A JSON value to be opened step by step: children are made when they are first seen. */
export function jsonTree(value, open = 2) {
  return h("div", { class: "tree", tabindex: "0" }, node(null, value, open));
}

function node(key, value, open) {
  const label = key === null ? [] : [h("span", { class: "k" }, shown(String(key))), ": "];
  if (value === null || typeof value !== "object") {
    const kind = { string: "s", number: "n" }[typeof value] ?? "b";
    return h("div", { class: "leaf" }, label, h("span", { class: kind }, typeof value === "string" ? value : String(value)));
  }
  const entries = Object.entries(value);
  const body = h("div");
  const details = h("details", { open: open > 0 && entries.length <= CHILDREN_MAX }, h("summary", {}, label, h("span", { class: "muted" }, Array.isArray(value) ? `[ ${T.object.keys(entries.length)} ]` : `{ ${T.object.keys(entries.length)} }`)), body);
  const draw = (from = 0) => {
    body.append(...entries.slice(from, from + CHILDREN_MAX).map(([name, child]) => node(name, child, open - 1)));
    const left = entries.length - from - CHILDREN_MAX;
    if (left > 0) {
      const more = h("button", { type: "button", class: "plain", on: { click: () => (more.remove(), draw(from + CHILDREN_MAX)) } }, icon("plus"), T.object.moreEntries(left));
      body.append(more);
    }
  };
  if (details.open) draw();
  else details.addEventListener("toggle", () => draw(), { once: true });
  return details;
}

// -- tables ---------------------------------------------------------------------------------------

async function rows(place, object) {
  const content = await text(object, TEXT_MAX);
  const separator = /\.tsv$/i.test(object.key) || object.type.includes("tab-separated") ? "\t" : content.split("\n", 1)[0].includes(";") && !content.split("\n", 1)[0].includes(",") ? ";" : ",";
  const parsed = csv(content, separator, ROWS_MAX + 1);
  const [heads = [], ...lines] = parsed;
  const cut = object.size > TEXT_MAX || parsed.length > ROWS_MAX;
  fill(place, cut ? note(T.object.only(T.object.rows(lines.length), bytes(object.size))) : null, table(heads, lines.map((line) => h("tr", {}, line.map((cell) => h("td", { title: cell }, cell))))));
}

/** The first `most` rows of a CSV (RFC 4180). */
export function csv(content, separator, most) {
  const found = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < content.length && found.length < most; at += 1) {
    const c = content[at];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (content[at + 1] === '"') (cell += '"'), (at += 1);
      else quoted = false;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === separator || c === "\n") {
      row.push(cell.endsWith("\r") ? cell.slice(0, -1) : cell);
      cell = "";
      if (c === "\n") found.push(row), (row = []);
    } else cell += c;
  }
  if ((cell || row.length) && found.length < most) found.push([...row, cell]);
  return found;
}
