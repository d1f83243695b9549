// Work on many objects: delete, copy, move. A folder stands for everything below it.
import { all, crc32, escaped, parse, s3, textOf, walk } from "./api.js";
import { brief } from "./dom.js";
import { count } from "./format.js";
import { T } from "./texts.js";
import { longWork } from "./transfers.js";

const BATCH = 900;
const COPIES_AT_ONCE = 6;

/** What `chosen` (keys and prefixes ending in "/") stands for: {key, etag}, in batches. ETags are
 * known of what was listed just now, below a folder. */
async function* objectsOf(bucket, chosen, signal) {
  const single = chosen.filter(({ folder }) => !folder).map(({ key }) => ({ key }));
  for (let at = 0; at < single.length; at += BATCH) yield single.slice(at, at + BATCH);
  for (const { key } of chosen.filter(({ folder }) => folder)) {
    for await (const page of walk(bucket, key, signal)) {
      const found = page.map(({ key: name, etag }) => ({ key: name, etag }));
      for (let at = 0; at < found.length; at += BATCH) yield found.slice(at, at + BATCH);
    }
  }
}

// A control character has no form in XML 1.0: such names are deleted one by one.
const FORMLESS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

/** Delete objects {key, version, etag}, the last two if given; returns [deleted, errors]. One whose
 * ETag is another by now stays, and is an error with the code PreconditionFailed. */
export async function deleteAny(bucket, objects, signal) {
  const plain = objects.filter(({ key }) => !FORMLESS.test(key));
  const errors = plain.length ? await deleteBatch(bucket, plain, signal) : [];
  for (const { key, version, etag } of objects.filter((each) => FORMLESS.test(each.key))) {
    try {
      await s3("DELETE", bucket, key, version ? { versionId: version } : {}, {
        headers: etag ? { "if-match": etag } : {},
        signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      errors.push({ key, code: error.code, message: error.message });
    }
  }
  return [objects.length - errors.length, errors];
}

async function deleteBatch(bucket, objects, signal) {
  const named = objects.map(
    ({ key, version, etag }) =>
      `<Object><Key>${escaped(key)}</Key>${version ? `<VersionId>${escaped(version)}</VersionId>` : ""}${etag ? `<ETag>${escaped(etag)}</ETag>` : ""}</Object>`,
  );
  const body = new TextEncoder().encode(`<Delete><Quiet>true</Quiet>${named.join("")}</Delete>`);
  const answer = await s3(
    "POST",
    bucket,
    "",
    { delete: "" },
    {
      body,
      signal,
      headers: { "content-type": "application/xml", "x-amz-checksum-crc32": crc32(body) },
    },
  );
  return all(parse(await answer.text()), "Error").map((each) => ({
    key: textOf(each, "Key"),
    code: textOf(each, "Code"),
    message: textOf(each, "Message"),
  }));
}

/** Bring back what is deleted, [{key, marker}], by deleting what says so. */
export function restoreChosen(bucket, chosen) {
  return longWork(T.work.restoring, async (report, signal) => {
    let done = 0;
    const failed = [];
    for (let at = 0; at < chosen.length; at += BATCH) {
      const some = chosen
        .slice(at, at + BATCH)
        .map(({ key, marker }) => ({ key, version: marker }));
      const [restored, errors] = await deleteAny(bucket, some, signal);
      done += restored;
      failed.push(...errors.map(({ key, message }) => `${brief(key)}: ${message}`));
      report(done, chosen.length);
    }
    return summary(T.browse.restored(count(done)), failed);
  });
}

function summary(text, errors) {
  if (!errors.length) return text;
  throw new Error(`${T.work.failed(count(errors.length))}. ${T.work.firstError(errors[0])}`);
}

export function deleteChosen(bucket, chosen) {
  return longWork(T.work.deleting, async (report, signal) => {
    let done = 0;
    const failed = [];
    for await (const objects of objectsOf(bucket, chosen, signal)) {
      // Whatever they hold by now: they are deleted by name.
      const [deleted, errors] = await deleteAny(
        bucket,
        objects.map(({ key }) => ({ key })),
        signal,
      );
      done += deleted;
      failed.push(...errors.map(({ message }) => message));
      report(done, 0);
    }
    return summary(T.browse.deleted(count(done)), failed);
  });
}

/** Raise an Error where a destination and what is chosen lie inside one another: objects would be
 * written over before they are copied, deleted after it, or copied without end. */
function refuseOverlap(chosen, destination) {
  const within = (key, entry) => (entry.folder ? key.startsWith(entry.key) : key === entry.key);
  for (const entry of chosen) {
    const to = { key: destination(entry.key), folder: entry.folder };
    if (to.key === entry.key) throw new Error(T.browse.samePlace(brief(entry.key)));
    const other = chosen.find((each) => within(to.key, each) || within(each.key, to));
    if (other) throw new Error(T.browse.overlap(brief(to.key), brief(other.key)));
  }
}

/** Copy `chosen` of `bucket` below `prefix`, with names as they are seen from `base`. Raises an
 * Error at once where that can't be done. */
export function copyChosen(bucket, base, chosen, target, prefix, { move = false, rename } = {}) {
  const destination = rename ?? ((key) => prefix + key.slice(base.length));
  if (target === bucket) refuseOverlap(chosen, destination);
  return longWork(move ? T.work.moving : T.work.copying, async (report, signal) => {
    let done = 0;
    const failed = [];
    const fail = (key, { code, message }) =>
      failed.push(
        `${brief(key)}: ${move && code === "PreconditionFailed" ? T.work.changed : message}`,
      );
    for await (const objects of objectsOf(bucket, chosen, signal)) {
      const queue = [...objects];
      const copied = [];
      const lane = async () => {
        for (let object = queue.shift(); object; object = queue.shift()) {
          const { key } = object;
          try {
            // Only what was copied may be deleted: its ETag goes through all of a move.
            const etag = move
              ? object.etag || (await s3("HEAD", bucket, key, {}, { signal })).headers.get("etag")
              : "";
            await copyOne(bucket, key, target, destination(key), etag, signal);
            copied.push({ key, etag });
            report(done + copied.length, 0);
          } catch (error) {
            if (error.name === "AbortError") throw error;
            fail(key, error);
          }
        }
      };
      await Promise.all(Array.from({ length: COPIES_AT_ONCE }, lane));
      const [moved, errors] =
        move && copied.length ? await deleteAny(bucket, copied, signal) : [copied.length, []];
      done += moved;
      for (const error of errors) fail(error.key, error);
    }
    return summary(move ? T.browse.moved(count(done)) : T.browse.copiedN(count(done)), failed);
  });
}

async function copyOne(bucket, key, target, to, etag, signal) {
  const source = `/${bucket}/${encodeURIComponent(key).replaceAll("%2F", "/")}`;
  const headers = {
    "x-amz-copy-source": source,
    ...(etag ? { "x-amz-copy-source-if-match": etag } : {}),
  };
  const answer = await s3("PUT", target, to, {}, { headers, signal });
  const text = await answer.text();
  if (text.includes("<Error>")) throw new Error(textOf(parse(text), "Message"));
}
