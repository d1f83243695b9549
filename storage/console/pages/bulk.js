// Work on many objects: delete, copy, move. A folder stands for everything below it.
import { all, crc32, escaped, parse, s3, textOf, walk } from "./api.js";
import { shown } from "./dom.js";
import { T } from "./texts.js";
import { longWork } from "./transfers.js";

const BATCH = 900;
const COPIES_AT_ONCE = 6;

/** The keys that `chosen` (keys and prefixes ending in "/") stand for, in batches. */
async function* keysOf(bucket, chosen, signal) {
  const single = chosen.filter(({ folder }) => !folder).map(({ key }) => key);
  for (let at = 0; at < single.length; at += BATCH) yield single.slice(at, at + BATCH);
  for (const { key } of chosen.filter(({ folder }) => folder)) {
    for await (const page of walk(bucket, key, signal)) {
      const keys = page.map((object) => object.key);
      for (let at = 0; at < keys.length; at += BATCH) yield keys.slice(at, at + BATCH);
    }
  }
}

/** Delete objects named by key (or {key, version}); returns [deleted, errors]. */
export async function deleteBatch(bucket, batch, signal) {
  const named = batch.map((each) => (typeof each === "string" ? { key: each } : each)).map(({ key, version }) => `<Object><Key>${escaped(key)}</Key>${version ? `<VersionId>${escaped(version)}</VersionId>` : ""}</Object>`);
  const body = new TextEncoder().encode(`<Delete><Quiet>true</Quiet>${named.join("")}</Delete>`);
  const answer = await s3("POST", bucket, "", { delete: "" }, { body, signal, headers: { "content-type": "application/xml", "x-amz-checksum-crc32": crc32(body) } });
  const errors = all(parse(await answer.text()), "Error").map((each) => textOf(each, "Message"));
  return [batch.length - errors.length, errors];
}

// A control character has no form in XML 1.0: such names are deleted one by one.
const FORMLESS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

async function deleteAny(bucket, keys, signal) {
  const plain = keys.filter((key) => !FORMLESS.test(key));
  let [done, errors] = plain.length ? await deleteBatch(bucket, plain, signal) : [0, []];
  for (const key of keys.filter((each) => FORMLESS.test(each))) {
    try {
      await s3("DELETE", bucket, key, {}, { signal });
      done += 1;
    } catch (error) {
      errors = [...errors, error.message];
    }
  }
  return [done, errors];
}

function summary(text, errors) {
  if (!errors.length) return text;
  throw new Error(`${T.work.failed(errors.length)}. ${T.work.firstError(errors[0])}`);
}

export function deleteChosen(bucket, chosen) {
  return longWork(T.work.deleting, async (report, signal) => {
    let done = 0;
    const failed = [];
    for await (const keys of keysOf(bucket, chosen, signal)) {
      const [deleted, errors] = await deleteAny(bucket, keys, signal);
      done += deleted;
      failed.push(...errors);
      report(done, 0);
    }
    return summary(T.browse.deleted(done), failed);
  });
}

/** Copy `chosen` of `bucket` below `prefix`, with names as they are seen from `base`. */
export function copyChosen(bucket, base, chosen, target, prefix, { move = false, rename } = {}) {
  return longWork(move ? T.work.moving : T.work.copying, async (report, signal) => {
    let done = 0;
    const failed = [];
    for await (const keys of keysOf(bucket, chosen, signal)) {
      const queue = [...keys];
      const copied = [];
      const lane = async () => {
        for (let key = queue.shift(); key !== undefined; key = queue.shift()) {
          const to = rename ? rename(key) : prefix + key.slice(base.length);
          if (to === key && target === bucket) continue;
          try {
            await copyOne(bucket, key, target, to, signal);
            copied.push(key);
            report((done += 1), 0);
          } catch (error) {
            if (error.name === "AbortError") throw error;
            failed.push(`${shown(key)}: ${error.message}`);
          }
        }
      };
      await Promise.all(Array.from({ length: COPIES_AT_ONCE }, lane));
      if (move && copied.length) failed.push(...(await deleteAny(bucket, copied, signal))[1]);
    }
    return summary(move ? T.browse.moved(done) : T.browse.copiedN(done), failed);
  });
}

async function copyOne(bucket, key, target, to, signal) {
  const source = `/${bucket}/${encodeURIComponent(key).replaceAll("%2F", "/")}`;
  const answer = await s3("PUT", target, to, {}, { headers: { "x-amz-copy-source": source }, signal });
  const text = await answer.text();
  if (text.includes("<Error>")) throw new Error(textOf(parse(text), "Message"));
}
