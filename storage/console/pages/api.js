// The store as seen from here: the control API and S3, through the console's server, with the
// rights of who is signed in. No credential ever comes to this side.
import { T } from "./texts.js";

/** What the store refused: `code` and `message` are its own. */
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message || T.errors.unknown(status));
    this.status = status;
    this.code = code;
  }
}

/** What the page knows of the session; null while nobody is signed in. `askAgain(why)` is called when
 * it has ended, `onRefused` when the store refused something. */
export const state = { session: null, askAgain: null, onRefused: null };

// Beside the cookie, which any port of this host can set, the server wants what it told this page
// at the sign-in. Other origins can't read or write it.
const PAGE = `oversight-page:${location.pathname}`;

/** What this page was told when it signed in; "" if nobody did. */
export function remembered() {
  try {
    return localStorage.getItem(PAGE) ?? "";
  } catch {
    return ""; // storage is switched off: a page that is loaded again asks to sign in again
  }
}

function remember(page) {
  try {
    if (page) localStorage.setItem(PAGE, page);
    else localStorage.removeItem(PAGE);
  } catch {
    // As above.
  }
}

/** The header by which the server knows its page. */
export const mark = () => ({
  "x-oversight-console": state.session?.page || remembered() || "none",
});

const ask = (path, options) =>
  fetch(path, {
    credentials: "same-origin",
    cache: "no-store",
    ...options,
    headers: { ...mark(), ...options.headers },
  });

