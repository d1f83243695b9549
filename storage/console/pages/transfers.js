// Uploads and other long work: it goes on while pages change, and can be cancelled.
//
// Bytes go straight to S3 by presigned requests. Where the browser does not reach S3 (another
// network, CORS rules, a page with TLS before an S3 without), they go through the console instead.
import {
  all,
  crc32,
  escaped,
  list as listed,
  mark,
  parse,
  s3,
  s3Path,
  s3Xml,
  sign,
  state,
  textOf,
} from "./api.js";
import { brief, fill, h, icon, shown } from "./dom.js";
import { bytes, count } from "./format.js";
import { T } from "./texts.js";
import { ask, iconButton, meter, note, toast } from "./ui.js";

const FILES_AT_ONCE = 3;
const PARTS_AT_ONCE = 3;
const MULTIPART_FROM = 16 * 1024 * 1024;
const PART_MIN = 8 * 1024 * 1024;
const PARTS_MAX = 10_000;
const TRIES = 4;
/** Milliseconds that S3 gets for its first answer to this browser. */
const REACHED_MS = 10_000;
/** What S3 says of credentials that have ended. */
const OVER = ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"];
/** Finished entries that stay listed. */
const SHOWN_MAX = 200;

const works = [];
const waiting = [];
let busy = 0;

/** Whether anything is under way. */
export const running = () =>
  busy > 0 || waiting.length > 0 || works.some((work) => work.state === "running");

addEventListener("beforeunload", (event) => {
  if (running()) event.preventDefault();
});

/** A name whose path a browser would tidy up: it can't be sent to S3 directly. */
export const isTidiedUp = (key) => key.split("/").some((part) => part === "." || part === "..");

// -- the panel ------------------------------------------------------------------------------------

const list = h("ul");
const title = h("h2");
const trouble = h("div");
const folder = iconButton("fold", T.uploads.minimise, () => {
  list.hidden = !list.hidden;
  folder.setAttribute("aria-expanded", String(!list.hidden));
});
folder.setAttribute("aria-expanded", "true");
const panel = h(
  "section",
  { class: "card works", "aria-label": T.uploads.title, hidden: true },
  h("header", {}, title, folder, iconButton("close", T.uploads.hide, hideDone)),
  trouble,
  list,
);
document.body.append(panel);

function hideDone() {
  for (const work of works.filter(({ state: now }) => now !== "running" && now !== "waiting"))
    forget(work);
  draw();
}

function forget(work) {
  works.splice(works.indexOf(work), 1);
  work.element.remove();
}

function draw() {
  panel.hidden = works.length === 0;
  const done = works.filter(({ state: now }) => now === "done").length;
  fill(title, T.uploads.summary(done, works.length));
}

class Work {
  constructor(name) {
    this.name = name;
    this.state = "waiting";
    this.stop = new AbortController();
    this.meter = meter(0, name);
    this.text = h("span", { class: "small muted" }, T.uploads.waiting);
    this.tools = h(
      "span",
      {},
      iconButton("close", T.uploads.cancel(shown(name)), () => this.cancel()),
    );
    this.element = h(
      "li",
      {},
      h(
        "div",
        { class: "line" },
        h("bdi", { title: shown(name) }, shown(name)),
        this.text,
        this.tools,
      ),
      this.meter,
    );
    works.push(this);
    list.append(this.element);
    if (works.length > SHOWN_MAX) {
      const old = works.find(({ state: now }) => now === "done");
      if (old) forget(old);
    }
    draw();
  }

  cancel() {
    this.stop.abort();
    if (this.state === "waiting") this.end("cancelled");
  }

  progress(share, text) {
    this.meter.set(share);
    fill(this.text, text);
  }

  end(how, text = "") {
    this.state = how;
    this.element.dataset.state = how;
    this.meter.classList.remove("unknown");
    this.meter.classList.toggle("bad", how === "failed");
    this.meter.classList.toggle("good", how === "done");
    if (how === "done") this.meter.set(1);
    fill(this.text, text || T.uploads[how]);
    this.text.title = text;
    fill(
      this.tools,
      how === "failed" && this.again
        ? iconButton("again", T.uploads.retry(shown(this.name)), () => this.again())
        : how === "done"
          ? icon("check")
          : null,
    );
    draw();
  }
}

