// What is in an object, shown so that it can do nothing: as text, or by elements that run nothing.
import { s3, s3Path, sign } from "./api.js";
import { fill, h, icon, shown } from "./dom.js";
import { bytes, count } from "./format.js";
import { kindOf } from "./kinds.js";
import { T } from "./texts.js";
import { empty, note } from "./ui.js";
import { isTidiedUp } from "./transfers.js";
import { drawTable, parquet } from "./tables.js";

/** Bytes of text that are fetched, unpacked and shown; what is larger is shown in part. */
const TEXT_MAX = 1024 * 1024;
/** Bytes of JSON that become a tree, and rows of a table. */
const TREE_MAX = 8 * 1024 * 1024;
const ROWS_MAX = 1000;
/** Columns of a table that are drawn: a megabyte may hold half a million. */
const COLUMNS_MAX = 100;
const CHILDREN_MAX = 200;

/** Fill `place` with a preview of an object: {bucket, key, size, type, encoding, version}. */
export async function preview(place, object) {
  const { kind, packed } = kindOf(object.key, object.type);
  object = { ...object, packed };
  if (!object.size) return fill(place, empty("file", T.object.empty, ""));
  const source = s3Path(
    object.bucket,
    object.key,
    object.version ? { versionId: object.version } : {},
  );
  const broken = () => fill(place, empty("alert", T.object.broken, ""));
  const watched = { on: { error: broken } };
  switch (kind) {
    case "image":
      return fill(
        place,
        h(
          "div",
          { class: "checker" },
          h("img", { src: source, alt: shown(object.key), ...watched }),
        ),
      );
    case "video":
      return fill(
        place,
        h("video", { src: source, controls: true, preload: "metadata", ...watched }),
      );
    case "audio":
      return fill(
        place,
        h(
          "div",
          { class: "body" },
          h("audio", { src: source, controls: true, preload: "metadata", ...watched }),
        ),
      );
    case "pdf":
      return pdf(place, object);
    case "json":
      return tree(place, object);
    case "csv":
      return rows(place, object);
    case "parquet":
      return parquet(place, object);
    case "text":
      return part(place, object);
    default:
      return fill(place, empty("file", T.object.noPreview, ""));
  }
}

/** The first `most` bytes of an object as text, unpacked: {content, whole, foreign, damaged}. `foreign`
 * is what is not in UTF-8, `damaged` what could not be unpacked to its end. */
async function text(object, most) {
  const query = object.version ? { versionId: object.version } : {};
  // Of a range browsers take no Content-Encoding; the whole is broken off where there is enough of it.
  const part = object.size > most && !object.encoding;
  const answer = await s3("GET", object.bucket, object.key, query, {
    headers: part ? { range: `bytes=0-${most - 1}` } : {},
  });
  // What a Content-Encoding packed the browser unpacks while we read.
  const { data, whole, damaged } = await beginning(
    object.packed ? unpacked(answer.body) : answer.body,
    most,
  );
  const stream = part || !whole; // the last character may be cut off
  return {
    content: new TextDecoder().decode(data, { stream }),
    whole: !stream,
    foreign: !isUtf8(data, stream),
    damaged,
  };
}

function isUtf8(data, stream) {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(data, { stream });
    return true;
  } catch {
    return false;
  }
}

/** The first `most` bytes of a stream. What is packed may be cut off or damaged, or become a thousand
 * times as much: reading ends where there is enough, or nothing more to be had. */
async function beginning(stream, most) {
  const reader = stream.getReader();
  const data = new Uint8Array(most);
  let size = 0;
  let whole = false;
  let damaged = false;
  try {
    while (size < most) {
      const { done, value } = await reader.read();
      if (done) {
        whole = true;
        break;
      }
      const some = value.subarray(0, most - size);
      data.set(some, size);
      size += some.length;
      if (some.length < value.length) break;
    }
  } catch (error) {
    if (!size) throw error;
    damaged = true;
  }
  reader.cancel().catch(() => {});
  return { data: data.subarray(0, size), whole, damaged };
}

/** Bytes of gzip that are unpacked at once: they become at most a thousand times as many. */
const SLICE = 1024;

function unpacked(stream) {
  const slices = new TransformStream({
    transform(chunk, controller) {
      for (let at = 0; at < chunk.length; at += SLICE)
        controller.enqueue(chunk.subarray(at, at + SLICE));
    },
  });
  return stream.pipeThrough(slices).pipeThrough(new DecompressionStream("gzip"));
}

/** What is said above something that is shown in part. */
const cutNote = (object, what, damaged) =>
  damaged
    ? note(T.object.cutOff, "warn", "alert")
    : note(
        object.packed || object.encoding
          ? T.object.onlyUnpacked(what)
          : T.object.only(what, bytes(object.size)),
      );

async function part(place, object) {
  draw(place, object, await text(object, TEXT_MAX));
}