async function send(path, options = {}) {
  const asked = state.session?.page;
  let answer;
  try {
    // Questions are asked twice: a network that changes breaks off what is under way.
    answer = await ask(path, options).catch(async (error) => {
      if (error.name === "AbortError" || !["GET", "HEAD", undefined].includes(options.method))
        throw error;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return ask(path, options);
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "Unreachable", T.errors.unreachable);
  }
  // The session may end at any time, an upload in full swing included: sign in again, go on.
  if (answer.status === 401 && state.session && state.askAgain) {
    const { code, detail } = await answer.json().catch(() => ({}));
    // Of many answers some come after that: they speak of the session before.
    if (state.session.page === asked)
      await state.askAgain(code === "AccessWithdrawn" ? detail : "");
    return send(path, options);
  }
  if (answer.status === 403 && state.session) {
    const { code } = await answer
      .clone()
      .json()
      .catch(() => ({}));
    if (code === "OtherSession") return (await adopt()) ? send(path, options) : answer;
    if (path !== "session") state.onRefused?.();
  }
  return answer;
}

/** Somebody signed in in another tab: go on with that session if it is the same user's. */
async function adopt() {
  const { id } = state.session.me;
  state.session = { ...state.session, page: remembered() };
  const found = await session("GET").catch(() => null);
  if (found?.me.id === id) {
    state.session = found;
    return true;
  }
  location.reload();
  return false;
}

async function understood(answer) {
  if (answer.ok) return answer;
  const text = await answer.text();
  if (text.startsWith("{")) {
    const problem = JSON.parse(text);
    throw new Refusal(answer.status, problem.code, problem.detail);
  }
  if (text.includes("<Error>")) {
    const error = parse(text);
    throw new Refusal(answer.status, textOf(error, "Code"), textOf(error, "Message"));
  }
  throw new Refusal(
    answer.status,
    answer.headers.get("x-amz-error-code") ?? "",
    answer.status === 404 ? T.errors.notFound : "",
  );
}

// -- session --------------------------------------------------------------------------------------

export async function session(method, document) {
  const answer = await send("session", { method, body: document && JSON.stringify(document) });
  await understood(answer);
  const told = answer.status === 204 ? null : await answer.json();
  if (method === "POST" || method === "DELETE") remember(told?.page);
  return told;
}

/** Whether an action that concerns the whole store is allowed. */
export const may = (action) => state.session?.me.actions.includes(action) ?? false;

// -- the control API ------------------------------------------------------------------------------

/** Call the control API: `control("GET", ["buckets", name])`. */
export async function control(method, segments, document, query) {
  const search = query ? `?${new URLSearchParams(query)}` : "";
  const answer = await send(
    `control/api/v1/${segments.map(encodeURIComponent).join("/")}${search}`,
    {
      method,
      body: document === undefined ? undefined : JSON.stringify(document),
      headers: document === undefined ? {} : { "content-type": "application/json" },
    },
  );
  await understood(answer);
  return answer.status === 204 ? null : answer.json();
}

// -- S3 -------------------------------------------------------------------------------------------

/** The address of an S3 request through the console. Names are parameters: browsers tidy paths up. */
export function s3Path(bucket, key = "", query = {}) {
  return `s3?${new URLSearchParams({ ".bucket": bucket, ".key": key, ".page": state.session?.page ?? "", ...query })}`;
}

/** The address of everything below a prefix, as one zip. */
export function zipPath(bucket, prefix) {
  return `zip?${new URLSearchParams({ bucket, prefix, ".page": state.session?.page ?? "" })}`;
}

/** The type that an object was stored with: the console tells browsers only harmless ones. */
export const typeOf = (headers) =>
  headers.get("x-oversight-content-type") ?? headers.get("content-type") ?? "";

/** An S3 request; the answer as it is, errors included where `raw`. */
export async function s3(
  method,
  bucket,
  key = "",
  query = {},
  { headers = {}, body, raw = false, signal } = {},
) {
  const answer = await send(s3Path(bucket, key, query), { method, headers, body, signal });
  return raw ? answer : understood(answer);
}

/** An S3 request with an XML answer; null where S3 says that there is none of it. */
export async function s3Xml(bucket, key, query) {
  const answer = await s3("GET", bucket, key, query, { raw: true });
  if (answer.status === 404) {
    const error = parse(await answer.text());
    const code = textOf(error, "Code");
    if (/^NoSuch(?!Bucket$|Key$)|NotFound/.test(code)) return null;
    throw new Refusal(404, code, textOf(error, "Message"));
  }
  return parse(await (await understood(answer)).text());
}

/** An S3 request with an XML document as its body. */
export async function s3Put(method, bucket, key, query, xml) {
  const body = new TextEncoder().encode(xml);
  return s3(method, bucket, key, query, {
    body,
    headers: { "content-type": "application/xml", "x-amz-checksum-crc32": crc32(body) },
  });
}

/** The beginning of the table in an object: {columns, rows, cut, total, codecs, writer}. */
export async function table(bucket, key, version) {
  const answer = await send(`table?${new URLSearchParams({ bucket, key, version })}`);
  return (await understood(answer)).json();
}

/** Presigned URLs for `wanted`: [{method, bucket, key, query, seconds}]. */
export async function sign(wanted) {
  const answer = await send("sign", { method: "POST", body: JSON.stringify(wanted) });
  return (await (await understood(answer)).json()).urls;
}

/** A page of a bucket: {prefixes, objects, next}. */
export async function list(
  bucket,
  { prefix = "", delimiter = "/", token = "", max = 200, signal } = {},
) {
  const query = { "list-type": "2", "encoding-type": "url", prefix, "max-keys": String(max) };
  if (delimiter) query.delimiter = delimiter;
  if (token) query["continuation-token"] = token;
  const root = parse(await (await s3("GET", bucket, "", query, { signal })).text());
  return {
    prefixes: all(root, "CommonPrefixes").map((each) => decoded(textOf(each, "Prefix"))),
    objects: all(root, "Contents").map((each) => ({
      key: decoded(textOf(each, "Key")),
      size: Number(textOf(each, "Size")),
      etag: textOf(each, "ETag"),
      modified: textOf(each, "LastModified"),
      storageClass: textOf(each, "StorageClass"),
    })),
    next: textOf(root, "NextContinuationToken"),
  };
}

/** A page of what is deleted in a bucket with versions, `marker` being the version that says so; the
 * prefixes are all that hold any version: {prefixes, objects, next}. */
export async function listDeleted(bucket, { prefix = "", token = "", max = 200, signal } = {}) {
  const [key, version] = token ? JSON.parse(token) : [];
  const query = {
    versions: "",
    delimiter: "/",
    "encoding-type": "url",
    prefix,
    "max-keys": String(max),
    ...(key ? { "key-marker": key } : {}),
    ...(version ? { "version-id-marker": version } : {}),
  };
  const root = parse(await (await s3("GET", bucket, "", query, { signal })).text());
  const deleted = all(root, "DeleteMarker").filter((each) => textOf(each, "IsLatest") === "true");
  return {
    prefixes: all(root, "CommonPrefixes").map((each) => decoded(textOf(each, "Prefix"))),
    objects: deleted.map((each) => ({
      key: decoded(textOf(each, "Key")),
      marker: textOf(each, "VersionId"),
      modified: textOf(each, "LastModified"),
    })),
    next:
      textOf(root, "IsTruncated") === "true"
        ? JSON.stringify([
            decoded(textOf(root, "NextKeyMarker")),
            textOf(root, "NextVersionIdMarker"),
          ])
        : "",
  };
}

/** Every object below a prefix, page by page. */
export async function* walk(bucket, prefix, signal) {
  let token = "";
  do {
    const page = await list(bucket, { prefix, delimiter: "", token, max: 1000, signal });
    yield page.objects;
    token = page.next;
  } while (token);
}

// -- XML ------------------------------------------------------------------------------------------

// The one thing that may be parsed, and only as XML that goes into no page.
const trusted = globalThis.trustedTypes?.createPolicy("oversight-xml", {
  createHTML: (text) => text,
});

export function parse(text) {
  return new DOMParser().parseFromString(
    trusted ? trusted.createHTML(text) : text,
    "application/xml",
  ).documentElement;
}

/** The text of the first child element of that name. */
export function textOf(element, name) {
  for (const child of element?.children ?? [])
    if (child.localName === name) return child.textContent;
  return "";
}

/** The child elements of that name. */
export const all = (element, name) =>
  [...(element?.children ?? [])].filter((child) => child.localName === name);

export const decoded = (text) => decodeURIComponent(text.replaceAll("+", " "));

const ESCAPES = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "\r": "&#13;",
  "\n": "&#10;",
  "\t": "&#9;",
};
/** Text for an XML document. Control characters have no form in XML 1.0. */
export const escaped = (text) => String(text).replace(/[&<>"\r\n\t]/g, (c) => ESCAPES[c]);

// -- checksums ------------------------------------------------------------------------------------

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

/** CRC-32 in base64, as x-amz-checksum-crc32 wants it (crypto.subtle is missing without TLS). */
export function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  crc = (crc ^ 0xffffffff) >>> 0;
  return btoa(String.fromCharCode(crc >>> 24, (crc >>> 16) & 255, (crc >>> 8) & 255, crc & 255));
}