// -- long work that is no upload ------------------------------------------------------------------

/** Run `work(report, signal)` in the panel; `report(done, total)`. Resolves when it ended. */
export async function longWork(name, work) {
  const entry = new Work(name);
  entry.state = "running";
  let reached = 0;
  const report = (done, total) => {
    reached = done;
    entry.meter.classList.toggle("unknown", !total);
    entry.progress(total ? done / total : 0, T.work.of(count(done), total && count(total)));
  };
  try {
    report(0, 0);
    entry.end("done", await work(report, entry.stop.signal));
    return true;
  } catch (error) {
    if (error.name === "AbortError") entry.end("cancelled", T.work.stopped(count(reached)));
    else entry.end("failed", error.message);
    return false;
  }
}

// -- how bytes travel -----------------------------------------------------------------------------

const reached = new Map();

/** Whether this browser reaches S3 itself for a bucket: asked once, by a request that reads. */
function direct(bucket) {
  if (!reached.has(bucket)) {
    reached.set(
      bucket,
      (async () => {
        const host = state.session.s3;
        let why = T.uploads.cors;
        if (location.protocol === "https:" && host.startsWith("http:")) why = T.uploads.mixed;
        else {
          try {
            const [url] = await sign([
              { method: "GET", bucket, query: { "list-type": "2", "max-keys": "0" }, seconds: 60 },
            ]);
            await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(REACHED_MS) });
            return true;
          } catch {
            // The reason is hidden from scripts.
          }
        }
        fill(trouble, note(T.uploads.via(host, why), "warn", "alert"));
        return false;
      })(),
    );
  }
  return reached.get(bucket);
}

/** Send bytes; resolves with the response's status. Retries what may pass. */
async function put(target, body, { type, checksum, onProgress, signal }) {
  for (let attempt = 1; ; attempt += 1) {
    const through = !(await direct(target.bucket)) || isTidiedUp(target.key);
    const url = through
      ? s3Path(target.bucket, target.key, target.query)
      : (await sign([{ method: "PUT", ...target }]))[0];
    const answer = await transmit(url, body, { type, checksum, onProgress, signal, through });
    if (answer.status >= 200 && answer.status < 300) return answer;
    const refusal = answer.text.includes("<Error>") ? parse(answer.text) : null;
    if (answer.status === 401 && through) await state.askAgain();
    // A presigned URL of a session that is over: the next signature asks to sign in again.
    else if (attempt === 1 && (answer.status === 403 || OVER.includes(textOf(refusal, "Code"))))
      continue;
    else if (
      attempt >= TRIES ||
      (answer.status >= 400 &&
        answer.status < 500 &&
        answer.status !== 408 &&
        answer.status !== 429)
    ) {
      throw new Error(
        textOf(refusal, "Message") ||
          (answer.status ? T.errors.unknown(answer.status) : T.uploads.broken),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
  }
}

function transmit(url, body, { type, checksum, onProgress, signal, through }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new DOMException("", "AbortError"));
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    if (type) request.setRequestHeader("content-type", type);
    if (through)
      for (const [name, value] of Object.entries(mark())) request.setRequestHeader(name, value);
    // A presigned URL signs no such header: S3 then computes it, and compares when all is there.
    if (through && checksum) request.setRequestHeader("x-amz-checksum-crc32", checksum);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    const stop = () => request.abort();
    signal.addEventListener("abort", stop);
    const ended = (settle) => () => {
      signal.removeEventListener("abort", stop);
      settle();
    };
    request.onload = ended(() => resolve({ status: request.status, text: request.responseText }));
    request.onerror = ended(() => resolve({ status: 0, text: "" }));
    request.onabort = ended(() => reject(new DOMException("", "AbortError")));
    request.send(body);
    return undefined;
  });
}

// -- uploads --------------------------------------------------------------------------------------

/** Upload files: [{file, key}]. `onDone` is called after the last one. Before the first object is
 * replaced, it is asked whether that is meant. */