function draw(place, object, { content, whole, foreign, damaged }, ...notes) {
  fill(
    place,
    notes,
    foreign ? note(T.object.notUtf8, "warn", "alert") : null,
    whole ? null : cutNote(object, bytes(TEXT_MAX), damaged),
    h("pre", { tabindex: "0" }, content),
  );
}

// From the S3 port: another origin, where its scripts (PDFs may have some) can't touch the console.
async function pdf(place, object) {
  if (isTidiedUp(object.key)) return fill(place, empty("file", T.object.noPreview, T.browse.dots));
  const [url] = await sign([
    {
      method: "GET",
      bucket: object.bucket,
      key: object.key,
      query: {
        "response-content-type": "application/pdf",
        "response-content-disposition": "inline",
      },
      seconds: 900,
    },
  ]);
  return fill(
    place,
    h("iframe", { src: url, title: shown(object.key), referrerpolicy: "no-referrer" }),
    h(
      "p",
      { class: "hint body" },
      T.object.pdfHint,
      " ",
      h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, T.object.openPdf),
    ),
  );
}

// -- JSON -----------------------------------------------------------------------------------------

async function tree(place, object) {
  // What is too large for a tree is not fetched as a whole.
  const found = await text(object, object.size > TREE_MAX ? TEXT_MAX : TREE_MAX);
  if (!found.whole)
    return draw(place, object, { ...found, content: found.content.slice(0, TEXT_MAX) });
  let document;
  try {
    document = JSON.parse(found.content);
  } catch {
    return draw(
      place,
      object,
      {
        ...found,
        content: found.content.slice(0, TEXT_MAX),
        whole: found.content.length <= TEXT_MAX,
      },
      note(T.object.badJson, "warn", "alert"),
    );
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
    return h(
      "div",
      { class: "leaf" },
      label,
      h("span", { class: kind }, typeof value === "string" ? value : String(value)),
    );
  }
  const entries = Object.entries(value);
  const body = h("div");
  const details = h(
    "details",
    { open: open > 0 && entries.length <= CHILDREN_MAX },
    h(
      "summary",
      {},
      label,
      h(
        "span",
        { class: "muted" },
        Array.isArray(value)
          ? `[ ${T.object.keys(entries.length)} ]`
          : `{ ${T.object.keys(entries.length)} }`,
      ),
    ),
    body,
  );
  const draw = (from = 0) => {
    body.append(
      ...entries
        .slice(from, from + CHILDREN_MAX)
        .map(([name, child]) => node(name, child, open - 1)),
    );
    const left = entries.length - from - CHILDREN_MAX;
    if (left > 0) {
      const more = h(
        "button",
        {
          type: "button",
          class: "plain",
          on: {
            click: () => {
              more.remove();
              draw(from + CHILDREN_MAX);
            },
          },
        },
        icon("plus"),
        T.object.moreEntries(left),
      );
      body.append(more);
    }
  };
  if (details.open) draw();
  else details.addEventListener("toggle", () => draw(), { once: true });
  return details;
}

// -- tables ---------------------------------------------------------------------------------------

async function rows(place, object) {
  const { content, whole, foreign, damaged } = await text(object, TEXT_MAX);
  const [first] = content.split("\n", 1);
  const tabs = /\.tsv(\.gz)?$/i.test(object.key) || object.type.includes("tab-separated");
  const parsed = csv(
    content,
    tabs ? "\t" : first.includes(";") && !first.includes(",") ? ";" : ",",
    ROWS_MAX + 2,
  );
  // Where the text was cut off, so was its last row.
  if (!whole && parsed.length > 1 && parsed.length < ROWS_MAX + 2) parsed.pop();
  const [heads = [], ...lines] = parsed;
  const cut = !whole || lines.length > ROWS_MAX;
  lines.length = Math.min(lines.length, ROWS_MAX);
  const columns = heads.slice(0, COLUMNS_MAX).map((name) => ({ name }));
  fill(
    place,
    foreign ? note(T.object.notUtf8, "warn", "alert") : null,
    cut ? cutNote(object, T.object.rows(count(lines.length)), damaged) : null,
    heads.length > COLUMNS_MAX
      ? note(T.tables.firstColumns(COLUMNS_MAX, count(heads.length)))
      : null,
    drawTable(
      columns,
      lines.map((line) => line.slice(0, COLUMNS_MAX)),
    ),
  );
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
      const doubled = c === '"' && content[at + 1] === '"';
      if (c === '"' && !doubled) quoted = false;
      else cell += c;
      if (doubled) at += 1;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === separator || c === "\n") {
      row.push(cell.endsWith("\r") ? cell.slice(0, -1) : cell);
      cell = "";
      if (c === "\n") {
        found.push(row);
        row = [];
      }
    } else cell += c;
  }
  if ((cell || row.length) && found.length < most) found.push([...row, cell]);
  return found;
}
