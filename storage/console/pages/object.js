// One object: what is in it, what is known of it, its tags and versions.
import { all, control, decoded, escaped, s3, s3Put, s3Xml, textOf, typeOf } from "./api.js";
import { crumbs, downloadPath } from "./browse.js";
import { deleteChosen } from "./bulk.js";
import { fill, h, icon, shown } from "./dom.js";
import { ago, bytes, count, moment } from "./format.js";
import { preview } from "./preview.js";
import { share } from "./share.js";
import { T } from "./texts.js";
import { badge, button, card, confirm, empty, fail, iconButton, note, pairs, toast } from "./ui.js";

const HEADERS = [
  ["content-encoding", T.object.encoding],
  ["content-disposition", T.object.disposition],
];
const VERSIONS_MAX = 100;

export async function render(page, { parts, link }) {
  const [bucket, key = "", version = ""] = parts;
  const query = version ? { versionId: version } : {};
  const rights = await control("GET", ["buckets", bucket, "rights"], undefined, { key }).catch(
    () => ({ objects: [], bucket: [] }),
  );
  const may = (action) => rights.objects.includes(action);
  const seesVersions = rights.bucket.includes("s3:ListBucketVersions");
  const answer = await s3("HEAD", bucket, key, query, {
    headers: { "x-amz-checksum-mode": "ENABLED" },
  }).catch(async (error) => {
    const kept =
      error.status === 404 && !version && seesVersions
        ? await versions({ bucket, key }, may, link).catch(() => null)
        : null;
    if (!kept) throw error;
    fill(page, pageHead(bucket, key, link, []), note(T.object.isDeleted, "warn", "trash"), kept);
    return null;
  });
  if (!answer) return;
  const headers = answer.headers;
  const object = {
    bucket,
    key,
    version,
    size: Number(headers.get("content-length")),
    type: typeOf(headers),
    encoding: headers.get("content-encoding") ?? "",
  };
  const view = h(
    "div",
    { class: "preview" },
    h("p", { class: "wait", role: "status" }, T.common.loading),
  );
  const folder = key.slice(0, key.replace(/\/$/, "").lastIndexOf("/") + 1);
  const removed = () => (location.hash = link("browse", bucket, folder));
  const tools = [
    h(
      "a",
      { class: "button primary", href: downloadPath(bucket, key, version), download: "" },
      icon("download"),
      T.object.download,
    ),
    button(T.object.share, { icon: "link" }, () => share(bucket, key, version)),
    may("s3:DeleteObject") && !version
      ? button(T.object.delete, { icon: "trash", kind: "danger" }, () =>
          confirm({
            title: T.object.deleteTitle,
            lead: T.object.deleteLead,
            action: T.common.delete,
            submit: async () => {
              await deleteChosen(bucket, [{ key }]);
              removed();
              return true;
            },
          }),
        )
      : null,
  ];
  const side = h("div", { class: "stack" }, details(object, headers), metadata(headers));
  fill(
    page,
    pageHead(bucket, key, link, tools),
    h(
      "div",
      { class: "object" },
      h(
        "section",
        { class: "card" },
        h(
          "header",
          {},
          h("h2", {}, T.object.preview),
          version ? badge(T.object.version, "warn") : null,
        ),
        view,
      ),
      side,
    ),
  );
  preview(view, object).catch((error) =>
    fill(view, empty("alert", T.object.broken, error.message)),
  );
  if (may("s3:GetObjectTagging"))
    tags(object, query, may("s3:PutObjectTagging")).then((element) => side.append(element), fail);
  if (seesVersions)
    versions(object, may, link).then((element) => element && side.append(element), fail);
}

const pageHead = (bucket, key, link, tools) =>
  h(
    "div",
    { class: "page-head" },
    h("h1", { class: "sr" }, shown(key)),
    crumbs(bucket, key, link, true),
    h("div", { class: "row" }, tools),
  );