export function upload(bucket, files, onDone) {
  let left = files.length;
  const ended = () => (left -= 1) === 0 && onDone?.();
  const replaces = once(askToReplace);
  for (const { file, key } of files) queue({ bucket, file, key, ended, replaces });
}

function queue(given) {
  const work = new Work(given.key);
  work.again = () => {
    forget(work);
    queue(given);
  };
  waiting.push({ work, ...given });
  pull();
}

/** A function whose first answer is the answer to all that ask. */
function once(question) {
  let answer;
  return (...given) => (answer ??= question(...given));
}

/** Whether objects that exist are to be replaced; the first is `key`. */
const askToReplace = (key) =>
  ask({
    title: T.uploads.replaceTitle,
    body: h("p", {}, T.uploads.replaceLead(brief(key))),
    action: T.uploads.replace,
    cancel: T.uploads.keep,
    kind: "danger",
  });

/** Whether there is an object of that name, as far as the user may know. */
async function exists(bucket, key, signal) {
  const { objects } = await listed(bucket, { prefix: key, delimiter: "", max: 1, signal });
  return objects[0]?.key === key;
}

function pull() {
  while (busy < FILES_AT_ONCE && waiting.length) {
    const next = waiting.shift();
    if (next.work.state !== "waiting") {
      next.ended();
      continue;
    }
    busy += 1;
    one(next).finally(() => {
      busy -= 1;
      next.ended();
      pull();
    });
  }
}

async function one({ work, bucket, file, key, replaces }) {
  work.state = "running";
  const began = performance.now();
  const report = (sent) => {
    if (work.state !== "running") return; // a part that is still on its way must not hide why it ended
    const seconds = (performance.now() - began) / 1000;
    work.progress(
      file.size ? sent / file.size : 1,
      seconds > 1 ? `${bytes(sent)} · ${T.uploads.speed(bytes(sent / seconds))}` : bytes(sent),
    );
  };
  try {
    const known = await exists(bucket, key, work.stop.signal).catch((error) => {
      if (error.name === "AbortError") throw error;
      return false;
    });
    if (known && !(await replaces(key))) return work.end("kept");
    work.stop.signal.throwIfAborted();
    if (file.size < MULTIPART_FROM)
      await put({ bucket, key }, file, {
        type: file.type || "application/octet-stream",
        onProgress: report,
        signal: work.stop.signal,
      });
    else await inParts(work, bucket, file, key, report);
    return work.end("done", known ? T.uploads.replaced : "");
  } catch (error) {
    return work.end(
      error.name === "AbortError" ? "cancelled" : "failed",
      error.name === "AbortError" ? "" : error.message,
    );
  }
}

// An upload that was broken off (a closed tab, a lost network) goes on where it was when the same
// file is chosen again: its id is kept here, and S3 knows which parts it has. Another file may have the
// same name, size and time: a part counts as there only if its checksum is that of our bytes.
const memory = (bucket, file, key) =>
  `oversight-upload-crc32 ${JSON.stringify([bucket, key, file.size, file.lastModified])}`;

async function inParts(work, bucket, file, key, report) {
  const place = memory(bucket, file, key);
  const upload = { bucket, key, file, ...(await begun(place, bucket, key, file)) };
  try {
    await complete(upload, await sendParts(upload, work.stop.signal, report));
  } catch (error) {
    if (error.name === "AbortError") {
      localStorage.removeItem(place);
      await s3("DELETE", bucket, key, { uploadId: upload.uploadId }).catch(() => {});
    }
    throw error;
  }
  localStorage.removeItem(place);
}

/** The upload that was broken off, with the parts that S3 has of it, or else a new one. */
async function begun(place, bucket, key, file) {
  const kept = localStorage.getItem(place);
  const present = kept ? await parts(bucket, key, kept).catch(() => null) : null;
  if (present !== null) {
    if (present.size) toast(`${shown(key)}: ${T.uploads.resumed}`);
    return { uploadId: kept, present };
  }
  const headers = {
    "content-type": file.type || "application/octet-stream",
    "x-amz-checksum-algorithm": "CRC32",
  };
  const answer = await s3("POST", bucket, key, { uploads: "" }, { headers });
  const uploadId = textOf(parse(await answer.text()), "UploadId");
  localStorage.setItem(place, uploadId);
  return { uploadId, present: new Map() };
}