function facts(entries) {
  return h(
    "dl",
    { class: "facts" },
    entries
      .filter(([, value]) => value)
      .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

function details(object, headers) {
  const sums = [
    "crc32",
    "crc32c",
    "crc64nvme",
    "sha1",
    "sha256",
    "sha512",
    "md5",
    "xxhash64",
    "xxhash3",
    "xxhash128",
  ].map((name) => [
    `${T.object.checksum} ${name.toUpperCase()}`,
    headers.get(`x-amz-checksum-${name}`) && h("code", {}, headers.get(`x-amz-checksum-${name}`)),
  ]);
  return card(
    T.object.details,
    facts([
      [T.object.name, h("bdi", {}, shown(object.key))],
      [
        T.object.size,
        object.size < 1024 ? bytes(object.size) : `${bytes(object.size)} (${count(object.size)} B)`,
      ],
      [T.object.type, object.type],
      [T.object.modified, moment(headers.get("last-modified"))],
      [T.object.etag, h("code", {}, headers.get("etag") ?? "")],
      [T.object.storageClass, headers.get("x-amz-storage-class")],
      [
        T.object.version,
        headers.get("x-amz-version-id") && h("code", {}, headers.get("x-amz-version-id")),
      ],
      ...sums,
      ...HEADERS.map(([name, label]) => [label, headers.get(name)]),
    ]),
  );
}

function metadata(headers) {
  const own = [...headers]
    .filter(([name]) => name.startsWith("x-amz-meta-"))
    .map(([name, value]) => [name.slice(11), shown(unworded(value))]);
  return card(
    T.object.metadata,
    own.length ? facts(own) : h("p", { class: "muted" }, T.object.noMetadata),
  );
}

/** What encoded words (RFC 2047) of UTF-8 say; anything else stays as it is. */
function unworded(value) {
  if (!/^(=\?utf-8\?b\?[A-Za-z0-9+/=]*\?=[ \t]*)+$/i.test(value)) return value;
  try {
    const binary = value
      .split(/[ \t]+/)
      .map((word) => atob(word.split("?")[3] ?? ""))
      .join("");
    return new TextDecoder("utf-8", { fatal: true }).decode(
      Uint8Array.from(binary, (c) => c.charCodeAt(0)),
    );
  } catch {
    return value;
  }
}

async function tags(object, query, writable) {
  const root = await s3Xml(object.bucket, object.key, { tagging: "", ...query });
  const given = all(all(root, "TagSet")[0], "Tag").map((tag) => [
    textOf(tag, "Key"),
    textOf(tag, "Value"),
  ]);
  const editor = pairs(given, { disabled: !writable });
  const save = async () => {
    const set = editor
      .value()
      .map(
        ([key, value]) => `<Tag><Key>${escaped(key)}</Key><Value>${escaped(value)}</Value></Tag>`,
      );
    await s3Put(
      "PUT",
      object.bucket,
      object.key,
      { tagging: "", ...query },
      `<Tagging><TagSet>${set.join("")}</TagSet></Tagging>`,
    );
    toast(T.object.tagsSaved);
  };
  return card(
    T.object.tags,
    [given.length ? null : h("p", { class: "muted" }, T.object.noTags), editor.element],
    writable ? button(T.common.save, {}, save) : null,
  );
}

async function versions(object, may, link) {
  const root = await s3Xml(object.bucket, "", {
    versions: "",
    "encoding-type": "url",
    prefix: object.key,
    "max-keys": String(VERSIONS_MAX),
  });
  const found = [...root.children]
    .filter(({ localName }) => localName === "Version" || localName === "DeleteMarker")
    .filter((each) => decoded(textOf(each, "Key")) === object.key);
  const kept = found.filter((each) => textOf(each, "VersionId") !== "null");
  if (!kept.length) return null;
  const rows = found.map((each) => versionRow(object, each, may, link));
  return card(
    T.object.versions,
    h("div", { class: "table-wrap" }, h("table", {}, h("tbody", {}, rows))),
  );
}

function versionRow(object, each, may, link) {
  const id = textOf(each, "VersionId");
  const current = textOf(each, "IsLatest") === "true";
  const marker = each.localName === "DeleteMarker";
  const when = textOf(each, "LastModified");
  const address = link("object", object.bucket, object.key, ...(current ? [] : [id]));
  const what = marker
    ? [badge(T.object.marker, "bad"), h("span", { class: "small muted" }, ` ${ago(when)}`)]
    : h("a", { href: address, title: `${moment(when)} · ${id}` }, ago(when));
  const restorable = !current && !marker && may("s3:PutObject");
  return h(
    "tr",
    {},
    h("td", {}, what, " ", current ? badge(T.object.current, "good") : null),
    h("td", { class: "num" }, marker ? "" : bytes(textOf(each, "Size"))),
    h(
      "td",
      { class: "tight" },
      restorable ? iconButton("history", T.object.restore, () => restore(object, id, link)) : null,
      may("s3:DeleteObjectVersion")
        ? iconButton("trash", marker ? T.object.deleteMarker : T.object.deleteVersion, () =>
            confirmDelete(object, id, marker),
          )
        : null,
    ),
  );
}

const again = () => dispatchEvent(new HashChangeEvent("hashchange"));

/** A copy of an earlier version becomes the current one. */
async function restore(object, id, link) {
  const key = encodeURIComponent(object.key).replaceAll("%2F", "/");
  const source = `/${object.bucket}/${key}?versionId=${encodeURIComponent(id)}`;
  await s3("PUT", object.bucket, object.key, {}, { headers: { "x-amz-copy-source": source } });
  toast(T.object.restored);
  location.hash = link("object", object.bucket, object.key);
  again();
}

function confirmDelete(object, id, marker) {
  return confirm({
    title: T.object.deleteVersionTitle,
    lead: marker ? T.object.markerLead : T.object.deleteVersionLead(shown(id)),
    action: T.common.delete,
    submit: async () => {
      await s3("DELETE", object.bucket, object.key, { versionId: id });
      again();
      return true;
    },
  });
}