/** Send each part that S3 lacks, some at a time; the answer is their checksums by number. */
async function sendParts({ bucket, key, file, uploadId, present }, signal, report) {
  const size = Math.max(PART_MIN, Math.ceil(file.size / PARTS_MAX / 1048576) * 1048576);
  const open = Array.from({ length: Math.ceil(file.size / size) }, (_, at) => at + 1);
  const sent = new Map();
  const sums = new Map();
  const tell = (number, bytes) => {
    sent.set(number, bytes);
    report([...sent.values()].reduce((sum, each) => sum + each, 0));
  };
  const send = async (number) => {
    const slice = file.slice((number - 1) * size, number * size);
    const checksum = crc32(new Uint8Array(await slice.arrayBuffer()));
    signal.throwIfAborted();
    const there = present.get(number);
    if (there?.size !== slice.size || there.checksum !== checksum) {
      const onProgress = (loaded) => tell(number, loaded);
      const target = { bucket, key, query: { partNumber: String(number), uploadId } };
      await put(target, slice, { checksum, onProgress, signal });
    }
    sums.set(number, checksum);
    tell(number, slice.size);
  };
  const lane = async () => {
    while (open.length) await send(open.shift());
  };
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, lane));
  return sums;
}

async function complete({ bucket, key, uploadId }, sums) {
  // CORS rules may hide ETags from us: S3 knows them.
  const present = (await parts(bucket, key, uploadId)) ?? new Map();
  const ours = [...present].filter(([number]) => sums.has(number)).sort(([a], [b]) => a - b);
  if (ours.length !== sums.size) throw new Error(T.uploads.gone);
  const named = ours.map(
    ([number, { etag }]) =>
      `<Part><PartNumber>${number}</PartNumber><ETag>${escaped(etag)}</ETag><ChecksumCRC32>${sums.get(number)}</ChecksumCRC32></Part>`,
  );
  const body = `<CompleteMultipartUpload>${named.join("")}</CompleteMultipartUpload>`;
  const answer = await s3("POST", bucket, key, { uploadId }, { body });
  const text = await answer.text();
  if (text.includes("<Error>")) throw new Error(textOf(parse(text), "Message"));
}

/** The parts that S3 has: number -> {size, etag, checksum}. */
async function parts(bucket, key, uploadId) {
  const found = new Map();
  let after = "0";
  do {
    const root = await s3Xml(bucket, key, { uploadId, "part-number-marker": after });
    if (root === null) return null;
    for (const part of all(root, "Part"))
      found.set(Number(textOf(part, "PartNumber")), {
        size: Number(textOf(part, "Size")),
        etag: textOf(part, "ETag"),
        checksum: textOf(part, "ChecksumCRC32"),
      });
    after = textOf(root, "IsTruncated") === "true" ? textOf(root, "NextPartNumberMarker") : "";
  } while (after);
  return found;
}

// -- files that were dropped ----------------------------------------------------------------------

const FILES_MAX = 50_000;

/** The files of a drop, those in folders included, with their paths: [{file, path}]. Folders without
 * any are told of: S3 knows none. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  let hollow = 0;
  const enter = async (entry, folder) => {
    if (found.length > FILES_MAX) throw new Error(T.uploads.tooMany(FILES_MAX));
    if (entry.isFile) {
      found.push({
        file: await new Promise((resolve, reject) => entry.file(resolve, reject)),
        path: folder + entry.name,
      });
      return;
    }
    const reader = entry.createReader();
    for (let any = false; ; any = true) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length && !any) hollow += 1;
      if (!some.length) return;
      for (const each of some) await enter(each, `${folder}${entry.name}/`);
    }
  };
  for (const entry of entries) await enter(entry, "");
  if (hollow) toast(T.uploads.hollow(hollow), !found.length);
  return found;
}

/** The files of an input: [{file, path}]. */
export const picked = (input) =>
  [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
